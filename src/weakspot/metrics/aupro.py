"""Area under the per-region overlap curve: every defect counts the same, however small."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weakspot.ops.regions import label_regions
from weakspot.types import BoolArray, FloatArray


def aupro(evidence: Sequence[FloatArray], masks: Sequence[BoolArray], limit: float = 0.3) -> float:
    """Area under the per-region-overlap curve up to a false-positive rate, divided by that rate.

    Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021. For each threshold: the share of every defect
    region (8-connected) that is hot, averaged over regions, against the share of all other pixels that are hot. Exact,
    with equal values crossed by a straight line: the area is a sum over the pixels of regions, each weighted by one
    over its region's size, of what is left of the axis to the right of the pixel's own false-positive rate.

    Args:
        evidence: of each image ``(h, w)``, comparable between images.
        masks: of each image ``(h, w)``, True = defect.
        limit: false-positive rate up to which the area is taken, in (0, 1].

    Returns:
        0…1; NaN without a defect pixel or without any other.
    """
    others = np.sort(np.concatenate([e[~m] for e, m in zip(evidence, masks, strict=True)]))
    if len(others) == 0:
        return math.nan
    shares = []
    for values, mask in zip(evidence, masks, strict=True):
        _, pixels, labels = label_regions(mask)
        left = _area_to_the_right(values[mask], others, limit)
        shares += [left[labels[mask] == i + 1].mean() for i in range(len(pixels))]
    return float(np.mean(shares)) / limit if shares else math.nan


def _area_to_the_right(values: FloatArray, others: FloatArray, limit: float) -> npt.NDArray[np.float64]:
    """Area up to `limit` of the curve that steps from 0 to 1 where each of `values` becomes hot."""
    begin = 1 - np.searchsorted(others, values, "right") / len(others)  # share of the others that are hot before it
    end = 1 - np.searchsorted(others, values, "left") / len(others)  # and with its equals
    rising = np.clip(np.minimum(end, limit) - begin, 0, None)
    slope = rising / np.where(end > begin, end - begin, 1)
    return np.asarray(rising * slope / 2 + np.clip(limit - end, 0, None), dtype=np.float64)
