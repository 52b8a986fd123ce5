"""What a training run is to do: settings, data and network, found sound before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import hydra.utils
import numpy as np
import pytorch_lightning as pl
import torch
from hydra.errors import HydraException

from weakspot.config.schema import BoxesConfig, TrainConfig, check_settings, image_size
from weakspot.data.images import ImageInfo
from weakspot.data.preprocess import Preprocess, PreprocessMode, Resizing
from weakspot.errors import WeakspotError
from weakspot.heatmaps.classes import check_heatmap
from weakspot.models.network import CamNet
from weakspot.models.weights import Weights, load_weights
from weakspot.postprocess.boxes import BoxRule
from weakspot.postprocess.decision import DecisionCosts
from weakspot.training.dataset import Data, index_and_split
from weakspot.training.lightning_module import OptimizerFactory
from weakspot.types import Size
from weakspot.utils import console

CROSSFITS = 3
"""Parts of the training images that are left out in turn where a threshold is to be set without a validation subset."""

SHRUNK = 3.0
"""Images that lose more than this factor of a side get a warning; a line two pixels thick is gone by then."""


def box_rule(boxes: BoxesConfig) -> BoxRule:
    """The ``boxes`` group of the configuration as a checked rule."""
    return BoxRule(**asdict(boxes))


@dataclass(frozen=True)
class PreparedRun:
    """A training run whose settings, data and network were found sound.

    Attributes:
        config: what ``conf/train.yaml`` and its groups compose to.
        data: the data set and its split.
        weights: pre-trained convolutions.
        preprocess: from an image to the network's input.
        network: with `weights` and a fresh dense layer.
        rule: from evidence to boxes.
    """

    config: TrainConfig
    data: Data
    weights: Weights
    preprocess: Preprocess
    network: CamNet
    rule: BoxRule


def prepare(config: TrainConfig) -> PreparedRun:
    """Check the settings, read the data, load the weights, and seed the random numbers.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    rule = box_rule(config.boxes)
    check_settings(config)
    check_heatmap(config.heatmap, config.refine.method, config.data.resize)
    DecisionCosts(**asdict(config.decision))
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise WeakspotError("trainer.accelerator=gpu: torch sees no GPU here; use trainer.accelerator=cpu")
    make_optimizer(config.model.optimizer)
    pl.seed_everything(config.seed, verbose=False)
    data = index_and_split(config)
    if is_crossfitted(config, data):
        _check_crossfit(data)
    elif rule.threshold_kind == "calibrated" and not calibration_images(data):
        raise WeakspotError(
            "boxes.threshold_kind=calibrated: the validation subset holds no Good image to set scores on; raise "
            "split.val_size, or set it to 0 for cross-fitting"
        )
    weights = load_weights(
        config.model.weights, cast(PreprocessMode | None, config.model.preprocess), config.model.backbone
    )
    console.err.print(f"weights: {weights.origin}", style="dim", highlight=False)
    preprocess = Preprocess(image_size(config.data.image_size), weights.preprocess, cast(Resizing, config.data.resize))
    preprocess.common_input_size(image_sizes(data.infos))
    _warn_of_shrinking(preprocess, image_sizes(data.infos))
    network = build_network(config, len(data.classes), weights)
    if preprocess.tile is not None and not network.tileable:
        raise WeakspotError(
            f"data.resize=tile needs model.backbone=vgg16, as {config.model.backbone} has no plain stem"
        )
    network.tile = preprocess.tile
    return PreparedRun(config, data, weights, preprocess, network, rule)


def _warn_of_shrinking(preprocess: Preprocess, sizes: Sequence[Size]) -> None:
    factors = [max(preprocess.shrinking(size)) for size in sizes]
    factor = float(np.median(factors))
    if factor > SHRUNK:
        height, width = sizes[int(np.argsort(factors)[len(factors) // 2])]
        console.err.print(
            f"warning: images of {height}×{width} are made {factor:.1f} times smaller; defects a few pixels wide will "
            "not be seen (raise data.image_size, or set data.resize=tile)",
            style="yellow",
        )


def image_sizes(images: Iterable[ImageInfo]) -> list[Size]:
    """``(height, width)`` of each image."""
    return [(image.height, image.width) for image in images]


def build_network(config: TrainConfig, classes: int, weights: Weights) -> CamNet:
    """The network with its pre-trained convolutions and a fresh dense layer.

    Raises:
        WeakspotError: when the weights are of another network.
    """
    network = CamNet(config.model.backbone, classes, config.model.outputs)
    if weights.state:
        try:
            network.load_pretrained(weights.state)
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeakspotError(
                f"model.weights={config.model.weights} is not for {config.model.backbone}: {reason}"
            ) from error
    return network.to(memory_format=torch.channels_last)


def make_optimizer(setting: dict[str, Any]) -> OptimizerFactory:
    """The ``model.optimizer`` node as a function from parameters to an optimiser.

    Raises:
        WeakspotError: when there is no such optimiser or it refuses its settings.
    """
    try:
        factory = cast(OptimizerFactory, hydra.utils.instantiate(setting))
        factory([torch.nn.Parameter(torch.zeros(1))])
    except (HydraException, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise WeakspotError(f"model.optimizer={setting} cannot be made: {reason}") from error
    return factory


def is_crossfitted(config: TrainConfig, data: Data) -> bool:
    """Whether box scores are calibrated on training images, each seen by a model that was trained without it."""
    return config.boxes.threshold_kind == "calibrated" and not data.indices("val")


def _check_crossfit(data: Data) -> None:
    groups: dict[int, set[str]] = {}
    for i in data.indices("train"):
        groups.setdefault(data.targets[i], set()).add(data.samples[i].group or f"image {i}")
    rarest = min(len(of_class) for of_class in groups.values())
    if rarest < CROSSFITS:
        raise WeakspotError(
            f"boxes.threshold_kind=calibrated: without a validation subset it takes {CROSSFITS} training images of "
            f"every class that do not show the same part, and there are {rarest}; set boxes.threshold_kind=absolute"
        )
    console.err.print(
        f"no validation subset: {CROSSFITS} more models are trained, each without some of the training images, to "
        "set the smallest score of boxes on (split.val_size=0.15 saves that)"
    )


def calibration_images(data: Data) -> list[int]:
    """Positions of the Good images that thresholds are set on: those of the validation subset."""
    return [i for i in data.indices("val") if data.targets[i] == 0]


def validation_images(data: Data) -> list[int]:
    """Positions of the images that decisions are fitted on, in the order of ``validation.json``: Good ones first."""
    return [*calibration_images(data), *(i for i in data.indices("val") if data.targets[i] != 0)]
