"""Say before training starts what it will do and how long all of it takes, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weakspot.models.evidence import PROMPTS
from weakspot.models.feature_cache import feature_keys
from weakspot.runs.folder import CHECKPOINT, CORRECTED
from weakspot.training.estimate import DECODING, Costs, measure_costs
from weakspot.training.evidence import correct, correct_fit
from weakspot.training.evidence.budget import Budget, budget_for, budget_of_others, correction_steps
from weakspot.training.evidence.fit import FEATURES, STAGES, checkpoints_of_fold, note_of, stage_file
from weakspot.training.evidence.heads import LOCATION, LOCATION_AGAIN, MASK, PSEUDO_EVERY
from weakspot.training.evidence.statistics import STATISTICS
from weakspot.training.familiarity import RECOGNISING
from weakspot.training.held_out import HeldOut
from weakspot.training.imitated import EACH, MOST_PICTURES
from weakspot.training.lightning_fit import CLASSIFIER
from weakspot.training.model_parts import examples_of_statistics
from weakspot.training.prepare import PreparedRun, image_sizes
from weakspot.training.stages import FOR_TRUST, FROZEN, MAPS, device_of, examples_of
from weakspot.utils.agenda import Agenda, Planned
from weakspot.utils.progress_lines import in_words

REPORTING, REPORTING_EACH = 6.0, 0.1
"""Seconds from the last output to the report, and for each test picture: thresholds, alarms, intervals, figures and the
page. For 40 of them 9.7 s were measured on one core (``weakspot train experiment=demo``, the model taken over)."""

LOOKED_AT_AGAIN = 120
"""So many pictures the finished model sees again, with boxes erased (:mod:`weakspot.evaluation.erasure`)."""


def announcement(prepared: PreparedRun, agenda: Agenda, folder: Path) -> str:
    """Announce in a sentence what training will do, and about how long all of it takes.

    Args:
        prepared: the run.
        agenda: from :func:`agenda_of`.
        folder: as there.
    """
    rules, images = prepared.rules, len(prepared.data.indices("train"))
    time = f"about {in_words(agenda.seconds)}, report included"
    if stage_file(folder, STAGES[0]).is_file():
        return f"training goes on from what is there already: {time}"
    heads = ""
    if rules.has_heads:
        budget, fewer = _budgets(prepared)
        steps = budget.steps + len(prepared.left_out) * fewer.steps
        heads = f", then {steps} steps of the evidence heads on {budget.imitations} imitated defects"
    epochs = f"up to {rules.trainer.epochs} epochs on the {device_of(rules)}"
    return f"training on {images} images, {epochs}{heads}: {time}"


def agenda_of(prepared: PreparedRun, folder: Path) -> Agenda:
    """List the stages from here to the report, and how long each will take: every kind of work is timed, then counted.

    With a cache, missing frozen features are computed first. What an earlier run has left in the folder is not done
    again and does not count. Nothing is changed by it.

    Args:
        prepared: the run; its network goes to the device that it is trained on.
        folder: of the run's checkpoints; it need not exist.

    Raises:
        WeakspotError: when evidence heads cannot be trained on features of these sizes.
    """
    rules = prepared.rules
    size = prepared.preprocess.common_input_size(image_sizes(prepared.data.infos))
    network = prepared.network.to(device_of(rules))
    costs = measure_costs(network, size, rules.trainer.batch_size, heads=rules.has_heads)
    stages = (*_classifier(prepared, costs, folder), *_heads(prepared, costs, folder))
    return Agenda([*stages, *_outputs(prepared, costs, folder)])


def _budgets(prepared: PreparedRun) -> tuple[Budget, Budget]:
    """Of the run's evidence heads, and of those that are trained without a fold."""
    refine, images = prepared.rules.refine, len(prepared.data.indices("train"))
    left = images - images // max(1, len(prepared.left_out))
    return budget_for(refine, images), budget_of_others(refine, left)


