"""How well confidences agree with accuracy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.types import FloatArray

BINS = 10


def expected_calibration_error(confidences: FloatArray, right: npt.NDArray[Any], bins: int = BINS) -> float:
    """Mean distance of confidence from accuracy, over bins of equally many images (Nixon et al., CVPR-W 2019).

    Args:
        confidences: probability of the most probable class, 0…1, shape ``(n,)``.
        right: whether that class was right, shape ``(n,)``.
        bins: number of bins.

    Returns:
        0…1; NaN for no image.
    """
    rows = reliability(confidences, right, bins)
    n = sum(count for _, _, count in rows)
    return sum(abs(confidence - right) * count for confidence, right, count in rows) / n if n else math.nan


def reliability(confidences: FloatArray, right: npt.NDArray[Any], bins: int = BINS) -> list[tuple[float, float, int]]:
    """Sort images into bins of equally many by confidence, and measure each bin.

    Args:
        confidences: of the most probable class, 0…1, shape ``(n,)``.
        right: whether it was right, shape ``(n,)``.
        bins: how many; with fewer images there are as many bins as images.

    Returns:
        Mean confidence, accuracy and number of images of each bin, in increasing confidence; empty for no image.
    """
    confidences, right = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    order = np.argsort(confidences, kind="stable")
    groups = np.array_split(order, min(bins, max(1, len(order))))
    return [(float(confidences[p].mean()), float(right[p].mean()), len(p)) for p in groups if len(p)]
