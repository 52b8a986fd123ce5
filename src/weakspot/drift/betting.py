"""Bets against "nothing has changed", and how much they have won.

Each bet is a density on 0…1. A p-value is uniform while nothing changes, so that a bet neither wins nor loses on
average. Capital that is put on it again with every picture is a Shiryaev–Roberts process: after n pictures it is worth
n on average, so by Doob's inequality the chance that it ever reaches c within n pictures is at most n / c (Shin, Ramdas
and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2023; Volkhonskiy et al.,
"Inductive conformal martingales for change-point detection", 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SLOPES = (0.5, 1.0)
"""Of bets that fall over all of 0…1, and of their mirror images: values are somewhat lower, or higher, than before."""

TAILS = ((0.02, 0.1), (0.02, 0.5), (0.1, 0.3), (0.1, 0.6), (0.3, 0.75))
"""Ends of 0…1, and the share of the capital that is put on them: values are much lower, or higher, than before."""

ENDS = (0.1, 0.4)
"""The same for both ends together: values scatter more than before."""

ONE_SIDED = len(SLOPES) + len(TAILS)
BETS = 2 * ONE_SIDED + 1
"""Bets on low p-values come first, then those on high ones, then that on both ends."""


def bets(p: Floats) -> Floats:
    """What each bet makes of a unit of capital.

    Args:
        p: p-values in 0…1, ``(k,)``.

    Returns:
        ``(k, BETS)``; the mean of each column over uniform p-values is 1.
    """
    end, put = ENDS
    inside = (p > end / 2) & (p < 1 - end / 2)
    both = np.where(inside, (1 - put) / (1 - end), put / end)
    return np.concatenate([_on_low(p), _on_low(1 - p), both[:, None]], axis=1)


def _on_low(p: Floats) -> Floats:
    sloped = [1 + slope * (1 - 2 * p) for slope in SLOPES]
    return np.stack([*sloped, *(np.where(p <= end, put / end, (1 - put) / (1 - end)) for end, put in TAILS)], axis=1)


class Capital:
    """What the bets on k streams of p-values are worth.

    Args:
        streams: k.
        low: whether to bet on low p-values too, and not on high ones alone.

    Attributes:
        worth: ``(k, BETS)``, capital in each bet.
        run: ``(k, BETS)``, logarithm of what a bet has won since it last had nothing, which tells when a change began.
        since: ``(k, BETS)``, p-values since then.
    """

    def __init__(self, streams: int, *, low: bool = True) -> None:
        shares = np.ones(BETS)
        if not low:
            shares[:ONE_SIDED] = shares[-1] = 0
        self._shares: Floats = shares / shares.sum()
        self.worth = np.zeros((streams, BETS))
        self.run = np.zeros((streams, BETS))
        self.since = np.zeros((streams, BETS), dtype=np.int64)

    def bet(self, p: Floats) -> None:
        """Put a unit on every stream, spread over the bets, and see what all of it becomes.

        Args:
            p: ``(k,)``, NaN where nothing was measured, which changes nothing.
        """
        known = np.flatnonzero(~np.isnan(p))
        factors = bets(p[known])
        self.worth[known] = np.minimum((self.worth[known] + self._shares) * factors, _MOST)
        run = self.run[known] + np.log(np.maximum(factors, _LEAST))
        self.since[known] = np.where(run > 0, self.since[known] + 1, 0)
        self.run[known] = np.maximum(run, 0)

    @property
    def evidence(self) -> Floats:
        """The worth of each stream, ``(k,)``: after n p-values n on average, while nothing changes."""
        return np.asarray(self.worth.sum(axis=1))

    def began(self, stream: int) -> int:
        """How many p-values ago a stream changed, by the bet on it that is worth most."""
        return int(self.since[stream, int(self.worth[stream].argmax())])


_MOST, _LEAST = 1e200, 1e-300


def share_interval(called: int, pictures: int, alpha: float = 0.05) -> tuple[float, float]:
    """A confidence sequence for a share: it may be looked at after every picture, and holds at all times together.

    The shares against which a bet on all others at once, spread by a Beta(½, ½) distribution, has won less than
    1/alpha (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; Waudby-Smith and Ramdas,
    "Estimating means of bounded random variables by betting", 2023).

    Args:
        called: pictures that count.
        pictures: all of them.
        alpha: chance that the share is ever outside.

    Returns:
        Its ends, 0…1.
    """
    if not pictures:
        return 0.0, 1.0
    missed = pictures - called
    won = math.lgamma(called + 0.5) + math.lgamma(missed + 0.5) - math.lgamma(pictures + 1) - math.log(math.pi)

    def against(share: float) -> float:
        """Logarithm of what the bet against this share is worth; smallest at the share that was seen."""
        of_called = called * math.log(share) if called else 0.0
        return won - of_called - (missed * math.log1p(-share) if missed else 0.0)

    limit, seen = math.log(1 / alpha), called / pictures
    return _crossing(against, limit, seen, 0.0), _crossing(against, limit, seen, 1.0)


def _crossing(rising: Callable[[float], float], limit: float, inside: float, outside: float) -> float:
    """Where a function crosses a limit, between a share at which it is lower and an end of 0…1."""
    if inside == outside:
        return outside
    for _ in range(60):
        middle = (inside + outside) / 2
        if rising(middle) > limit:
            outside = middle
        else:
            inside = middle
    return outside
