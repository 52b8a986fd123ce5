"""How unusual each place of a picture is, and whether a place that stands out takes turns with others.

A defect is found at one of several places: of four limbs one is missing. If most of a small data set's defects happen
to be at one of them, that place tells the classes apart without being a shortcut. A shortcut knows nothing of where the
defect is, so pictures with it and pictures without it show as much elsewhere; pictures whose defect is at the place
show nothing else, and the others show something elsewhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

from weakspot.data.measurements import CELLS, GRID, Values
from weakspot.data.shortcuts import FEWEST, MOST, P_VALUE, largest_correlations

USUAL = 0.95
"""A place stands out in a picture where it is more unusual than in this share of the Good ones."""

CHANCE = 0.05
"""Level of the tests of what shows elsewhere; a shortcut, which goes with no place of a defect, passes as rarely."""

_MOST_UNUSUAL = 20.0


def unusual(values: Values, good: npt.NDArray[np.bool_]) -> Values:
    """How much each cell differs from the same cell of Good pictures, next to how much Good pictures do.

    Args:
        values: ``(n, measurements)``, NaN for what was not measured.
        good: which pictures are Good, ``(n,)``.

    Returns:
        ``(n, GRID, GRID)``, mean over brightness, colours and fine detail, 1 for a usual picture, 20 at most.
    """
    n = len(values)
    scaled = values[:, :CELLS].reshape(n, 4, GRID * GRID).copy()
    scaled[:, [0, 3]] = np.log(np.maximum(scaled[:, [0, 3]], 0) + 1)
    with warnings.catch_warnings():  # cells outside a region of interest are NaN in every picture
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        apart = scaled - np.nanmedian(scaled[good], axis=0)
        apart = np.abs(apart - np.nanmedian(apart, axis=2, keepdims=True))
        spread = np.nanmedian(apart[good], axis=0)
    ratio = np.nan_to_num(apart / np.maximum(spread, 1e-6)).mean(axis=1).reshape(n, GRID, GRID)
    return np.asarray(np.minimum(ratio, _MOST_UNUSUAL))


def smoothed(cells: Values) -> Values:
    """Mean of every cell and those around it.

    Args:
        cells: ``(n, GRID, GRID)``.
    """
    return np.stack([cv2.blur(one, (3, 3), borderType=cv2.BORDER_REPLICATE) for one in cells])


def takes_turns(values: Values, defective: npt.NDArray[np.bool_], columns: Sequence[int]) -> bool:
    """Whether a place stands out in some defect pictures, and in the others another place does instead.

    Args:
        values: ``(n, measurements)``, NaN for what was not measured.
        defective: whether each shows a defect, ``(n,)``.
        columns: positions of measures of places that have one cause, that of the place in question first.

    Returns:
        Whether the others show more elsewhere than those pictures and than Good ones do, and without those pictures
        none of the measures would be a finding. False where either kind has fewer than five pictures.
    """
    cells, place = unusual(values, ~defective), divmod(columns[0] % (GRID * GRID), GRID)
    stands_out = cells > np.quantile(cells[~defective], USUAL, axis=0)
    there = stands_out[:, *place]
    here, others = defective & there, defective & ~there
    if min(here.sum(), others.sum()) < FEWEST:
        return False
    region = stands_out[here].mean(axis=0) >= MOST
    far = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8)) == 0
    if not far.any():
        return False
    elsewhere = cells[:, far].max(axis=1)
    if not all(_exceed(elsewhere[others], elsewhere[rest]) for rest in (here, ~defective)):
        return False
    left = others | ~defective
    correlations, p_values = largest_correlations(values[left], defective[left])
    return not any(abs(correlations[c]) >= MOST and p_values[c] <= P_VALUE for c in columns)


def _exceed(some: Values, others: Values) -> bool:
    return bool(mannwhitneyu(some, others, alternative="greater").pvalue <= CHANCE)
