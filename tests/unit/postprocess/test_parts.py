"""One decision for all photographs of a part."""

import csv
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose

from weakspot.errors import WeakspotError
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.parts import PartDecisions, together
from weakspot.types import ClassConfidence, Prediction

SHARES = st.lists(st.floats(1e-6, 1 - 1e-6), min_size=1, max_size=6)


@given(SHARES)
def test_log_odds_of_two_classes_are_averaged(defect: list[float]) -> None:
    p = np.array(defect)
    good, bad = together(np.stack([1 - p, p], axis=1))
    assert_allclose(np.log(bad / good), np.log(p / (1 - p)).mean(), atol=1e-6)


def test_several_classes_get_their_geometric_mean() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.7, 0.1]])
    product = np.sqrt(shares.prod(axis=0))
    assert_allclose(together(shares), product / product.sum())


def test_a_photograph_that_is_certain_does_not_decide_alone() -> None:
    found = together(np.array([[1.0, 0.0], [0.0, 1.0]]))
    assert_allclose(found, [0.5, 0.5])


def prediction(path: str, defect: float) -> Prediction:
    classes = (ClassConfidence("anomaly", defect), ClassConfidence("good", 1 - defect))
    return Prediction(Path(path), classes=classes, probability=defect)


def test_parts_are_written_in_the_order_in_which_they_were_met(tmp_path: Path) -> None:
    parts = PartDecisions(r"part(\d+)", ["good", "anomaly"], Decision(threshold=0.4))
    for path, defect in (("x/part2_a.png", 0.5), ("x/part1_a.png", 0.1), ("other.png", 0.9), ("x/part2_b.png", 0.5)):
        parts.add(prediction(path, defect))
    parts.add(Prediction(Path("x/part1_b.png"), status="error", message="cannot be read"))
    parts.write(tmp_path / "parts.csv")
    with (tmp_path / "parts.csv").open(encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["part", "images", "label", "probability"],
            ["2", "2", "anomaly", "0.5000"],
            ["1", "1", "good", "0.1000"],
            ["other.png", "1", "anomaly", "0.9000"],
        ]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(WeakspotError, match=r"--group \(: is not a regular expression|--group \( is not"):
        PartDecisions("(", ["good", "anomaly"], Decision())
