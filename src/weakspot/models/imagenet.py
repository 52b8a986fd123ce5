"""Torchvision's classifiers with ImageNet weights: the network, its preprocessing, and its 1000 class names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision import models

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.models.weight_files import read_state
from weakspot.models.weights import torchvision_state
from weakspot.types import ImageArray, Size

OTHER_TASKS = tuple(
    f"torchvision.models.{task}" for task in ("detection", "segmentation", "quantization", "video", "optical_flow")
)


@dataclass(frozen=True)
class PhotoPreprocess(Preprocess):
    """A :class:`Preprocess` with ``squash`` and any mean and standard deviation (of values 0…1, red, green, blue)."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def normalise(self, image: ImageArray) -> npt.NDArray[np.float32]:
        """Float32 ``(3, H, W)`` of a uint8 image of the input's size."""
        mean, std = (np.array(values, dtype=np.float32) for values in (self.mean, self.std))
        values = (image.astype(np.float32) / 255 - mean) / std
        return np.asarray(values, dtype=np.float32).transpose(2, 0, 1)


@dataclass(frozen=True)
class Photographs:
    """A classifier of photographs.

    Attributes:
        module: from pixels to logits ``(n, classes)``, in evaluation mode.
        classes: class names, in the order of the logits.
        preprocess: as the weights need it, but for the shape: the whole picture is squashed to the input's size, where
            torchvision cuts out the middle, so that the map covers the whole picture.
        origin: where the weights come from, in words.
    """

    module: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    origin: str


def classifiers() -> list[str]:
    """Names of torchvision's classifiers, and of those that were registered with torchvision."""
    names = models.list_models()
    return [name for name in names if not models.get_model_builder(name).__module__.startswith(OTHER_TASKS)]


def load_photographs(model: str = "vgg16", weights: Path | None = None) -> Photographs:
    """Load a classifier of photographs.

    Args:
        model: its name in torchvision's registry.
        weights: state dict of the whole network, ``.pth`` (read with ``weights_only=True``) or ``.safetensors``; None
            for torchvision's own weights, from its cache or its download.

    Raises:
        WeakspotError: for an unknown model, and for weights that are missing, damaged or of another network.
    """
    known = classifiers()
    if model not in known:
        raise WeakspotError(f"model {model} is unknown{did_you_mean(model, known)}; choose one of: {', '.join(known)}")
    entry = _weights_of(model)
    if weights is not None:
        state, origin = read_state(weights), str(weights)
    elif entry is not None:
        state, origin = torchvision_state(entry, model), f"torchvision {entry}"
    else:
        raise WeakspotError(f"torchvision has no weights for {model}; give a file, --weights {model}.pth")
    side_outputs = {"aux_logits": True, "init_weights": False} if model in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):  # random numbers that are thrown away take longer than all the rest
        module: nn.Module = models.get_model(model, weights=None, **side_outputs)
    try:
        for name, tensor in state.items():  # in place: the version that the file states goes with the dictionary
            state[name] = _full(tensor)
        module.load_state_dict(state, assign=True)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeakspotError(f"{origin} does not hold the weights of {model}: {reason}") from error
    categories = (entry or models.VGG16_Weights.DEFAULT).meta["categories"]
    return Photographs(module.eval(), tuple(categories), _preprocess(entry), origin)


def _full(tensor: Tensor) -> Tensor:
    """In single precision, whatever the file has."""
    return tensor.float() if tensor.is_floating_point() else tensor


def _weights_of(model: str) -> Any:  # noqa: ANN401 - torchvision's entries have no common type
    try:
        return models.get_model_weights(model).DEFAULT
    except (ValueError, AttributeError):  # registered without any
        return None


def _preprocess(entry: Any) -> PhotoPreprocess:  # noqa: ANN401
    if entry is None:
        return PhotoPreprocess((224, 224), "torchvision")
    preset = entry.transforms()
    side = preset.crop_size[0] if isinstance(preset.crop_size, list | tuple) else preset.crop_size
    size: Size = (side, side)
    return PhotoPreprocess(size, "torchvision", mean=tuple(preset.mean), std=tuple(preset.std))
