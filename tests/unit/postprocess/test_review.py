"""What a person ought to look at."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from weakspot.postprocess.decision import (
    Decision,
)
from weakspot.postprocess.review import ReviewQueue, doubts, is_close_call, worth_a_look
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
    assert "its class is not sure" in (doubts(said("a", 0.8, 0.9), Decision()) or (0, ""))[1]
    assert [is_close_call(said("a", p), Decision()) for p in (0.2, 0.3, 0.7, 0.8)] == [False, True, True, False]
    assert (doubts(said("a", 0.99), Decision()) or (0, ""))[1].startswith("called defective, and no box")
    urgency, why = doubts(said("a", 0.99, 0.2, 0.6), Decision()) or (0, "")
    assert (urgency, "trusted more than 60%: edges" in why) == (pytest.approx(0.4), True)
    urgency, why = doubts(said("a", 0.3, 0.9), Decision(threshold=0.3)) or (0, "")
    assert urgency == pytest.approx(1)
    assert why.endswith("0.30; defective from 0.30 on)")
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


def test_a_contradicted_label_comes_first_then_doubts_then_defects_then_the_rest() -> None:
    def rated(name: str, probability: float, target: str | None, *trusts: float) -> tuple[float, str]:
        return worth_a_look(replace(said(name, probability, *trusts), target=target), Decision())

    order = [
        rated("surely contradicted", 0.99, "good", 0.9),
        rated("contradicted", 0.4, "anomaly"),
        rated("close call", 0.5, "anomaly", 0.9),
        rated("no trust", 0.99, "anomaly", 0.3),
        rated("defect", 0.99, "anomaly", 0.6, 0.9),
        rated("surer defect", 0.99, None, 0.95),
        rated("good", 0.04, "good"),
        rated("surely good", 0.01, None),
    ]
    urgencies = [urgency for urgency, _ in order]
    assert urgencies == sorted(urgencies, reverse=True)
    assert order[0][1] == (
        "labelled good, and the model says anomaly: one of the two is wrong (probability of a defect 0.99)"
    )
    assert [why for _, why in order[4:6]] == 2 * [
        "a defect, and nothing speaks against its boxes: to confirm or mend them teaches most"
    ]
    assert order[-1][1] == "nothing speaks against it"
