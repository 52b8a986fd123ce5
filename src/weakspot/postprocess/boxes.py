"""Evidence → boxes: one threshold, then one box or one box per component. The same step everywhere.

The seed's rule is ``BoxRule()``: scale the map to 0…1, keep what reaches 0.7, draw one box round all of it. Everything
is decided on the evidence's own pixels; only the finished box is carried to the original image, in whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.ops.regions import label_regions, region_outlines
from weakspot.ops.resize import checked_size, scale_min_max, two_dimensional
from weakspot.types import ANOMALY, BoolArray, Box, FloatArray, Size

Method = Literal["single", "components"]
ThresholdKind = Literal["relative", "absolute", "calibrated"]

MOST_MERGED = 500
"""Of more boxes in one image only the surest are merged: such a map is noise, and every pair is compared."""


@dataclass(frozen=True)
class BoxRule:
    """How evidence becomes boxes; the ``boxes`` group of the configuration.

    Attributes:
        method: ``single`` draws one box round everything hot (the rule of plain class activation maps), ``components`` one per 8-connected
            region.
        threshold_kind: ``relative`` compares the map scaled to 0…1 by its own minimum and maximum, ``absolute`` the
            evidence as it is, ``calibrated`` does so too and has `min_score` set from held-out Good images
            (:mod:`weakspot.postprocess.box_calibration`) before any box is drawn.
        threshold: a pixel is hot when it is equal or above; in (0, 1] if relative, in the evidence's units if
            absolute or calibrated, where infinity stands for "nothing is hot".
        min_area: smallest region that gets a box, in pixels of the original image; 1 keeps every region. `components`
            only.
        max_boxes: at most this many boxes, the best by score. `components` only.
        min_score: boxes that score less are dropped, in the evidence's units; None keeps every box.
        merge: boxes that are closer to each other than this many times the longer side of the smaller one become one;
            0 for those that touch or overlap, None leaves all as they are. `components` only.
        outlines: give each box the polygons of the regions in it.
        false_boxes: what a calibrated `min_score` is to keep to: at most this many boxes per 100 Good images.

    Raises:
        WeakspotError: for a value outside these, naming its configuration key.
    """

    method: Method = "single"
    threshold_kind: ThresholdKind = "relative"
    threshold: float = 0.7
    min_area: int = 1
    max_boxes: int = 10
    min_score: float | None = None
    merge: float | None = None
    false_boxes: float = 5.0
    outlines: bool = False

    def __post_init__(self) -> None:
        _check_choice("method", self.method, get_args(Method))
        _check_choice("threshold_kind", self.threshold_kind, get_args(ThresholdKind))
        _check_threshold(self.threshold_kind, self.threshold)
        _check_count("min_area", self.min_area)
        _check_count("max_boxes", self.max_boxes)
        if self.min_score is not None:
            _check_number("min_score", self.min_score)
        if self.merge is not None:
            _check_number("merge", self.merge)
            if self.merge < 0:
                raise WeakspotError(f"boxes.merge={self.merge} is below 0; give 0 or more, or null")
        _check_number("false_boxes", self.false_boxes)
        if self.false_boxes <= 0:
            raise WeakspotError(
                f"boxes.false_boxes={self.false_boxes} is not above 0; give how many per 100 Good images"
            )

    def absolute(self, min_score: float | None) -> BoxRule:
        """The same rule with `min_score`, comparing the evidence as it is."""
        return replace(self, threshold_kind="absolute", min_score=min_score)


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise WeakspotError(f"boxes.{key}={value} is not a choice{hint}; choose from {', '.join(choices)}")


def _check_number(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or math.isnan(value):
        raise WeakspotError(f"boxes.{key}={value} is not a number; give one such as 0.7")


def _check_threshold(kind: str, value: float) -> None:
    _check_number("threshold", value)
    if kind == "relative" and not 0 < value <= 1:
        raise WeakspotError(
            f"boxes.threshold={value} is outside (0, 1]; give a share of the map's range, or set "
            "boxes.threshold_kind=absolute"
        )


def _check_count(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise WeakspotError(f"boxes.{key}={value} is not a whole number of at least 1")


def find_boxes(
    evidence: FloatArray,
    size: Size,
    rule: BoxRule,
    *,
    score_map: FloatArray | None = None,
    label: str = ANOMALY,
) -> list[Box]:
    """Turn the evidence of one image into boxes.

    Args:
        evidence: shape ``(h, w)``, any resolution and range; higher means more like a defect.
        size: ``(height, width)`` of the original image in pixels.
        rule: threshold and method.
        score_map: shape ``(h, w)``, what the boxes are scored by, minus infinity where nothing may be drawn;
            `evidence` itself where None.
        label: class name written on every box.

    Returns:
        Half-open boxes in pixels of the original image, rounded outwards, in decreasing score (the maximum of
        `score_map` inside the region), equal scores from top left to bottom right. Empty where nothing is hot, and for
        a flat map under a relative threshold.

    Raises:
        WeakspotError: when a map holds NaN or infinity.
        ValueError: when shapes do not fit.
    """
    evidence = _finite(evidence, "evidence")
    scores = evidence if score_map is None else _finite(score_map, "score map", or_never=True)
    if scores.shape != evidence.shape:
        raise ValueError(f"score map {scores.shape} and evidence {evidence.shape} differ in shape")
    size = checked_size(size)
    hot = _hot(evidence, rule)
    if not hot.any():
        return []
    lowest = -math.inf if rule.min_score is None else rule.min_score
    if rule.method == "single":
        score = float(scores[hot].max())
        if score < lowest or score == -math.inf:
            return []
        box = _original_box(_hull(hot), hot.shape, size, score, label)
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
    boxes = [_original_box(corners[i], hot.shape, size, float(peaks[i]), label) for i in best]
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
    """Join boxes that lie close together, until none do: a crack broken in pieces is one crack.

    Args:
        corners: ``(k, 4)`` half-open xyxy.
        scores: ``(k,)``.
        reach: two boxes join where the gap between them, along the axis where it is wider, is at most `reach` times
            the longer side of the smaller box (0: where they touch or overlap).

    Returns:
        The hulls and their highest scores; fewer or as many.
    """
    while len(corners) > 1:
        low, high = corners[:, :2], corners[:, 2:]
        gaps = (np.maximum(low[:, None], low) - np.minimum(high[:, None], high)).max(axis=2)
        sides = (high - low).max(axis=1)
        groups, of = connected_components(csr_array(gaps <= reach * np.minimum(sides[:, None], sides)), directed=False)
        if groups == len(corners):
            break
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
        return np.asarray(evidence >= np.float64(rule.threshold))
    scaled = scale_min_max(evidence)
    return np.zeros(evidence.shape, dtype=bool) if scaled is None else np.asarray(scaled >= rule.threshold)


def _hull(hot: BoolArray) -> npt.NDArray[np.intp]:
    """``[x0, y0, x1, y1]`` of everything hot, in evidence pixels."""
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _regions(
    hot: BoolArray, scores: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """8-connected regions: boxes ``(k, 4)`` in evidence pixels, numbers of pixels ``(k,)``, highest scores ``(k,)``."""
    corners, pixels, labels = label_regions(hot)
    peaks = np.full(len(corners) + 1, -np.inf)
    np.maximum.at(peaks, labels[hot], scores[hot])
    return corners, pixels, peaks[1:]


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


def _finite(map_: FloatArray, name: str, *, or_never: bool = False) -> FloatArray:
    """The map, found to be finite; minus infinity may stand for "never"."""
    array = two_dimensional(map_, name)
    sound = np.isfinite(array) | (np.isneginf(array) if or_never else False)
    if not np.all(sound):
        raise WeakspotError(f"the {name} holds NaN or infinity, so no box can be drawn; check weights and training log")
    return array
