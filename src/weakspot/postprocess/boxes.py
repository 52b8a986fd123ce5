"""Evidence → boxes: one threshold, then one box or one box for each region. The same step everywhere.

The rule of plain class activation maps is ``BoxRule()``: scale the map to 0…1, keep what reaches 0.7, draw one box
round all of it. Everything is decided on the evidence's own pixels; only the finished box is carried to the original
image, in whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.ops.regions import label_regions, region_outlines
from weakspot.ops.resize import checked_size, scale_min_max, two_dimensional
from weakspot.types import ANOMALY, BoolArray, Box, FloatArray, Size

MOST_MERGED = 500
"""With more boxes in one image only the surest ones are merged, as every pair is compared; such a map is noise."""


def find_boxes(
    evidence: FloatArray,
    size: Size,
    rule: BoxRule,
    *,
    score_map: FloatArray | None = None,
    within: BoolArray | None = None,
    label: str = ANOMALY,
) -> list[Box]:
    """Turn the evidence of one image into boxes.

    Args:
        evidence: shape ``(h, w)``, any resolution and range; higher means more like a defect.
        size: ``(height, width)`` of the original image in pixels.
        rule: threshold and method.
        score_map: shape ``(h, w)``, what the boxes are scored by, minus infinity where nothing may be drawn;
            `evidence` itself where None.
        within: shape ``(h, w)``, where a pixel may be hot; None for everywhere.
        label: class name written on every box.

    Returns:
        Half-open boxes in pixels of the original image, rounded outwards and widened by the rule's margin, in
        decreasing score (the maximum of `score_map` inside the region), equal scores from top left to bottom right.
        Empty where nothing is hot, and for a flat map under a relative threshold.

    Raises:
        WeakspotError: when a map holds NaN or infinity.
        ValueError: when shapes do not fit.

    Examples:
        A map of 4 × 6 cells over an image of 40 × 60 pixels, with two hot regions:

        >>> evidence = np.zeros((4, 6), np.float32)
        >>> evidence[1, 2:4] = 5.0
        >>> evidence[3, 5] = 4.0
        >>> [(box.xyxy, box.score) for box in find_boxes(evidence, (40, 60), BoxRule(method="components"))]
        [((20, 10, 40, 20), 5.0), ((50, 30, 60, 40), 4.0)]
        >>> [box.xyxy for box in find_boxes(evidence, (40, 60), BoxRule())]
        [(20, 10, 60, 40)]
        >>> [box.xyxy for box in find_boxes(evidence, (40, 60), BoxRule(margin=0.1))]
        [(16, 7, 60, 40)]
    """
    evidence = _finite(evidence, "evidence")
    scores = evidence if score_map is None else _finite(score_map, "score map", or_never=True)
    if scores.shape != evidence.shape:
        raise ValueError(f"score map {scores.shape} and evidence {evidence.shape} differ in shape")
    size = checked_size(size)
    hot = _hot(evidence, rule) if within is None else _hot(evidence, rule) & within
    if not hot.any():
        return []
    lowest = -math.inf if rule.min_score is None else rule.min_score
    if rule.method == "single":
        score = float(scores[hot].max())
        if score < lowest or score == -math.inf:
            return []
        box = _widened(_original_box(_hull(hot), hot.shape, size, score, label), rule.margin, size)
        return [replace(box, outlines=region_outlines(hot, size))] if rule.outlines else [box]
    corners, pixels, peaks = _regions(hot, scores)
    # Areas in original pixels, compared as whole numbers; a region of less than one such pixel counts as one.
    large = np.maximum(pixels * (size[0] * size[1]), hot.size) >= rule.min_area * hot.size
    keep = large & (peaks >= lowest) & (peaks > -np.inf)
    regions = corners, keep
    corners, peaks = corners[keep], peaks[keep]
    if rule.merge is not None:
        surest = np.argsort(-peaks, kind="stable")[:MOST_MERGED]
        corners, peaks = merge_boxes(corners[surest], peaks[surest], rule.merge)
    best = np.lexsort((corners[:, 0], corners[:, 1], -peaks))[: rule.max_boxes]
    drawn = (_original_box(corners[i], hot.shape, size, float(peaks[i]), label) for i in best)
    boxes = [_widened(box, rule.margin, size) for box in drawn]
    if not rule.outlines or not boxes:
        return boxes
    masks = _masks_of_boxes(hot, *regions, corners[best])
    return [replace(box, outlines=region_outlines(mask, size)) for box, mask in zip(boxes, masks, strict=True)]


def _masks_of_boxes(
    hot: BoolArray, corners: npt.NDArray[np.int64], keep: BoolArray, boxes: npt.NDArray[np.int64]
) -> Iterator[BoolArray]:
    """The regions that belong to each box: a region belongs to the smallest box it lies in."""
    labels = label_regions(hot)[2]
    after = (corners[:, None, :2] >= boxes[:, :2]).all(axis=2)
    before = (corners[:, None, 2:] <= boxes[:, 2:]).all(axis=2)
    inside = np.logical_and(after, before)
    areas = np.where(inside, (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), np.iinfo(np.int64).max)
    owner = np.where(np.logical_and(keep, np.any(inside, axis=1)), areas.argmin(axis=1), -1)
    for i in range(len(boxes)):
        yield np.isin(labels, 1 + np.flatnonzero(owner == i))


def merge_boxes(
    corners: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], reach: float
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Join boxes that lie close together, and go on until no two do: a crack broken in pieces is one crack.

    Args:
        corners: ``(k, 4)`` half-open ``[x0, y0, x1, y1]``.
        scores: ``(k,)``.
        reach: two boxes are joined where the gap between them, along the axis where it is wider, is at most `reach`
            times the longer side of the smaller box (0: where they touch or overlap).

    Returns:
        The joined boxes, each the smallest that holds its members, and the highest score of each; at most k.
    """
    while len(corners) > 1:
        low, high = corners[:, :2], corners[:, 2:]
        gaps = (np.maximum(low[:, None], low) - np.minimum(high[:, None], high)).max(axis=2)
        sides = (high - low).max(axis=1)
        close = gaps <= reach * np.minimum(sides[:, None], sides)
        if np.count_nonzero(close) == len(corners):  # each is close to itself alone
            break
        groups, of = connected_components(csr_array(close), directed=False)
        members = [of == group for group in range(groups)]
        corners = np.array([[*low[m].min(axis=0), *high[m].max(axis=0)] for m in members])
        scores = np.array([scores[m].max() for m in members])
    return corners, scores


