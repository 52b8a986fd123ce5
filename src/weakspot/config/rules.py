"""Rules that the configuration is resolved into: from evidence to boxes, and what each kind of mistake costs.

Each is one group of the configuration, checked when it is made. They import no Hydra, so that exported models use them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from weakspot.errors import WeakspotError, did_you_mean

METHODS = ("single", "components")
THRESHOLD_KINDS = ("relative", "absolute", "calibrated")


@dataclass(frozen=True)
class BoxRule:
    """How evidence becomes boxes; the ``boxes`` group of the configuration.

    Attributes:
        method: ``single`` draws one box round everything hot (as the protocol of plain class activation maps has it),
            ``components`` one for each 8-connected region.
        threshold_kind: ``relative`` compares the map scaled to 0…1 by its own minimum and maximum, ``absolute`` the
            evidence as it is; ``calibrated`` is absolute too, and `min_score` is set on held-out Good images
            (:mod:`weakspot.postprocess.box_calibration`) before any box is drawn.
        threshold: a pixel counts as hot when its value is equal or above; in (0, 1] if relative, in the evidence's
            units if absolute or calibrated, where infinity stands for "nothing is hot".
        min_area: smallest region that gets a box, in pixels of the original image; 1 keeps every region. `components`
            only.
        max_boxes: at most this many boxes, the best by score. `components` only.
        min_score: boxes that score less are dropped, in the evidence's units; None keeps every box.
        merge: boxes become one where the gap between them is at most this many times the longer side of the smaller
            one; 0 merges those that touch or overlap, None merges none. `components` only.
        margin: share of its width and of its height, 0…1, that a box reaches beyond its region on each side. Evidence
            is least sure at the rim of a defect, so that a region is rather too small.
        outlines: give each box the polygons of the regions in it.
        false_boxes: with ``calibrated``, the largest number of false boxes per 100 Good images that `min_score` may
            leave.

    Raises:
        WeakspotError: for a value outside these, naming its configuration key.

    Examples:
        >>> from dataclasses import replace
        >>> rule = BoxRule(method="components", threshold=0.5, max_boxes=3)
        >>> replace(rule, threshold=0.9).threshold
        0.9
        >>> BoxRule(max_boxes=0)
        Traceback (most recent call last):
            ...
        weakspot.errors.WeakspotError: boxes.max_boxes=0 is not a whole number of at least 1
    """

    method: str = "single"
    threshold_kind: str = "relative"
    threshold: float = 0.7
    min_area: int = 1
    max_boxes: int = 10
    min_score: float | None = None
    merge: float | None = None
    false_boxes: float = 5.0
    outlines: bool = False
    margin: float = 0.0

    def __post_init__(self) -> None:
        _check_choice("method", self.method, METHODS)
        _check_choice("threshold_kind", self.threshold_kind, THRESHOLD_KINDS)
        _check_threshold(self.threshold_kind, self.threshold)
        _check_count("min_area", self.min_area)
        _check_count("max_boxes", self.max_boxes)
        if self.min_score is not None:
            _check_number("min_score", self.min_score)
        if self.merge is not None:
            _check_number("merge", self.merge)
            if self.merge < 0:
                raise WeakspotError(f"boxes.merge={self.merge} is below 0; give 0 or more, or null")
        _check_number("margin", self.margin)
        if not 0 <= self.margin <= 1:
            raise WeakspotError(
                f"boxes.margin={self.margin} is outside 0…1; give a share of the box's sides, such as 0.05"
            )
        _check_number("false_boxes", self.false_boxes)
        if self.false_boxes <= 0:
            raise WeakspotError(
                f"boxes.false_boxes={self.false_boxes} is not above 0; give how many per 100 Good images"
            )

    def absolute(self, min_score: float | None) -> BoxRule:
        """The same rule with `min_score`, comparing the evidence as it is."""
        return replace(self, threshold_kind="absolute", min_score=min_score)


def _check_choice(key: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        hint = did_you_mean(str(value), choices)
        raise WeakspotError(f"boxes.{key}={value} is not a choice{hint}; choose from {', '.join(choices)}")


def _check_number(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or math.isnan(value):
        raise WeakspotError(f"boxes.{key}={value} is not a number; give one such as 0.7")


def _check_threshold(kind: str, value: float) -> None:
    _check_number("threshold", value)
    if kind == "relative" and not 0 < value <= 1:
        raise WeakspotError(
            f"boxes.threshold={value} is outside (0, 1]; give a share of the map's range, or set "
            "boxes.threshold_kind=absolute"
        )


def _check_count(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise WeakspotError(f"boxes.{key}={value} is not a whole number of at least 1")


@dataclass(frozen=True)
class DecisionCosts:
    """What a decision should achieve; the ``decision`` group of the configuration.

    Costs are weighed as if half of the pictures were defective, because the share in a data set is seldom that on a
    line: with two classes, equal costs aim at balanced accuracy. For a line, multiply `miss` by its number of defects
    per Good part.

    Attributes:
        miss: cost of a defect that is called Good.
        false_alarm: cost of a Good part that is called defective, in the same unit.
        recall: share of defect images to find, in place of costs; None uses the costs.

    Raises:
        WeakspotError: naming the key that is out of range.
    """

    miss: float = 1.0
    false_alarm: float = 1.0
    recall: float | None = None

    def __post_init__(self) -> None:
        for key in ("miss", "false_alarm"):
            value = getattr(self, key)
            if not (math.isfinite(value) and value > 0):
                raise WeakspotError(f"decision.{key}={value} is not a cost above 0")
        if self.recall is not None and not 0 < self.recall < 1:
            raise WeakspotError(f"decision.recall={self.recall} is outside (0, 1); give a share such as 0.99")
        if self.recall is not None and self.miss != self.false_alarm:
            raise WeakspotError("decision.recall excludes costs: leave out decision.miss and decision.false_alarm")
