"""From a trained evidence network and annotated pictures to one that has learnt from them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path

import numpy as np

from weakspot.config.schema import RefineConfig
from weakspot.data.annotations import Annotation
from weakspot.data.images import ImageInfo
from weakspot.data.imitations import imitation_name
from weakspot.data.views import AS_IS, ImageView
from weakspot.models.evidence import EvidenceNet
from weakspot.runs.folder import CORRECTED
from weakspot.training.evidence.bank import TrainingBank
from weakspot.training.evidence.budget import correction_steps
from weakspot.training.evidence.correct import Corrector, DrawnBank
from weakspot.training.evidence.fit import at_most, keep_stage, stage_file, taken_over, training_bank
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.evidence.targets import target_of

MOST_GOOD, MOST_OTHERS, IMITATIONS = 240, 120, 240
"""Good pictures, defects that nobody annotated, and imitations at most; annotated pictures are learnt from all."""


def fit_corrections(
    source: FeatureSource,
    net: EvidenceNet,
    good: Sequence[ImageInfo],
    others: Sequence[ImageInfo],
    drawn: Sequence[tuple[ImageInfo, Annotation]],
    settings: RefineConfig,
    seed: int,
    folder: Path,
    views: Sequence[str] = (AS_IS,),
) -> EvidenceNet:
    """Train an evidence network once more, from annotated pictures.

    Args:
        source: network, preprocessing and cache.
        net: trained on labels and imitations; it is changed in place.
        good: training images without a defect, at least one.
        others: training images with a defect that nobody annotated; may be empty.
        drawn: annotated training images, each with at least one box or mask.
        settings: the ``refine`` group of the configuration.
        seed: decides every draw.
        folder: the finished stage is kept there; a scratch folder in it is removed at the end.
        views: of each annotated image, none of them turned.

    Returns:
        `net`, in evaluation mode.

    Raises:
        WeakspotError: when an image cannot be read, or the loss diverges.
    """
    finished = stage_file(folder, CORRECTED)
    if finished.is_file() and taken_over(net, finished):
        return net.eval()
    rng = np.random.default_rng([seed, 5])
    good, others = (at_most(some, most, rng) for some, most in ((good, MOST_GOOD), (others, MOST_OTHERS)))
    imitated = (ImageView(image, imitation_name(n)) for n in count() for image in good)
    items = [ImageView(image) for image in (*good, *others)]
    items += [ImageView(image, view) for image, _ in drawn for view in views]
    items += islice(imitated, IMITATIONS)
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        net.train()
        data = training_bank(source, net, items, len(good), len(others) + len(drawn) * len(views), scratch)
        fine = data.bank.sizes[0]
        grid = 2 * fine[0], 2 * fine[1]
        targets = [target_of(annotation, source.preprocess, grid) for _, annotation in drawn for _ in views]
        positions = data.defect
        of_others = TrainingBank(data.bank, data.good, positions[: len(others)], data.imitations, data.masks)
        steps = correction_steps(settings, len(drawn))
        if steps:
            bank = DrawnBank(of_others, positions[len(others) :], targets)
            Corrector(net, bank, settings.learning_rate, seed, folder).correct(steps)
        keep_stage(net, folder, CORRECTED)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return net.eval()
