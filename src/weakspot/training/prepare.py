"""Make a training run from its rules: data and network are read and checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from weakspot.data.enough import check_enough, rarest_parts
from weakspot.data.images import ImageInfo
from weakspot.data.input_size import choose_input_size
from weakspot.data.preprocess import Preprocess, PreprocessMode
from weakspot.data.roi import RegionOfInterest
from weakspot.data.roi_files import check_setting, read_region
from weakspot.data.views import AS_IS, split_view
from weakspot.errors import WeakspotError
from weakspot.models.network import CamNet
from weakspot.models.weights import Weights, load_weights
from weakspot.training.dataset import Data, index_and_split
from weakspot.training.evidence.budget import CLASSIFIER_STEPS, EPOCHS, MIRRORED_UP_TO, OF_OTHERS
from weakspot.training.rules import TrainingRules
from weakspot.types import Size
from weakspot.utils import console

CROSSFITS = 3
"""Number of folds of the training images, left out in turn, to set thresholds on without a validation subset; fewer
where the rarest class shows fewer parts."""

TRIES = 20
"""Shuffles that are tried for folds whose rest has pictures of both kinds."""

MIRRORED_TOO = (
    "mirrored pictures are learnt from too, as there are few; "
    "say trainer.augment=none where a mirrored part is defective"
)
"""What a user should know of the views of a small set."""

SHRUNK = 3.0
"""Images that lose more than this factor of a side get a warning; a line two pixels thick is gone by then."""


@dataclass(frozen=True)
class PreparedRun:
    """A training run whose settings, data and network were found sound.

    Attributes:
        rules: the resolved settings.
        data: the data set and its split.
        weights: pre-trained convolutions.
        preprocess: what brings an image to the network's input.
        network: with `weights` and a fresh dense layer; training changes it.
        remarks: what a user should know before training starts, one sentence each; warnings begin with ``warning:``.
        in_proportion: whether the number of epochs follows from the size of the set, as no setting names it.
        head_views: views of a training picture that the heads learn from. The evidence heads mirror features, too, but
            those of a mirrored picture are others. Where there are pictures enough, the heads do without them, as the
            features of each view have to be computed and kept.
    """

    rules: TrainingRules
    data: Data
    weights: Weights
    preprocess: Preprocess
    network: CamNet
    remarks: tuple[str, ...] = ()
    in_proportion: bool = False
    head_views: tuple[str, ...] = (AS_IS,)

    @property
    def crossfits(self) -> bool:
        """Whether thresholds are set on training images, each predicted by a model that was trained without it."""
        return self.rules.boxes.threshold_kind == "calibrated" and not self.data.indices("val")

    @cached_property
    def left_out(self) -> list[list[int]]:
        """Positions of the training images that are left out in turn, a group's together; empty without cross-fitting.

        Together they are the training subset.
        """
        if not self.crossfits:
            return []
        data, train = self.data, self.data.indices("train")
        groups = [data.samples[i].group or f"image {i}" for i in train]  # all different, it is StratifiedKFold
        targets = np.array([data.targets[i] for i in train])
        seed = self.rules.split.seed
        for folds in range(min(CROSSFITS, _rarest(data)), 1, -1):
            for state in range(seed, seed + TRIES):  # groups of both kinds may leave too little
                splits = StratifiedGroupKFold(folds, shuffle=True, random_state=state).split(train, targets, groups)
                found = list(splits)
                if all(0 < (targets[rest] != 0).sum() < len(rest) for rest, _ in found):
                    return [[train[n] for n in fold] for _, fold in found]
        raise WeakspotError(
            "groups hold both Good and defective pictures, and without some of them one kind is left; set "
            "split.val_size=0.15, or name smaller groups (data.group)"
        )

    @property
    def calibration_images(self) -> list[int]:
        """Positions of the held-out Good images; box scores are calibrated on them.

        They are those of the validation subset; with cross-fitting those of the folds of :attr:`left_out`, in turn.
        """
        return [i for i in self._held_out if self.data.targets[i] == 0]

    @property
    def validation_images(self) -> list[int]:
        """Positions of all held-out images, Good ones first; decisions are fitted on them."""
        return [*self.calibration_images, *(i for i in self._held_out if self.data.targets[i] != 0)]

    @property
    def _held_out(self) -> list[int]:
        return [i for fold in self.left_out for i in fold] if self.crossfits else self.data.indices("val")

    def without(self, positions: Sequence[int]) -> PreparedRun:
        """The same run with some training images held out for validation, and a copy of the network as it is now.

        It trains for fewer epochs (:data:`~weakspot.training.evidence.budget.OF_OTHERS`), as it is only asked what it
        says of these images; where no setting names their number, for
        :data:`~weakspot.training.evidence.budget.CLASSIFIER_STEPS` steps at least.

        Args:
            positions: of these images.
        """
        rules, data = self.rules_without(positions)
        return replace(self, rules=rules, data=data, network=deepcopy(self.network))

    def rules_without(self, positions: Sequence[int]) -> tuple[TrainingRules, Data]:
        """Rules and data of :meth:`without`."""
        subsets = list(self.data.subsets)
        for i in positions:
            subsets[i] = "val"
        data = replace(self.data, subsets=subsets)
        trainer, few = self.rules.trainer, math.ceil(OF_OTHERS * self.rules.trainer.epochs)
        epochs = max(few, _enough(trainer.batch_size, data)) if self.in_proportion else few
        return replace(self.rules, trainer=replace(trainer, max_epochs=epochs)), data


def _settled(rules: TrainingRules, data: Data) -> TrainingRules:
    """The rules with a number of epochs and views, in proportion to the set where the configuration names none."""
    trainer = rules.trainer
    if trainer.augment is None:
        trainer = replace(trainer, augment="flips" if _few(data) else "none")
    if trainer.max_epochs is None:
        epochs = max(math.ceil(rules.refine.effort * EPOCHS), _enough(trainer.batch_size, data))
        trainer = replace(trainer, max_epochs=epochs)
    return replace(rules, trainer=trainer)


def _few(data: Data) -> bool:
    """Whether the set is small enough that its features can be computed and kept in mirrored views too."""
    return len(data.indices("train")) <= MIRRORED_UP_TO


def _head_views(rules: TrainingRules, data: Data) -> tuple[str, ...]:
    """See :attr:`PreparedRun.head_views`."""
    parts = ((view, *split_view(view)) for view in rules.trainer.views)
    return tuple(view for view, turned, light in parts if turned == AS_IS or (_few(data) and light is None))


def _enough(batch_size: int, data: Data) -> int:
    """Epochs of :data:`~weakspot.training.evidence.budget.CLASSIFIER_STEPS` steps."""
    an_epoch = math.ceil(sum(len(data.kinds(i)) for i in data.indices("train")) / batch_size)
    return math.ceil(CLASSIFIER_STEPS / max(1, an_epoch))


def prepare(rules: TrainingRules) -> PreparedRun:
    """Read the data, load the weights, build the network. No global random state is changed.

    Args:
        rules: from :func:`weakspot.commands.resolve.resolve`.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    if rules.data.roi is not None:
        check_setting(rules.data.roi)
    data = index_and_split(rules.data, rules.split, rules.cache.folder if rules.cache else None)
    of_calibration = _check_calibration(rules, data)
    if data.corrections.drawn and not rules.has_heads:
        raise WeakspotError(
            "data.annotations: boxes and masks are learnt by the evidence heads, and refine=none has none; use "
            "experiment=recommended or fast, or refine=segment"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rules.seed)  # also of what is drawn while weights are checked against a fresh network
        weights = load_weights(
            rules.model.weights, cast(PreprocessMode | None, rules.model.preprocess), rules.model.backbone
        )
        network = build_network(rules, len(data.classes), weights)
    region, of_region = _region_of_interest(rules, data)
    data = replace(data, infos=[replace(info, roi=region) for info in data.infos])
    input_size, of_size = _input_size(rules, data)
    preprocess = Preprocess(input_size, weights.preprocess, rules.resize, region)
    sizes = image_sizes(data.infos)
    preprocess.common_input_size(sizes)
    if preprocess.tile is not None and not network.tileable:
        raise WeakspotError(f"data.resize=tile needs model.backbone=vgg16, as {rules.model.backbone} has no plain stem")
    network.tile = preprocess.tile
    about_data = (*data.warnings, *of_region, *of_size, *_shrinking_warning(preprocess, sizes))
    settled = _settled(rules, data)
    of_views = [MIRRORED_TOO] if settled.trainer.augment != "none" and rules.trainer.augment is None else []
    remarks = (*about_data, *of_views, *of_calibration, f"weights: {weights.origin}")
    in_proportion = rules.trainer.max_epochs is None
    views = _head_views(settled, data)
    prepared = PreparedRun(settled, data, weights, preprocess, network, remarks, in_proportion, views)
    _ = prepared.left_out  # raises where no pictures can be left out, before any work
    return prepared


