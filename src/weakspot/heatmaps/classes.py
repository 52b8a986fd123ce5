"""The maps of a whole run by another method than class activation maps: one of every class, for boxes and measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weakspot.data.loading import stack_pixels
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.heatmaps.layers import Layers, list_layers
from weakspot.heatmaps.methods import METHODS, Maps, heat_maps
from weakspot.heatmaps.network import Logits
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.types import ModelOutput

FINEST = 14
"""Maps at input resolution are reduced to so many cells along the shorter side: two for each occlusion patch."""

ONE_BY_ONE = ("score_cam",)
"""Methods that get one picture at a time. Pytorch-grad-cam holds a masked copy of each picture for each channel of the
layer at once: with 512 channels at 224 × 224 pixels that is 0.3 GB for each picture of a batch."""


def check_heatmap(heatmap: str, refine: str, resize: str) -> None:
    """Refuse what does not go together in a run.

    Args:
        heatmap: the method.
        refine: ``refine.method``.
        resize: ``data.resize``.

    Raises:
        WeakspotError: naming the key and the choices.
    """
    choices = ", ".join(name for name, method in METHODS.items() if not method.pixelwise)
    if heatmap not in METHODS:
        raise WeakspotError(f"heatmap={heatmap} is unknown{did_you_mean(heatmap, METHODS)}; choose one of: {choices}")
    if METHODS[heatmap].pixelwise:
        raise WeakspotError(
            f"heatmap={heatmap} looks at single pixels, round which no box can be drawn; choose one of: {choices} "
            "('weakspot explain' shows it)"
        )
    if heatmap == "cam":
        return
    if refine != "none":
        raise WeakspotError(
            f"heatmap={heatmap} has no effect with refine.method={refine}: the evidence heads give the boxes; "
            "set refine=none, or heatmap=cam"
        )
    if resize == "tile":
        raise WeakspotError(
            f"heatmap={heatmap} takes the whole network over the whole picture at once, which data.resize=tile is "
            "there to avoid; set heatmap=cam, or data.resize=keep_ratio"
        )


class ClassMaps:
    """Replaces the class activation maps of a network's outputs by those of another method.

    Args:
        network: that gave the outputs.
        method: its name, as :func:`check_heatmap` lets it pass; with ``cam`` outputs stay as they are.
    """

    def __init__(self, network: CamNet, method: str) -> None:
        self.method, self._module = method, Logits(network).eval()
        self._layers: dict[tuple[int, ...], Layers] = {}

    def __call__(self, outputs: Sequence[ModelOutput], pixels: Tensor) -> list[ModelOutput]:
        """The same outputs with maps ``(classes, h, w)`` of the method, raw.

        A method that does not depend on the class gets an empty map for Good, so that margins over Good are its map.

        Args:
            outputs: of a batch, without evidence heads.
            pixels: the same images, preprocessed, ``(n, 3, H, W)``.
        """
        if self.method == "cam" or not outputs:
            return list(outputs)
        shape = tuple(pixels.shape[1:])
        if shape not in self._layers:
            self._layers[shape] = list_layers(self._module, pixels[:1])
        maps = np.stack([self._of_class(k, pixels, self._layers[shape]) for k in range(len(outputs[0].logits))], axis=1)
        if not METHODS[self.method].of_class:
            maps[:, 0] = 0
        return [each._replace(maps=own) for each, own in zip(outputs, maps, strict=True)]

    def _of_class(self, index: int, pixels: Tensor, layers: Layers) -> Maps:
        targets = torch.full((len(pixels),), index, device=pixels.device)
        rows = 1 if self.method in ONE_BY_ONE else len(pixels)
        parts = [slice(start, start + rows) for start in range(0, len(pixels), rows)]
        maps = np.concatenate(
            [heat_maps(self._module, pixels[one], targets[one], self.method, layers=layers) for one in parts]
        )
        if maps.shape[1:] != tuple(pixels.shape[2:]):
            return maps
        cell = max(1, min(maps.shape[1:]) // FINEST)
        size = (-(-maps.shape[2] // cell), -(-maps.shape[1] // cell))
        return np.stack([cv2.resize(map_, size, interpolation=cv2.INTER_AREA) for map_ in maps])


@dataclass(frozen=True)
class OtherMaps(Model):
    """A model without refinement whose maps are another method's."""

    method: str = "cam"

    @cached_property
    def _by_method(self) -> ClassMaps:
        return ClassMaps(self.network, self.method)

    def ask(self, inputs: Sequence[npt.NDArray[np.generic]]) -> list[ModelOutput]:
        """As :meth:`Model.ask`."""
        pixels = torch.from_numpy(stack_pixels(inputs)).to(self.device)  # type: ignore[arg-type]
        return self._by_method(self(pixels), pixels)
