"""Smallest scores from held-out Good images: exact answers, the promise itself, and rules that use them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import poisson

from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.postprocess.box_calibration import CONFIDENCE, Calibration, calibrate_min_score, rate_bound
from weakspot.postprocess.boxes import find_boxes


@pytest.mark.parametrize(("count", "images"), [(0, 30), (3, 114), (40, 1000)])
def test_the_bound_is_the_rate_at_which_so_few_events_would_be_unlikely(count: int, images: int) -> None:
    rate = rate_bound(count, images) / 100
    assert poisson.cdf(count, rate * images) == pytest.approx(1 - CONFIDENCE)


def test_the_score_lies_just_above_the_first_box_too_many() -> None:
    scores = [float(s) for s in range(20)]  # on 200 images the bound of 6 boxes is 4.5 per 100, of 7 it is 5.1
    found = calibrate_min_score(scores, 200, wanted=5)
    assert rate_bound(6, 200) <= 5 < rate_bound(7, 200)
    assert found.false_boxes == 6
    assert 13 < found.min_score < 13 + 1e-9  # type: ignore[operator]
    assert "6 on 200 held-out ones" in found.origin
    assert "too few" not in found.origin


def test_what_is_written_down() -> None:
    found = Calibration(1.25, 200, 6, 5.0, 4.5349)
    origin = (
        "calibrated: at most 5 false boxes per 100 Good images; 6 on 200 held-out ones, upper bound 4.5 per 100 "
        "(photographs are counted: with several of a part it holds less surely)"
    )
    assert found.to_dict() == {
        "value": 1.25, "origin": origin, "n_good": 200, "false_boxes": 6, "wanted_per_100": 5.0,
        "bound_per_100": 4.5349,
    }  # fmt: skip
    assert replace(found, bound=5.0).origin == origin.replace("4.5", "5.0")
    assert replace(found, bound=5.01).origin == (
        origin.replace("4.5", "5.0") + "; a promise would take more Good images"
    )


def test_boxes_of_equal_score_stay_or_go_together() -> None:
    found = calibrate_min_score([3.0] * 5 + [4.0] * 5, 200, wanted=5)
    assert found.false_boxes == 5
    assert 3 < found.min_score < 4  # type: ignore[operator]
    assert calibrate_min_score([3.0] * 50, 200, wanted=5).false_boxes == 0


def test_a_rate_that_is_just_reached_is_kept_to() -> None:
    scores = [float(s) for s in range(20)]
    assert calibrate_min_score(scores, 200, wanted=rate_bound(6, 200)).false_boxes == 6
    assert calibrate_min_score(scores, 200, wanted=math.nextafter(rate_bound(6, 200), 0)).false_boxes == 5


def test_the_next_number_above_a_false_box_may_stay() -> None:
    above = math.nextafter(3.0, math.inf)
    found = calibrate_min_score([above] * 6 + [3.0], 200, wanted=5)
    assert (found.min_score, found.false_boxes) == (above, 6)
    assert calibrate_min_score(np.full(20, 3, np.float32), 200, wanted=5).min_score == above  # type: ignore[arg-type]


def test_where_no_box_is_false_every_box_may_stay() -> None:
    found = calibrate_min_score([], 200, wanted=5)
    assert (found.min_score, found.false_boxes) == (None, 0)
    assert calibrate_min_score([1.0, 2.0], 200, wanted=5).min_score is None


def test_too_few_images_promise_nothing_and_say_so() -> None:
    found = calibrate_min_score([1.0, 2.0], 10, wanted=5)
    assert found.false_boxes == 0
    assert found.bound > 5
    assert "a promise would take more" in found.origin
    with pytest.raises(ValueError, match=r"^no Good image to calibrate on$"):
        calibrate_min_score([], 0, wanted=5)


@given(
    scores=st.lists(st.floats(-10, 10), max_size=40),
    n=st.integers(1, 400),
    wanted=st.floats(0.5, 50),
)
def test_no_more_boxes_are_left_than_were_wanted(scores: list[float], n: int, wanted: float) -> None:
    found = calibrate_min_score(scores, n, wanted)
    left = [s for s in scores if found.min_score is None or s >= found.min_score]
    assert len(left) == found.false_boxes
    assert found.bound <= wanted or not left
    assert 100 * len(left) / n <= wanted


@pytest.mark.parametrize("method", ["single", "components"])
def test_a_rule_drops_what_scores_too_little(method: str) -> None:
    evidence = np.full((4, 6), -1.0)
    evidence[0, 0], evidence[3, 4:] = 1.0, 2.0
    rule = BoxRule(method, "absolute", 0.0)  # type: ignore[arg-type]
    scores = 10 * evidence
    kept = [find_boxes(evidence, (4, 6), rule.absolute(s), score_map=scores) for s in (None, 10.0, 10.5, 20.5)]
    assert [len(boxes) for boxes in kept] == ([2, 2, 1, 0] if method == "components" else [1, 1, 1, 0])


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"min_score": math.nan}, "min_score"),
        ({"false_boxes": 0.0}, "false_boxes"),
        ({"false_boxes": "x"}, "false_box"),
    ],
)
def test_impossible_numbers_are_refused_by_name(values: dict[str, object], key: str) -> None:
    with pytest.raises(WeakspotError, match=f"boxes.{key}"):
        BoxRule(**values)  # type: ignore[arg-type]
