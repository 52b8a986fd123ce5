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
from weakspot.postprocess.prediction_files import read_predictions, write_predictions
from weakspot.postprocess.trust import REASONS, level, with_trust
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
    return with_trust(boxes, evidence, evidence, class_map, SIZE, rule, in_logits=in_logits)


def test_sharp_edges_and_a_class_map_that_agrees() -> None:
    (box,) = trusted(steep(), steep())
    assert (box.trust, box.doubt, level(box.trust)) == (1.0, "", "green")


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
    assert (box.doubt, level(box.trust)) == (REASONS["agreement"], "red")
    (flat,) = trusted(steep(), np.ones((4, 4)))
    assert (flat.trust, level(flat.trust)) == (0.0, "red")
    assert with_trust([], steep(), steep(), elsewhere, SIZE, LOGITS, in_logits=True) == []


@pytest.mark.parametrize(
    ("shift", "trust", "doubt"),
    [
        (0, 1.0, ""),
        (1, 5 / 7, REASONS["flip test-time augmentation"]),
        (8, 0.0, REASONS["flip test-time augmentation"]),
    ],
)
def test_the_mirrored_pass_must_find_the_same_box(shift: int, trust: float, doubt: str) -> None:
    strict = replace(LOGITS, min_score=8.5)  # the box's own score decides, not that of the other
    boxes = find_boxes(steep(), SIZE, strict)
    flipped = np.roll(steep(high=5), shift, axis=1)
    (box,) = with_trust(boxes, steep(), steep(), steep(), SIZE, strict, in_logits=True, flipped=flipped)
    assert (box.trust, box.doubt) == (pytest.approx(trust), doubt)
    (lost,) = with_trust(boxes, steep(), steep(), steep(), SIZE, strict, in_logits=True, flipped=np.full(SIZE, -9.0))
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
    result = with_trust(boxes, evidence, evidence, class_map, (31, 17), LOGITS, in_logits=True)
    assert result == boxes  # trust does not count in comparisons
    assert all(0 <= box.trust <= 1 for box in result)
    assert all(bool(box.doubt) == (level(box.trust) != "green") for box in result)


@pytest.mark.parametrize(
    ("trust", "colour"), [(1, "green"), (0.75, "green"), (0.7499, "amber"), (0.5, "amber"), (0.49, "red"), (0, "red")]
)
def test_colours(trust: float, colour: str) -> None:
    assert level(trust) == colour
    assert level(math.nan) is None


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
