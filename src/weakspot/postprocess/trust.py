"""How far a box can be trusted, judged from the model's output for the picture alone, without any mask.

Two or three opinions count, and the lowest is the box's trust:

* *stability*: would a somewhat lower or higher threshold have drawn the same box? This is the mean IoU with the nearest
  boxes at four other thresholds; the idea of maximally stable regions (Matas et al., "Robust Wide Baseline Stereo",
  BMVC 2002).
* *agreement*: does the class activation map, which was learnt from image labels alone, show the defect there too? This
  is its highest value inside the box, as a share of its range in the image.
* *flip test-time augmentation*, where it is switched on (``flip_tta=true``, another forward pass): is the same box
  drawn on the mirrored picture? This is the IoU with the nearest one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from weakspot.config.rules import BoxRule
from weakspot.ops.iou import box_iou
from weakspot.ops.resize import scale_min_max
from weakspot.postprocess.boxes import boxes_array, find_boxes
from weakspot.types import Box, FloatArray, Size

Level = Literal["green", "amber", "red"]

GREEN, AMBER = 0.75, 0.5
"""Trust from which on a box is green, or amber; below it is red."""

LOGIT_STEPS = (-3.0, -1.5, 1.5, 3.0)
"""Other thresholds to try, in logit units: the odds of a defect 20 and 4 times lower and higher."""

RANGE_STEPS = (-0.2, -0.1, 0.1, 0.2)
"""The same for a map that knows no odds, as shares of its range."""

REASONS = {
    "stability": "its edges move with the threshold",
    "agreement": "the class activation map sees the defect elsewhere",
    "flip test-time augmentation": "the mirrored picture gets another box",
}


def level(trust: float) -> Level | None:
    """The colour of a trust value 0…1; None for NaN."""
    if math.isnan(trust):
        return None
    return "green" if trust >= GREEN else "amber" if trust >= AMBER else "red"


def with_trust(
    boxes: Sequence[Box],
    evidence: FloatArray,
    scores: FloatArray,
    class_map: FloatArray,
    size: Size,
    rule: BoxRule,
    *,
    in_logits: bool,
    flipped: FloatArray | None = None,
) -> list[Box]:
    """Give each box its ``trust`` and, where that is not green, its ``doubt``.

    Args:
        boxes: of one image.
        evidence: the map that they were drawn round, ``(h, w)``.
        scores: the map that they were scored by, ``(h, w)``.
        class_map: map of the class that was decided, ``(h', w')``, any range; finite.
        size: ``(height, width)`` of the original image.
        rule: that they were drawn by.
        in_logits: whether the evidence is in logit units; else thresholds move by shares of its range.
        flipped: the evidence of the mirrored pass, ``(h, w)``; None without flip test-time augmentation.

    Returns:
        Copies of the boxes, in the same order.
    """
    if not boxes:
        return []
    others = [
        boxes_array(find_boxes(evidence, size, other, score_map=scores))
        for other in _other_rules(rule, evidence, in_logits=in_logits)
    ]
    second = None if flipped is None else boxes_array(find_boxes(flipped, size, _open(rule)))
    seen = scale_min_max(class_map)
    result = []
    for box in boxes:
        own = boxes_array([box])
        opinions = {
            "stability": float(np.mean([box_iou(own, other).max(initial=0.0) for other in others])),
            "agreement": 0.0 if seen is None else _highest_inside(seen, box, size),
        }
        if second is not None:
            opinions["flip test-time augmentation"] = float(box_iou(own, second).max(initial=0.0))
        weakest = min(opinions, key=lambda name: opinions[name])
        trust = opinions[weakest]
        result.append(replace(box, trust=trust, doubt="" if trust >= GREEN else REASONS[weakest]))
    return result


def _other_rules(rule: BoxRule, evidence: FloatArray, *, in_logits: bool) -> list[BoxRule]:
    """The same rule at other thresholds."""
    if rule.threshold_kind == "relative":
        moved = [min(1.0, max(1e-3, rule.threshold + step)) for step in RANGE_STEPS]
    elif in_logits:
        moved = [rule.threshold + step for step in LOGIT_STEPS]
    else:
        moved = [rule.threshold + step * float(np.ptp(evidence)) for step in RANGE_STEPS]
    return [replace(_open(rule), threshold=threshold) for threshold in moved]


def _open(rule: BoxRule) -> BoxRule:
    """The rule, with every box counting, whatever its score."""
    return replace(rule, min_score=None, outlines=False)


def _highest_inside(scaled: FloatArray, box: Box, size: Size) -> float:
    """Highest value in the cells that a box touches."""
    rows, columns = scaled.shape
    top, left = box.y0 * rows // size[0], box.x0 * columns // size[1]
    bottom, right = -(-box.y1 * rows // size[0]), -(-box.x1 * columns // size[1])
    return float(scaled[top:bottom, left:right].max())
