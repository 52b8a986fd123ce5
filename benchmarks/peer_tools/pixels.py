"""Pixel average precision and AUPRO of resampled images, fast enough to draw groups a thousand times.

:func:`weakspot.metrics.pixel_metrics` sorts every pixel and gives no interval. Here the evidence is put into bins once,
and each resample is a sum of the images' counts. A bin counts as one step of the curve, as equal values do; where no
bin holds two different values, both figures are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.metrics.localisation import PIXEL_SIDE
from weakspot.ops.regions import label_regions
from weakspot.types import BoolArray, FloatArray, Size

Counts = npt.NDArray[np.float64]

LEVELS: Counts = np.unique(np.concatenate([np.linspace(0, 1, 1025), 1 - np.logspace(-6, -1, 1024)]))
"""Quantiles of the evidence that bins begin at: even, and finer the nearer the top, where defects are."""

LIMIT = 0.3
"""False-positive rate that AUPRO goes up to."""


@dataclass(frozen=True)
class PixelCounts:
    """How the pixels of some images are spread over bins of evidence, lowest bin first.

    Attributes:
        defect, others: ``(n, bins)`` numbers of pixels inside and outside the masks of each image.
        regions: ``(r, bins)`` share of each 8-connected defect region's pixels.
        image: ``(r,)`` position of the image that each region belongs to.
    """

    defect: Counts
    others: Counts
    regions: Counts
    image: npt.NDArray[np.intp]


def grid_of(size: Size, longest: int = PIXEL_SIDE) -> Size:
    """The grid that an image is compared on, as in :func:`weakspot.metrics.pixel_metrics`.

    Args:
        size: ``(height, width)`` of the image in pixels.
        longest: of the grid's longer side; smaller images keep their own size.
    """
    side = max(*size, longest)
    return max(1, size[0] * longest // side), max(1, size[1] * longest // side)


def mask_at(mask: BoolArray, grid: Size) -> BoolArray:
    """A mask on a grid: of each cell the pixel under its centre."""
    found = cv2.resize(mask.astype(np.uint8), (grid[1], grid[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    return np.asarray(found != 0)


def count_pixels(evidence: Sequence[FloatArray], masks: Sequence[BoolArray]) -> PixelCounts:
    """Put the pixels of the images that one model looked at into bins, whose borders are quantiles of all of them.

    Args:
        evidence: of each image ``(h, w)``, comparable between the images.
        masks: of each image ``(h, w)``, True = defect.
    """
    values = np.concatenate([each.ravel() for each in evidence])
    borders = np.quantile(values, LEVELS, method="lower")
    bins = len(borders) + 1
    defect, others, regions, image = [], [], list[Counts](), list[int]()
    for i, (map_, mask) in enumerate(zip(evidence, masks, strict=True)):
        places = np.searchsorted(borders, map_, "right")
        defect.append(np.bincount(places[mask], minlength=bins))
        others.append(np.bincount(places[~mask], minlength=bins))
        _, sizes, labels = label_regions(mask)
        regions += [np.bincount(places[labels == k + 1], minlength=bins) / size for k, size in enumerate(sizes)]
        image += [i] * len(sizes)
    return PixelCounts(
        np.array(defect, np.float64),
        np.array(others, np.float64),
        np.array(regions, np.float64).reshape(-1, bins),
        np.array(image, np.intp),
    )


def pooled(folds: Sequence[PixelCounts]) -> PixelCounts:
    """The images of several folds after each other; a bin is the same quantile of each fold's own evidence."""
    before = np.cumsum([0, *(len(fold.defect) for fold in folds[:-1])])
    return PixelCounts(
        np.concatenate([fold.defect for fold in folds]),
        np.concatenate([fold.others for fold in folds]),
        np.concatenate([fold.regions for fold in folds]),
        np.concatenate([fold.image + first for fold, first in zip(folds, before, strict=True)]),
    )


def average_precision(counts: PixelCounts, times: npt.NDArray[np.intp]) -> Counts:
    """Average precision of pixels, as scikit-learn defines it, in every resample.

    Args:
        counts: of n images.
        times: how often each image is in each resample, ``(r, n)``.

    Returns:
        ``(r,)``; NaN where a resample holds no defect pixel.
    """
    hits, misses = (_from_top(times @ each) for each in (counts.defect, counts.others))
    found = np.diff(hits, axis=1, prepend=0)
    with np.errstate(invalid="ignore"):
        return np.asarray((found * hits / np.maximum(hits + misses, 1)).sum(axis=1) / hits[:, -1])


def aupro(counts: PixelCounts, times: npt.NDArray[np.intp], limit: float = LIMIT) -> Counts:
    """Area under the per-region overlap curve up to a false-positive rate, over that rate, in every resample.

    Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021; bins are crossed by a straight line.

    Args:
        counts: of n images.
        times: how often each image is in each resample, ``(r, n)``.
        limit: in (0, 1].

    Returns:
        ``(r,)``; NaN where a resample holds no defect region, or nothing else.
    """
    with np.errstate(invalid="ignore"):
        false = _from_top(times @ counts.others)
        false = np.pad(false / false[:, -1:], ((0, 0), (1, 0)))
        drawn = times[:, counts.image]
        overlap = _from_top(drawn @ counts.regions) / drawn.sum(axis=1, keepdims=True)
    overlap = np.pad(overlap, ((0, 0), (1, 0)))
    width, end = np.diff(false, axis=1), np.minimum(false[:, 1:], limit)
    inside = np.clip(end - false[:, :-1], 0, None)
    rise = np.diff(overlap, axis=1) * inside / np.where(width > 0, width, 1)
    return np.asarray((inside * (overlap[:, :-1] + rise / 2)).sum(axis=1) / limit)


def _from_top(bins: Counts) -> Counts:
    """Cumulative sums from the highest bin down."""
    return np.asarray(np.cumsum(bins[:, ::-1], axis=1))
