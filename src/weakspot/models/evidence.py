"""The evidence network: location and mask of defects, from frozen features of several depths.

Two small feature pyramids (Lin et al., "Feature Pyramid Networks", CVPR 2017) work on the same features. The
*location head* is trained on image labels (multiple-instance learning; Good images are negative everywhere) and finds
places, not outlines. The *mask head* is prompted with a map of places, as interactive segmentation is with clicks (Xu
et al., "Deep Interactive Object Selection", CVPR 2016; Kirillov et al., "Segment Anything", ICCV 2023), and is trained
on the outlines of imitated defects, whose masks are known. At inference the location head's map is the mask head's
prompt. No mask of a real defect is used, unless the user hands some over (``training.evidence.correct``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

PROMPTS = 2
"""How often the mask head is run; the second time its first output is part of the prompt, so that the mask grows."""

COARSER = 2
"""Levels that are added above the coarsest one, each half as fine: a stain may be larger than what one cell sees."""

CLIP = 8.0
"""Projected features beyond so many standard deviations are cut off: a dead pixel must not outweigh a picture."""


class Evidence(NamedTuple):
    """The evidence network's output for a batch, as log-odds: 0 is as likely as not.

    Attributes:
        mask_logits: ``(batch, 2h, 2w)``, whether a pixel belongs to a defect; boxes are drawn on this map.
        location_logits: ``(batch, h, w)``, at the finest level's resolution, whether there is a defect at a place.
    """

    mask_logits: Tensor
    location_logits: Tensor


class Level(NamedTuple):
    """Projected features of one depth.

    Attributes:
        features: ``(batch, channels, h, w)``; may be a window of an image.
        mean: ``(batch, channels)``, mean over the whole image; what deviates from it is what the heads work on.
    """

    features: Tensor
    mean: Tensor


class Pyramid(nn.Module):
    """Joins levels from coarse to fine: the features of each level are added to what came from the coarser one.

    Above the coarsest level lie :data:`COARSER` more, averaged from it.

    Args:
        channels: number of channels of each level, fine to coarse.
        width: number of channels inside the pyramid.
        prompted: whether it takes a prompt ``(batch, 1, h, w)`` at the finest level's resolution.
    """

    def __init__(self, channels: Sequence[int], width: int, *, prompted: bool) -> None:
        super().__init__()
        channels = [*channels, *[channels[-1]] * COARSER]
        self.laterals = nn.ModuleList(nn.Conv2d(2 * c, width, 1) for c in channels)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.widen = nn.ModuleList(nn.Conv2d(width, width, 3, padding=2, dilation=2) for _ in channels)
        self.prompts = nn.ModuleList(nn.Conv2d(1, width, 3, padding=1) for _ in channels) if prompted else None

    def laterals_of(self, levels: Sequence[Level]) -> list[Tensor]:
        """The input of each level, which does not depend on the prompt: ``(batch, width, h, w)``, fine to coarse."""
        levels = list(levels)
        for _ in range(COARSER):
            features, mean = levels[-1]
            levels.append(Level(functional.avg_pool2d(features, 2, ceil_mode=True), mean))
        level_inputs = []
        for lateral, (features, mean) in zip(self.laterals, levels, strict=True):
            # A convolution over features and their contrast to the mean, with no need to write the contrast down.
            own, of_contrast = lateral.weight.chunk(2, dim=1)  # type: ignore[operator]
            of_mean = functional.conv2d(mean[:, :, None, None], of_contrast)
            level_inputs.append(functional.conv2d(features, own + of_contrast, lateral.bias) - of_mean)  # type: ignore[arg-type]
        return level_inputs

    def forward(self, level_inputs: Sequence[Tensor], prompt: Tensor | None = None) -> Tensor:
        """Bring all levels together at the finest one.

        Args:
            level_inputs: from :meth:`laterals_of`, ``(batch, width, h, w)`` of each level, fine to coarse.
            prompt: ``(batch, 1, h, w)`` 0…1 at the finest level's resolution; None for a pyramid without prompts.

        Returns:
            ``(batch, width, h, w)`` at the finest level's resolution.
        """
        result: Tensor | None = None
        for i in reversed(range(len(level_inputs))):
            level = level_inputs[i]
            if self.prompts is not None and prompt is not None:
                level = level + self.prompts[i](
                    functional.adaptive_avg_pool2d(prompt, (level.shape[-2], level.shape[-1]))
                )
            if result is not None:
                level = level + resize(result, level)
            result = functional.relu(self.mix[i](functional.relu(level)))
            result = functional.relu(result + self.widen[i](result))
        assert result is not None  # noqa: S101 - there is at least one level
        return result


class EvidenceNet(nn.Module):
    """A projection of the features, and the location and mask heads on it.

    Args:
        taps: names of the backbone's features, fine to coarse.
        channels: for each tap the number of channels in the backbone and the number that they are projected to.
        location_width, mask_width: number of channels inside the two pyramids; fastest as multiples of 32, because half
            of the mask head's width is used too and processors work on 16 channels at a time.
    """

    pixel_scale: Tensor

    def __init__(
        self,
        taps: Sequence[str],
        channels: Sequence[Sequence[int]],
        location_width: int = 32,
        mask_width: int = 32,
    ) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.settings: dict[str, Any] = {
            "taps": list(taps),
            "channels": [list(pair) for pair in channels],
            "location_width": location_width,
            "mask_width": mask_width,
        }
        self.projections = nn.ModuleList(nn.Conv2d(wide, narrow, 1) for wide, narrow in channels)
        self.projections.requires_grad_(False)
        self.register_buffer("pixel_scale", torch.ones(()))
        projected, half = [narrow for _, narrow in channels], mask_width // 2
        self.location_pyramid = Pyramid(projected, location_width, prompted=False)
        self.location_out = nn.Conv2d(location_width, 1, 1)
        self.mask_pyramid = Pyramid(projected, mask_width, prompted=True)
        self.pixels = nn.Sequential(
            nn.Conv2d(3, half, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1)
        )
        self.narrow = nn.Conv2d(mask_width, half, 1)
        self.fine = nn.Conv2d(half, half, 3, padding=1)
        self.mask_out = nn.Conv2d(half, 1, 1)
        # At first nearly nothing is a defect, as nearly everywhere in the data.
        nn.init.constant_(self.location_out.bias, -4.0)  # type: ignore[arg-type]
        nn.init.constant_(self.mask_out.bias, -2.0)  # type: ignore[arg-type]
        self.to(memory_format=torch.channels_last)  # a fifth faster on CPUs

    def project(self, features: Sequence[Tensor]) -> list[Level]:
        """Project the backbone's features of whole images, at :attr:`taps`, to levels."""
        levels = []
        for projection, tensor in zip(self.projections, features, strict=True):
            projected = projection(tensor).clamp(-CLIP, CLIP)
            levels.append(Level(projected, projected.mean(dim=(2, 3))))
        return levels

    def centre(self, pixels: Tensor) -> Tensor:
        """Subtract the mean colour from preprocessed images ``(batch, 3, H, W)`` and divide by the data's spread."""
        return (pixels - pixels.mean(dim=(2, 3), keepdim=True)) / self.pixel_scale

    def location_logits(self, levels: Sequence[Level]) -> Tensor:
        """Run the location head: logits ``(batch, 1, h, w)`` at the finest level's resolution."""
        logits: Tensor = self.location_out(self.location_pyramid(self.location_pyramid.laterals_of(levels)))
        return logits

    def mask_logits(self, levels: Sequence[Level], pixels: Tensor, prompt: Tensor) -> Tensor:
        """Run the mask head once: logits ``(batch, 1, 2h, 2w)``.

        Args:
            levels: of images, or of windows of them.
            pixels: the same windows, from :meth:`centre`.
            prompt: ``(batch, 1, h, w)``, 0…1.
        """
        return self.grow(levels, pixels, prompt, 1)

    def grow(self, levels: Sequence[Level], pixels: Tensor, prompt: Tensor, times: int) -> Tensor:
        """Run the mask head several times; each result becomes part of the next prompt, so that the mask can grow.

        Args:
            levels: of images, or of windows of them.
            pixels: the same windows, from :meth:`centre`.
            prompt: ``(batch, 1, h, w)``, 0…1, for the first run.
            times: number of runs, at least 1.

        Returns:
            Logits ``(batch, 1, 2h, 2w)`` of the last run.
        """
        level_inputs = self.mask_pyramid.laterals_of(levels)
        size = [2 * side for side in prompt.shape[-2:]]
        fine = functional.interpolate(self.pixels(pixels), size=size, mode="bilinear", align_corners=False)
        while True:
            coarse = self.narrow(self.mask_pyramid(level_inputs, prompt))
            answer: Tensor = self.mask_out(functional.relu(self.fine(functional.relu(resize(coarse, fine) + fine))))
            times -= 1
            if not times:
                return answer
            prompt = torch.maximum(prompt, functional.avg_pool2d(torch.sigmoid(answer), 2))

    def forward(self, features: Sequence[Tensor], pixels: Tensor) -> Evidence:
        """Run both heads on whole images.

        Args:
            features: the backbone's at :attr:`taps`.
            pixels: preprocessed images ``(batch, 3, H, W)``.
        """
        levels = self.project(features)
        location_logits = self.location_logits(levels)
        mask_logits = self.grow(levels, self.centre(pixels), torch.sigmoid(location_logits), PROMPTS)
        return Evidence(mask_logits[:, 0], location_logits[:, 0])


