"""How far a box can be trusted."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weakspot.config.rules import BoxRule
from weakspot.postprocess.boxes import find_boxes
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.prediction_files import read_predictions, write_predictions
from weakspot.postprocess.review import doubts
from weakspot.postprocess.trust import (
    NOT_CALIBRATED,
    NOT_MIRRORED,
    REASONS,
    DrawnFrom,
    box_features,
    level,
    with_trust,
)
from weakspot.postprocess.trust_calibration import FEATURES, TrustCalibration
from weakspot.types import Box, Prediction

LOGITS = BoxRule(method="components", threshold_kind="absolute", threshold=0.0)
SIZE = (20, 20)


def steep(low: float = -9, high: float = 9) -> np.ndarray:
    """A square with sharp edges."""
    evidence = np.full(SIZE, low)
    evidence[5:10, 6:12] = high
    return evidence


def gentle() -> np.ndarray:
    """A cone: every threshold draws another box."""
    y, x = np.mgrid[:20, :20] - 9.5
    return 4 - np.hypot(x, y)


def trusted(
    evidence: np.ndarray, class_map: np.ndarray, rule: BoxRule = LOGITS, *, in_logits: bool = True
) -> list[Box]:
    boxes = find_boxes(evidence, SIZE, rule)
    return with_trust(boxes, DrawnFrom(evidence, evidence, class_map, SIZE, in_logits=in_logits), rule)


def test_sharp_edges_and_a_class_map_that_agrees() -> None:
    """Without a calibration nothing is green, however sure."""
    (box,) = trusted(steep(), steep())
    assert (box.trust, box.doubt, level(box)) == (1.0, NOT_CALIBRATED, "amber")


def test_edges_that_move_with_the_threshold() -> None:
    (box,) = trusted(gentle(), gentle())
    sides = {t: find_boxes(gentle(), SIZE, BoxRule("components", "absolute", t))[0].area for t in (-3, -1.5, 0, 1.5, 3)}
    expected = np.mean([min(area, sides[0]) / max(area, sides[0]) for t, area in sides.items() if t])
    assert box.trust == pytest.approx(expected)
    assert box.doubt == REASONS["stability"]


def test_a_class_map_that_looks_elsewhere_or_nowhere() -> None:
    elsewhere = np.zeros((4, 4))
    elsewhere[3, 3], elsewhere[1, 1] = 10, 2
    (box,) = trusted(steep(), elsewhere)
    assert box.trust == pytest.approx(0.2)
    assert (box.doubt, level(box)) == (REASONS["agreement"], "red")
    (flat,) = trusted(steep(), np.ones((4, 4)))
    assert (flat.trust, level(flat)) == (0.0, "red")
    assert with_trust([], DrawnFrom(steep(), steep(), elsewhere, SIZE, in_logits=True), LOGITS) == []


@pytest.mark.parametrize(
    ("shift", "trust", "doubt"),
    [
        (0, 1.0, NOT_CALIBRATED),
        (1, 5 / 7, REASONS["flip test-time augmentation"]),
        (8, 0.0, REASONS["flip test-time augmentation"]),
    ],
)
def test_the_mirrored_pass_must_find_the_same_box(shift: int, trust: float, doubt: str) -> None:
    strict = replace(LOGITS, min_score=8.5)  # the box's own score decides, not that of the other
    boxes = find_boxes(steep(), SIZE, strict)
    flipped = np.roll(steep(high=5), shift, axis=1)
    seen = DrawnFrom(steep(), steep(), steep(), SIZE, in_logits=True, flipped=flipped)
    (box,) = with_trust(boxes, seen, strict)
    assert (box.trust, box.doubt) == (pytest.approx(trust), doubt)
    (lost,) = with_trust(boxes, replace(seen, flipped=np.full(SIZE, -9.0)), strict)
    assert lost.trust == 0


def test_a_relative_threshold_and_a_map_without_odds() -> None:
    relative = BoxRule(threshold=0.7)
    (box,) = trusted(steep(), steep(), relative, in_logits=False)
    assert box.trust == 1
    unrefined = BoxRule("components", "absolute", 50.0)
    (box,) = trusted(steep(0, 100), steep(), unrefined, in_logits=False)
    assert box.trust == 1
    (faint,) = trusted(steep(0, 60), steep(), unrefined, in_logits=False)
    assert faint.trust == pytest.approx(0.75)  # 12 more, and it is gone


def test_dropped_boxes_lend_no_trust_and_scores_do_not_matter() -> None:
    """The smallest score decides which boxes are drawn, not how steady they are."""
    strict = BoxRule("components", "absolute", 0.0, min_score=8.5)
    (box,) = trusted(steep(), steep(), strict)
    assert box.trust == 1


@given(arrays(np.float64, (9, 7), elements=st.floats(-12, 12)), arrays(np.float64, (3, 3), elements=st.floats(-5, 5)))
@settings(max_examples=60)
def test_trust_is_a_share_and_nothing_else_changes(evidence: np.ndarray, class_map: np.ndarray) -> None:
    boxes = find_boxes(evidence, (31, 17), LOGITS)
    result = with_trust(boxes, DrawnFrom(evidence, evidence, class_map, (31, 17), in_logits=True), LOGITS)
    assert result == boxes  # trust does not count in comparisons
    assert all(0 <= box.trust <= 1 for box in result)
    assert all(box.doubt and level(box) in ("amber", "red") for box in result)


@pytest.mark.parametrize(
    ("trust", "colour"), [(1, "amber"), (0.5, "amber"), (0.49, "red"), (0, "red"), (math.nan, None)]
)
def test_colours_of_boxes_that_do_not_name_theirs(trust: float, colour: str | None) -> None:
    assert level(Box(0, 0, 1, 1, trust=trust)) == colour
    assert level(Box(0, 0, 1, 1, trust=trust, level="green")) == "green"


def test_a_box_round_nearly_everything_is_not_trusted() -> None:
    evidence = np.full(SIZE, 9.0)
    evidence[0, 0] = -9
    (box,) = trusted(
        evidence, np.where(evidence > 0, 1.0, 0.0), BoxRule(method="components", threshold_kind="absolute", threshold=0)
    )
    assert (box.trust, box.level, box.doubt) == (0.0, "red", REASONS["cover"])


def calibration(*, green: float | None = 0.8, flip: bool = False, **weights: float) -> TrustCalibration:
    """Log-odds are the weighted features, each counted in 0…1."""
    names = FEATURES if flip else FEATURES[:-1]
    n = len(names)
    row = tuple(weights.get(name, 0.0) for name in names)
    return TrustCalibration(names, row, 0.0, (0.0,) * n, (1.0,) * n, (1.0,) * n, green, why="" if green else "too few")


def test_features_are_what_they_say() -> None:
    evidence = np.zeros((4, 6))
    evidence[1:3, 2:4] = 1
    rule = BoxRule(threshold=0.7)
    boxes = find_boxes(evidence, (40, 60), rule, score_map=evidence * 3)
    seen = DrawnFrom(evidence, evidence * 3, evidence, (40, 60), in_logits=False, picture=2.5, flipped=evidence)
    (row,) = box_features(boxes, seen, rule)
    assert row.tolist() == [math.asinh(2.5), math.asinh(3), 1.0, 1 - 400 / 2400, 1.0, 1.0, 1.0]


def test_contrast_is_inside_against_a_ring_and_none_where_the_box_is_everything() -> None:
    evidence = np.zeros((8, 8))
    evidence[2:6, 2:6] = 1
    evidence[1, 1:7] = 0.5  # 6 of the 20 cells of the ring
    seen = DrawnFrom(evidence, evidence, evidence, (8, 8), in_logits=False)
    boxes = [Box(2, 2, 6, 6), Box(0, 0, 8, 8)]
    assert box_features(boxes, seen, BoxRule())[:, 2].tolist() == pytest.approx([1 - 6 * 0.5 / 20, 0])


def test_a_calibrated_box_is_green_only_from_the_limit_on() -> None:
    boxes = find_boxes(steep(), SIZE, LOGITS)
    seen = DrawnFrom(steep(), steep(), steep(), SIZE, in_logits=True)
    (sure,) = with_trust(boxes, seen, LOGITS, calibration(stability=3.0))
    assert (sure.trust, sure.level, sure.doubt) == (pytest.approx(1 / (1 + math.exp(-3))), "green", "")
    (below,) = with_trust(boxes, seen, LOGITS, calibration(stability=3.0, green=0.96))
    assert (below.level, bool(below.doubt)) == ("amber", True)
    (never,) = with_trust(boxes, seen, LOGITS, calibration(stability=3.0, green=None))
    assert (never.level, never.doubt) == ("amber", "too few")


def test_the_reason_is_the_feature_that_costs_most() -> None:
    elsewhere = np.zeros((4, 4))
    elsewhere[3, 3], elsewhere[1, 1] = 10, 2
    boxes = find_boxes(steep(), SIZE, LOGITS)
    seen = DrawnFrom(steep(), steep(), elsewhere, SIZE, in_logits=True)
    (box,) = with_trust(boxes, seen, LOGITS, calibration(stability=5.0, agreement=1.0, cover=1.0))
    assert box.doubt == "" or box.level == "green"
    (box,) = with_trust(boxes, seen, LOGITS, calibration(stability=0.1, agreement=1.0, cover=1.0))
    assert (box.level, box.doubt) == ("amber", REASONS["agreement"])


def test_a_mirrored_pass_that_was_not_calibrated_can_only_lower_trust() -> None:
    boxes = find_boxes(steep(), SIZE, LOGITS)
    seen = DrawnFrom(steep(), steep(), steep(), SIZE, in_logits=True, flipped=np.roll(steep(), 8, axis=1))
    (box,) = with_trust(boxes, seen, LOGITS, calibration(stability=3.0))
    assert (box.trust, box.level, box.doubt) == (0.0, "red", REASONS["flip test-time augmentation"])


def test_without_the_mirrored_pass_of_its_calibration_a_box_keeps_its_trust_and_is_not_green() -> None:
    """The pass counted as one that finds another box: less trust, and a reason that nobody had seen."""
    boxes = find_boxes(steep(), SIZE, LOGITS)
    seen = DrawnFrom(steep(), steep(), steep(), SIZE, in_logits=True, flipped=steep())
    fitted = calibration(**{"flip": True, "stability": 1.0, FEATURES[-1]: 3.0})  # type: ignore[arg-type]
    (whole,) = with_trust(boxes, seen, LOGITS, fitted)
    assert (whole.trust, whole.level, whole.doubt) == (pytest.approx(1 / (1 + math.exp(-4))), "green", "")
    (box,) = with_trust(boxes, replace(seen, flipped=None), LOGITS, fitted)
    assert (box.trust, box.level, box.doubt) == (whole.trust, "amber", NOT_MIRRORED)
    usual = replace(fitted, typical=(*fitted.typical[:-1], 0.8))  # what a right box usually has
    (box,) = with_trust(boxes, replace(seen, flipped=None), LOGITS, usual)
    assert (box.trust, box.level) == (pytest.approx(1 / (1 + math.exp(-1 - 3 * 0.8))), "amber")
    (unsteady,) = with_trust(
        boxes, replace(seen, flipped=None), LOGITS, replace(fitted, bias=-3.5, typical=(2.0,) * 6 + (1.0,))
    )
    assert (unsteady.level, unsteady.doubt) == ("amber", REASONS["stability"])  # and not the pass


def test_trust_is_written_and_read(tmp_path: Path) -> None:
    boxes = (Box(1, 2, 3, 4, 2.5, "cut", trust=0.6, doubt="why"), Box(0, 0, 1, 1))
    write_predictions(tmp_path, [Prediction(Path("a.png"), height=9, width=9, label="cut", boxes=boxes)])
    record = json.loads((tmp_path / "predictions.jsonl").read_text())
    written = [(box["trust"], box["level"], box["doubt"]) for box in record["boxes"]]
    assert written == [(0.6, "amber", "why"), (None, None, "")]
    (read,) = read_predictions(tmp_path / "predictions.jsonl")
    assert (read.boxes[0].trust, read.boxes[0].doubt) == (0.6, "why")
    assert math.isnan(read.boxes[1].trust)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["trust"], row["doubt"]) for row in rows] == [("0.6", "why"), ("", "")]


def test_a_doubtful_picture_is_said_to_be_doubted_by_the_model() -> None:
    box = Box(2, 2, 8, 8, score=0.5, trust=0.34, level="red", doubt=REASONS["picture"])
    found = doubts(Prediction(Path("1.png"), label="anomaly", probability=0.99, boxes=(box,)), Decision(threshold=0.5))
    assert found is not None
    assert found[1] == "no box is trusted more than 34%: the model is hardly sure that the picture is defective"
