"""What a person ought to look at."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from weakspot.postprocess.decision import (
    Decision,
)
from weakspot.postprocess.review import ReviewQueue, doubts
from weakspot.types import Box, Prediction


def said(name: str, probability: float, *trusts: float) -> Prediction:
    boxes = tuple(Box(0, 0, 1, 1, trust=trust, doubt="edges") for trust in trusts)
    label = "anomaly" if probability >= 0.5 else "good"
    return Prediction(Path(name), label=label, probability=probability, boxes=boxes)


def test_what_is_worth_a_look() -> None:
    assert doubts(said("a", 0.99, 0.9), Decision()) is None
    assert doubts(said("a", 0.01), Decision()) is None
    urgency, why = doubts(said("a", 0.5, 0.9), Decision()) or (0, "")
    assert (urgency, "close call" in why) == (1, True)
    assert (doubts(said("a", 0.99), Decision()) or (0, ""))[1].startswith("called defective, and no box")
    urgency, why = doubts(said("a", 0.99, 0.2, 0.6), Decision()) or (0, "")
    assert (urgency, "trusted more than 60%: edges" in why) == (pytest.approx(0.4), True)
    urgency, why = doubts(said("a", 0.3, 0.9), Decision(threshold=0.3)) or (0, "")
    assert urgency == pytest.approx(1)
    assert why.endswith("0.30; 0.30 is called one)")
    assert doubts(said("a", 0.01), Decision(threshold=0.3)) is None
    assert doubts(said("a", 0.01), Decision(threshold=0.05)) is not None  # a fifth of the odds at the threshold
    assert doubts(Prediction(Path("x"), status="error"), Decision()) is None


def test_the_queue_keeps_the_most_urgent(tmp_path: Path) -> None:
    queue = ReviewQueue(Decision(), most=2)
    for name, probability in (("far", 0.2), ("near", 0.49), ("sure", 0.001), ("at", 0.5), ("at too", 0.5)):
        queue.add(said(name, probability, *([0.9] if probability >= 0.5 else [])))
    assert [row[0] for row in queue.rows()] == ["at", "at too"]
    queue.write(tmp_path / "review.csv")
    with (tmp_path / "review.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["at", "at too"]
