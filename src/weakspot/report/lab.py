"""The threshold lab of a report: every image's boxes at other thresholds, drawn by the code that draws all boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.config.rules import BoxRule
from weakspot.evaluation.thresholds import threshold_steps, undecided_boxes
from weakspot.evaluation.truth import Truth
from weakspot.metrics import BEST_BOXES, IOU_LEVELS, best_iou, box_iou
from weakspot.models.bundle import BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import visible
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing, SteppedKey
from weakspot.postprocess.predictions import distrusted
from weakspot.types import GOOD, Box, Prediction

SCORE_STEPS = 39


@dataclass(frozen=True)
class LabImage:
    """One image's boxes at every step.

    Attributes:
        boxes: all boxes that occur at any step.
        at: ``[first step, positions in boxes, best IoU]`` for every step at which the boxes change; the IoU is that of
            the three best boxes, None without a true box. For an image called Good, these are the boxes it would have
            if it were called defective.
    """

    boxes: list[Box]
    at: list[tuple[int, list[int], float | None]]

    def at_step(self, step: int) -> tuple[list[Box], float | None]:
        """Boxes and best IoU at one step.

        Args:
            step: its number, from 0.
        """
        _, positions, iou = [entry for entry in self.at if entry[0] <= step][-1]
        return [self.boxes[i] for i in positions], iou


@dataclass(frozen=True)
class Lab:
    """All images' boxes at every step.

    Attributes:
        key: the key of the box rule that is moved, ``threshold`` or ``min_score``.
        steps: its values, rising.
        in_use: position of the rule's own value among them.
        images: one for each image.
        curve: measures at each step, see :func:`_measure`.
    """

    key: SteppedKey
    steps: list[float]
    in_use: int
    images: list[LabImage]
    curve: list[dict[str, float]]


def make_lab(store: OutputStore, predictions: Sequence[Prediction], truth: Truth, meta: BundleMeta) -> Lab:
    """Draw every image's boxes at about 40 thresholds.

    Of a rule with a smallest score, the smallest score is moved, because it decides whether a box is drawn; of any
    other rule, the threshold.

    Args:
        store: logits and maps.
        predictions: of the same images.
        truth: their true boxes.
        meta: description of the model; its box rule is the one in use.
    """
    rule = replace(meta.boxes, outlines=False)
    key: SteppedKey = "threshold" if rule.min_score is None else "min_score"
    defects = [i for i, prediction in enumerate(predictions) if prediction.label != GOOD]
    steps = (
        _score_steps(store, meta, rule)
        if key == "min_score"
        else threshold_steps([store[i] for i in defects], rule).tolist()
    )
    in_use = float(rule.threshold if rule.min_score is None else rule.min_score)
    steps = sorted({*(step for step in steps if step != in_use), in_use})
    images = [_image(store, i, prediction, truth, meta, rule, key, steps) for i, prediction in enumerate(predictions)]
    curve = [_measure(step, images, predictions, truth) for step in range(len(steps))]
    return Lab(key, steps, steps.index(in_use), images, curve)


def as_drawn(prediction: Prediction, true: npt.NDArray[np.int64]) -> LabImage:
    """The boxes that an image has, for a page on which no threshold can be moved.

    Args:
        prediction: of the image.
        true: its true boxes ``(m, 4)``.
    """
    iou = best_iou(boxes_array(prediction.boxes)[:BEST_BOXES], true.astype(np.float64))
    at = (0, list(range(len(prediction.boxes))), None if math.isnan(iou) else iou)
    return LabImage(list(prediction.boxes), [at])


def _score_steps(store: OutputStore, meta: BundleMeta, rule: BoxRule) -> list[float]:
    """Between the lowest and the highest score of any box, with as many boxes between any two steps."""
    every = replace(rule, min_score=None)
    scores = [box.score for i in range(len(store)) for box in _undecided(store, i, meta, every)]
    if not scores:
        return []
    return [float(step) for step in np.unique(np.quantile(scores, np.linspace(0, 1, SCORE_STEPS)))]


def _undecided(store: OutputStore, index: int, meta: BundleMeta, rule: BoxRule) -> list[Box]:
    return undecided_boxes(store, index, meta.preprocess, rule, meta.ranking)


def _image(
    store: OutputStore,
    index: int,
    prediction: Prediction,
    truth: Truth,
    meta: BundleMeta,
    rule: BoxRule,
    key: SteppedKey,
    steps: Sequence[float],
) -> LabImage:
    output = visible(store[index], prediction.size, meta.preprocess)
    decided = meta.classes.index(prediction.label) or output.likeliest_defect
    whole = meta.preprocess.input_size(prediction.size)
    label = meta.classes[decided]
    drawn = Drawing(output, decided, prediction.size, whole, rule).boxes_at(key, steps, label, meta.ranking, meta.trust)
    # The rule's own boxes have been trusted or not already.
    boxes = {_key(box): box for box in prediction.boxes}
    true = truth.boxes[index].astype(np.float64)
    at: list[tuple[int, list[int], float | None]] = []
    for step, here in enumerate(drawn):
        for box in here:
            if _key(box) not in boxes:
                boxes[_key(box)] = distrusted(box) if prediction.unlike_training else box
        order = {known: position for position, known in enumerate(boxes)}
        positions = [order[_key(box)] for box in here]
        if not at or at[-1][1] != positions:
            iou = best_iou(boxes_array(here)[:BEST_BOXES], true)
            at.append((step, positions, None if math.isnan(iou) else iou))
    return LabImage(list(boxes.values()), at)


def _key(box: Box) -> tuple[int, int, int, int, float]:
    return (*box.xyxy, box.score)


def _measure(step: int, images: Sequence[LabImage], predictions: Sequence[Prediction], truth: Truth) -> dict[str, Any]:
    """What the whole test subset comes to at one step.

    Returns:
        ``mean_iou``, ``box_accuracy_30``, ``_50``, ``_70`` and ``max_box_acc_v2``, their mean, over the images with a
        mask, where one called Good has no box; ``boxes`` drawn and ``fitting``, those among them on images whose truth
        is known that overlap a true box with an IoU of 0.3 or more, of ``judged`` ones (none without masks);
        ``false_per_100`` Good images, and ``false_per_100_before`` the class decision.
    """
    good = [i for i, sample in enumerate(truth.samples) if sample.is_good]
    measurable, known = set(truth.fully_labelled), set(truth.with_boxes)
    ious, boxes, fitting, judged, false, before = list[float](), 0, 0, 0, 0, 0
    for i, (image, prediction) in enumerate(zip(images, predictions, strict=True)):
        here, iou = image.at_step(step)
        is_good = truth.samples[i].is_good
        before += len(here) * is_good
        if prediction.label == GOOD:
            here, iou = [], 0.0
        if i in known:
            ious.append(iou or 0.0)
        boxes += len(here)
        false += len(here) * is_good
        if known and i in measurable and here:  # without any mask a box on a Good picture would be all that is judged
            judged += len(here)
            overlaps = box_iou(boxes_array(here), truth.boxes[i].astype(np.float64))
            fitting += int((overlaps.max(axis=1, initial=0.0) >= IOU_LEVELS[0]).sum())
    reached = [float(np.mean(np.array(ious) >= lev)) if ious else math.nan for lev in IOU_LEVELS]
    return {
        **{f"box_accuracy_{round(100 * lev)}": share for lev, share in zip(IOU_LEVELS, reached, strict=True)},
        "max_box_acc_v2": float(np.mean(reached)),
        "mean_iou": float(np.mean(ious)) if ious else math.nan,
        "boxes": boxes,
        "fitting": fitting,
        "judged": judged,
        "false_per_100": 100 * false / len(good) if good else math.nan,
        "false_per_100_before": 100 * before / len(good) if good else math.nan,
    }
