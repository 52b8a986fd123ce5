"""How far the parts of a model are believed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import minimize

from weakspot.training.stacking import FEWEST, fit_stacking
from weakspot.types import EQUAL

Floats = npt.NDArray[np.float64]


def held_out(n: int = 400, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """A part that knows, one that says the same ten times as loud, and one that guesses."""
    rng = np.random.default_rng(seed)
    targets = np.arange(n) % 2
    signal = 2.0 * targets - 1
    knows, loud = signal + rng.normal(size=n), 10 * (signal + rng.normal(size=n))
    return np.stack([rng.normal(size=n), knows, loud], axis=1), targets


def test_who_knows_is_believed_and_who_is_loud_is_turned_down() -> None:
    estimates, targets = held_out()
    guesses, knows, loud = fit_stacking(estimates, targets.tolist(), range(len(targets)))
    assert guesses < 0.2 * knows
    assert loud == pytest.approx(knows / 10, rel=0.2)
    assert estimates.mean(axis=1).std() == pytest.approx((estimates * [guesses, knows, loud]).mean(axis=1).std())


def test_it_is_the_logistic_regression_that_it_says_it_is() -> None:
    estimates, targets = held_out(60, seed=3)
    groups = np.arange(60) // 2 * 2 + targets  # two photographs of each part
    factors = np.array(fit_stacking(estimates, targets.tolist(), groups.tolist()))
    centre, spread = estimates.mean(axis=0), estimates.std(axis=0)
    scaled, signs = (estimates - centre) / spread, 2 * targets - 1

    def loss(parameters: Floats) -> float:
        margins = signs * (scaled @ parameters[:3] + parameters[3])
        return float(np.log1p(np.exp(-margins)).sum() + parameters[:3] @ parameters[:3] / 2)

    free = [(0, None)] * 3 + [(None, None)]
    reference = minimize(loss, np.zeros(4), bounds=free, method="Nelder-Mead", options={"xatol": 1e-7, "maxiter": 9999})
    assert len(np.unique(groups)) == 60
    expected = reference.x[:3] / spread
    np.testing.assert_allclose(factors / factors[1], expected / expected[1], atol=1e-3)


def test_many_photographs_of_one_part_count_as_one() -> None:
    estimates, targets = held_out(40)
    once = fit_stacking(estimates, targets.tolist(), range(40))
    which = np.r_[np.arange(40), np.repeat([3, 4], 50)]
    often = fit_stacking(estimates[which], targets[which].tolist(), which.tolist())
    assert often == pytest.approx(once, rel=0.15)  # the scale that the prior is measured in moves a little


def test_a_part_that_is_not_there_stays_out() -> None:
    estimates, targets = held_out()
    estimates[:, 0] = np.nan
    without, knows, loud = fit_stacking(estimates, targets.tolist(), range(400))
    assert without == 1
    assert loud == pytest.approx(knows / 10, rel=0.2)


@pytest.mark.parametrize("case", ["one part", "few groups", "all wrong"])
def test_where_nothing_is_known_all_are_believed_equally(case: str) -> None:
    estimates, targets = held_out(40)
    groups = list(range(40))
    if case == "one part":
        estimates[:, 1:] = np.nan
    elif case == "few groups":
        groups = [i if targets[i] == 0 else 1000 + i // 2 % (FEWEST - 1) for i in groups]
    else:
        estimates = -estimates[:, [1, 1, 1]]
    assert fit_stacking(estimates, targets.tolist(), groups) == EQUAL
