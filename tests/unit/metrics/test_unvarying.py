"""Where no resample changes a value its interval is honest all the same, and no other interval is touched."""

from __future__ import annotations

import numpy as np
import pytest

from weakspot.metrics.classification import classification_metrics
from weakspot.metrics.intervals import Estimate, bootstrap, proportion
from weakspot.metrics.localisation import box_accuracy
from weakspot.metrics.unvarying import mean_of_shares, unseen, widened_macro, widened_mean, widened_ranking


@pytest.mark.parametrize("n", [1, 4, 30, 1000])
def test_the_edge_is_that_of_clopper_and_pearson(n: int) -> None:
    assert unseen(n) == pytest.approx(proportion(0, n).high)
    for value in (0.0, 1.0):
        found, exact = mean_of_shares(np.full(n, value)), proportion(int(value * n), n)
        assert (found.value, found.low, found.high) == pytest.approx((value, exact.low, exact.high))


def test_the_mean_of_what_is_always_the_same_leaves_room_on_both_sides() -> None:
    found = mean_of_shares(np.full(5, 0.25))
    assert 0 < found.low < 0.25 < found.high < 1


def test_an_interval_with_a_width_stays_as_it_is() -> None:
    values = np.array([0.2, 0.9, 0.4, 1.0])
    assert mean_of_shares(values) == bootstrap(np.mean, [values])
    wide = Estimate(0.9, 8, 0.5, 1.0)
    assert widened_mean(wide, 8) == wide
    assert widened_ranking("auroc", wide, 4, 4) == wide
    assert widened_macro("f1", wide, [4, 4], [1]) == wide
    undefined = mean_of_shares(np.zeros(0))
    assert np.isnan([undefined.low, undefined.high]).all()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("each", [2, 4, 50])
def test_a_classifier_that_is_always_right_on_few_images_is_not_called_certain(classes: int, each: int) -> None:
    targets = np.repeat(np.arange(classes), each)
    names = ["good", "a", "b"][:classes]
    found = classification_metrics(targets, np.eye(classes)[targets], names, [names[t] for t in targets])
    for name in ("balanced_accuracy", "precision", "recall", "f1", "auroc", "average_precision"):
        estimate = getattr(found, name)
        assert (estimate.value, estimate.high) == (1.0, 1.0), name
        assert 0 <= estimate.low < 1 - 1 / (2 * each), name
        assert each < 50 or estimate.low > 0.6, name


def test_scores_that_are_all_the_same_tell_nothing() -> None:
    targets = np.array([0, 0, 1, 1])
    found = classification_metrics(targets, np.full((4, 2), 0.5), ["good", "bad"], ["good", "good", "x", "x"])
    assert found.auroc.low < 0.5 < found.auroc.high


def test_boxes_that_all_fit_on_four_pictures() -> None:
    found = box_accuracy(np.ones(4))
    assert (found.max_box_acc_v2.value, found.max_box_acc_v2.high) == (1.0, 1.0)
    assert found.max_box_acc_v2.low == pytest.approx(proportion(4, 4).low)


def test_a_perfect_ranking_would_seldom_hide_a_worse_one() -> None:
    """Of rankings whose true AUROC is the lower end, a perfect sample of the same size comes in 2.5 % or less."""
    rng = np.random.default_rng(0)
    low = widened_ranking("auroc", Estimate(1.0, 16, 1.0, 1.0), 8, 8).low
    lost = 1 - low  # of the defects this share is ranked behind every Good image
    perfect = (rng.random((20_000, 8)) >= lost).all(axis=1).mean()
    assert perfect <= 0.025