def _input_size(rules: TrainingRules, data: Data) -> tuple[Size, list[str]]:
    """The size of the network's input, and a sentence where it was chosen; the test subset has no say in it."""
    if rules.input_size is not None:
        return rules.input_size, []
    chosen = choose_input_size(image_sizes(data.infos[i] for i in (*data.indices("train"), *data.indices("val"))))
    return chosen, [f"data.image_size=auto: the network sees {chosen[0]}×{chosen[1]} pixels (height × width)"]


def _region_of_interest(rules: TrainingRules, data: Data) -> tuple[RegionOfInterest | None, list[str]]:
    """The region of interest, checked against every picture, and what a user should know of it."""
    if rules.data.roi is None:
        return None, []
    with console.progress_bar("region of interest", len(data.infos)) as progress:
        return read_region(rules.data.roi, data.infos, progress=progress)


def _check_calibration(rules: TrainingRules, data: Data) -> list[str]:
    """Refuse boxes whose smallest score cannot be set; returns what cross-fitting takes."""
    if rules.boxes.threshold_kind != "calibrated":
        return []
    if data.indices("val"):
        if any(data.targets[i] == 0 for i in data.indices("val")):
            return []
        raise WeakspotError(
            "boxes.threshold_kind=calibrated: the validation subset holds no Good image to set scores on; raise "
            "split.val_size, or set it to 0 for cross-fitting"
        )
    rarest = _rarest(data)
    check_enough(rarest)
    return [
        f"thresholds are set on training pictures: each is judged by one of {min(CROSSFITS, rarest)} more models, "
        "which was trained without it"
    ]


