"""How many imitations, steps and epochs a model gets: in proportion to the number of pictures, where nobody says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from weakspot.config.schema import RefineConfig

FULL = 900
"""From so many training pictures on the heads get all of :data:`MOST`."""

SMALLEST_SHARE = 0.35
"""A small set gets at least this share of the steps: the heads start from random numbers whatever its size."""

NO_REFIT, WHOLE_REFIT = 200, 600
"""Up to the first number of training pictures the location head is not trained again, from the second on wholly. The
outlines that it would learn from are the surest parts of a few defects, and each round makes them smaller."""

FEWEST_IMITATIONS, IMITATIONS_EACH = 320, 2
"""Imitations at least, and for each picture."""


EPOCHS, CLASSIFIER_STEPS = 6, 120
"""Passes of the classifier over the training subset, times ``refine.effort``, and its steps at least: six passes over
60 pictures are 36 steps of ten, after which it has hardly left where it began."""

MIRRORED_UP_TO = 400
"""Up to so many training pictures, classifier and heads learn from mirrored views too."""

OF_OTHERS = 0.5
"""Share of steps and epochs that models get which are trained without some of the pictures, to set thresholds on."""


@dataclass(frozen=True)
class Budget:
    """What training the evidence heads takes.

    Attributes:
        imitations: number of imitated defects.
        location_steps, mask_steps, location_refit_steps: optimiser steps of the three stages.
    """

    imitations: int
    location_steps: int
    mask_steps: int
    location_refit_steps: int

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages together."""
        return self.location_steps + self.mask_steps + self.location_refit_steps


MOST = Budget(imitations=1600, location_steps=700, mask_steps=2500, location_refit_steps=600)


CORRECTION_STEPS, EACH_DRAWN, MOST_CORRECTION_STEPS = 300, 3, 1000
"""Steps of learning from annotated pictures: at least, for each more picture, and at most."""


def correction_steps(settings: RefineConfig, pictures: int) -> int:
    """Number of steps of learning from what a person drew, where the settings name none.

    Args:
        settings: the ``refine`` group of the configuration.
        pictures: number of annotated training pictures.

    Examples:
        >>> correction_steps(RefineConfig(method="segment"), 20)
        360
    """
    if settings.correction_steps is not None:
        return settings.correction_steps
    return min(MOST_CORRECTION_STEPS, CORRECTION_STEPS + EACH_DRAWN * pictures)


def budget_of_others(settings: RefineConfig, pictures: int) -> Budget:
    """As :func:`budget_for`, for a model that is trained without some of the pictures; its mask head is taken over.

    Args:
        settings: the ``refine`` group of the configuration.
        pictures: number of training pictures that are left.

    Examples:
        >>> budget_of_others(RefineConfig(method="segment"), 600)
        Budget(imitations=600, location_steps=286, mask_steps=0, location_refit_steps=245)
    """
    return replace(budget_for(replace(settings, effort=OF_OTHERS * settings.effort), pictures), mask_steps=0)


def budget_for(settings: RefineConfig, pictures: int) -> Budget:
    """Complete the settings in proportion to the set: steps grow with the square root of the number of pictures.

    Those of the second training of the location head grow from none at :data:`NO_REFIT` pictures on.

    Args:
        settings: the ``refine`` group of the configuration; a number that it names is taken as it is.
        pictures: number of training pictures.

    Examples:
        >>> budget_for(RefineConfig(method="segment"), 80)
        Budget(imitations=320, location_steps=245, mask_steps=875, location_refit_steps=0)
        >>> budget_for(RefineConfig(method="segment"), 400)
        Budget(imitations=800, location_steps=467, mask_steps=1667, location_refit_steps=200)
        >>> budget_for(RefineConfig(method="segment", mask_steps=50), 2000)
        Budget(imitations=1600, location_steps=700, mask_steps=50, location_refit_steps=600)
        >>> budget_for(RefineConfig(method="segment", effort=0.4), 900)
        Budget(imitations=640, location_steps=280, mask_steps=1000, location_refit_steps=240)
    """
    share = settings.effort * min(1.0, max(SMALLEST_SHARE, math.sqrt(pictures / FULL)))

    def steps(named: int | None, most: int) -> int:
        return round(share * most) if named is None else named

    refit = min(1.0, max(0.0, (pictures - NO_REFIT) / (WHOLE_REFIT - NO_REFIT)))
    imitations = round(settings.effort * min(MOST.imitations, max(FEWEST_IMITATIONS, IMITATIONS_EACH * pictures)))
    return Budget(
        imitations if settings.imitations is None else settings.imitations,
        steps(settings.location_steps, MOST.location_steps),
        steps(settings.mask_steps, MOST.mask_steps),
        steps(settings.location_refit_steps, round(MOST.location_refit_steps * refit)),
    )
