"""Two models on the same images: the difference, its interval, and how likely chance alone makes one as large.

Images of a group tend to be right or wrong together, so groups are drawn and swapped, not images: the cluster
bootstrap (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 3.8) and a permutation test that swaps
the two models' scores group by group (Fisher, 1935).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.metrics.intervals import N_RESAMPLES, Estimate, percentile_estimate
from weakspot.metrics.unvarying import widened_difference
from weakspot.types import FloatArray

N_SWAPS = 10_000

SIGNIFICANT = 0.05

BELIEVE_P = "where interval and p contradict each other, believe p: too few pictures differ for the interval"
"""What to say of a difference that is :attr:`Difference.at_odds`."""

_CHUNK = 10_000_000
"""How many signs are held at once (80 MB)."""

ROWS = 200
"""How many resamples are held at once: of 100,000 images 160 MB."""


@dataclass(frozen=True)
class Difference:
    """The second model's value minus the first's.

    Attributes:
        first, second: the two values.
        difference: their difference with its 95 % interval; n counts images.
        groups: number of independent groups that the images belong to.
        p_value: two-sided; how often swapping the scores at random makes the difference as large. NaN where undefined.
    """

    first: float
    second: float
    difference: Estimate
    groups: int
    p_value: float

    @property
    def at_odds(self) -> bool:
        """Whether interval and p-value seem to contradict each other: with few pictures that differ they do.

        Resamples of few pictures repeat what these show, so that the interval is too narrow; the permutation test is
        exact however few there are. An end that is written as 0.000 counts as beside zero.
        """
        low, high = round(self.difference.low, 3), round(self.difference.high, 3)
        one_sided = bool(self.difference.value) and (low >= 0 or high <= 0)
        return not math.isnan(self.p_value) and one_sided != (self.p_value <= SIGNIFICANT)


def balancing_weights(targets: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """Weights ``(n,)`` under which the sum of right answers is balanced accuracy.

    Args:
        targets: true classes, shape ``(n,)``.
    """
    _, of, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(counts) * counts[of]), dtype=np.float64)


def paired_difference(
    first: FloatArray,
    second: FloatArray,
    groups: Sequence[int],
    strata: npt.NDArray[Any],
    *,
    seed: int = 0,
    shares: bool = True,
) -> Difference:
    """Compare two models by a score for each image; the mean over strata of the means over images is compared.

    With right answers (0 or 1) as scores and true classes as strata that is balanced accuracy; with the share of IoU
    levels that an image's boxes reach, and one stratum, it is MaxBoxAccV2.

    Args:
        first: scores of the first model, shape ``(n,)``.
        second: scores of the second model on the same images, shape ``(n,)``.
        groups: number of the group each image belongs to.
        strata: class of each image, shape ``(n,)``.
        seed: of resamples and swaps.
        shares: whether scores lie in 0…1, so that an interval that no resample gives a width gets that of
            :func:`~weakspot.metrics.unvarying.widened_difference`; of log-odds, which have no bounds, nothing can be
            said.

    Raises:
        ValueError: when lengths differ.
    """
    first, second = (np.asarray(scores, dtype=np.float64) for scores in (first, second))
    if not first.shape == second.shape == np.shape(groups) == np.shape(strata):
        raise ValueError(f"{first.shape}, {second.shape}, {np.shape(groups)}, {np.shape(strata)} differ in shape")
    n = len(first)
    if n == 0:
        return Difference(math.nan, math.nan, Estimate(math.nan, 0, math.nan, math.nan), 0, math.nan)
    weights = balancing_weights(strata)
    values = [float((weights * scores).sum()) for scores in (first, second)]
    change = second - first
    resamples = _resampled_means(groups, change, strata, seed)
    by_group = np.bincount(np.unique(groups, return_inverse=True)[1], weights * change).astype(np.float64)
    estimate = percentile_estimate(values[1] - values[0], n, resamples)
    return Difference(
        values[0],
        values[1],
        widened_difference(estimate, change, groups, strata) if shares else estimate,
        len(by_group),
        swap_p_value(by_group, seed=seed + 1),
    )


def swap_p_value(by_group: FloatArray, *, seed: int) -> float:
    """How often swapping two models group by group makes a difference as large as theirs, either way.

    Args:
        by_group: what each group adds to the difference, shape ``(groups,)``.
        seed: of the swaps.
    """
    rng, reached = np.random.default_rng(seed), 0
    rows = max(1, _CHUNK // max(1, len(by_group)))
    for start in range(0, N_SWAPS, rows):
        signs = rng.choice([-1.0, 1.0], size=(min(rows, N_SWAPS - start), len(by_group)))
        reached += int((np.abs(signs @ by_group) >= abs(by_group.sum()) - 1e-12).sum())
    return (1 + reached) / (1 + N_SWAPS)


def group_estimate(scores: FloatArray, groups: Sequence[int], strata: npt.NDArray[Any], *, seed: int = 0) -> Estimate:
    """Average scores within each stratum and then over the strata, with an interval from drawing groups.

    Args:
        scores: one for each image, shape ``(n,)``; n may be 0.
        groups: number of the group each image belongs to.
        strata: stratum of each image, shape ``(n,)``: its true class for a balanced mean.
        seed: of the resamples.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) == 0:
        return Estimate(math.nan, 0, math.nan, math.nan)
    resamples = _resampled_means(groups, scores, strata, seed)
    return percentile_estimate(float((balancing_weights(strata) * scores).sum()), len(scores), resamples)


