"""From logits and maps to predictions. NumPy only, as exported models use it."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.ops.maps import Maps, class_map, margin_map, region_at, visible
from weakspot.ops.resize import upsample
from weakspot.postprocess.box_class import with_class
from weakspot.postprocess.box_ranking import ranked
from weakspot.postprocess.boxes import find_boxes
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.familiarity import UNLIKE, Familiarity
from weakspot.postprocess.trust import CANDIDATES, DrawnFrom, box_features, with_probability, with_trust, with_trust_of
from weakspot.postprocess.trust_calibration import AMBER, TrustCalibration
from weakspot.types import Box, ClassConfidence, Level, ModelOutput, Prediction, Size

FINEST = 1024
"""Longest side, in pixels, that refined evidence is brought to; more would only be interpolation."""

SteppedKey = Literal["threshold", "min_score"]
"""Keys of a box rule that a slider may move."""

RIVALS = 3.0
"""A place that is less sure than its picture gets no box if its odds of a defect are more than e³ = 20 times lower than
those of the surest place. One that is as sure as the picture stays: it is a second defect."""

SURER = 1e-3
"""Share of the log-odds above the picture's that a place's score keeps: of two places that are both surer than their
picture, the surer one comes first."""


def make_prediction(
    name: Path,
    size: Size,
    output: ModelOutput,
    classes: Sequence[str],
    preprocess: Preprocess,
    rule: BoxRule,
    decision: Decision,
    *,
    trust: TrustCalibration | None = None,
    ranking: TrustCalibration | None = None,
    familiarity: Familiarity | None = None,
) -> Prediction:
    """Decide the class of one image and, unless it is Good, draw its boxes.

    Args:
        name: the file, or what to call an image without one.
        size: ``(height, width)`` of the original image.
        output: the model's output for the image.
        classes: class names, ``good`` first.
        preprocess: what brought the image to the network's input; class activation maps are up-sampled to that size
            before the threshold.
        rule: from evidence to boxes.
        decision: from logits to the class.
        trust: makes a probability of what is known of a box; None leaves trust uncalibrated.
        ranking: what boxes are ordered by; None for a model without one.
        familiarity: what is known of the pictures of training; None leaves the prediction without.

    Raises:
        WeakspotError: when a map that boxes are drawn on holds NaN or infinity.
    """
    measures = {} if familiarity is None else familiarity.measures(output)
    p_value = math.nan if familiarity is None or not measures else familiarity.p_value(measures["distance"])
    unlike = familiarity is not None and familiarity.unlike(p_value)
    output = visible(output, size, preprocess)
    probabilities = decision.probabilities(output.logits)
    decided = decision.decide(probabilities)
    boxes, whole = list[Box](), preprocess.input_size(size)
    if decided and ranking is not None:
        boxes, features = _ranked_boxes(output, decided, size, whole, rule, classes[decided], ranking)
        boxes = with_trust_of(boxes, features, trust) if boxes else []
    elif decided and (boxes := draw_boxes(output, decided, size, whole, rule, classes[decided])):
        boxes = trusted(boxes, output, decided, size, whole, rule, trust)
        if output.mask_logits is None:
            evidence, _ = _evidence(output, decided, size, whole, rule)
            boxes = with_probability(boxes, evidence, size, float(1.0 - probabilities[0]))
    boxes = with_class(boxes, output.maps, classes, size)
    if unlike:
        boxes = [distrusted(box) for box in boxes]
    remarks = [] if familiarity is None else familiarity.remarks(p_value, size)
    if decided and not boxes:
        remarks.append("no box: evidence below threshold")
    order = np.argsort(-probabilities, kind="stable")
    return Prediction(
        path=name,
        height=size[0],
        width=size[1],
        label=classes[decided],
        classes=tuple(ClassConfidence(classes[k], float(probabilities[k])) for k in order),
        probability=float(1.0 - probabilities[0]),
        message="; ".join(remarks),
        boxes=tuple(boxes),
        output=output,
        familiarity=p_value,
        unlike_training=unlike,
        measures=measures,
        estimates=output.named_estimates,
    )


def distrusted(box: Box) -> Box:
    """A box of a picture that is unlike those of training: neither what green promises nor a high trust holds there.

    Args:
        box: any.

    Returns:
        A copy that is not green, and whose trust is at most that of a box that is as likely right as wrong.
    """
    level: Level | None = "amber" if box.level == "green" else box.level
    return replace(box, trust=min(box.trust, AMBER), level=level, doubt=f"its picture is {UNLIKE}")


def trusted(
    boxes: Sequence[Box],
    output: ModelOutput,
    index: int,
    size: Size,
    input_size: Size,
    rule: BoxRule,
    calibration: TrustCalibration | None,
) -> list[Box]:
    """Add its trust to each box of one image.

    Args:
        boxes: what :func:`draw_boxes` drew from the other arguments.
        output: the model's output for the image, after :func:`~weakspot.ops.maps.visible`.
        index: number of the class of the boxes, not 0.
        size: ``(height, width)`` of the original image.
        input_size: ``(height, width)`` of the network's input for it.
        rule: that the boxes were drawn by.
        calibration: of trust; None where there is none.
    """
    return with_trust(boxes, _drawn_from(output, index, size, input_size, rule), rule, calibration)


def describe_boxes(
    boxes: Sequence[Box], output: ModelOutput, index: int, size: Size, input_size: Size, rule: BoxRule
) -> npt.NDArray[np.float64]:
    """What trust is made of, for each box of one image: ``(n, features)``.

    Args:
        boxes: what :func:`draw_boxes` drew from the other arguments, at least one.
        output: the model's output for the image, after :func:`~weakspot.ops.maps.visible`.
        index: number of the class of the boxes, not 0.
        size: ``(height, width)`` of the original image.
        input_size: ``(height, width)`` of the network's input for it.
        rule: that the boxes were drawn by.
    """
    return box_features(boxes, _drawn_from(output, index, size, input_size, rule), rule)


def _drawn_from(output: ModelOutput, index: int, size: Size, input_size: Size, rule: BoxRule) -> DrawnFrom:
    evidence, scores = _evidence(output, index, size, input_size, rule)
    flipped = output.as_flipped
    return DrawnFrom(
        evidence,
        scores,
        margin_map(output.maps, index),
        size,
        in_logits=output.mask_logits is not None,
        within=region_at(output, grid_of(evidence)),
        picture=float(logsumexp(output.logits[1:]) - output.logits[0]),
        flipped=None if flipped is None else _evidence(flipped, index, size, input_size, rule)[0],
    )


def draw_boxes(
    output: ModelOutput,
    index: int,
    size: Size,
    input_size: Size,
    rule: BoxRule,
    label: str,
    ranking: TrustCalibration | None = None,
) -> list[Box]:
    """Draw the boxes of one class on one image; none for Good (class 0).

    With evidence heads, the mask logits are thresholded and boxes are scored by the ranking
    (:mod:`weakspot.postprocess.box_ranking`) or, where there is none, by :func:`place_scores`. Without heads, a
    relative threshold uses the class's own map, an absolute one its margin over Good; scores are of the margin then, so
    that they can be compared between images.

    Args:
        output: the model's output for the image, after :func:`~weakspot.ops.maps.visible`.
        index: number of the class.
        size: ``(height, width)`` of the original image.
        input_size: ``(height, width)`` of the network's input for it.
        rule: from evidence to boxes.
        label: class name written on every box.
        ranking: what boxes are ordered by; None for a model without one.

    Returns:
        Boxes in pixels of the original image, highest score first, still without trust.

    Raises:
        WeakspotError: when a map holds NaN or infinity.
    """
    if index == 0:
        return []
    if ranking is not None:
        return _ranked_boxes(output, index, size, input_size, rule, label, ranking)[0]
    evidence, scores = _evidence(output, index, size, input_size, rule)
    within = region_at(output, grid_of(evidence))
    return find_boxes(evidence, size, rule, score_map=scores, within=within, label=label)


def _ranked_boxes(
    output: ModelOutput,
    index: int,
    size: Size,
    input_size: Size,
    rule: BoxRule,
    label: str,
    ranking: TrustCalibration,
) -> tuple[list[Box], npt.NDArray[np.float64]]:
    """Boxes as :func:`draw_boxes` draws them, and what is known of each, which takes longer than the boxes."""
    maps = _drawn_from(output, index, size, input_size, rule)
    every = replace(rule, min_score=None, max_boxes=CANDIDATES)
    boxes = find_boxes(maps.evidence, size, every, score_map=maps.scores, within=maps.within, label=label)
    if not boxes:
        return [], np.zeros((0, 0))
    boxes, features = ranked(boxes, box_features(boxes, maps, rule), ranking)
    kept = _above(boxes, rule)
    return kept, features[: len(kept)]


def _above(boxes: Sequence[Box], rule: BoxRule) -> list[Box]:
    """Of boxes in decreasing score, those that the rule leaves."""
    return [box for box in boxes if rule.min_score is None or box.score >= rule.min_score][: rule.max_boxes]


def draw_boxes_at(
    output: ModelOutput,
    index: int,
    size: Size,
    input_size: Size,
    rule: BoxRule,
    key: SteppedKey,
    steps: Sequence[float],
    label: str,
    calibration: TrustCalibration | None = None,
    ranking: TrustCalibration | None = None,
) -> list[list[Box]]:
    """Draw boxes as :func:`draw_boxes` does, at many values of one key of the rule; what they share is done once.

    Args:
        output: the model's output for the image, after :func:`~weakspot.ops.maps.visible`.
        index: number of the class, not 0.
        size: ``(height, width)`` of the original image.
        input_size: ``(height, width)`` of the network's input for it.
        rule: the rule; its value of `key` does not matter.
        key: ``threshold`` or ``min_score``. With ``min_score`` boxes come with their trust, which does not depend on
            it.
        steps: values of `key`, in any order.
        label: class name written on every box.
        calibration: of trust; None where there is none.
        ranking: what boxes are ordered by; None where there is none.

    Returns:
        The boxes at each step.
    """
    if ranking is not None:
        if key == "threshold":
            moved = (replace(rule, threshold=step) for step in steps)
            return [draw_boxes(output, index, size, input_size, one, label, ranking) for one in moved]
        every = replace(rule, min_score=None, max_boxes=CANDIDATES)
        candidates = draw_boxes(output, index, size, input_size, every, label, ranking)
        judged = trusted(candidates, output, index, size, input_size, rule, calibration) if candidates else []
        return [_above(judged, replace(rule, min_score=step)) for step in steps]
    evidence, scores = _evidence(output, index, size, input_size, rule)
    within = region_at(output, grid_of(evidence))

    def at(step: float) -> list[Box]:
        moved = replace(rule, threshold=step) if key == "threshold" else replace(rule, min_score=step)
        return find_boxes(evidence, size, moved, score_map=scores, within=within, label=label)

    if key == "threshold":
        return [at(step) for step in steps]
    # Boxes differ only where another region is left out, so they are drawn once for each number of regions.
    every = replace(rule, min_score=None, merge=None, max_boxes=sys.maxsize, outlines=False)
    peaks = np.array([box.score for box in find_boxes(evidence, size, every, score_map=scores, within=within)])
    left = [int((peaks >= step).sum()) for step in steps]
    drawn = {count: at(step) for count, step in dict(zip(left, steps, strict=True)).items()}
    distinct = list({box.xyxy: box for boxes in drawn.values() for box in boxes}.values())
    found = {box.xyxy: box for box in trusted(distinct, output, index, size, input_size, rule, calibration)}
    for count, boxes in drawn.items():
        known = [(box, found[box.xyxy]) for box in boxes]
        drawn[count] = [replace(box, trust=one.trust, doubt=one.doubt, level=one.level) for box, one in known]
    return [drawn[count] for count in left]


def _evidence(output: ModelOutput, index: int, size: Size, input_size: Size, rule: BoxRule) -> tuple[Maps, Maps]:
    """What boxes go round, and what they are scored by."""
    if output.mask_logits is not None and output.location_logits is not None:
        grid = evidence_grid(size)
        return upsample(output.mask_logits, grid), place_scores(upsample(output.location_logits, grid), output.logits)
    scores = upsample(margin_map(output.maps, index), input_size)
    relative = rule.threshold_kind == "relative"
    return upsample(class_map(output.maps, index), input_size) if relative else scores, scores


def grid_of(map_: Maps) -> Size:
    """The ``(height, width)`` of a map, in cells."""
    return map_.shape[0], map_.shape[1]


def place_scores(location_logits: Maps, logits: npt.NDArray[np.float32]) -> Maps:
    """Score the places of a picture: a place is no surer than the picture it is in.

    A ranking looks at these scores among other things; without one, boxes of the evidence heads are scored by them.

    Args:
        location_logits: log-odds that there is a defect at a place, ``(h, w)``.
        logits: of the classes, Good first.

    Returns:
        The lower of the place's log-odds and the image's; a place that is surer than the image scores the share
        :data:`SURER` of the difference more. Minus infinity, so that no box is drawn there, where a place is both much
        less sure than the surest one (:data:`RIVALS`) and less sure than the image.
    """
    of_image = np.float32(logsumexp(logits[1:]) - logits[0])
    rivals = location_logits >= min(location_logits.max() - RIVALS, of_image)
    lower = np.minimum(location_logits, of_image)
    scores: Maps = np.where(rivals, lower + SURER * (location_logits - lower), -np.inf).astype(np.float32)
    return scores


def evidence_grid(size: Size) -> Size:
    """The grid on which mask logits are thresholded: the original image's pixels, at most :data:`FINEST` along a side.

    Args:
        size: ``(height, width)`` of the original image.
    """
    scale = min(1.0, FINEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
