"""Boxes are ordered by their picture and by how well they are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.ops.maps import visible
from weakspot.postprocess.box_ranking import ranked, ranking_scores
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.predictions import make_prediction
from weakspot.postprocess.trust import with_trust
from weakspot.postprocess.trust_calibration import FEATURES, BoxExamples, TrustCalibration, fit_ranking
from weakspot.types import Box, ModelOutput

PLAIN = FEATURES[:-1]
SIZE = (40, 80)


def by(**weights: float) -> TrustCalibration:
    """A ranking that weighs these features, and no other."""
    found = tuple(weights.get(name, 0.0) for name in PLAIN)
    width = len(PLAIN)
    return TrustCalibration(PLAIN, found, 0.0, (-99.0,) * width, (99.0,) * width, (0.0,) * width)


def test_a_score_is_the_sum_of_the_log_odds_of_picture_and_box() -> None:
    features = np.zeros((3, len(PLAIN)))
    features[:, 0] = np.arcsinh([2.0, 2.0, -3.0])
    scores = ranking_scores(features, np.array([0.5, 0.9, 0.1]))
    np.testing.assert_allclose(scores, [2.0, 2.0 + math.log(9), -3.0 - math.log(9)])
    assert np.isfinite(ranking_scores(features, np.array([0.0, 1.0, 1.0]))).all()


def test_the_best_drawn_box_comes_first() -> None:
    features = np.zeros((2, len(FEATURES)))  # a mirrored pass beside, which no ranking looks at
    features[:, PLAIN.index("stability")] = [0.2, 0.9]
    boxes = [Box(0, 0, 1, 1, score=5.0), Box(2, 2, 4, 4, score=-1.0)]
    (first, second), known = ranked(boxes, features, by(stability=2.0))
    assert (first.xyxy, second.xyxy) == ((2, 2, 4, 4), (0, 0, 1, 1))
    assert (first.score, second.score) == (pytest.approx(1.8), pytest.approx(0.4))
    np.testing.assert_allclose(np.sinh(known[:, FEATURES.index("score")]), [1.8, 0.4])
    np.testing.assert_allclose(known[:, PLAIN.index("stability")], [0.9, 0.2])


def two_places() -> ModelOutput:
    """A place with a sharp edge on the left, one on the right that any other threshold draws otherwise."""
    mask = np.full((40, 80), -9.0, np.float32)
    mask[10:20, 10:20] = 9.0
    mask[10:30, 50:70] = np.linspace(-2.0, 2.0, 20)[:, None]
    location = np.full((40, 80), -9.0, np.float32)
    location[10:20, 10:20], location[10:30, 50:70] = 1.0, 3.0
    return ModelOutput(np.array([0.0, 2.0], np.float32), np.zeros((2, 4, 8), np.float32), mask, location)


RULE = BoxRule("components", "absolute", 0.0, merge=None)


def test_of_two_places_the_one_with_edges_that_stay_scores_higher() -> None:
    left, right = (10, 10, 20, 20), (50, 20, 70, 30)
    plain = Drawing(two_places(), 1, SIZE, SIZE, RULE).boxes("")
    assert [box.xyxy for box in plain] == [right, left]  # by the location head alone
    drawn = Drawing(two_places(), 1, SIZE, SIZE, RULE).boxes("", by(stability=8.0))
    assert [box.xyxy for box in drawn] == [left, right]
    assert drawn[0].score == pytest.approx(2.0 + 8.0, abs=0.1)  # the picture's log-odds, and a box that never moves
    one = replace(RULE, min_score=drawn[0].score - 1e-6)
    assert [box.xyxy for box in Drawing(two_places(), 1, SIZE, SIZE, one).boxes("", by(stability=8.0))] == [left]
    first = replace(RULE, max_boxes=1)
    assert [box.xyxy for box in Drawing(two_places(), 1, SIZE, SIZE, first).boxes("", by(stability=8.0))] == [left]
    assert Drawing(two_places(), 0, SIZE, SIZE, RULE).boxes("", by(stability=8.0)) == []


def test_a_prediction_trusts_its_boxes_as_who_draws_them_first_and_judges_them_then() -> None:
    """It does both at once, which is faster."""
    ranking, preprocess = by(stability=8.0), Preprocess(SIZE, "torchvision", "keep_ratio")
    calibration = by(score=1.0, stability=0.5)
    said = make_prediction(
        Path("a.png"), SIZE, two_places(), ["good", "anomaly"], preprocess, RULE, Decision(),
        trust=calibration, ranking=ranking,
    )  # fmt: skip
    output = visible(two_places(), SIZE, preprocess)
    drawing = Drawing(output, 1, SIZE, preprocess.input_size(SIZE), RULE)
    one_by_one = with_trust(drawing.boxes("anomaly", ranking), drawing.maps, RULE, calibration)
    assert [(box.xyxy, box.score) for box in said.boxes] == [(box.xyxy, box.score) for box in one_by_one]
    assert [box.trust for box in said.boxes] == pytest.approx([box.trust for box in one_by_one])
    assert 0 < said.boxes[1].trust < said.boxes[0].trust < 1


@pytest.mark.parametrize(("key", "steps"), [("min_score", [99.0, -99.0, 6.0]), ("threshold", [1.0, -5.0, 0.0])])
def test_many_steps_draw_what_each_draws(key: str, steps: list[float]) -> None:
    ranking = by(stability=8.0)
    rule = replace(RULE, min_score=0.0)
    at = Drawing(two_places(), 1, SIZE, SIZE, rule).boxes_at(key, steps, "", ranking)  # type: ignore[arg-type]
    for step, boxes in zip(steps, at, strict=True):
        moved = replace(rule, **{key: step})
        assert boxes == Drawing(two_places(), 1, SIZE, SIZE, moved).boxes("", ranking)
        assert not any(math.isnan(box.trust) for box in boxes if key == "min_score")


# --- fitting --------------------------------------------------------------------------------------------------------


def boxes_of(n: int, share: float, seed: int, first: int = 0) -> BoxExamples:
    """Boxes whose stability tells right from wrong, apart from noise, with a mirrored pass that tells nothing."""
    rng = np.random.default_rng(seed)
    right = rng.random(n) < share
    features = rng.normal(size=(n, len(FEATURES)))
    features[:, PLAIN.index("stability")] += 3 * right
    return BoxExamples(features, right, np.arange(n), np.arange(first, first + n))


def test_the_ranking_finds_what_tells_right_from_wrong_and_judges_good_pictures_without_having_seen_them() -> None:
    defects, good = boxes_of(300, 0.5, 0), boxes_of(100, 0.0, 1, first=1000)
    fitted = fit_ranking(defects, good)
    assert fitted is not None
    ranking, of_good = fitted
    assert ranking.features == PLAIN
    assert np.argmax(ranking.weights) == PLAIN.index("stability")
    assert "of 300 boxes on imitated defects are, and none of 100 on held-out Good images" in ranking.origin
    seen = ranking.probabilities(good.features[:, : len(PLAIN)])
    assert not np.allclose(of_good, seen)
    assert np.corrcoef(of_good, seen)[0, 1] > 0.9


def test_nothing_is_ranked_by_too_few_boxes() -> None:
    assert fit_ranking(boxes_of(20, 0.0, 0), boxes_of(20, 0.0, 1)) is None  # none is right
    assert fit_ranking(boxes_of(20, 1.0, 0), boxes_of(0, 0.0, 1)) is None  # none is wrong
    assert fit_ranking(boxes_of(20, 0.5, 0), boxes_of(0, 0.0, 1)) is not None  # no box at all on Good pictures


@given(st.integers(0, 2**32 - 1), st.integers(0, len(PLAIN) - 1), st.floats(0, 10))
@settings(max_examples=30, deadline=None)
def test_more_of_any_feature_never_costs_a_box_its_place(seed: int, which: int, more: float) -> None:
    fitted = fit_ranking(boxes_of(40, 0.5, seed % 100), boxes_of(40, 0.0, seed % 100 + 1, first=99))
    assert fitted is not None
    features = np.random.default_rng(seed).normal(size=(1, len(PLAIN)))
    better = features.copy()
    better[0, which] += more
    low, high = (float(ranking_scores(f, fitted[0].probabilities(f))[0]) for f in (features, better))
    assert low <= high + 1e-9
