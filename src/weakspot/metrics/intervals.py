"""A number and how far it can be trusted: 95 % intervals for proportions and for any other statistic."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

N_RESAMPLES = 1000

_CHUNK = 2_000_000
"""How many drawn indices are held at once (16 MB)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value with its 95 % interval.

    Attributes:
        value: the measurement; NaN where it is undefined.
        n: how many images (or other cases) it rests on.
        low, high: the 95 % interval; NaN where `value` is.
    """

    value: float
    n: int
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """``{"value", "n", "low", "high"}`` in plain Python numbers."""
        return dataclasses.asdict(self)


def undefined(n: int) -> Estimate:
    """Return the estimate of something that `n` cases do not define: all NaN."""
    return Estimate(math.nan, n, math.nan, math.nan)


def proportion(k: int, n: int) -> Estimate:
    """Estimate a proportion with its exact (Clopper–Pearson) 95 % interval.

    Args:
        k: number of successes, 0…n.
        n: number of cases; 0 gives NaN.

    Raises:
        ValueError: when k is outside 0…n.

    Examples:
        >>> recall = proportion(18, 20)
        >>> print(f"{recall.value:.2f} ({recall.low:.2f}–{recall.high:.2f}), n = {recall.n}")
        0.90 (0.68–0.99), n = 20
    """
    k, n = int(k), int(n)
    if not 0 <= k <= n:
        raise ValueError(f"{k} successes out of {n} cases")
    if n == 0:
        return undefined(0)
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="exact")
    return Estimate(k / n, n, float(interval.low), float(interval.high))


def bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[npt.NDArray[Any]],
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    strata: npt.NDArray[Any] | None = None,
) -> Estimate:
    """Estimate a statistic over images with its bootstrap percentile 95 % interval.

    ``scipy.stats.bootstrap`` knows no strata. Without them a resample of a small test subset may hold no Good image.
    Mind that a value that no resample can change (all images right) gets an interval of no width:
    :mod:`weakspot.metrics.unvarying` is for those.

    Args:
        statistic: takes as many arrays as given, returns one number; NaN where undefined (left out of the interval).
            ``np.mean`` of one array is taken of many resamples at once, which gives the same numbers sooner.
        arrays: each with one entry per image along its first axis; drawn together.
        n_resamples: number of resamples.
        seed: same seed, same interval.
        strata: shape ``(n,)``; each stratum is resampled by itself and keeps its size. None: a single stratum.

    Raises:
        ValueError: when there is no array, or lengths differ.
    """
    lengths = {len(array) for array in arrays} | (set() if strata is None else {len(strata)})
    if len(lengths) != 1 or not arrays:
        raise ValueError(f"arrays and strata must have one common length, not {sorted(lengths)}")
    (n,) = lengths
    if n == 0:
        return undefined(0)
    strata = np.zeros(n, dtype=int) if strata is None else np.asarray(strata)
    resamples = [
        np.mean(np.asarray(arrays[0])[draws], axis=1)
        if statistic is np.mean and len(arrays) == 1
        else [float(statistic(*(array[row] for array in arrays))) for row in draws]
        for draws in draw_indices(strata, n_resamples, seed)
    ]
    return percentile_estimate(float(statistic(*arrays)), n, np.concatenate(resamples))


def draw_indices(strata: npt.NDArray[Any], n_resamples: int, seed: int) -> Iterator[npt.NDArray[np.intp]]:
    """Draw resamples with replacement within each stratum.

    Args:
        strata: shape ``(n,)``, n at least 1.
        n_resamples: number of resamples.
        seed: same seed, same draws.

    Yields:
        Indices of shape ``(r, n)``, a resample a row; the r add up to `n_resamples`, and memory stays bounded.
    """
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    rows = max(1, _CHUNK // len(strata))
    for start in range(0, n_resamples, rows):
        r = min(rows, n_resamples - start)
        yield np.concatenate([m[rng.integers(0, len(m), (r, len(m)))] for m in members], axis=1)


def percentile_estimate(value: float, n: int, resamples: npt.NDArray[np.floating[Any]]) -> Estimate:
    """Combine a value with the 2.5 % and 97.5 % percentiles of its resamples.

    Args:
        value: of all images; NaN where it is undefined.
        n: number of images.
        resamples: the value of each resample, shape ``(r,)``; NaN and infinity are left out.

    Returns:
        The value with its 95 % interval; an interval of NaN where the value or every resample is undefined.
    """
    defined = resamples[np.isfinite(resamples)]
    if math.isnan(value) or defined.size == 0:
        return dataclasses.replace(undefined(n), value=float(value))
    low, high = np.quantile(defined, [0.025, 0.975])
    return Estimate(float(value), n, float(low), float(high))
