"""Bets are fair, win when something changes, and the confidence sequence for a share holds at all times together."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import betaln

from weakspot.drift.betting import BETS, ENDS, ONE_SIDED, TAILS, Capital, bets, share_interval


def test_every_bet_is_fair() -> None:
    """Each integrates to 1 over 0…1, by an independent quadrature, and none is negative."""
    breaks = sorted({end for end, _ in TAILS} | {1 - end for end, _ in TAILS} | {ENDS[0] / 2, 1 - ENDS[0] / 2})
    for k in range(BETS):
        edges = [0.0, *breaks, 1.0]
        whole = sum(
            quad(lambda p, k=k: float(bets(np.array([p]))[0, k]), low + 1e-12, high - 1e-12)[0]
            for low, high in pairwise(edges)
        )
        assert whole == pytest.approx(1.0, abs=1e-6), k
    assert (bets(np.linspace(0, 1, 1001)) >= 0).all()


def test_exact_factors_at_the_ends_and_the_middle() -> None:
    low, middle, high = bets(np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(low[:ONE_SIDED], [1.5, 2.0, 5.0, 25.0, 3.0, 6.0, 2.5])
    np.testing.assert_allclose(low[ONE_SIDED:-1], [0.5, 0.0, 0.9 / 0.98, 0.5 / 0.98, 0.7 / 0.9, 0.4 / 0.9, 0.25 / 0.7])
    np.testing.assert_allclose(high[:ONE_SIDED], low[ONE_SIDED:-1])
    assert (low[-1], middle[-1], high[-1]) == pytest.approx((4.0, 0.6 / 0.9, 4.0))
    assert middle[:2].tolist() == [1.0, 1.0]


def test_capital_is_worth_what_was_put_in_on_average_while_nothing_changes() -> None:
    random = np.random.default_rng(3)
    capital = Capital(20_000)
    for _ in range(3):  # later it is worth very much on very few streams
        capital.bet(random.random(20_000))
    assert capital.evidence.mean() == pytest.approx(3, rel=0.05)


def test_two_steps_by_hand_and_a_gap_changes_nothing() -> None:
    capital = Capital(2)
    capital.bet(np.array([0.0, np.nan]))
    first = bets(np.array([0.0]))[0] / BETS
    np.testing.assert_allclose(capital.worth[0], first)
    assert capital.evidence[1] == 0
    capital.bet(np.array([1.0, 0.0]))
    np.testing.assert_allclose(capital.worth[0], (first + 1 / BETS) * bets(np.array([1.0]))[0])
    np.testing.assert_allclose(capital.worth[1], first)


def test_one_sided_capital_wins_on_its_side_alone() -> None:
    both = Capital(2, low=False)
    for _ in range(30):
        both.bet(np.array([0.001, 0.999]))
    low, high = both.evidence
    assert low < 30 < 1e6 < high


def test_a_change_is_dated() -> None:
    random, capital = np.random.default_rng(0), Capital(1)
    for _ in range(200):
        capital.bet(random.random(1))
    for _ in range(25):
        capital.bet(random.random(1) * 0.1)
    assert 23 <= capital.began(0) <= 30


def test_the_interval_of_a_share_against_an_independent_root() -> None:
    called, pictures, alpha = 7, 180, 0.05

    def log_worth(m: float) -> float:
        mixture = betaln(called + 0.5, pictures - called + 0.5) - betaln(0.5, 0.5)
        return float(mixture - called * math.log(m) - (pictures - called) * math.log(1 - m) - math.log(1 / alpha))

    expected = (brentq(log_worth, 1e-9, called / pictures), brentq(log_worth, called / pictures, 1 - 1e-9))
    assert share_interval(called, pictures, alpha) == pytest.approx(expected, abs=1e-9)
    assert share_interval(0, 0) == (0.0, 1.0)
    assert share_interval(0, 40)[0] == 0.0
    assert share_interval(40, 40)[1] == 1.0


@given(st.integers(1, 400), st.data())
@settings(max_examples=50, deadline=None)
def test_the_interval_holds_what_was_seen(pictures: int, data: st.DataObject) -> None:
    called = data.draw(st.integers(0, pictures))
    low, high = share_interval(called, pictures)
    assert 0 <= low <= called / pictures <= high <= 1


def test_the_interval_seldom_ever_misses() -> None:
    random, missed = np.random.default_rng(1), 0
    for _ in range(200):
        counts = np.cumsum(random.random(400) < 0.05)
        missed += any(
            not low <= 0.05 <= high
            for low, high in (share_interval(int(c), n + 1) for n, c in enumerate(counts) if n % 10 == 0)
        )
    assert missed <= 18  # 10 are expected at most; 18 has a chance of 1 %
