"""One scorer for every tool: it reads saved maps and boxes and knows nothing of who made them.

Images of several folds are pooled. What only ranks (AUROC, average precision, pixels) is compared by ranks within each
fold, as the scores of two models need not mean the same. What decides (classes, boxes) is counted as it is. Intervals
come from drawing groups (Davison and Hinkley 1997, 3.8), with weakspot's own functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from peer_tools.pixels import PixelCounts, aupro, average_precision, count_pixels, grid_of, mask_at, pooled
from weakspot.evaluation.truth import Truth, levels_reached
from weakspot.metrics import classification_metrics, detection_metrics, widened_by_groups
from weakspot.metrics.intervals import N_RESAMPLES, Estimate, percentile_estimate
from weakspot.metrics.paired import draw_groups, group_estimate
from weakspot.metrics.unvarying import certain, unseen, widened_mean
from weakspot.ops.regions import label_regions
from weakspot.ops.resize import upsample
from weakspot.types import ANOMALY, GOOD

Boxes = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]

THRESHOLDS = 1 - np.logspace(-4, np.log10(0.5), 40)
"""Quantiles of a fold's evidence that the oracle tries as thresholds of the map."""


@dataclass(frozen=True)
class Findings:
    """What a tool found in the n images of a test subset.

    Attributes:
        scores: ``(n,)``, higher is less Good.
        called: ``(n,)`` whether the tool itself calls the image defective, at its own threshold.
        boxes: of each image ``(k, 5)``: x0, y0, x1, y1 in original pixels, half-open, and a score; those it shows.
        evidence: ``(n, h, w)`` maps over the whole image.
    """

    scores: npt.NDArray[np.float64]
    called: npt.NDArray[np.bool_]
    boxes: list[Boxes]
    evidence: Maps


@dataclass(frozen=True)
class Tested:
    """A fold's test subset.

    Attributes:
        truth: labels and true boxes of the images.
        groups: number of the group that each image belongs to; the same number in two folds is the same group.
        findings: what a tool found in them.
    """

    truth: Truth
    groups: Sequence[int]
    findings: Findings


@dataclass(frozen=True)
class Scores:
    """A row of the table; NaN where the data do not define a figure.

    Attributes:
        auroc, average_precision: of images.
        balanced_accuracy, oracle_balanced_accuracy: at the tool's own threshold, and at each fold's best one.
        max_box_acc_v2: of the boxes that the tool shows (Choe et al. 2020), n images with a true box.
        oracle_max_box_acc_v2: of the connected regions of its maps, at each fold's best threshold of the map.
        box_precision: share of shown boxes that match a true one at IoU 0.3, one to one; n boxes.
        false_boxes_per_100_good: shown boxes per 100 Good images.
        pixel_average_precision, aupro: of the maps.
    """

    auroc: Estimate
    average_precision: Estimate
    balanced_accuracy: Estimate
    oracle_balanced_accuracy: Estimate
    max_box_acc_v2: Estimate
    oracle_max_box_acc_v2: Estimate
    box_precision: Estimate
    false_boxes_per_100_good: Estimate
    pixel_average_precision: Estimate
    aupro: Estimate


def score(folds: Sequence[Tested]) -> Scores:
    """Measure what a tool found in the test subsets of one or more folds.

    Args:
        folds: no image is in two of them.
    """
    groups = np.concatenate([np.asarray(fold.groups, np.intp) for fold in folds])
    targets = np.concatenate([_targets(fold) for fold in folds])
    defects = [sample.defect for fold in folds for sample in fold.truth.samples]
    called = np.concatenate([fold.findings.called for fold in folds]).astype(np.int64)
    ranks = np.concatenate([_ranks(fold.findings.scores) for fold in folds])
    probabilities = np.stack([1 - ranks, ranks], axis=1)
    classes = classification_metrics(targets, probabilities, (GOOD, ANOMALY), defects, predicted=called)
    classes = widened_by_groups(classes, targets, probabilities, called, defects, groups.tolist())

    def mean(values: npt.NDArray[np.float64], among: npt.NDArray[np.bool_]) -> Estimate:
        inside = groups[among]
        estimate = group_estimate(values[among], inside.tolist(), np.zeros(len(inside)))
        return widened_mean(estimate, len(set(inside.tolist())))

    right = np.concatenate([_oracle_right(fold) for fold in folds])
    shown, best = (np.concatenate([of(fold) for fold in folds]) for of in (_shown_levels, _oracle_levels))
    precise, average, overlap = _box_precision(folds, groups), *_pixels(folds, groups)
    return Scores(
        classes.auroc,
        classes.average_precision,
        classes.balanced_accuracy,
        widened_mean(group_estimate(right, groups.tolist(), targets), len(set(groups.tolist()))),
        mean(shown, ~np.isnan(shown)),
        mean(best, ~np.isnan(best)),
        precise,
        _false_boxes(folds, groups, targets),
        average,
        overlap,
    )


def _targets(fold: Tested) -> npt.NDArray[np.int64]:
    return np.array([not sample.is_good for sample in fold.truth.samples], np.int64)


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Ranks in 0…1, equal values sharing one."""
    return np.asarray((rankdata(values) - 0.5) / len(values))


# --- classes ------------------------------------------------------------------------------------------------------


def _oracle_right(fold: Tested) -> npt.NDArray[np.float64]:
    """Whether each image is called right at the threshold that is best for the fold's balanced accuracy."""
    scores, targets = fold.findings.scores, _targets(fold).astype(bool)
    tried = np.append(np.unique(scores), np.inf)
    rights = (scores[None] >= tried[:, None]) == targets[None]
    balanced = rights[:, targets].mean(axis=1) + rights[:, ~targets].mean(axis=1)
    return np.asarray(rights[int(balanced.argmax())], dtype=np.float64)


