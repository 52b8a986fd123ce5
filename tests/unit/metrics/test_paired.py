"""Two models on the same images: by hand, and against independent tests."""

from __future__ import annotations

import math
import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score

from weakspot.metrics import Estimate
from weakspot.metrics.paired import (
    Difference,
    balancing_weights,
    draw_groups,
    group_estimate,
    paired_difference,
    stratum_means,
)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=30))
def test_weights_of_classes_give_balanced_accuracy(cases: list[tuple[int, bool]]) -> None:
    targets = np.array([target for target, _ in cases])
    right = np.array([float(r) for _, r in cases])
    decided = np.where(right == 1, targets, 3)
    expected = balanced_accuracy_score(targets, decided)
    assert (balancing_weights(targets) * right).sum() == pytest.approx(expected)


def test_a_difference_by_hand() -> None:
    first, second = np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 1, 0])
    found = paired_difference(first, second, [0, 1, 2, 3], np.array([0, 0, 1, 1]))
    assert (found.first, found.second, found.difference.value) == (0.25, 0.75, 0.5)
    assert (found.difference.n, found.groups) == (4, 4)
    # Only two groups differ: of four ways to swap them two give ±0.5.
    assert found.p_value == pytest.approx(0.5, abs=0.02)


def test_without_a_difference_chance_explains_everything() -> None:
    same = np.array([1.0, 0, 1])
    found = paired_difference(same, same, [0, 1, 2], np.zeros(3))
    rare = binomtest(0, 3).proportion_ci(method="exact").high  # so many pictures may differ, one way or the other
    assert (found.difference.value, found.p_value) == (0, 1)
    assert (found.difference.low, found.difference.high) == pytest.approx((-rare, rare))


@pytest.mark.parametrize("n", range(1, 13))
def test_where_every_picture_gains_the_interval_says_what_the_sign_test_says(n: int) -> None:
    """It had no width, so that two pictures were enough to be sure."""
    found = paired_difference(np.zeros(n), np.ones(n), list(range(n)), np.zeros(n))
    fewest = binomtest(n, n).proportion_ci(method="exact").low  # share of pictures that gain, at least
    assert (found.difference.low, found.difference.high) == pytest.approx((fewest - (1 - fewest), 1))
    assert (found.difference.low > 0) == (binomtest(n, n).pvalue <= 0.05) == (n > 5)
    assert not found.at_odds


@pytest.mark.parametrize(
    ("gains", "images", "exact"),
    [([0, 0], [4, 4], True), ([1, 1, 1], [3, 3, 3], True), ([1, 0], [4, 4], False), ([0, 0], [3, 40], False)],
)
def test_several_classes_leave_room_for_the_worst_that_they_do_not_rule_out(
    gains: list[int], images: list[int], exact: bool
) -> None:
    """The worst difference under which so many pictures like these come in more than 2.5 %, by a general optimiser."""
    strata = np.repeat(np.arange(len(gains)), images)
    change, counts = np.array(gains)[strata], np.array(images)
    found = paired_difference((change < 1) * 1.0, np.ones(len(change)), list(range(len(change))), strata).difference
    worst = minimize(
        lambda shares: float(np.mean(np.array(gains) - (np.array(gains) + 1) * shares)),
        np.full(len(gains), 0.05),
        bounds=[(0, 0.999)] * len(gains),
        constraints={"type": "ineq", "fun": lambda shares: counts @ np.log1p(-shares) - math.log(0.025)},
    )
    assert worst.success
    assert found.value == np.mean(gains)
    assert found.low == pytest.approx(worst.fun, abs=1e-4) if exact else -1 <= found.low < worst.fun


def test_differences_without_bounds_get_no_width_that_nobody_knows() -> None:
    first, second = np.full(4, 0.3), np.full(4, 7.1)
    found = paired_difference(first, second, [0, 1, 2, 3], np.zeros(4), shares=False).difference
    assert (found.low, found.high) == pytest.approx((6.8, 6.8))
    thirds = paired_difference(np.zeros(7), np.full(7, 1 / 3), list(range(7)), np.zeros(7)).difference
    assert thirds.high - thirds.low > 0.5  # though its resamples differ in their last bits


def test_photographs_of_one_part_are_not_several_that_agree() -> None:
    found = paired_difference(np.zeros(6), np.ones(6), [0, 0, 0, 1, 1, 1], np.zeros(6)).difference
    alone = paired_difference(np.zeros(2), np.ones(2), [0, 1], np.zeros(2)).difference
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def test_an_interval_of_few_pictures_that_contradicts_p_is_noticed() -> None:
    first, groups, strata = np.zeros(22), list(range(22)), np.zeros(22)
    one, all_of_them = first.copy(), first + 1
    one[0] = 1
    found = paired_difference(first, one, groups, strata)
    assert found.p_value == 1
    assert found.difference.low == 0
    assert found.at_odds
    assert not paired_difference(first, all_of_them, groups, strata).at_odds  # both say better
    assert not paired_difference(first, first, groups, strata).at_odds  # both say the same
    one[:2], other = (1, 0), first.copy()
    other[1:3] = 1
    assert not paired_difference(one, other, groups, strata).at_odds  # neither says anything