def _resampled_means(groups: Sequence[int], scores: FloatArray, strata: npt.NDArray[Any], seed: int) -> FloatArray:
    """The :func:`stratum_means` of :data:`~weakspot.metrics.intervals.N_RESAMPLES` draws of groups, a few at a time."""
    draws = draws_of_groups(groups, N_RESAMPLES, seed)
    return np.concatenate([stratum_means(times, scores, strata) for times in draws])


def draws_of_groups(groups: Sequence[int], resamples: int, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    """Draw groups with replacement, and count how often that draws each image; in bounded memory.

    Args:
        groups: number of the group each image belongs to, at least one image.
        resamples: how many times to draw.
        seed: same seed, same draws.

    Yields:
        Counts ``(r, n)`` of at most :data:`ROWS` resamples; the r add up to `resamples`.
    """
    _, of = np.unique(groups, return_inverse=True)
    n_groups = int(of.max()) + 1
    rng, shares = np.random.default_rng(seed), np.full(n_groups, 1 / n_groups)
    for start in range(0, resamples, ROWS):
        drawn = rng.multinomial(n_groups, shares, size=min(ROWS, resamples - start))
        yield np.asarray(drawn[:, of], dtype=np.intp)


def draw_groups(groups: Sequence[int], resamples: int, seed: int) -> npt.NDArray[np.intp]:
    """All of :func:`draws_of_groups` at once, ``(resamples, n)``: 8 kB an image for 1000 resamples.

    Args:
        groups: number of the group each image belongs to, at least one image.
        resamples: how many times to draw.
        seed: same seed, same draws.
    """
    return np.concatenate(list(draws_of_groups(groups, resamples, seed)))


def stratum_means(times: npt.NDArray[np.intp], scores: FloatArray, strata: npt.NDArray[Any]) -> FloatArray:
    """Average scores within each stratum and then over the strata, for every resample.

    Args:
        times: how often each image is in each resample, ``(r, n)``.
        scores: one for each image, ``(n,)``.
        strata: stratum of each image, ``(n,)``.

    Returns:
        ``(r,)``; NaN where no image of a stratum was drawn.
    """
    means = []
    for stratum in np.unique(strata):
        inside = strata == stratum
        with np.errstate(invalid="ignore"):
            means.append(times[:, inside] @ scores[inside] / times[:, inside].sum(axis=1))
    return np.asarray(np.mean(means, axis=0))
