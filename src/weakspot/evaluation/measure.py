"""Measure a model from its saved maps: predictions, classification, localisation, controls. The model is not needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.data.preprocess import Preprocess
from weakspot.data.readers import target_of
from weakspot.data.splits import group_numbers
from weakspot.evaluation.controls import border_evidence, box_controls, shuffled_labels
from weakspot.evaluation.truth import Truth, levels_reached, trust_metrics
from weakspot.metrics import (
    BEST_BOXES,
    IOU_LEVELS,
    as_good_or_not,
    best_iou,
    classification_metrics,
    detection_metrics,
    max_box_accuracy,
    pixel_metrics,
    pointing_hit,
    proportion,
    size_class,
    widened_by_groups,
)
from weakspot.metrics.classification import IntArray
from weakspot.metrics.paired import cluster_estimate
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import Maps, comparable_map, shown_map, visible
from weakspot.ops.resize import upsample
from weakspot.postprocess.box_calibration import Calibration, calibrate
from weakspot.postprocess.boxes import BoxRule, boxes_array
from weakspot.postprocess.decision import Decision, expected_calibration_error, reliability
from weakspot.postprocess.predictions import draw_boxes, make_prediction
from weakspot.types import ANOMALY, GOOD, Box, FloatArray, ModelOutput, Prediction, Sample, Size

SWEEP_STEPS = 39
PIXEL_BUDGET = 40_000_000


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        predictions: one an image, in the store's order.
        test: ``classification`` and, where masks exist, ``localisation``; for ``metrics.json``.
        controls: what guesses would have scored; see :mod:`weakspot.evaluation.controls`.
        alarms: ``seen``, ``why`` and ``do`` of each control that did about as well.
        curve: ``thresholds`` and box accuracy at each, also by defect type and size; None without masks.
    """

    predictions: list[Prediction]
    test: dict[str, Any]
    controls: dict[str, Any]
    alarms: list[dict[str, str]]
    curve: dict[str, Any] | None


def evaluate_maps(
    store: OutputStore,
    samples: Sequence[Sample],
    classes: Sequence[str],
    preprocess: Preprocess,
    rule: BoxRule,
    decision: Decision,
    drawn: Mapping[Path, npt.NDArray[np.int64]] | None = None,
) -> Evaluation:
    """Decide, draw boxes and measure.

    Args:
        store: logits and maps of the images.
        samples: the same images, in the same order, with their true labels and masks.
        classes: class names, ``good`` first.
        preprocess: what brought the images to the network's input.
        rule: from evidence to boxes.
        decision: from logits to the class.
        drawn: true boxes that a person drew, by path, as in :meth:`Truth.read`.

    Raises:
        WeakspotError: when a defect type is not one of `classes`, or a mask is unusable.
    """
    targets = [target_of(sample, classes) for sample in samples]
    truth = Truth.read(samples, store.sizes, drawn)
    predictions = [
        make_prediction(
            path, _size(store, i), store[i], classes, preprocess, rule, decision, target=classes[targets[i]]
        )
        for i, path in enumerate(store.paths)
    ]
    probabilities = class_probabilities(predictions, classes)
    said = np.array([classes.index(prediction.label) for prediction in predictions], dtype=np.int64)
    test = class_metrics(probabilities, np.array(targets), said, classes, samples)
    controls: dict[str, Any] = {}
    alarms: list[dict[str, str]] = []
    for name, (control, raised) in {
        "shuffled_labels": shuffled_labels(np.array(targets), said, samples),
        "border": border_evidence(predictions),
    }.items():
        controls |= {name: control} if control else {}
        alarms += raised
    curve = None
    if truth.known:
        localisation, curve = _localisation(store, predictions, truth, classes, preprocess, rule)
        test["localisation"] = localisation
        boxes, raised = box_controls(truth, predictions)
        controls, alarms = boxes | controls, [*alarms, *raised]
    return Evaluation(predictions, test, controls, alarms, curve)