def with_new_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an old state; before bundle format 3 the heads were called ``where`` and ``extent``.

    Args:
        state: of an :class:`EvidenceNet`; one with today's names stays as it is.
    """
    return {re.sub(r"^extent_", "mask_", re.sub(r"^where_", "location_", name)): state[name] for name in state}


def pool_places(logits: Tensor) -> Tensor:
    """Pool the logits of an image's places: a smooth maximum, relaxed so that two in a thousand places suffice.

    Log-sum-exp pooling of Pinheiro and Collobert, "From Image-level to Pixel-level Labeling" (CVPR 2015).

    Args:
        logits: ``(n, 1, h, w)``.

    Returns:
        ``(n,)``.
    """
    sharpness = 4.0
    places = functional.avg_pool2d(logits, 2).flatten(1)
    enough = math.log(0.002 * places.shape[1])
    return (torch.logsumexp(sharpness * places, dim=1) - enough) / sharpness


def halving(sizes: Sequence[tuple[int, int]]) -> bool:
    """Tell whether each ``(height, width)`` is exactly a power of two times the next."""
    return all(
        fine[k] % coarse[k] == 0
        and (fine[k] // coarse[k]).bit_count() == 1
        and fine[0] * coarse[1] == fine[1] * coarse[0]
        for fine, coarse in pairwise(sizes)
        for k in (0, 1)
    )


def resize(tensor: Tensor, like: Tensor) -> Tensor:
    """Resize a tensor bilinearly to the height and width of another one.

    Args:
        tensor: ``(batch, channels, h, w)``.
        like: its last two dimensions count.
    """
    return functional.interpolate(tensor, size=like.shape[-2:], mode="bilinear", align_corners=False)
