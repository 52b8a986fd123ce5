"""Intervals: known tables, formulas, and resampling done another way."""

import json
import math

import numpy as np
import pytest
from helpers.estimates import is_undefined
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from weakspot.metrics import (
    Estimate,
    bootstrap,
    intervals,
    proportion,
)
from weakspot.metrics.intervals import percentile_estimate

pytestmark = pytest.mark.usefixtures("warnings_are_errors")


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),  # Clopper and Pearson's own table, 95 %
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        (81, 263, 0.2527, 0.3676),  # the example of Newcombe, Statistics in Medicine 17 (1998)
        (1, 1, 0.025, 1.0),
    ],
)
def test_proportion_known_intervals(k, n, low, high):
    estimate = proportion(k, n)
    assert (estimate.value, estimate.n) == (k / n, n)
    assert estimate.low == pytest.approx(low, abs=1e-4)
    assert estimate.high == pytest.approx(high, abs=1e-4)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=40, deadline=None)
def test_proportion_against_the_beta_formula(pair):
    k, n = pair
    estimate = proportion(k, n)
    assert estimate.low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0, abs=1e-6)
    assert estimate.high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0, abs=1e-6)


def test_proportion_of_nothing_and_of_nonsense():
    assert is_undefined(proportion(0, 0).as_dict(), 0)
    for k, n in [(3, 2), (-1, 2)]:
        with pytest.raises(ValueError, match="successes"):
            proportion(k, n)


def test_estimate_is_ready_for_json():
    estimate = proportion(np.int64(1), np.int64(2))
    assert list(estimate.as_dict()) == ["value", "n", "low", "high"]
    assert json.loads(json.dumps(estimate.as_dict())) == estimate.as_dict()


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, 400)
    estimate = bootstrap(np.mean, [values], n_resamples=4000)
    half = 1.96 * values.std() / 20
    assert estimate.value == values.mean()
    assert estimate.n == 400
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)


def test_bootstrap_draws_arrays_together():
    values = np.arange(20.0)
    estimate = bootstrap(lambda a, b: float(np.abs(2 * a - b).max()), [values, 2 * values], n_resamples=50)
    assert estimate == Estimate(0.0, 20, 0.0, 0.0)


def test_bootstrap_keeps_each_stratum_at_its_size():
    strata = np.array(["a"] * 3 + ["b"] * 17)
    assert bootstrap(lambda s: float((s == "a").sum()), [strata], 200, strata=strata) == Estimate(3.0, 20, 3.0, 3.0)
    free = bootstrap(lambda s: float((s == "a").sum()), [strata], 200)
    assert free.low < 3 < free.high


def test_bootstrap_repeats_with_its_seed():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(np.mean, [values], seed=1) == bootstrap(np.mean, [values], seed=1)
    assert bootstrap(np.mean, [values], seed=1) != bootstrap(np.mean, [values], seed=2)


def test_bootstrap_undefined_statistics():
    assert is_undefined(bootstrap(np.mean, [np.zeros(0)]).as_dict(), 0)
    assert is_undefined(bootstrap(lambda a: math.nan, [np.zeros(5)]).as_dict(), 5)
    sometimes = bootstrap(lambda a: 1.0 if 0 in a else math.nan, [np.arange(4)])
    assert sometimes == Estimate(1.0, 4, 1.0, 1.0)


def test_bootstrap_refuses_lengths_that_differ():
    for arrays, strata in [([np.zeros(3), np.zeros(4)], None), ([np.zeros(3)], np.zeros(4)), ([], None)]:
        with pytest.raises(ValueError, match="length"):
            bootstrap(np.mean, arrays, strata=strata)


def test_percentiles_of_what_is_defined():
    resamples = np.r_[np.arange(101.0), np.nan, np.inf]
    assert percentile_estimate(0.5, 3, resamples) == Estimate(0.5, 3, 2.5, 97.5)
    assert is_undefined(percentile_estimate(math.nan, 3, resamples).as_dict(), 3)
    nowhere = percentile_estimate(0.5, 3, np.array([math.nan]))
    assert (nowhere.value, nowhere.n, math.isnan(nowhere.low), math.isnan(nowhere.high)) == (0.5, 3, True, True)


@pytest.mark.parametrize(("chunk", "rows"), [(11, [2, 2, 1]), (8, [2, 2, 1]), (1, [1] * 5), (100, [5])])
def test_resamples_are_drawn_a_few_at_a_time(monkeypatch, chunk, rows):
    monkeypatch.setattr(intervals, "_CHUNK", chunk)
    draws = list(intervals.draw_indices(np.array([1, 0, 1, 1]), 5, 0))
    assert [len(some) for some in draws] == rows
    drawn = np.concatenate(draws)
    assert set(drawn[:, 0]) == {1}
    assert set(drawn[:, 1:].ravel()) == {0, 2, 3}


def test_bootstrap_s_own_seed_is_0():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(np.mean, [values]) == bootstrap(np.mean, [values], 1000, seed=0)