def _rarest(data: Data) -> int:
    return rarest_parts(data.samples, data.subsets, data.targets)


def _shrinking_warning(preprocess: Preprocess, sizes: Sequence[Size]) -> list[str]:
    factors = [max(preprocess.shrinking(size)) for size in sizes]
    factor = float(np.median(factors))
    if factor <= SHRUNK:
        return []
    height, width = sizes[int(np.argsort(factors)[len(factors) // 2])]
    return [
        f"warning: images of {height}×{width} are made {factor:.1f} times smaller; defects a few pixels wide will "
        "not be seen (raise data.image_size, or set data.resize=tile)"
    ]


def image_sizes(images: Iterable[ImageInfo]) -> list[Size]:
    """``(height, width)`` of each image."""
    return [(image.height, image.width) for image in images]


def build_network(rules: TrainingRules, classes: int, weights: Weights) -> CamNet:
    """Build the network with its pre-trained convolutions and a fresh dense layer.

    Args:
        rules: name the backbone and the number of outputs.
        classes: number of classes.
        weights: of the backbone; where they are empty the network keeps its random values.

    Raises:
        WeakspotError: when the weights belong to another network.
    """
    network = CamNet(rules.model.backbone, classes, rules.model.outputs)
    if weights.state:
        try:
            network.load_pretrained(weights.state)
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeakspotError(
                f"model.weights={rules.model.weights} is not for {rules.model.backbone}: {reason}"
            ) from error
    return network.to(memory_format=torch.channels_last)