def class_metrics(
    probabilities: npt.NDArray[np.float64],
    targets: npt.NDArray[np.int64],
    said: npt.NDArray[np.int64],
    classes: Sequence[str],
    samples: Sequence[Sample],
) -> dict[str, Any]:
    """``classification``, ``calibration`` and, for more than two classes, ``good_or_not`` (all defects for one class).

    Where the split knows of parts, intervals are wide enough for drawing parts.

    Args:
        probabilities: ``(n, classes)``.
        targets: true classes ``(n,)``.
        said: decided classes ``(n,)``.
        classes: class names, ``good`` first.
        samples: the images.
    """
    defects, clusters = [sample.defect for sample in samples], group_numbers(samples)

    def measured(true: IntArray, shares: FloatArray, decided: IntArray, names: Sequence[str]) -> dict[str, Any]:
        found = classification_metrics(true, shares, names, defects, predicted=decided)
        if len(set(clusters)) == len(samples):
            return found
        return widened_by_groups(found, true, shares, decided, defects, clusters)

    found = {"classification": measured(targets, probabilities, said, classes)}
    if len(classes) > 2:
        found["good_or_not"] = measured(*as_good_or_not(targets, probabilities, said), (GOOD, ANOMALY))
    return {**found, "calibration": calibration_metrics(probabilities, targets)}


