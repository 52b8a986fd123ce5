"""How well boxes and maps fit the masks: everything that a measurement holds about localisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from weakspot.data.splits import group_numbers
from weakspot.evaluation.schema import BeforeDecision, Localisation, Resolution, ThresholdCurve
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset, size_of
from weakspot.evaluation.thresholds import sweep, threshold_curve, undecided_boxes, undecided_boxes_with_trust
from weakspot.evaluation.truth import Truth, levels_reached
from weakspot.metrics import (
    best_iou,
    detection_metrics,
    max_box_accuracy,
    pixel_metrics,
    pointing_hit,
    proportion,
)
from weakspot.metrics.intervals import N_RESAMPLES, Estimate, percentile_estimate
from weakspot.metrics.paired import draws_of_groups, group_estimate
from weakspot.metrics.results import DetectionResult, LocalisationResult, TrustLevel, TrustResult
from weakspot.metrics.unvarying import widened_mean
from weakspot.ops.maps import Maps, comparable_map, shown_map
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.trust import level
from weakspot.types import LEVELS, Box, ModelOutput, Prediction


def measure_localisation(images: EvaluatedImages) -> tuple[Localisation, ThresholdCurve]:
    """Measure boxes and maps against the masks.

    Args:
        images: at least one of them has a mask that marks something.

    Returns:
        The measures, and box accuracy at every threshold.
    """
    truth, boxes, classes = images.truth, images.boxes, images.classes

    def evidence(kind: Callable[[ModelOutput], Maps], i: int) -> Maps:
        return images.at_input_size(i, kind(images.output(i)))

    hits = [pointing_hit(evidence(shown_map, i), truth.mask(i)) for i in truth.with_boxes]
    thresholds, ious = sweep(images)
    found = Localisation(
        **vars(_widened(images, truth.localise(boxes))),
        **vars(max_box_accuracy(ious, thresholds)),
        pointing_game=proportion(sum(hits), len(hits)),
        pixel=pixel_metrics((evidence(comparable_map, i), truth.mask(i)) for i in truth.fully_labelled),
        false_boxes_per_100_good=_per_100([len(boxes[i]) for i in images.good]),
        before_decision=before_decision(images),
        resolution=resolution(images),
        trust=replace(measure_trust(images.predictions, truth), false_green=green_on_good(images)),
        detection=measure_detection(images),
        per_class={name: measure_detection(images, name) for name in classes[1:]} if len(classes) > 2 else None,
    )
    return found, threshold_curve(images, thresholds, ious)


def measure_detection(images: EvaluatedImages, label: str | None = None) -> DetectionResult:
    """Match boxes one to one with true ones, on the images in which every defect is known.

    Args:
        images: at least one of them has a true box.
        label: kind of defect whose boxes count, predicted and true; a picture of several kinds is left out where
            masks, or a person, do not say which region is of which kind. None for all boxes.
    """
    truth, classes = images.truth, images.classes
    true = {i: truth.boxes[i] if label is None else truth.boxes_of(i, label, classes) for i in truth.fully_labelled}
    known = {i: boxes for i, boxes in true.items() if boxes is not None}
    measurable = list(known)
    found = [[box for box in images.predictions[i].boxes if label in (None, box.label)] for i in measurable]
    return detection_metrics(
        [boxes_array(boxes) for boxes in found],
        [np.array([box.score for box in boxes]) for boxes in found],
        [boxes.astype(np.float64) for boxes in known.values()],
        [(int(height), int(width)) for height, width in truth.sizes[measurable]],
    )


def _widened(images: EvaluatedImages, found: LocalisationResult) -> LocalisationResult:
    """The same, with an interval of MaxBoxAccV2 that is wide enough for groups where images share one."""
    known = images.truth.with_boxes
    groups = [images.groups[i] for i in known]
    if len(set(groups)) == len(groups):
        return found
    v2 = np.array([levels_reached(images.boxes[i], images.truth.boxes[i]) for i in known])
    estimate = widened_mean(group_estimate(v2, groups, np.zeros(len(v2))), len(set(groups)))
    return replace(found, max_box_acc_v2=replace(found.max_box_acc_v2, low=estimate.low, high=estimate.high))


def before_decision(images: EvaluatedImages) -> BeforeDecision:
    """Count the boxes that Good images would get if no class decision took them away, each by its own model's box rule.

    Args:
        images: only the Good ones count.
    """
    counts = []
    for i in images.good:
        subset, row = images.images[i]
        counts.append(len(_undecided(subset, row)))
    return BeforeDecision(_per_100(counts), proportion(sum(count > 0 for count in counts), len(counts)))


def _undecided(subset: EvaluatedSubset, row: int) -> list[Box]:
    return undecided_boxes(subset.store, row, subset.meta.preprocess, subset.meta.boxes, subset.meta.ranking)


def _per_100(counts: Sequence[int]) -> float:
    return 100 * sum(counts) / len(counts) if counts else math.nan


def resolution(images: EvaluatedImages) -> Resolution:
    """Measure how small a defect the maps can localise at all.

    A box whose edges are off by half a cell on each side still reaches an IoU of 0.5 with a true box of side s where
    (s / (s + cell))² ≥ 0.5, which is s ≥ cell / (√2 - 1).

    Args:
        images: at least one.
    """
    cells = []
    for subset, row in images.images:
        store, preprocess, size = subset.store, subset.meta.preprocess, size_of(subset.store, row)
        shape = store.maps.shape[2:] if store.mask_logits is None else store.mask_logits.shape[1:]
        whole, shrinking = preprocess.input_size(size), preprocess.shrinking(size)
        cells.append([side / n * factor for side, n, factor in zip(whole, shape, shrinking, strict=True)])
    limits = np.array(cells) / (np.sqrt(2) - 1)
    too_small = [
        bool(((box[3] - box[1]) < limits[i, 0]) or ((box[2] - box[0]) < limits[i, 1]))
        for i in images.truth.with_boxes
        for box in images.truth.boxes[i]
    ]
    cell = float(np.median(np.max(cells, axis=1)))
    return Resolution(cell, float(cell / (np.sqrt(2) - 1)), proportion(sum(too_small), len(too_small)))


def measure_trust(predictions: Sequence[Prediction], truth: Truth) -> TrustResult:
    """Measure whether boxes with a higher trust fit better, on the images with a mask.

    The interval of the rank correlation comes from drawing groups.

    Args:
        predictions: one for each image.
        truth: true boxes of the same images, in the same order.
    """
    groups = group_numbers(truth.samples)
    rows = [
        (box.trust, best_iou(boxes_array([box]), truth.boxes[i].astype(np.float64)), groups[i], level(box))
        for i in truth.with_boxes
        for box in predictions[i].boxes
    ]
    values = np.array([row[:2] for row in rows], dtype=np.float64).reshape(-1, 2)
    levels = dict[str, TrustLevel]()
    for name in LEVELS:
        ious = values[[row[3] == name for row in rows], 1]
        share = proportion(int((ious >= 0.5).sum()), len(ious))
        levels[name] = TrustLevel(len(ious), float(ious.mean()) if len(ious) else math.nan, share)
    return TrustResult(_rank_correlation(values, [int(row[2]) for row in rows]), levels, values.tolist())


def green_on_good(images: EvaluatedImages) -> Estimate:
    """Measure the share of green boxes among those that Good images would get if no class decision took them away.

    Args:
        images: only the Good ones count; boxes are drawn by each one's own model and its box rule.
    """
    colours = []
    for i in images.good:
        subset, row = images.images[i]
        colours += [level(box) for box in undecided_boxes_with_trust(subset.store, row, subset.meta)]
    return proportion(colours.count("green"), len(colours))


def _rank_correlation(values: npt.NDArray[np.float64], groups: Sequence[int]) -> Estimate:
    """Spearman's, of two columns ``(n, 2)``; NaN where a column does not vary."""
    n = len(values)
    if n < 3 or not np.ptp(values, axis=0).all():
        return Estimate(math.nan, n, math.nan, math.nan)
    resamples = []
    for times in chain.from_iterable(draws_of_groups(groups, N_RESAMPLES, seed=0)):
        drawn = np.repeat(values, times, axis=0)
        varies = len(drawn) > 2 and np.ptp(drawn, axis=0).all()
        resamples.append(float(spearmanr(drawn[:, 0], drawn[:, 1]).statistic) if varies else math.nan)
    value = float(spearmanr(values[:, 0], values[:, 1]).statistic)
    return percentile_estimate(value, n, np.array(resamples))