def _classifier(prepared: PreparedRun, costs: Costs, folder: Path) -> Iterator[Planned]:
    rules, cache = prepared.rules, prepared.rules.cache
    items = [item for of_subset in examples_of(prepared).values() for item, _ in of_subset]
    again = 0.0
    if cache:
        keys = feature_keys(prepared.network, items, prepared.preprocess, cache)
        yield Planned(FROZEN, costs.stem * sum(not cache.path(key).is_file() for key in keys))
    else:
        again = costs.stem
    if stage_file(folder, STAGES[0]).is_file():  # what comes after it is there
        return
    yield Planned(CLASSIFIER, (costs.tail + again) * _trained_on(prepared) * rules.trainer.epochs)


def _trained_on(prepared: PreparedRun) -> int:
    """Number of images that an epoch consists of; it shows each in one of its views, once for each of its kinds."""
    return sum(len(prepared.data.kinds(i)) for i in prepared.data.indices("train"))


def _heads(prepared: PreparedRun, costs: Costs, folder: Path) -> Iterator[Planned]:
    rules, data, folds = prepared.rules, prepared.data, len(prepared.left_out)
    if not rules.has_heads:
        return
    budget, fewer = _budgets(prepared)
    real = len(prepared.head_views) * len(data.indices("train"))
    reading = DECODING if rules.cache else costs.stem
    models = [("", budget, folder)]
    models += [(note_of(k, folds), fewer, checkpoints_of_fold(folder, k)) for k in range(folds)]
    if not all(stage_file(kept, STAGES[-1]).is_file() for _, _, kept in models):
        yield Planned(FEATURES, real * reading + budget.imitations * (costs.imitating + DECODING))
    for note, of_model, kept in models:
        yield from _of_model(prepared, costs, note, of_model, kept)
    if data.corrections.drawn:
        steps = correction_steps(rules.refine, len(data.corrections.drawn))
        for _, _, kept in models:
            if not stage_file(kept, CORRECTED).is_file():
                yield Planned(FEATURES, correct_fit.IMITATIONS * costs.imitating)
                yield Planned(correct.CORRECTING, steps * (costs.location_step + costs.mask_step))
    if rules.refine.statistics:
        yield Planned(STATISTICS, len(examples_of_statistics(prepared)) * reading)


def _of_model(prepared: PreparedRun, costs: Costs, note: str, budget: Budget, kept: Path) -> Iterator[Planned]:
    """The stages of one model's evidence heads that are not kept in its folder of checkpoints."""
    location, mask, again = (not stage_file(kept, name).is_file() for name in STAGES)
    if location:
        yield Planned(LOCATION + note, budget.location_steps * costs.location_step)
    if mask and budget.mask_steps:
        prompts = (len(prepared.head_views) * len(prepared.data.indices("train")) + budget.imitations) * costs.location
        yield Planned(MASK, prompts + budget.mask_steps * costs.mask_step)
    if again:
        rounds = -(-budget.location_refit_steps // PSEUDO_EVERY)
        outlines = rounds * len(prepared.head_views) * _defects(prepared) * (costs.location + PROMPTS * costs.answer)
        yield Planned(LOCATION_AGAIN + note, outlines + budget.location_refit_steps * costs.location_step)


def _defects(prepared: PreparedRun) -> int:
    data = prepared.data
    return sum(data.targets[i] != 0 for i in data.indices("train"))


def _outputs(prepared: PreparedRun, costs: Costs, folder: Path) -> Iterator[Planned]:
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
        kept, left = checkpoints_of_fold(folder, k), 1 - len(prepared.left_out[k]) / trained
        if HeldOut.is_kept(kept):
            continue
        if not (kept / "checkpoints" / CHECKPOINT).is_file():
            shorter, _ = prepared.rules_without(prepared.left_out[k])
            yield Planned(CLASSIFIER, shorter.trainer.epochs * per_epoch * left)
        yield Planned(RECOGNISING, left * trained * reading)
        yield Planned(MAPS, len(prepared.left_out[k]) * looks * costs.answer)
        yield Planned(FOR_TRUST, good * EACH * looks * whole / others)
    if held_out and not others:
        yield Planned(MAPS, held_out * looks * costs.answer)
        yield Planned(FOR_TRUST, good * EACH * looks * whole)
    yield Planned("report", REPORTING + REPORTING_EACH * tests + min(tests, LOOKED_AT_AGAIN) * whole)