def test_no_image_has_no_difference() -> None:
    empty = paired_difference(np.zeros(0), np.zeros(0), [], np.zeros(0))
    nothing = Estimate(math.nan, 0, math.nan, math.nan)
    assert str(empty) == str(Difference(math.nan, math.nan, nothing, 0, math.nan))
    assert str(group_estimate(np.zeros(0), [], np.zeros(0))) == str(nothing)


@pytest.mark.parametrize("lengths", [(2, 3, 3, 3), (3, 2, 3, 3), (3, 3, 2, 3), (3, 3, 3, 2)])
def test_lengths_that_differ_are_refused(lengths: tuple[int, int, int, int]) -> None:
    first, second, groups, strata = (np.zeros(n) for n in lengths)
    with pytest.raises(ValueError, match=re.escape(", ".join(f"({n},)" for n in lengths) + " differ in shape")):
        paired_difference(first, second, groups.tolist(), strata)


def test_right_and_wrong_may_be_truth_values() -> None:
    first, second, groups = np.array([True, False, False]), np.array([True, True, False]), [0, 1, 2]
    numbers = paired_difference(first.astype(float), second.astype(float), groups, np.zeros(3))
    assert paired_difference(first, second, groups, np.zeros(3)) == numbers
    assert group_estimate(first, groups, np.zeros(3)) == group_estimate(first.astype(float), groups, np.zeros(3))


def test_the_same_seed_gives_the_same_and_another_seed_another_interval() -> None:
    first, second = np.random.default_rng(0).random((2, 15))
    groups, strata = list(range(15)), np.arange(15) % 2
    found = [paired_difference(first, second, groups, strata, **seed) for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert found[0] == found[1]
    assert found[0].difference.low != found[2].difference.low
    assert found[0].p_value != found[2].p_value
    alone = [group_estimate(first, groups, strata, **seed) for seed in ({}, {"seed": 0}, {"seed": 1})]
    assert alone[0] == alone[1]
    assert alone[0].low != alone[2].low


def test_a_mean_by_hand() -> None:
    found = group_estimate(np.array([0.25, 0.75, 0.5]), [0, 1, 2], np.array([0, 0, 1]))
    assert (found.value, found.n) == (0.5, 3)
    alone = group_estimate(np.array([0.25]), [7], np.array([0]))
    assert alone == Estimate(0.25, 1, 0.25, 0.25)
    difference = paired_difference(np.array([0.5]), np.array([0.75]), [7], np.array([0]))
    # Of one image 0.975 of all others may differ.
    low, high = pytest.approx(0.25 - 1.25 * 0.975), pytest.approx(0.25 + 0.75 * 0.975)
    assert difference == Difference(0.5, 0.75, Estimate(0.25, 1, low, high), 1, 1.0)


def test_the_p_value_of_single_images_is_mcnemars() -> None:
    """With one image a group and one stratum, swapping is the exact sign test on the discordant pairs."""
    first = np.r_[np.ones(12), np.zeros(3), np.ones(20)]
    second = np.r_[np.zeros(12), np.ones(3), np.ones(20)]
    found = paired_difference(first, second, list(range(35)), np.zeros(35))
    assert found.p_value == pytest.approx(binomtest(3, 15).pvalue, abs=0.01)


def test_photographs_of_one_part_count_as_one() -> None:
    """Six photographs of each of eight parts: the interval is as wide as that of eight images, not of 48."""
    per_part = np.array([1, 1, 1, 0, 0, 1, 0, 1], dtype=float)
    groups = np.repeat(np.arange(8), 6)
    grouped = group_estimate(np.repeat(per_part, 6), groups.tolist(), np.zeros(48))
    alone = group_estimate(per_part, list(range(8)), np.zeros(8))
    assert (grouped.value, grouped.low, grouped.high) == (alone.value, alone.low, alone.high)
    as_images = group_estimate(np.repeat(per_part, 6), list(range(48)), np.zeros(48))
    assert as_images.high - as_images.low < 0.6 * (grouped.high - grouped.low)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_draws_keep_groups_whole_and_their_number(seed: int) -> None:
    groups = [4, 4, 9, 1, 1, 1]
    times = draw_groups(groups, 50, seed)
    assert times.shape == (50, 6)
    assert (times[:, 0] == times[:, 1]).all()
    assert (times[:, 3] == times[:, 5]).all()
    assert (times[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_a_resample_without_a_class_is_undefined() -> None:
    times = np.array([[1, 1, 0], [0, 0, 3]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's 0/0
        means = stratum_means(times, np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1]))
    assert np.isnan(means).all()
    assert stratum_means(np.array([[1, 1, 1]]), np.array([1.0, 0.0, 1.0]), np.array([0, 0, 1])).tolist() == [0.75]
