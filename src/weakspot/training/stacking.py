"""How far each part of a model is to be believed, by what the parts say of pictures that they have not learnt from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weakspot.ops.logistic import fit_rising
from weakspot.training.evidence.statistics import group_weights
from weakspot.types import EQUAL, ESTIMATORS, Stacking

FEWEST = 5
"""Groups of each kind without which the parts are believed equally."""


def fit_stacking(estimates: npt.NDArray[np.floating], targets: Sequence[int], groups: Sequence[int]) -> Stacking:
    """Fit how far each part is to be believed (stacked generalisation: Wolpert, Neural Networks 5(2), 1992).

    A logistic regression on the log-odds of the parts, none of which can count against what it says. Each group counts
    as one. The fewer groups there are, the more a prior makes the parts count alike, each by how much it varies.

    Args:
        estimates: ``(n, 3)``, log-odds of held-out pictures by each of :data:`~weakspot.types.ESTIMATORS`; a column of
            NaN for a part that is not there.
        targets: class of each picture; 0 is Good.
        groups: number of the group of each picture.

    Returns:
        Factors of the log-odds; all 1 where there is one part alone, too few groups, or no part that says anything.
        The mean of the products deviates as much as that of the log-odds themselves, as places in a picture are
        compared with it (:func:`weakspot.postprocess.drawing.place_scores`); probabilities are calibrated later.
    """
    defective, of_picture = np.asarray(targets) != 0, np.asarray(groups)
    there = ~np.isnan(estimates).any(axis=0)
    counts = [len(np.unique(of_picture[defective == kind])) for kind in (True, False)]
    if there.sum() < 2 or min(counts) < FEWEST:
        return EQUAL
    weights = group_weights(defective, of_picture) * sum(counts) / len(defective)
    said = estimates[:, there].astype(np.float64)
    found, _ = fit_rising(said, defective, weights)
    if not found.any():
        return EQUAL
    factors = np.ones(len(ESTIMATORS))
    factors[there] = (found * said.mean(axis=1).std() / (said * found).mean(axis=1).std()).round(6)
    classifier, statistics, location = factors.tolist()
    return classifier, statistics, location
