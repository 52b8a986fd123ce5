"""How far a picture's frozen features lie from those of training pictures, at several depths of the network.

Of each channel the mean and the standard deviation over the picture are kept. At each tap they are compared with those
of training pictures by a Mahalanobis distance whose covariance is shrunken towards a multiple of the identity; all but
its leading directions have one variance, so that a narrow matrix holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from weakspot.models.statistics import mean_and_spread
from weakspot.postprocess.familiarity import NEAREST


class FamiliarityHead(nn.Module):
    """Distances from training pictures; nothing in it is learnt from labels.

    Args:
        taps: names of the backbone's features.
        channels: number of channels of each.
        ranks: number of leading directions of each.
    """

    def __init__(self, taps: Sequence[str], channels: Sequence[int], ranks: Sequence[int]) -> None:
        super().__init__()
        self.taps, self.channels, self.ranks = tuple(taps), tuple(channels), tuple(ranks)
        for i, (width, rank) in enumerate(zip(self.channels, self.ranks, strict=True)):
            self.register_buffer(f"centre_{i}", torch.zeros(2 * width))
            self.register_buffer(f"scale_{i}", torch.ones(2 * width))
            self.register_buffer(f"basis_{i}", torch.zeros(2 * width, rank))
            self.register_buffer(f"weight_{i}", torch.ones(rank))
            self.register_buffer(f"rest_{i}", torch.ones(1))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logarithms of mean squared distances, ``(batch, taps)``.

        Args:
            features: ``(batch, channels, h, w)`` at :attr:`taps`.
        """
        return torch.stack([self._of_tap(i, pooled(tap)) for i, tap in enumerate(features)], dim=1)

    def _of_tap(self, i: int, values: Tensor) -> Tensor:
        centre, scale, basis, weight, rest = (
            self.get_buffer(f"{name}_{i}") for name in ("centre", "scale", "basis", "weight", "rest")
        )
        apart = (values - centre) / scale
        along = apart @ basis
        # Means and not sums: in half precision the latter would be too large for a picture that is far away.
        beside = ((apart**2).mean(dim=1) - (along**2).sum(dim=1) / values.shape[1]).clamp(min=0)
        return torch.log((along**2 * weight).sum(dim=1) / values.shape[1] + beside * rest + NEAREST)


def pooled(features: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, ``(batch, 2 × channels)``.

    Args:
        features: ``(batch, channels, h, w)``.
    """
    return torch.cat(mean_and_spread(features.flatten(2)), dim=1)
