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

    Images of equal confidence share a bin, so that their order does not matter; see :func:`reliability`.

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

    A cut between two bins that would part images of equal confidence moves to the nearer end of them, so that there may
    be fewer bins, and their numbers of images differ.

    Args:
        confidences: of the most probable class, 0…1, shape ``(n,)``.
        right: whether it was right, shape ``(n,)``.
        bins: how many; with fewer images there are as many bins as images.

    Returns:
        Mean confidence, accuracy and number of images of each bin, in increasing confidence; empty for no image.
    """
    confidences, right = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    order = np.argsort(confidences, kind="stable")
    ends = np.r_[0, np.flatnonzero(np.diff(confidences[order])) + 1, len(order)]  # of runs of equal confidences
    cuts = np.cumsum([len(part) for part in np.array_split(order, min(bins, max(1, len(order))))])[:-1]
    nearest = ends[np.abs(ends[None] - cuts[:, None]).argmin(axis=1)]
    groups = np.split(order, np.unique(nearest))
    return [(float(confidences[p].mean()), float(right[p].mean()), len(p)) for p in groups if len(p)]
