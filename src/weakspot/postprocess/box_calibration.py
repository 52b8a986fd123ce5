"""Box thresholds chosen without a single drawn box: "at most N false boxes per 100 Good images".

Held-out Good images show how high the evidence rises where there is nothing to find. The boxes that would be drawn on
them, before any class decision, are false by definition; the smallest score is set so that few enough are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import chi2

CONFIDENCE = 0.8
"""Confidence of the upper bound: a higher true rate gives so low a count with probability 1 − CONFIDENCE at most."""


@dataclass(frozen=True)
class Calibration:
    """A smallest score and the images it rests on.

    Attributes:
        min_score: boxes must score at least this, in the evidence's units; None where every box may stay.
        n_good: number of held-out Good images.
        false_boxes: number of boxes that are left on them at `min_score`.
        wanted: largest number of false boxes per 100 Good images that is allowed.
        bound: upper bound of the rate per 100 images (one-sided, Poisson, :data:`CONFIDENCE`); above `wanted` where
            there are too few images to promise it, even without one false box. Images are counted, not groups: where
            photographs of a part err together, it is exceeded more often.
    """

    min_score: float | None
    n_good: int
    false_boxes: int
    wanted: float
    bound: float

    @property
    def origin(self) -> str:
        """A sentence that tells where the number comes from."""
        promise = "" if self.bound <= self.wanted else "; a promise would take more Good images"
        return (
            f"calibrated: at most {self.wanted:g} false boxes per 100 Good images; {self.false_boxes} on {self.n_good} "
            f"held-out ones, upper bound {self.bound:.1f} per 100 (photographs are counted: with several of a part it "
            f"holds less surely){promise}"
        )

    def to_dict(self) -> dict[str, Any]:
        """For ``thresholds`` in ``metrics.json`` and the bundle."""
        return {
            "value": self.min_score,
            "origin": self.origin,
            "n_good": self.n_good,
            "false_boxes": self.false_boxes,
            "wanted_per_100": self.wanted,
            "bound_per_100": self.bound,
        }


def calibrate_min_score(scores: Sequence[float], n_good: int, wanted: float) -> Calibration:
    """Find the smallest score that keeps false boxes rare.

    Args:
        scores: score of every box on the held-out Good images, drawn without a smallest score.
        n_good: number of these images, at least 1.
        wanted: largest number of false boxes per 100 Good images that is allowed.

    Returns:
        The lowest smallest score whose rate is at most `wanted` with confidence :data:`CONFIDENCE`; just above every
        false box where no rate can be promised.

    Raises:
        ValueError: when `n_good` is 0.
    """
    if n_good < 1:
        raise ValueError("no Good image to calibrate on")
    ranked = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    allowed = 0
    while allowed < len(ranked) and rate_bound(allowed + 1, n_good) <= wanted:
        allowed += 1
    # Equal scores fall together: only what lies strictly below the cut may go.
    min_score = None if allowed == len(ranked) else float(np.nextafter(ranked[allowed], np.inf))
    left = len(ranked) if min_score is None else int((ranked >= min_score).sum())
    return Calibration(min_score, n_good, left, wanted, rate_bound(left, n_good))


def rate_bound(count: int, images: int) -> float:
    """Bound a rate from above (Garwood 1936, one-sided, with confidence :data:`CONFIDENCE`).

    Args:
        count: number of events seen, 0 or more.
        images: number of images that they were seen on, at least 1.

    Returns:
        Events per 100 images.
    """
    return 100 * float(chi2.ppf(CONFIDENCE, 2 * (count + 1))) / 2 / images
