"""The statistics head: log-odds of a defect from how each channel's features are distributed over a picture.

Global average pooling keeps one number of each channel, its mean; a small defect hardly moves it. This head keeps six
of each channel at several depths of the frozen network: the mean, the standard deviation, the mean of the highest and
of the lowest 2 % of the places, and how many standard deviations these two lie from the mean. A linear layer judges
them. (Second-order pooling beside the mean: Carreira et al., "Semantic Segmentation with Second-Order Pooling", ECCV
2012; mean of the highest places: Durand et al., "WELDON", CVPR 2016.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SHARE = 0.02
"""Share of a picture's places that count as its highest, and as its lowest."""

KINDS = 6
"""How many numbers are kept of each channel."""

LEAST_SPREAD = 0.05
"""Added to the standard deviation that distances are divided by; features are scaled to a deviation of about 1."""


class StatisticsHead(nn.Module):
    """A linear layer on the statistics of frozen features.

    Args:
        taps: names of the backbone's features.
        channels: number of channels of each.

    Attributes:
        scale: ``(channels of all taps,)``, features are divided by it; for instance their standard deviation.
    """

    scale: Tensor

    def __init__(self, taps: Sequence[str], channels: Sequence[int]) -> None:
        super().__init__()
        self.taps, self.channels = tuple(taps), tuple(channels)
        self.register_buffer("scale", torch.ones(sum(self.channels)))
        self.out = nn.Linear(KINDS * sum(self.channels), 1)
        self.requires_grad_(False)

    @property
    def settings(self) -> dict[str, Any]:
        """What :class:`StatisticsHead` is made with, JSON-ready."""
        return {"taps": list(self.taps), "channels": list(self.channels)}

    def statistics(self, features: Sequence[Tensor]) -> Tensor:
        """Compute what the linear layer works on.

        Args:
            features: ``(batch, channels, h, w)`` at :attr:`taps`.

        Returns:
            ``(batch, KINDS × channels of all taps)``, tap by tap.
        """
        scales = torch.split(self.scale, list(self.channels))
        return torch.cat([_of_tap(t / s[:, None, None]) for t, s in zip(features, scales, strict=True)], dim=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Log-odds of a defect, ``(batch,)``, from features ``(batch, channels, h, w)`` at :attr:`taps`."""
        logits: Tensor = self.out(self.statistics(features))
        return logits[:, 0]


def _of_tap(features: Tensor) -> Tensor:
    """The statistics of one tap: ``(batch, KINDS × channels)``."""
    places = features.flatten(2)
    few = max(1, round(SHARE * places.shape[2]))
    mean, spread = mean_and_spread(places)
    high = places.topk(few, dim=2).values.mean(dim=2)
    low = -(-places).topk(few, dim=2).values.mean(dim=2)
    apart = spread + LEAST_SPREAD
    return torch.cat([mean, spread, high, low, (high - mean) / apart, (mean - low) / apart], dim=1)


def mean_and_spread(places: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over a picture, ``(batch, channels)`` each.

    Args:
        places: ``(batch, channels, places)``.
    """
    mean = places.mean(dim=2)
    return mean, ((places - mean[:, :, None]) ** 2).mean(dim=2).sqrt()