# --- boxes --------------------------------------------------------------------------------------------------------


def _shown_levels(fold: Tested) -> npt.NDArray[np.float64]:
    """The share of IoU levels that each image's three best shown boxes reach; NaN without a true box."""
    boxes = [each[np.argsort(-each[:, 4], kind="stable"), :4] for each in fold.findings.boxes]
    return np.array([levels_reached(b, t) for b, t in zip(boxes, fold.truth.boxes, strict=True)])


def _oracle_levels(fold: Tested) -> npt.NDArray[np.float64]:
    """As :func:`_shown_levels`, of the regions of the maps at the fold's best threshold."""
    known = fold.truth.with_boxes
    levels = np.full(len(fold.truth.samples), np.nan)
    if not len(known):
        return levels
    reached = []
    for threshold in np.unique(np.quantile(fold.findings.evidence, THRESHOLDS)):
        boxes = [region_boxes(fold.findings.evidence[i], threshold, fold.truth.sizes[i]) for i in known]
        reached.append([levels_reached(b, fold.truth.boxes[i]) for b, i in zip(boxes, known, strict=True)])
    table = np.array(reached)
    levels[known] = table[int(table.mean(axis=1).argmax())]
    return levels


def region_boxes(map_: Maps, threshold: float, size: npt.NDArray[np.int64]) -> Boxes:
    """Boxes ``(k, 4)`` of a map's connected regions above a threshold, the one with the highest peak first.

    Args:
        map_: ``(h, w)`` over the whole image.
        threshold: what reaches it is hot.
        size: ``(height, width)`` of the original image, whose pixels the boxes are in.
    """
    boxes, _, labels = label_regions(map_ >= threshold)
    peaks = [float(map_[y0:y1, x0:x1][labels[y0:y1, x0:x1] == i + 1].max()) for i, (x0, y0, x1, y1) in enumerate(boxes)]
    scale = np.array([size[1] / map_.shape[1], size[0] / map_.shape[0]] * 2)
    return np.asarray((boxes * scale)[np.argsort(-np.array(peaks), kind="stable")], np.float64)


def _box_precision(folds: Sequence[Tested], groups: npt.NDArray[np.intp]) -> Estimate:
    """Of all shown boxes the share that match; images whose mask is missing are left out."""
    rows = np.concatenate([[_matched(fold, i) for i in range(len(fold.truth.samples))] for fold in folds])
    hits, boxes = rows.T.astype(np.float64)
    times = draw_groups(groups.tolist(), N_RESAMPLES, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value, drawn = np.divide(hits.sum(), boxes.sum()), (times @ hits) / (times @ boxes)
    estimate = percentile_estimate(float(value), int(boxes.sum()), drawn)
    return widened_mean(estimate, len(set(groups[boxes > 0].tolist())))


def _matched(fold: Tested, i: int) -> tuple[int, int]:
    """How many of an image's shown boxes match a true one, and how many are shown."""
    boxes, true = fold.findings.boxes[i], fold.truth.boxes[i].astype(np.float64)
    if i not in set(fold.truth.fully_labelled):
        return 0, 0
    if not len(boxes) or not len(true):
        return 0, len(boxes)
    height, width = fold.truth.sizes[i]
    found = detection_metrics([boxes[:, :4]], [boxes[:, 4]], [true], [(int(height), int(width))])
    return round(found.precision_30.value * len(boxes)), len(boxes)


def _false_boxes(folds: Sequence[Tested], groups: npt.NDArray[np.intp], targets: npt.NDArray[np.int64]) -> Estimate:
    """Boxes per 100 Good images; n is the number of Good images."""
    counts = np.array([100 * len(boxes) for fold in folds for boxes in fold.findings.boxes], np.float64)
    good = targets == 0
    estimate = group_estimate(counts[good], groups[good].tolist(), targets[good])
    none = certain(estimate) and estimate.value == 0  # then as many images may have one as may be unlike those seen
    return replace(estimate, high=100 * unseen(len(set(groups[good].tolist())))) if none else estimate


# --- pixels -------------------------------------------------------------------------------------------------------


def _pixels(folds: Sequence[Tested], groups: npt.NDArray[np.intp]) -> tuple[Estimate, Estimate]:
    """Average precision and AUPRO; n is the number of images whose mask is known."""
    counts = pooled([_counts(fold) for fold in folds])
    measured = np.concatenate([np.isin(np.arange(len(fold.groups)), fold.truth.fully_labelled) for fold in folds])
    times = draw_groups(groups.tolist(), N_RESAMPLES, 0)[:, measured]
    once, n = np.ones((1, times.shape[1]), np.intp), int(measured.sum())
    average, overlap = (
        percentile_estimate(float(of(counts, once)[0]), n, of(counts, times)) for of in (average_precision, aupro)
    )
    return average, overlap


def _counts(fold: Tested) -> PixelCounts:
    evidence, masks = [], []
    for i in fold.truth.fully_labelled:
        height, width = fold.truth.sizes[i]
        grid = grid_of((int(height), int(width)))
        evidence.append(upsample(fold.findings.evidence[i], grid))
        masks.append(mask_at(fold.truth.mask(i), grid))
    return count_pixels(evidence, masks)
