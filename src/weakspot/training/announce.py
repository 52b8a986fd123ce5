"""Say before training starts what it will do and how long all of it takes, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator

from weakspot.data.views import AS_IS, AUGMENTATIONS, split_view
from weakspot.models.evidence import PROMPTS
from weakspot.models.feature_cache import feature_keys
from weakspot.training.estimate import DECODING, Costs, measure_costs
from weakspot.training.evidence import correct, correct_fit
from weakspot.training.evidence.budget import OF_OTHERS, Budget, budget_for, budget_of_others, correction_steps
from weakspot.training.evidence.fit import FEATURES, note_of
from weakspot.training.evidence.heads import LOCATION, LOCATION_AGAIN, MASK, PSEUDO_EVERY
from weakspot.training.evidence.statistics import STATISTICS
from weakspot.training.familiarity import RECOGNISING
from weakspot.training.imitated import EACH, MOST_PICTURES
from weakspot.training.lightning_fit import CLASSIFIER
from weakspot.training.prepare import PreparedRun, image_sizes
from weakspot.training.stages import FOR_TRUST, FROZEN, MAPS, device_of, examples_of
from weakspot.utils.agenda import Agenda, Planned
from weakspot.utils.progress_lines import in_words

REPORTING, REPORTING_EACH = 6.0, 0.1
"""Seconds from the last output to the report, and for each test picture: thresholds, alarms, intervals, figures and the
page. For 40 of them 9.7 s were measured on one core (``weakspot train experiment=demo``, the model taken over)."""

LOOKED_AT_AGAIN = 120
"""So many pictures the finished model sees again, with boxes erased (:mod:`weakspot.evaluation.erasure`)."""


def announcement(prepared: PreparedRun, agenda: Agenda) -> str:
    """Announce in a sentence what training will do, and about how long all of it takes.

    Args:
        prepared: the run.
        agenda: from :func:`agenda_of`.
    """
    rules, images = prepared.rules, len(prepared.data.indices("train"))
    heads = ""
    if rules.has_heads:
        budget, fewer = _budgets(prepared)
        steps = budget.steps + len(prepared.left_out) * fewer.steps
        heads = f", then {steps} steps of the evidence heads on {budget.imitations} imitated defects"
    device, time = device_of(rules), f"about {in_words(agenda.seconds)}, report included"
    return f"training on {images} images, up to {rules.trainer.max_epochs} epochs on the {device}{heads}: {time}"


def agenda_of(prepared: PreparedRun) -> Agenda:
    """List the stages from here to the report, and how long each will take: every kind of work is timed, then counted.

    With a cache, missing frozen features are computed first. Nothing is changed by it.

    Args:
        prepared: the run; its network goes to the device that it is trained on.

    Raises:
        WeakspotError: when evidence heads cannot be trained on features of these sizes.
    """
    rules = prepared.rules
    size = prepared.preprocess.common_input_size(image_sizes(prepared.data.infos))
    network = prepared.network.to(device_of(rules))
    costs = measure_costs(network, size, rules.trainer.batch_size, heads=rules.has_heads)
    return Agenda([*_classifier(prepared, costs), *_heads(prepared, costs), *_outputs(prepared, costs)])


def _budgets(prepared: PreparedRun) -> tuple[Budget, Budget]:
    """Of the run's evidence heads, and of those that are trained without a fold."""
    refine, images = prepared.rules.refine, len(prepared.data.indices("train"))
    left = images - images // max(1, len(prepared.left_out))
    return budget_for(refine, images), budget_of_others(refine, left)


def _classifier(prepared: PreparedRun, costs: Costs) -> Iterator[Planned]:
    rules, cache = prepared.rules, prepared.rules.cache
    items = [item for of_subset in examples_of(prepared).values() for item, _ in of_subset]
    again = 0.0
    if cache:
        keys = feature_keys(prepared.network, items, prepared.preprocess, cache)
        yield Planned(FROZEN, costs.stem * sum(not cache.path(key).is_file() for key in keys))
    else:
        again = costs.stem
    yield Planned(CLASSIFIER, (costs.tail + again) * _trained_on(prepared) * rules.trainer.max_epochs)


def _trained_on(prepared: PreparedRun) -> int:
    """Number of views of training images that an epoch consists of."""
    return len(prepared.data.indices("train")) * len(AUGMENTATIONS[prepared.rules.trainer.augment])


def _heads(prepared: PreparedRun, costs: Costs) -> Iterator[Planned]:
    rules, data = prepared.rules, prepared.data
    if not rules.has_heads:
        return
    budget, fewer = _budgets(prepared)
    views = sum(split_view(view)[0] == AS_IS for view in AUGMENTATIONS[rules.trainer.augment])
    real = views * len(data.indices("train"))
    reading = DECODING if rules.cache else costs.stem
    yield Planned(FEATURES, real * reading + budget.imitations * (costs.imitating + DECODING))
    models = [("", budget), *((note_of(k, len(prepared.left_out)), fewer) for k in range(len(prepared.left_out)))]
    outlining = costs.location + PROMPTS * costs.answer
    for note, of_model in models:
        yield Planned(LOCATION + note, of_model.location_steps * costs.location_step)
        if of_model.mask_steps:
            prompts = (real + of_model.imitations) * costs.location
            yield Planned(MASK, prompts + of_model.mask_steps * costs.mask_step)
        outlines = -(-of_model.location_refit_steps // PSEUDO_EVERY) * views * _defects(prepared) * outlining
        yield Planned(LOCATION_AGAIN + note, outlines + of_model.location_refit_steps * costs.location_step)
    if data.corrections.drawn:
        steps = correction_steps(rules.refine, len(data.corrections.drawn))
        for _ in models:
            yield Planned(FEATURES, correct_fit.IMITATIONS * costs.imitating)
            yield Planned(correct.CORRECTING, steps * (costs.location_step + costs.mask_step))
    if rules.refine.statistics:
        yield Planned(STATISTICS, min(real, views * rules.refine.max_images) * reading)


def _defects(prepared: PreparedRun) -> int:
    data = prepared.data
    return sum(data.targets[i] != 0 for i in data.indices("train"))


def _outputs(prepared: PreparedRun, costs: Costs) -> Iterator[Planned]:
    rules, data = prepared.rules, prepared.data
    reading = DECODING if rules.cache else costs.stem
    looks, trained, tests = 1 + rules.flip_tta, len(data.indices("train")), len(data.indices("test"))
    held_out, others = len(prepared.validation_images), len(prepared.left_out)
    good = min(MOST_PICTURES, len(prepared.calibration_images))
    whole = costs.imitating + costs.answer if costs.imitating else costs.stem + costs.answer
    if held_out:
        yield Planned(RECOGNISING, trained * reading)
    yield Planned(MAPS, tests * looks * costs.answer)
    per_epoch = _trained_on(prepared) * (costs.tail + (0 if rules.cache else costs.stem))
    for k in range(others):  # each leaves out a fold
        left = 1 - len(prepared.left_out[k]) / trained
        yield Planned(CLASSIFIER, OF_OTHERS * rules.trainer.max_epochs * per_epoch * left)
        yield Planned(RECOGNISING, left * trained * reading)
        yield Planned(MAPS, len(prepared.left_out[k]) * looks * costs.answer)
        yield Planned(FOR_TRUST, good * EACH * looks * whole / others)
    if held_out and not others:
        yield Planned(MAPS, held_out * looks * costs.answer)
        yield Planned(FOR_TRUST, good * EACH * looks * whole)
    yield Planned("report", REPORTING + REPORTING_EACH * tests + min(tests, LOOKED_AT_AGAIN) * whole)