def calibration_metrics(probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Whether probabilities mean what they say: ``ece``, ``brier`` (of not-Good), ``n``, and the ``reliability`` bins.

    Args:
        probabilities: ``(n, classes)``.
        targets: ``(n,)``.
    """
    n = len(targets)
    confidence = probabilities.max(axis=1, initial=0)
    right = probabilities.argmax(axis=1) == targets if n else np.zeros(0)
    brier = float(np.mean((1 - probabilities[:, 0] - (targets != 0)) ** 2)) if n else math.nan
    return {
        "ece": expected_calibration_error(confidence, right),
        "brier": brier,
        "n": n,
        "reliability": reliability(confidence, right),
    }


def measure_some(
    predictions: Sequence[Prediction],
    samples: Sequence[Sample],
    sizes: npt.NDArray[np.int64],
    classes: Sequence[str],
    kept: Sequence[int],
    drawn: Mapping[Path, npt.NDArray[np.int64]] | None = None,
) -> dict[str, Any]:
    """Measure some of the images again: ``classification``, ``localisation`` (None without a mask).

    Args:
        predictions: of all images.
        samples: the same images' labels and masks.
        sizes: their ``(height, width)``, shape ``(n, 2)``.
        classes: class names, ``good`` first.
        kept: positions of those to measure; may be none.
        drawn: as in :meth:`Truth.read`.
    """
    some, said = [samples[i] for i in kept], [predictions[i] for i in kept]
    truth = Truth.read(some, sizes[list(kept)], drawn)
    targets = np.array([target_of(sample, classes) for sample in some], dtype=np.int64)
    defects = [sample.defect for sample in some]
    return {
        "classification": classification_metrics(
            targets,
            class_probabilities(said, classes),
            classes,
            defects,
            predicted=np.array([classes.index(prediction.label) for prediction in said], dtype=np.int64),
        ),
        "localisation": truth.localise([boxes_array(p.boxes) for p in said]) if truth.known else None,
    }


def _localisation(
    store: OutputStore,
    predictions: Sequence[Prediction],
    truth: Truth,
    classes: Sequence[str],
    preprocess: Preprocess,
    rule: BoxRule,
) -> tuple[dict[str, Any], dict[str, Any]]:
    boxes = [boxes_array(p.boxes) for p in predictions]
    metrics = truth.localise(boxes)
    clusters = np.array(group_numbers(truth.samples))[truth.known]
    if len(set(clusters.tolist())) < len(clusters):
        v2 = np.array([levels_reached(boxes[i], truth.boxes[i]) for i in truth.known])
        estimate = cluster_estimate(v2, clusters.tolist(), np.zeros(len(v2)))
        metrics["v2"] |= {"low": estimate.low, "high": estimate.high}
    decided = [classes.index(p.label) for p in predictions]

    def evidence(kind: Callable[[ModelOutput], Maps], i: int) -> Maps:
        map_ = kind(_visible(store, i, preprocess))
        return map_ if store.mask_logits is not None else upsample(map_, preprocess.input_size(_size(store, i)))

    hits = [pointing_hit(evidence(shown_map, i), truth.mask(i)) for i in truth.known]
    measurable = truth.measurable
    # Memory: all pixels are sorted at once.
    side = int(np.clip(np.sqrt(PIXEL_BUDGET / max(1, len(measurable))), 64, 512))
    good = [i for i, sample in enumerate(truth.samples) if sample.is_good]
    thresholds, ious = _sweep(store, decided, truth, preprocess, rule)
    metrics |= {
        "pointing_game": proportion(sum(hits), len(hits)).as_dict(),
        "pixel": pixel_metrics(((evidence(comparable_map, i), truth.mask(i)) for i in measurable), longest_side=side),
        "false_boxes_per_100_good": _per_100([len(boxes[i]) for i in good]),
        "before_decision": before_decision(store, good, preprocess, rule),
        "resolution": resolution(store, preprocess, truth),
        "trust": trust_metrics(predictions, truth),
        **max_box_accuracy(ious, thresholds),
        "detection": detection_metrics(
            [boxes[i] for i in measurable],
            [np.array([box.score for box in predictions[i].boxes]) for i in measurable],
            [truth.boxes[i].astype(np.float64) for i in measurable],
            [_size(store, i) for i in measurable],
        ),
    }
    return metrics, _curve(thresholds, ious, truth)


def _curve(
    thresholds: npt.NDArray[np.float64], ious: npt.NDArray[np.float64], truth: Truth
) -> dict[str, list[float] | dict[str, list[float]]]:
    """Box accuracy at every threshold, and V2 by defect type and size; IoUs are ``(t, n)`` of the images known."""
    v2 = np.mean([ious >= level for level in IOU_LEVELS], axis=0)
    defects = np.array([truth.samples[i].defect for i in truth.known], dtype=object)
    sizes = np.array([size_class(truth.shares[i]) for i in truth.known], dtype=object)

    def v2_of(names: npt.NDArray[np.object_]) -> dict[str, list[float]]:
        return {name: v2[:, names == name].mean(axis=1).tolist() for name in sorted(set(names))}

    return {
        "thresholds": thresholds.tolist(),
        "mean_iou": ious.mean(axis=1).tolist(),
        **{f"box_accuracy_{int(100 * level)}": (ious >= level).mean(axis=1).tolist() for level in (0.3, 0.5, 0.7)},
        "v2_by_defect": v2_of(defects),
        "v2_by_size": v2_of(sizes),
    }


def threshold_steps(store: OutputStore, images: Sequence[int], rule: BoxRule) -> npt.NDArray[np.float64]:
    """Thresholds worth trying: shares of a map's range if relative, else from the median of the images' evidence up."""
    if rule.threshold_kind == "relative":
        return np.arange(1, SWEEP_STEPS + 1) / (SWEEP_STEPS + 1)
    said = [store[i] for i in images]
    planes = [comparable_map(one) if one.mask_logits is None else one.mask_logits.astype(np.float32) for one in said]
    low, high = (np.quantile(np.concatenate([p.ravel() for p in planes]), [0.5, 0.999])) if planes else (0.0, 1.0)
    return np.linspace(low, high, SWEEP_STEPS)


def _sweep(
    store: OutputStore, decided: Sequence[int], truth: Truth, preprocess: Preprocess, rule: BoxRule
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Best IoU of every image with a mask at every threshold: ``(t,)`` and ``(t, n)``."""
    steps = threshold_steps(store, [i for i in truth.known if decided[i]], rule)
    thresholds = np.unique(np.append(steps, rule.threshold))
    said = [_visible(store, i, preprocess) for i in truth.known]
    ious = np.zeros((len(thresholds), len(truth.known)))
    for t, threshold in enumerate(thresholds):
        at_threshold = replace(rule, threshold=float(threshold))
        for n, i in enumerate(truth.known):
            boxes = _draw(said[n], decided[i], _size(store, i), preprocess, at_threshold)
            ious[t, n] = best_iou(boxes_array(boxes)[:BEST_BOXES], truth.boxes[i])
    return thresholds, ious


def class_probabilities(predictions: Sequence[Prediction], classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """``(n, classes)``, in the order of `classes`."""
    rows = [{c.name: c.confidence for c in p.classes} for p in predictions]
    return np.array([[row[name] for name in classes] for row in rows], dtype=np.float64).reshape(-1, len(classes))


def undecided_boxes(store: OutputStore, index: int, preprocess: Preprocess, rule: BoxRule) -> list[Box]:
    """The boxes of an image's likeliest defect, whatever class the image is given."""
    said = _visible(store, index, preprocess)
    return _draw(said, said.likeliest_defect, _size(store, index), preprocess, rule)


def _draw(said: ModelOutput, index: int, size: Size, preprocess: Preprocess, rule: BoxRule) -> list[Box]:
    return draw_boxes(said, index, size, preprocess.input_size(size), rule, "")


def before_decision(store: OutputStore, good: Sequence[int], preprocess: Preprocess, rule: BoxRule) -> dict[str, Any]:
    """How many boxes Good images would get if no class decision took them away.

    Returns:
        ``false_boxes_per_100_good``, and ``good_images_with_a_box``, a proportion with its Clopper–Pearson interval.
    """
    counts = [len(undecided_boxes(store, i, preprocess, rule)) for i in good]
    return {
        "false_boxes_per_100_good": _per_100(counts),
        "good_images_with_a_box": proportion(sum(count > 0 for count in counts), len(counts)).as_dict(),
    }


def resolution(store: OutputStore, preprocess: Preprocess, truth: Truth) -> dict[str, Any]:
    """How small a defect the maps can tell at all.

    A box whose edges are off by half a cell on each side still reaches an IoU of 0.5 with a true box of side s where
    (s / (s + cell))² ≥ 0.5, which is s ≥ cell / (√2 - 1).

    Returns:
        ``cell`` (longer side of a map's cell in pixels of the original image, median over the images), ``smallest``
        (shortest side of a box that can be localised), ``smaller``, a proportion of the true boxes.
    """
    shape = store.maps.shape[2:] if store.mask_logits is None else store.mask_logits.shape[1:]
    cells = []
    for height, width in store.sizes:
        size = (int(height), int(width))
        whole, shrinking = preprocess.input_size(size), preprocess.shrinking(size)
        cells.append([side / n * factor for side, n, factor in zip(whole, shape, shrinking, strict=True)])
    limits = np.array(cells) / (np.sqrt(2) - 1)
    too_small = [
        bool(((box[3] - box[1]) < limits[i, 0]) or ((box[2] - box[0]) < limits[i, 1]))
        for i in truth.known
        for box in truth.boxes[i]
    ]
    cell = float(np.median(np.max(cells, axis=1)))
    return {
        "cell": cell,
        "smallest": cell / (np.sqrt(2) - 1),
        "smaller": proportion(sum(too_small), len(too_small)).as_dict(),
    }


def calibrated_rule(rule: BoxRule, held_out: OutputStore, preprocess: Preprocess) -> tuple[BoxRule, Calibration]:
    """Turn a ``calibrated`` rule into an absolute one whose smallest score keeps false boxes rare.

    Args:
        rule: its ``threshold`` says how far a box goes, ``false_boxes`` how many are wanted.
        held_out: Good images that nothing was learnt from.
        preprocess: what brought the images to the network's input.
    """
    every = rule.absolute(min_score=None)
    scores = [box.score for i in range(len(held_out)) for box in undecided_boxes(held_out, i, preprocess, every)]
    calibration = calibrate(scores, len(held_out), rule.false_boxes)
    return rule.absolute(min_score=calibration.min_score), calibration


def _per_100(counts: Sequence[int]) -> float:
    return 100 * sum(counts) / len(counts) if counts else float("nan")


def _visible(store: OutputStore, index: int, preprocess: Preprocess) -> ModelOutput:
    return visible(store[index], _size(store, index), preprocess)


def _size(store: OutputStore, index: int) -> Size:
    height, width = store.sizes[index]
    return int(height), int(width)
