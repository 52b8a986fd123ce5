"""Calibration error and the bins of the reliability diagram, by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from weakspot.metrics.calibration import expected_calibration_error, reliability


def test_calibration_error_by_hand() -> None:
    confidences, right = np.array([0.6, 0.6, 0.9, 0.9]), np.array([1, 0, 1, 1])
    assert reliability(confidences, right, bins=2) == [(0.6, 0.5, 2), (0.9, 1.0, 2)]
    assert expected_calibration_error(confidences, right, bins=2) == pytest.approx(0.1)
    assert math.isnan(expected_calibration_error(np.zeros(0), np.zeros(0)))
    assert expected_calibration_error(np.array([0.7]), np.array([True])) == pytest.approx(0.3)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
def test_a_hundred_that_are_as_often_right_as_they_are_sure_have_no_error(seed: int | None) -> None:
    """Cut into ten bins by their order in the list, they had an error of up to 0.18."""
    right = np.arange(100) < 90
    if seed is not None:
        np.random.default_rng(seed).shuffle(right)
    ((confidence, share, n),) = reliability(np.full(100, 0.9), right)
    assert (confidence, share, n) == (pytest.approx(0.9), 0.9, 100)
    assert expected_calibration_error(np.full(100, 0.9), right) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 25, 60])
def test_the_order_of_the_pictures_does_not_matter(n: int) -> None:
    rng = np.random.default_rng(n)
    confidences, right = rng.integers(5, 10, n) / 10, rng.random(n) < 0.7
    found = reliability(confidences, right)
    assert sum(count for _, _, count in found) == n
    assert [low < high for (low, _, _), (high, _, _) in pairwise(found)] == [True] * (len(found) - 1)
    for _ in range(5):
        order = rng.permutation(n)
        mixed = reliability(confidences[order], right[order])
        np.testing.assert_allclose(mixed, found, rtol=1e-12)


def test_a_cut_moves_to_the_nearer_end_of_a_run() -> None:
    confidences = np.array([0.1, 0.2, *[0.9] * 6, 0.95, 0.99])
    right = np.arange(10) % 2
    assert [count for _, _, count in reliability(confidences, right, bins=2)] == [2, 8]  # 5 is as far from 2 as from 8
    assert [count for _, _, count in reliability(confidences, right, bins=3)] == [2, 6, 2]  # 4 to 2, and 7 to 8
    apart = np.linspace(0.1, 0.9, 25)
    assert [count for _, _, count in reliability(apart, apart, bins=10)] == [3] * 5 + [2] * 5
