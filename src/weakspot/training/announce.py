"""Say before training starts what it will do, and how long all of it takes."""

from __future__ import annotations

from weakspot.data.views import AUGMENTATIONS
from weakspot.models.feature_cache import feature_keys
from weakspot.training.estimate import Work, estimate_minutes
from weakspot.training.evidence.budget import OF_OTHERS, budget_for, budget_of_others
from weakspot.training.imitated import EACH, MOST_PICTURES
from weakspot.training.prepare import PreparedRun, image_sizes
from weakspot.training.stages import device_of, examples_of
from weakspot.utils.progress_lines import in_words

LOOKED_AT_AGAIN = 120
"""So many pictures the finished model sees again, with boxes erased (:mod:`weakspot.evaluation.erasure`)."""


READ_AGAIN = 2
"""So many parts of a run with evidence heads read the features of every training picture once more: the heads and the
statistics. What is known of training pictures reads them once more for each model."""


def announcement(prepared: PreparedRun) -> str:
    """Announce in a sentence what training will do, and about how long all of it takes.

    With a cache, missing frozen features are computed first; that is timed too.
    """
    network = prepared.network.to(device_of(prepared.rules))
    sizes = image_sizes(prepared.data.infos)
    work = _work(prepared)
    minutes = estimate_minutes(network, prepared.preprocess.common_input_size(sizes), work)
    device = next(network.parameters()).device.type
    steps = work.location_steps + work.mask_steps
    heads = f", then {steps} steps of the evidence heads on {work.imitations} imitated defects" if steps else ""
    images, epochs = len(prepared.data.indices("train")), prepared.rules.trainer.max_epochs
    time = f"about {in_words(60 * minutes)}, report included"
    return f"training on {images} images, up to {epochs} epochs on the {device}{heads}: {time}"


def _work(prepared: PreparedRun) -> Work:
    """Count what the run does from here to its report."""
    rules, data = prepared.rules, prepared.data
    items = [item for of_subset in examples_of(prepared).values() for item, _ in of_subset]
    images, tests = len(data.indices("train")), len(data.indices("test"))
    views, epochs = len(AUGMENTATIONS[rules.trainer.augment]), rules.trainer.max_epochs
    if rules.cache:
        keys = feature_keys(prepared.network, items, prepared.preprocess, rules.cache)
        stem_images = sum(not rules.cache.path(key).is_file() for key in keys)
    else:
        stem_images = images * views * (epochs + 2 * rules.has_heads)
    # Each model of the cross-fitting leaves out one fold: together they see each image once less than there are models.
    others = len(prepared.left_out)
    rounds = 1 + max(0, others - 1)
    budget = budget_for(rules.refine, images) if rules.has_heads else None
    location_steps = 0
    if budget:
        fewer = budget_of_others(rules.refine, images - images // max(1, others))
        location_steps = sum(
            count * (one.location_steps + one.location_refit_steps) for count, one in ((1, budget), (others, fewer))
        )
    looks = 1 + rules.flip_tta
    good = len(prepared.calibration_images)
    return Work(
        stem_images=stem_images,
        tail_images=round(images * views * epochs * (1 + OF_OTHERS * (rounds - 1))),
        batch_size=rules.trainer.batch_size,
        imitations=budget.imitations if budget else 0,
        location_steps=location_steps,
        mask_steps=budget.mask_steps if budget else 0,
        outputs=(tests + len(prepared.validation_images)) * looks,
        whole=min(MOST_PICTURES, good) * EACH * looks + LOOKED_AT_AGAIN,
        read_again=(READ_AGAIN + rounds) * images if rules.has_heads else 0,
        reported=tests,
    )
