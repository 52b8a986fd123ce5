"""What is explained: a network with its class names, and how it is given a picture. A run's model or torchvision's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from weakspot.data.loading import stack_pixels
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.heatmaps.layers import Layers, list_layers
from weakspot.heatmaps.methods import Maps, Settings, heat_maps
from weakspot.ops.resize import upsample
from weakspot.types import ImageArray

GREYS = {"black": 0, "grey": 128, "white": 255}
MANY = 30
"""Classes that an error message lists all of."""


@dataclass(frozen=True)
class Answer:
    """A model's decision on one picture.

    Attributes:
        label: id of the class it decides for.
        confidences: float64 ``(classes,)``, probabilities.
        remark: what to know before the decision is believed; empty for nothing.
        part_log_odds: log-odds of not being Good by each part of the model; empty where there is one alone.
    """

    label: int
    confidences: npt.NDArray[np.float64]
    remark: str = ""
    part_log_odds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """A model that can be explained.

    Attributes:
        module: from pixels to logits ``(n, classes)``.
        classes: names; the id of a class is its position.
        preprocess: what brings a picture to the network's input.
        answers: runs the whole model on pictures, each brought to the network's input by the given preprocessing.
        decides: in words, what `answers` uses beyond the network that the maps are of; empty where that is all.
        evidence: the map over a picture that boxes are drawn by, ``(h, w)``, 0…1; None for a model without evidence
            heads.
    """

    module: nn.Module
    classes: Sequence[str]
    preprocess: Preprocess
    answers: Callable[[Sequence[ImageArray], Preprocess], list[Answer]]
    decides: str = ""
    evidence: Callable[[ImageArray, Preprocess], Maps] | None = None
    _layers: dict[tuple[int, ...], Layers] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    def ask(self, images: Sequence[ImageArray]) -> list[Answer]:
        """Run the whole model on pictures, uint8 RGB ``(H, W, 3)`` each."""
        return self.answers(images, self.preprocess)

    def for_picture(self, image: ImageArray, name: Path) -> Subject:
        """The same for changed copies of one picture, all of which get its region of interest.

        Args:
            image: uint8 RGB ``(H, W, 3)``.
            name: the file that it was read from.

        Raises:
            WeakspotError: when the model's region of interest is not for it.
        """
        return replace(self, preprocess=self.preprocess.for_picture(image, name))

    def class_id(self, name: str) -> int:
        """The class of that name or, where none is called so, of that id.

        Raises:
            WeakspotError: when there is none; the message lists the choices.
        """
        folded = {label.casefold(): k for k, label in reversed(list(enumerate(self.classes)))}
        if name.casefold() in folded:
            return folded[name.casefold()]
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        listed = [f"{label} ({k})" for k, label in enumerate(self.classes[:MANY])]
        rest = "" if len(self.classes) <= MANY else f" … {self.classes[-1]} ({len(self.classes) - 1})"
        raise WeakspotError(
            f"class {name} does not exist{did_you_mean(name, self.classes)}; choose a name or an id: "
            f"{', '.join(listed)}{rest}"
        )

    def pixels(self, images: Sequence[ImageArray]) -> Tensor:
        """The network's input ``(n, 3, H, W)``; images whose inputs differ in size cannot be together."""
        self.preprocess.common_input_size([image.shape[:2] for image in images])
        return torch.from_numpy(stack_pixels([self.preprocess(image) for image in images])).to(self.device)

    def layers(self, pixels: Tensor) -> Layers:
        """The network's layers at this input size."""
        key = tuple(pixels.shape[1:])
        if key not in self._layers:
            self._layers[key] = list_layers(self.module, pixels[:1])
        return self._layers[key]

    def maps(self, pixels: Tensor, targets: Sequence[int], method: str, settings: Settings | None = None) -> Maps:
        """Make heat maps of this model with :func:`~weakspot.heatmaps.methods.heat_maps`.

        Args:
            pixels: the network's input ``(n, 3, H, W)``, from :meth:`pixels`.
            targets: id of the class to explain, one for each image.
            method: a key of :data:`~weakspot.heatmaps.methods.METHODS`.
            settings: of the method; None for its defaults.

        Returns:
            Raw maps ``(n, h, w)`` over the network's input.
        """
        colours = {
            name: torch.from_numpy(self.preprocess.normalise(np.full((1, 1, 3), value, np.uint8)).reshape(3).copy())
            for name, value in GREYS.items()
        }
        wanted = torch.tensor(list(targets), dtype=torch.int64, device=pixels.device)
        return heat_maps(self.module, pixels, wanted, method, settings, colours, self.layers(pixels))

    def over_picture(self, map_: Maps, image: ImageArray) -> Maps:
        """Bring a map of the network's input to the size of the picture, without the border that the input may have.

        Args:
            map_: ``(h, w)``, over the network's input.
            image: the picture ``(H, W, 3)``.

        Returns:
            float32 ``(H, W)``; outside the region of interest it has the lowest value that it has inside.
        """
        size = image.shape[:2]
        rows, columns = self.preprocess.content(size)
        whole = upsample(map_, self.preprocess.input_size(size))
        fine: Maps = upsample(whole[rows, columns], size)
        if self.preprocess.roi is None:
            return fine
        region = self.preprocess.roi.mask(image, None)
        return np.where(region, fine, fine[region].min())
