"""How far a box can be trusted, judged from the model's output for the picture alone, without any mask.

What is known of a box (:data:`~weakspot.postprocess.trust_calibration.FEATURES`):

* *picture*: the log-odds that the picture is not Good, by their inverse hyperbolic sine, which tames very large ones.
* *score*: of the box, in log-odds, likewise. Where a ranking is fitted, it is fitted on the lower of the log-odds of a
  defect at the box's place and in its picture, and trust on what the ranking then says.
* *contrast*: by how much the map is higher inside the box than round it, as a share of its range (or as a difference of
  probabilities, with evidence heads).
* *cover*: the share of the picture that the box leaves free; a box round nearly everything says little.
* *stability*: would a somewhat lower or higher threshold have drawn the same box? This is the mean IoU with the nearest
  boxes at four other thresholds; the idea of maximally stable regions (Matas et al., "Robust Wide Baseline Stereo",
  BMVC 2002).
* *agreement*: does the class activation map, which was learnt from image labels alone, show the defect there too? This
  is its highest value inside the box, as a share of its range in the image.
* *flip test-time augmentation*, where it is switched on (``flip_tta=true``, another forward pass): is the same box
  drawn on the mirrored picture? This is the IoU with the nearest one.

A model that was calibrated on held-out pictures (:mod:`weakspot.postprocess.trust_calibration`) makes of them the
probability that the box reaches IoU 0.5. Without, trust is the lowest of the last three, or less for a box that covers
over half of the picture; that is no probability, and nothing is green.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from weakspot.config.rules import BoxRule
from weakspot.ops.iou import box_iou
from weakspot.ops.resize import scale_min_max
from weakspot.postprocess.boxes import boxes_array, find_boxes
from weakspot.postprocess.trust_calibration import AMBER, FEATURES, TrustCalibration
from weakspot.types import BoolArray, Box, FloatArray, Level, Size

SURE = 0.75
"""A box below it gets a reason that is its own; above it, only what keeps every box from being green."""

LOGIT_STEPS = (-3.0, -1.5, 1.5, 3.0)
"""Other thresholds to try, in logit units: the odds of a defect 20 and 4 times lower and higher."""

RANGE_STEPS = (-0.2, -0.1, 0.1, 0.2)
"""The same for a map that knows no odds, as shares of its range."""

RING = 0.25
"""Width of what lies round a box, as a share of its sides; at least a cell."""

CANDIDATES = 50
"""Boxes of an image that are looked at, at most; those whose places are surest come first."""

FLIP = FEATURES[-1]

REASONS = {
    "picture": "the model is hardly sure that the picture is defective",
    "score": "its score is low",
    "contrast": "it stands out little from what lies round it",
    "cover": "it covers much of the picture",
    "stability": "its edges move with the threshold",
    "agreement": "the class activation map sees the defect elsewhere",
    FLIP: "the mirrored picture gets another box",
}

MEANING: dict[Level, str] = {"green": "proven", "amber": "not proven", "red": "not trusted"}
"""What the colours say, wherever they are explained. The number beside a box is an estimate, so that a box may have a
high one and still be amber: green is what held-out pictures prove."""

NOT_MIRRORED = "the mirrored picture was not looked at, which its trust was calibrated with"
NOT_CALIBRATED = "its trust is not calibrated on held-out images"
SELDOM = "boxes like it are not right often enough"


@dataclass(frozen=True)
class DrawnFrom:
    """What the boxes of one image were drawn from.

    Attributes:
        evidence: the map that they were drawn round, ``(h, w)``.
        scores: the map that they were scored by, ``(h, w)``.
        class_map: map of the class that was decided, ``(h', w')``, any range; finite.
        size: ``(height, width)`` of the original image.
        in_logits: whether the evidence is in logit units; else thresholds move by shares of its range.
        picture: log-odds that the image is not Good.
        flipped: the evidence of the mirrored pass, ``(h, w)``; None without flip test-time augmentation.
        within: the region of interest, ``(h, w)``; None where all of the image counts.
    """

    evidence: FloatArray
    scores: FloatArray
    class_map: FloatArray
    size: Size
    in_logits: bool
    picture: float = math.nan
    flipped: FloatArray | None = None
    within: BoolArray | None = None


def level(box: Box) -> Level | None:
    """The colour of a box; of one from a file that does not name it, by trust that was not calibrated."""
    if box.level is not None or math.isnan(box.trust):
        return box.level
    return "amber" if box.trust >= AMBER else "red"


def with_trust(
    boxes: Sequence[Box], drawn_from: DrawnFrom, rule: BoxRule, calibration: TrustCalibration | None = None
) -> list[Box]:
    """Give each box its ``trust``, its ``level`` and, where that is not green, its ``doubt``.

    Args:
        boxes: of one image.
        drawn_from: the maps that they come from.
        rule: that they were drawn by.
        calibration: makes a probability of what is known of a box; None takes the lowest of a few opinions.

    Returns:
        Copies of the boxes, in the same order.
    """
    if not boxes:
        return []
    return with_trust_of(boxes, box_features(boxes, drawn_from, rule), calibration)


def with_trust_of(
    boxes: Sequence[Box], features: npt.NDArray[np.float64], calibration: TrustCalibration | None = None
) -> list[Box]:
    """As :func:`with_trust`, of boxes whose features are known already.

    Args:
        boxes: of one image, at least one.
        features: from :func:`box_features`, in the same order.
        calibration: likewise. Without the mirrored pass that it was fitted with, that opinion counts as a right box
            usually has it, and nothing is green, as what green promises was counted with it.
    """
    if calibration is None:
        return [_uncalibrated(box, row) for box, row in zip(boxes, features, strict=True)]
    width = len(calibration.features)
    known = np.tile(np.array(calibration.typical), (len(boxes), 1))
    known[:, : features.shape[1]] = features[:, :width]
    if features.shape[1] < width:
        calibration = calibration.without_promise(NOT_MIRRORED)
    again = features[:, width:].min(axis=1, initial=1.0)  # the mirrored pass, where nothing was fitted on it
    trusts, losses = calibration.probabilities(known), calibration.losses(known)
    result = []
    for box, trust, seen, loss in zip(boxes, trusts, again, losses, strict=True):
        doubt = REASONS[calibration.features[int(loss.argmax())]] if loss.max() > 0 else SELDOM
        doubt = REASONS[FLIP] if seen < trust else doubt
        result.append(_coloured(box, float(min(trust, seen)), doubt, calibration))
    return result


def with_probability(boxes: Sequence[Box], evidence: FloatArray, size: Size, picture: float) -> list[Box]:
    """Give each box of plain class activation maps a score in 0…1 that can be compared between pictures.

    The highest margin inside a box, its ``score``, is far above any log-odds, so that its logistic function is 1
    everywhere.

    Args:
        boxes: of one image.
        evidence: the map that they were drawn round, ``(h, w)``.
        size: ``(height, width)`` of the original image.
        picture: probability that the image is not Good.

    Returns:
        Copies of the boxes, in the same order, with that probability times the mean of the map, scaled to 0…1, inside.
    """
    scaled = scale_min_max(evidence)
    means = [0.0 if scaled is None else float(scaled[cells_of(scaled, box, size)].mean()) for box in boxes]
    return [replace(box, probability=picture * mean) for box, mean in zip(boxes, means, strict=True)]


def _coloured(box: Box, trust: float, doubt: str, calibration: TrustCalibration) -> Box:
    if calibration.green is not None and trust >= calibration.green:
        return replace(box, trust=trust, doubt="", level="green")
    if calibration.why and doubt != REASONS[FLIP] and (trust >= SURE or not any(calibration.weights)):
        doubt = calibration.why
    return replace(box, trust=trust, doubt=doubt, level="amber" if trust >= calibration.amber else "red")


def _uncalibrated(box: Box, features: npt.NDArray[np.float64]) -> Box:
    known = dict(zip(FEATURES, features.tolist(), strict=False))
    opinions = {name: value for name, value in known.items() if name in ("stability", "agreement", FLIP)}
    opinions["cover"] = min(1.0, 2 * known["cover"])
    weakest = min(opinions, key=lambda name: opinions[name])
    trust = opinions[weakest]
    doubt = NOT_CALIBRATED if trust >= SURE else REASONS[weakest]
    return replace(box, trust=trust, doubt=doubt, level="amber" if trust >= AMBER else "red")


def box_features(boxes: Sequence[Box], drawn_from: DrawnFrom, rule: BoxRule) -> npt.NDArray[np.float64]:
    """Describe each box by what speaks for it.

    Args:
        boxes: of one image, at least one.
        drawn_from: the maps that they come from.
        rule: that they were drawn by.

    Returns:
        ``(n, 6)``, or ``(n, 7)`` with a mirrored pass, in the order of
        :data:`~weakspot.postprocess.trust_calibration.FEATURES`; more is better in each.
    """
    maps, size = drawn_from, drawn_from.size
    others = [
        boxes_array(find_boxes(maps.evidence, size, other, score_map=maps.scores, within=maps.within))
        for other in _other_rules(rule, maps.evidence, in_logits=maps.in_logits)
    ]
    second = (
        None if maps.flipped is None else boxes_array(find_boxes(maps.flipped, size, _open(rule), within=maps.within))
    )
    seen = scale_min_max(maps.class_map)
    shown = expit(maps.evidence) if maps.in_logits else scale_min_max(maps.evidence)
    own = boxes_array(boxes)
    stability = np.mean([box_iou(own, other).max(axis=1, initial=0.0) for other in others], axis=0)
    again = None if second is None else box_iou(own, second).max(axis=1, initial=0.0)
    rows = []
    for i, box in enumerate(boxes):
        rows.append(
            [
                math.asinh(maps.picture),
                math.asinh(box.score),
                0.0 if shown is None else _contrast(shown, box, size),
                1 - box.area / (size[0] * size[1]),
                float(stability[i]),
                0.0 if seen is None else _highest_inside(seen, box, size),
                *([] if again is None else [float(again[i])]),
            ]
        )
    return np.array(rows, dtype=np.float64)


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
    """The rule, with every box counting, whatever its score and however many there are."""
    return replace(rule, min_score=None, outlines=False, max_boxes=max(rule.max_boxes, CANDIDATES))


def _highest_inside(scaled: FloatArray, box: Box, size: Size) -> float:
    """Highest value in the cells that a box touches."""
    return float(scaled[cells_of(scaled, box, size)].max())


def _contrast(shown: FloatArray, box: Box, size: Size) -> float:
    """Mean inside a box minus mean of a ring round it, 0…1 each; 0 where the picture ends all round."""
    rows, columns = cells_of(shown, box, size)
    tall, wide = (max(1, math.ceil(RING * (side.stop - side.start))) for side in (rows, columns))
    around = shown[max(0, rows.start - tall) : rows.stop + tall, max(0, columns.start - wide) : columns.stop + wide]
    inside = shown[rows, columns]
    ring = around.size - inside.size
    if not ring:
        return 0.0
    within = float(inside.sum(dtype=np.float64))
    return within / inside.size - (float(around.sum(dtype=np.float64)) - within) / ring


def cells_of(map_: FloatArray, box: Box, size: Size) -> tuple[slice, slice]:
    """Rows and columns of the cells that a box touches.

    Args:
        map_: ``(h, w)``, of the whole picture.
        box: in pixels of the picture.
        size: ``(height, width)`` of the picture.
    """
    rows, columns = map_.shape
    top, left = box.y0 * rows // size[0], box.x0 * columns // size[1]
    return slice(top, -(-box.y1 * rows // size[0])), slice(left, -(-box.x1 * columns // size[1]))
