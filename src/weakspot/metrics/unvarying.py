"""Intervals for values that no resample changes, where a bootstrap would claim to be certain.

Where all n cases say the same, cases unlike them may still be as common as ``1 - 0.025^(1/n)``: that is the end of
Clopper and Pearson's interval for none out of n (Biometrika 26, 1934), about three out of n at 95 % and one side (the
"rule of three", Hanley and Lippman-Hand, JAMA 249, 1983). Each bound below supposes that such cases are as bad, or as
good, as they can be, so it is wider than 95 %. An interval that has a width is never touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.metrics.intervals import Estimate, bootstrap
from weakspot.types import FloatArray

DOUBT = 0.025
"""Probability that is left to each end of an interval."""


def unseen(n: int, doubt: float = DOUBT) -> float:
    """The largest share of cases that n cases without one of them do not rule out.

    Args:
        n: number of cases; 0 rules nothing out.
        doubt: probability of a larger share.

    Examples:
        >>> round(unseen(4), 2), round(unseen(100), 3)
        (0.6, 0.036)
    """
    return 1.0 if n < 1 else float(1 - doubt ** (1 / n))


def certain(estimate: Estimate) -> bool:
    """Whether an interval has no width, but for the last bits, in which sums of the same numbers differ."""
    return math.isfinite(estimate.value) and estimate.high - estimate.low < 1e-12


def mean_of_shares(values: FloatArray) -> Estimate:
    """Mean of values in 0…1 with a bootstrap interval, or that of :func:`widened_mean` where they are all the same.

    Args:
        values: shape ``(n,)``; n may be 0.
    """
    return widened_mean(bootstrap(np.mean, [values]), len(values))


def widened_mean(estimate: Estimate, independent: int) -> Estimate:
    """The mean of values in 0…1 with a width: those not seen may all be 0, or all be 1.

    Args:
        estimate: of the mean; one whose interval has a width stays as it is.
        independent: number of cases that do not hang together.
    """
    if not certain(estimate):
        return estimate
    share, value = unseen(independent), estimate.value
    return replace(estimate, low=value * (1 - share), high=value + (1 - value) * share)


def widened_difference(
    estimate: Estimate, change: FloatArray, groups: Sequence[int], strata: npt.NDArray[Any]
) -> Estimate:
    """The difference of two models' scores in 0…1 with a width: images not seen may all differ by −1, or all by 1.

    Of one stratum it is beside 0 exactly where the sign test says so. Several strata count as if each of them had as
    few groups as the smallest; of strata of one size that is exact, of others wider.

    Args:
        estimate: of the mean over strata of the mean difference; one whose interval has a width stays as it is.
        change: difference of each image, −1…1, ``(n,)``, at least one.
        groups: number of the group that each image belongs to.
        strata: stratum of each image, ``(n,)``.
    """
    if not certain(estimate):
        return estimate
    inside = [strata == stratum for stratum in np.unique(strata)]
    means = [float(change[one].mean()) for one in inside]
    fewest = min(len(np.unique(np.asarray(groups)[one])) for one in inside)
    share, value = unseen(len(inside) * fewest), estimate.value
    low, high = value - (max(means) + 1) * share, value + (1 - min(means)) * share
    return replace(estimate, low=max(-1.0, low), high=min(1.0, high))


def widened_ranking(name: str, estimate: Estimate, good: int, others: int) -> Estimate:
    """AUROC or average precision with a width: images not seen may be ranked behind, or before, all the others.

    Args:
        name: ``auroc`` or ``average_precision``.
        estimate: one whose interval has a width stays as it is.
        good: number of Good images.
        others: number of the other images.
    """
    if not certain(estimate):
        return estimate
    lost, in_front = unseen(others, DOUBT / 2), unseen(good, DOUBT / 2)  # half each, as either may be wrong
    kept = (1 - lost) * (1 - in_front)
    high = estimate.value + (1 - estimate.value) * (1 - kept)
    if name == "average_precision":  # the Good ones in front spoil the precision of all that follow
        before, behind = good * in_front, others * (1 - lost)
        kept = (1 - lost) * (1 - before / behind * math.log1p(behind / before))
    return replace(estimate, low=estimate.value * max(0.0, kept), high=high)


def widened_macro(name: str, estimate: Estimate, of_classes: Sequence[int], measured: Sequence[int]) -> Estimate:
    """Precision or F1 over classes with a width: images not seen may all be called another class.

    Args:
        name: ``precision`` or ``f1``.
        estimate: the mean over the classes; one whose interval has a width stays as it is.
        of_classes: number of images of each class, 0 for one that does not occur.
        measured: positions of the classes that the mean is over.
    """
    if not certain(estimate):
        return estimate
    counts = np.array(of_classes, dtype=np.float64)
    share = np.array([unseen(n, DOUBT / max(1, len(of_classes))) if n else 0.0 for n in of_classes])
    right, strayed = counts * (1 - share), counts * share
    others = strayed.sum() - strayed
    worst = right / (right + others) if name == "precision" else 2 * right / (right + counts + others)
    best = np.where(share > 0, 1.0 if name == "precision" else 2 * share / (1 + share), 0.0)
    chosen = list(measured)
    kept, gained = float(worst[chosen].mean()), float(best[chosen].mean())
    return replace(estimate, low=estimate.value * kept, high=estimate.value + (1 - estimate.value) * gained)
