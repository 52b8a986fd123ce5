"""Many subsets in one number, and many comparisons in one table.

The macro mean gives every subset the same weight, whatever its number of images. Its interval comes from drawing
images (or groups) within each subset, by itself: the subsets are taken as they are, not as a sample of others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.metrics.intervals import N_RESAMPLES, Estimate, percentile_estimate, undefined
from weakspot.metrics.paired import Difference, balancing_weights, stratum_means, swap_p_value
from weakspot.metrics.unvarying import widened_difference
from weakspot.types import FloatArray


@dataclass(frozen=True)
class Resampled:
    """A subset's value.

    Attributes:
        estimate: the value with its own interval.
        resamples: the value in each resample of the subset's images, ``(r,)``; NaN where a resample has none.
    """

    estimate: Estimate
    resamples: FloatArray


@dataclass(frozen=True)
class Paired:
    """Scores of two models for the same n images.

    Attributes:
        first, second: scores, shape ``(n,)``; right answers (0 or 1), for one.
        groups: number of the group that each image belongs to, ``(n,)``.
        strata: stratum of each image, ``(n,)``; the mean over strata of means over images is compared.
    """

    first: FloatArray
    second: FloatArray
    groups: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number (Holm, Scandinavian Journal of Statistics 6, 1979).

    Whoever calls those up to 0.05 significant is wrong about any of them in at most 5 % of such families, however the
    tests hang together.

    Args:
        p_values: of all comparisons; NaN is none, and stays NaN.

    Returns:
        Adjusted p-values in the same order, at most 1.

    Examples:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


def draw_within(groups: Sequence[int], strata: npt.NDArray[Any], seed: int) -> npt.NDArray[np.intp]:
    """Draw groups with replacement among those whose images are of the same strata, so that none runs empty.

    Args:
        groups: number of the group each image belongs to, at least one image.
        strata: stratum of each image, ``(n,)``: its true class.
        seed: same seed, same draws.

    Returns:
        How often each image is drawn, ``(1000, n)``.
    """
    _, of = np.unique(groups, return_inverse=True)
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for group in range(int(of.max()) + 1):
        kinds.setdefault(tuple(np.unique(strata[of == group]).tolist()), []).append(group)
    rng, drawn = np.random.default_rng(seed), np.zeros((N_RESAMPLES, int(of.max()) + 1), dtype=np.intp)
    for _, members in sorted(kinds.items()):
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=N_RESAMPLES)
    return np.asarray(drawn[:, of])


def macro_mean(subsets: Sequence[Resampled]) -> Estimate:
    """The mean over subsets, with its 95 % interval from resampling within each of them.

    A subset that no resample can change (all images right) would add nothing to the width: it adds that of its own
    interval, as if it erred in the same direction as all others, which is wider than 95 %.

    Args:
        subsets: with resamples of independent draws, as many of each.

    Returns:
        The mean; n is the number of images (or other cases) of all. NaN where a subset has no value, or there is none.
    """
    n = sum(each.estimate.n for each in subsets)
    if not subsets or any(math.isnan(each.estimate.value) for each in subsets):
        return undefined(n)
    value = float(np.mean([each.estimate.value for each in subsets]))
    found = percentile_estimate(value, n, np.mean([each.resamples for each in subsets], axis=0))
    fixed = [each.estimate for each in subsets if _fixed(each.resamples)]
    below = sum(one.value - one.low for one in fixed) / len(subsets)
    above = sum(one.high - one.value for one in fixed) / len(subsets)
    return replace(found, low=found.low - below, high=found.high + above)


def _fixed(resamples: FloatArray) -> bool:
    """Whether all resamples come to the same, but for the last bit."""
    defined = resamples[np.isfinite(resamples)]
    return bool(defined.size) and float(np.ptp(defined)) < 1e-12


def macro_difference(subsets: Sequence[Paired], *, seed: int = 0) -> Difference:
    """Compare two models by the mean over subsets, each pair of scores on the same images.

    The p-value comes from swapping the two models group by group in every subset; the interval from drawing groups
    within each subset, with what :func:`macro_mean` adds for subsets that no resample can change.

    Args:
        subsets: at least one, each with at least one image.
        seed: of resamples and swaps.
    """
    differences, resampled, by_group = list[list[float]](), list[Resampled](), list[FloatArray]()
    for k, one in enumerate(subsets):
        weights, change = balancing_weights(one.strata), one.second - one.first
        differences.append([float((weights * scores).sum()) for scores in (one.first, one.second)])
        draws = draw_within(one.groups.tolist(), one.strata, seed + k)
        resamples = stratum_means(draws, change, one.strata)
        alone = percentile_estimate(differences[-1][1] - differences[-1][0], len(change), resamples)
        alone = widened_difference(alone, change, one.groups.tolist(), one.strata)
        resampled.append(Resampled(alone, resamples))
        by_group.append(np.bincount(np.unique(one.groups, return_inverse=True)[1], weights * change) / len(subsets))
    first, second = np.mean(differences, axis=0)
    changes = np.concatenate(by_group)
    return Difference(
        float(first),
        float(second),
        replace(macro_mean(resampled), value=float(second - first)),
        len(changes),
        swap_p_value(changes, seed=seed + 1),
    )
