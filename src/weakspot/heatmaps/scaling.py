"""How the values of a Grad-CAM map are scaled; NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.ops.resize import scale_min_max

Maps = npt.NDArray[np.floating[Any]]


def scale_after_relu(map_: Maps) -> Maps:
    """Negative values to 0, then divided by the highest: 0…1. All 0 where nothing is positive."""
    positive = np.maximum(map_, 0)
    highest = positive.max(initial=0)
    return positive / highest if highest > 0 else positive


def scale_before_relu(map_: Maps) -> Maps:
    """Divided by the highest absolute value, then negative values to 0: 0…1, 1 only where nothing negative is larger.

    All 0 where nothing is positive.
    """
    highest = np.abs(map_).max(initial=0)
    return np.maximum(map_ / highest if highest > 0 else map_, 0)


def relative(map_: Maps) -> Maps:
    """From the lowest to the highest value, 0…1, as the relative threshold of boxes has it; a flat map is all 0."""
    scaled = scale_min_max(map_)
    return np.zeros_like(map_) if scaled is None else scaled.astype(map_.dtype)


def logits(map_: Maps) -> Maps:
    """Times the number of cells, so that the *mean* is the part of the logit that this layer accounts for.

    With global average pooling and one dense layer behind the layer the mean plus the bias is the logit.
    """
    return map_ * map_.size


SCALINGS: dict[str, Callable[[Maps], Maps]] = {
    "none": lambda map_: map_,
    "scale_after_relu": scale_after_relu,
    "scale_before_relu": scale_before_relu,
    "relative": relative,
    "logits": logits,
}
"""Choices of ``scaling``; each takes and gives ``(height, width)`` of one image. The first three are HALCON's."""


def scale(maps: Maps, scaling: str) -> Maps:
    """Scale maps ``(n, height, width)``, each by itself.

    Args:
        maps: float ``(n, height, width)``, any range.
        scaling: a key of :data:`SCALINGS`.

    Returns:
        The scaled maps, of the same shape.

    Raises:
        WeakspotError: for an unknown scaling; the message lists the known ones.
    """
    if scaling not in SCALINGS:
        raise WeakspotError(
            f"scaling {scaling} is unknown{did_you_mean(scaling, SCALINGS)}; choose one of: {', '.join(SCALINGS)}"
        )
    return np.stack([SCALINGS[scaling](map_) for map_ in maps]) if len(maps) else maps
