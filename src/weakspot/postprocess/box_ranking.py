"""What boxes of the evidence heads are scored by: how surely their picture is defective, and how well they are drawn.

The location head says where a defect is, and a picture how surely there is one; neither says whether the box is right.
What does is known from imitated defects (:func:`~weakspot.postprocess.trust_calibration.fit_ranking`): a box whose
edges stay where the threshold moves, and that stands out from what lies round it, is right far more often. The score of
a box is the sum of two log-odds: that its picture is defective, and that a box drawn like it is right on a defect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from weakspot.postprocess.trust_calibration import FEATURES, TrustCalibration
from weakspot.types import Box

Floats = npt.NDArray[np.float64]


def ranking_scores(features: Floats, probabilities: Floats) -> Floats:
    """Score boxes.

    Args:
        features: ``(n, features)``, what is known of each (:data:`~weakspot.postprocess.trust_calibration.FEATURES`);
            the first is the inverse hyperbolic sine of the log-odds of its picture.
        probabilities: ``(n,)``, 0…1, that each is right if there is a defect.

    Returns:
        ``(n,)``, log-odds.

    Examples:
        >>> ranking_scores(np.array([[np.arcsinh(2.0)]]), np.array([0.5])).round(6).tolist()
        [2.0]
    """
    sure = np.clip(probabilities, 1e-9, 1 - 1e-9)
    return np.asarray(np.sinh(features[:, 0]) + logit(sure), dtype=np.float64)


def ranked(boxes: Sequence[Box], features: Floats, ranking: TrustCalibration) -> tuple[list[Box], Floats]:
    """Give the boxes of one image their scores, the highest first.

    Args:
        boxes: at least one.
        features: ``(n, at least the ranking's)``, in the same order.
        ranking: from :func:`~weakspot.postprocess.trust_calibration.fit_ranking`.

    Returns:
        The boxes, and their features in the same order, among which the score is the new one.
    """
    scores = ranking_scores(features, ranking.probabilities(features[:, : len(ranking.features)]))
    order = np.argsort(-scores, kind="stable")
    known = features[order]
    known[:, FEATURES.index("score")] = np.arcsinh(scores[order])
    return [replace(boxes[i], score=float(scores[i])) for i in order], known