def boxes_array(boxes: Iterable[Box]) -> npt.NDArray[np.float64]:
    """Stack boxes as ``(n, 4)`` float64 ``[x0, y0, x1, y1]``, the form :mod:`weakspot.metrics` takes; n may be 0."""
    return np.array([box.xyxy for box in boxes], dtype=np.float64).reshape(-1, 4)


def _hot(evidence: FloatArray, rule: BoxRule) -> BoolArray:
    """Pixels that reach the threshold. Compared as float64: float32 would round the threshold on to a pixel's value."""
    if rule.threshold_kind == "absolute":
        return np.asarray(evidence >= _least(rule.threshold, evidence.dtype))
    scaled = scale_min_max(evidence)
    return np.zeros(evidence.shape, dtype=bool) if scaled is None else np.asarray(scaled >= rule.threshold)


def _least(threshold: float, dtype: np.dtype[Any]) -> np.floating[Any]:
    """The least value of a type that is not below a threshold, so that comparing needs no wider type."""
    if dtype != np.float32:
        return np.float64(threshold)
    nearest = np.float32(threshold)
    return nearest if float(nearest) >= threshold else np.nextafter(nearest, np.float32(np.inf))


def _hull(hot: BoolArray) -> npt.NDArray[np.intp]:
    """``[x0, y0, x1, y1]`` of everything hot, in evidence pixels."""
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _regions(
    hot: BoolArray, scores: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """8-connected regions: boxes ``(k, 4)`` in evidence pixels, numbers of pixels ``(k,)``, highest scores ``(k,)``."""
    corners, pixels, labels = label_regions(hot)
    peaks = np.full(len(corners) + 1, -np.inf, np.result_type(scores, np.float32))
    # Ten times slower where types differ.
    np.maximum.at(peaks, labels[hot].astype(np.intp), scores[hot].astype(peaks.dtype))
    return corners, pixels, peaks[1:].astype(np.float64)


def _original_box(corners: npt.NDArray[Any], shape: tuple[int, ...], size: Size, score: float, label: str) -> Box:
    """Carry a box from a grid of `shape` to an image of `size`, rounded outwards, in exact whole numbers."""
    (map_height, map_width), (height, width) = shape, size
    x0, y0, x1, y1 = (int(corner) for corner in corners)
    return Box(
        x0=x0 * width // map_width,
        y0=y0 * height // map_height,
        x1=-(-x1 * width // map_width),
        y1=-(-y1 * height // map_height),
        score=score,
        label=label,
    )


def _widened(box: Box, margin: float, size: Size) -> Box:
    """A box that reaches further by a share of its sides, in whole pixels, as far as the image goes."""
    if not margin:
        return box
    down, right = (math.floor(margin * side + 0.5) for side in (box.y1 - box.y0, box.x1 - box.x0))
    return replace(
        box,
        x0=max(0, box.x0 - right),
        y0=max(0, box.y0 - down),
        x1=min(size[1], box.x1 + right),
        y1=min(size[0], box.y1 + down),
    )


def _finite(map_: FloatArray, name: str, *, or_never: bool = False) -> FloatArray:
    """The map, found to be finite; minus infinity may stand for "never"."""
    array = two_dimensional(map_, name)
    highest, lowest = array.max(), 0.0 if or_never else array.min()
    if not (highest < np.inf and lowest > -np.inf):  # NaN is neither
        raise WeakspotError(f"the {name} holds NaN or infinity, so no box can be drawn; check weights and training log")
    return array
