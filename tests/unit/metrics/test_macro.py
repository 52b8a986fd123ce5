"""Many subsets in one number, and many comparisons at once, beside references that share no code with them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from weakspot.metrics.intervals import Estimate
from weakspot.metrics.macro import Paired, Resampled, draw_within, holm, macro_difference, macro_mean
from weakspot.metrics.paired import paired_difference


def closed(p_values: list[float]) -> list[float]:
    """The closed testing procedure (Marcus, Peritz and Gabriel 1976) with Bonferroni's test: what Holm shortens."""
    every = range(len(p_values))
    families = [f for size in every for f in itertools.combinations(every, size + 1)]
    of_family = {family: min(1.0, len(family) * min(p_values[i] for i in family)) for family in families}
    return [max(p for family, p in of_family.items() if i in family) for i in every]


@settings(deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.05])), max_size=6))
def test_holm_is_the_closed_test_of_all_families(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed(p_values))


def test_holm_by_hand_and_what_was_not_tested_does_not_count() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    found = holm([0.02, math.nan, 0.6])
    assert math.isnan(found[1])
    assert [found[0], found[2]] == pytest.approx([0.04, 0.6])
    assert holm([]) == []


def test_the_macro_mean_by_hand() -> None:
    resamples = np.linspace(0, 1, 1001)
    found = macro_mean(
        [
            Resampled(Estimate(0.5, 10, 0, 1), resamples),
            Resampled(Estimate(0.8, 30, 0.7, 1.0), resamples[::-1] * 0.2 + 0.7),
        ]
    )
    # Row i of the means is (i + 0.2 (1000 - i)) / 2000 + 0.35, so it rises evenly from 0.45 to 0.85.
    assert (found.value, found.n) == (pytest.approx(0.65), 40)
    assert (found.low, found.high) == (pytest.approx(0.46), pytest.approx(0.84))


def test_a_subset_that_no_resample_changes_keeps_the_width_of_its_own_interval() -> None:
    perfect = Resampled(Estimate(1.0, 20, 0.8, 1.0), np.ones(1000))
    assert macro_mean([perfect, perfect]) == Estimate(1.0, 40, pytest.approx(0.8), 1.0)
    other = Resampled(Estimate(0.5, 20, 0.3, 0.7), np.full(1000, 0.5) + np.repeat([-0.2, 0.2], 500))
    found = macro_mean([perfect, other])
    assert (found.value, found.low, found.high) == pytest.approx((0.75, 0.55, 0.85))


@pytest.mark.parametrize("subsets", [0, 2])
def test_without_a_value_in_every_subset_there_is_no_mean(subsets: int) -> None:
    known, unknown = (Resampled(Estimate(v, 5, v, v), np.full(1000, v)) for v in (0.5, math.nan))
    assert math.isnan(macro_mean([known, unknown][:subsets]).value)


def test_the_interval_is_that_of_independent_subsets() -> None:
    """Beside the normal approximation: the variance of a mean of independent means."""
    rng = np.random.default_rng(0)
    shares, sizes, parts, variance = (0.9, 0.6, 0.75), (400, 200, 300), [], 0.0
    for k, (share, n) in enumerate(zip(shares, sizes, strict=True)):
        right = (rng.permutation(n) < share * n).astype(float)
        times = draw_within(list(range(n)), np.zeros(n), seed=k)
        parts.append(Resampled(Estimate(share, n, 0, 1), times @ right / n))
        variance += share * (1 - share) / n / 9
    found = macro_mean(parts)
    half = 1.96 * math.sqrt(variance)
    assert (found.value, found.low, found.high) == pytest.approx((0.75, 0.75 - half, 0.75 + half), abs=0.006)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=12))
def test_every_class_is_in_every_resample_and_groups_stay_together(images: list[tuple[int, int]]) -> None:
    groups, strata = [group for group, _ in images], np.array([stratum for _, stratum in images])
    times = draw_within(groups, strata, seed=0)
    for stratum in set(strata.tolist()):
        assert (times[:, strata == stratum].sum(axis=1) > 0).all()
    for group in set(groups):
        assert np.ptp(times[:, np.array(groups) == group], axis=1).max() == 0
    firsts = [groups.index(group) for group in set(groups)]
    assert (times[:, firsts].sum(axis=1) == len(firsts)).all()


def paired(first: list[float], second: list[float], groups: list[int] | None = None) -> Paired:
    n = len(first)
    return Paired(np.array(first), np.array(second), np.array(groups or range(n)), np.zeros(n, dtype=np.int64))


def test_the_macro_difference_beside_every_possible_swap() -> None:
    subsets = [paired([0, 0, 1, 0], [1, 1, 1, 1]), paired([0, 0, 1, 0, 1, 1], [1, 1, 0, 1, 1, 1], [0, 0, 1, 2, 3, 4])]
    found = macro_difference(subsets)
    assert (found.first, found.second) == pytest.approx(((1 / 4 + 1 / 2) / 2, (1 + 5 / 6) / 2))
    assert (found.difference.value, found.difference.n, found.groups) == (pytest.approx(13 / 24), 10, 9)
    # What each group adds: a quarter each for three of four, and a sixth an image in the other; halved.
    adds = [1 / 8, 1 / 8, 0, 1 / 8, 2 / 12, -1 / 12, 1 / 12, 0, 0]
    sums = [sum(s * a for s, a in zip(signs, adds, strict=True)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = sum(abs(total) >= sum(adds) - 1e-12 for total in sums) / len(sums)
    assert found.p_value == pytest.approx(exact, abs=0.01)
    assert found.difference.low < found.difference.value < found.difference.high


def test_of_one_subset_it_is_the_plain_comparison() -> None:
    one = paired([0, 0, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 1, 1])
    plain = paired_difference(one.first, one.second, one.groups.tolist(), one.strata)
    assert macro_difference([one]).p_value == plain.p_value
    assert macro_difference([one]).difference.value == plain.difference.value


def test_a_subset_in_which_no_picture_differs_widens_the_macro_difference() -> None:
    """Two models that are right on all eight pictures of each subset had a difference of 0.000 (0.000 - 0.000)."""
    same, other = paired([1.0] * 8, [1.0] * 8), paired([0, 0, 1, 0, 1, 0, 0], [1, 1, 1, 1, 0, 1, 1])
    rare = binomtest(0, 8).proportion_ci(method="exact").high
    for n in (1, 2, 3):
        found = macro_difference([same] * n).difference
        assert (found.value, found.low, found.high) == pytest.approx((0, -rare, rare))
    mixed, alone = macro_difference([other, same]).difference, macro_difference([other]).difference
    assert mixed.low == pytest.approx((alone.low - rare) / 2)
    assert mixed.high == pytest.approx((alone.high + rare) / 2)
