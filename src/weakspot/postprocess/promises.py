"""What so many pictures can promise of a limit of trust, each with confidence :data:`CONFIDENCE`.

* Of the pictures with a green box, in at least :data:`WANTED` every green box is right. Limits are tried from the
  highest downwards until one fails (fixed-sequence testing: Angelopoulos et al., "Learn then Test", 2021).
* Of the Good pictures with a box, at most :data:`FALSE_GREEN` have a green one (Clopper and Pearson, Biometrika 1934).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaincc

from weakspot.types import BoolArray

WANTED, FALSE_GREEN, CONFIDENCE = 0.8, 0.05, 0.8
"""Share of right boxes among the green ones, share of green ones among false ones, confidence of both."""

FIRST = 14
"""Pictures with a green box at the first limit that is tried, the fewest of which one may have a wrong one."""

FEWEST_GOOD = math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - FALSE_GREEN))
"""Good pictures with a box from which on anything can be promised of false ones, if none of them has a green box."""

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


def tops_of(trust: Floats, picture: Whole) -> Floats:
    """The highest trust of each picture with a box.

    Args:
        trust: ``(n,)`` of each box.
        picture: ``(n,)``, number of its picture.

    Returns:
        One for each picture, by rising number.
    """
    return np.array([trust[picture == one].max() for one in np.unique(picture)])


def above(ranked: Floats, allowed: int) -> float:
    """The lowest limit that at most so many values reach.

    Args:
        ranked: values, falling.
        allowed: how many may reach the limit, 0 or more.

    Returns:
        Just above the first value that may not reach it; minus infinity where all may.
    """
    return float(np.nextafter(ranked[allowed], np.inf)) if allowed < len(ranked) else -math.inf


def false_limit(tops: Floats, share: float = FALSE_GREEN, confidence: float = CONFIDENCE) -> float | None:
    """Find the lowest limit that few enough Good pictures reach.

    Args:
        tops: trust of the most trusted box of each Good picture that has one, 0…1.
        share: largest share of such pictures that may reach the limit.
        confidence: of the upper bound of that share (Clopper–Pearson, one-sided).

    Returns:
        The limit; None where even no picture in so few would not prove it.

    Examples:
        Without any above it, 32 pictures are enough for 5 % with confidence 0.8, and 31 are not:

        >>> false_limit(np.full(31, 0.2)) is None
        True
        >>> 0.2 < false_limit(np.full(32, 0.2)) < 0.2001
        True
    """
    n, allowed = len(tops), -1
    while allowed + 1 < n and betainc(allowed + 2, n - allowed - 1, share) >= confidence:
        allowed += 1
    return None if allowed < 0 else above(np.sort(tops)[::-1], allowed)


def precision_limit(
    trust: Floats,
    right: BoolArray,
    picture: Whole,
    floor: float,
    wanted: float = WANTED,
    confidence: float = CONFIDENCE,
) -> tuple[float, int, int] | None:
    """Find the lowest limit of trust from which on boxes are right often enough.

    A picture counts once, and for it only if all of its boxes that reach the limit are right.

    Args:
        trust: ``(n,)`` of each box, 0…1.
        right: ``(n,)``, whether it is right.
        picture: ``(n,)``, number of its picture.
        floor: limits below it are not tried.
        wanted: smallest share of pictures with a box that reaches the limit for which it counts.
        confidence: of the lower bound of that share (Clopper–Pearson, one-sided).

    Returns:
        The limit, and of how many pictures that reach it how many count for it: ``(limit, hits, pictures)``; None where
        nothing can be promised.
    """
    pictures = np.unique(picture)
    tops = tops_of(trust, picture)
    wrong = np.array([trust[(picture == one) & ~right].max(initial=-math.inf) for one in pictures])
    best = None
    for limit in np.unique(tops[tops >= floor])[::-1]:
        reach = tops >= limit
        n, hits = int(reach.sum()), int((reach & (wrong < limit)).sum())
        if n < FIRST:
            continue
        if not hits or betaincc(hits, n - hits + 1, wanted) < confidence:
            break
        best = float(limit), hits, n
    return best
