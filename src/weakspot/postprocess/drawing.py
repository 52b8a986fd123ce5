"""The boxes of one class on one picture: what they are drawn from, and how. NumPy only, as exported models use it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from weakspot.config.rules import BoxRule
from weakspot.ops.maps import Maps, class_map, log_odds, margin_map, region_at
from weakspot.ops.resize import upsample
from weakspot.postprocess.box_ranking import ranked
from weakspot.postprocess.boxes import find_boxes
from weakspot.postprocess.trust import CANDIDATES, DrawnFrom, box_features, with_trust, with_trust_of
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.types import Box, ModelOutput, Size

FINEST = 1024
"""Longest side, in pixels, that refined evidence is brought to; more would only be interpolation."""

SteppedKey = Literal["threshold", "min_score"]
"""Keys of a box rule that a slider may move."""

RIVALS = 3.0
"""A place that is less sure than its picture gets no box if its odds of a defect are more than e³ = 20 times lower than
those of the surest place. One that is as sure as the picture stays: it is a second defect."""

SURER = 1e-3
"""Share of the log-odds above the picture's that a place's score keeps: of two places that are both surer than their
picture, the surer one comes first."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """Boxes of one class on one picture; the maps are brought to one grid once, when they are first asked for.

    With evidence heads, the mask logits are thresholded and boxes are scored by a ranking
    (:mod:`weakspot.postprocess.box_ranking`) or, where there is none, by :func:`place_scores`. Without heads, a
    relative threshold uses the class's own map, an absolute one its margin over Good; scores are of the margin then, so
    that they can be compared between images.

    Attributes:
        output: the model's output for the image, after :func:`~weakspot.ops.maps.visible`.
        index: number of the class; of 0, Good, no box is drawn.
        size: ``(height, width)`` of the original image.
        input_size: ``(height, width)`` of the network's input for it.
        rule: from evidence to boxes.
    """

    output: ModelOutput
    index: int
    size: Size
    input_size: Size
    rule: BoxRule

    @cached_property
    def maps(self) -> DrawnFrom:
        """What the boxes are drawn and judged by.

        Raises:
            WeakspotError: when a map holds NaN or infinity.
        """
        output, flipped = self.output, self.output.as_flipped
        evidence, scores = self._evidence(output)
        return DrawnFrom(
            evidence,
            scores,
            margin_map(output.maps, self.index),
            self.size,
            in_logits=output.mask_logits is not None,
            within=region_at(output, grid_of(evidence)),
            picture=log_odds(output.logits),
            flipped=None if flipped is None else self._evidence(flipped)[0],
        )

    def boxes(self, label: str, ranking: TrustCalibration | None = None) -> list[Box]:
        """Draw them.

        Args:
            label: class name written on every box.
            ranking: what boxes are ordered by; None for a model without one.

        Returns:
            Boxes in pixels of the original image, highest score first, still without trust.

        Raises:
            WeakspotError: when a map holds NaN or infinity.
        """
        return self._drawn(self.rule, label, ranking)[0]

    def trusted_boxes(
        self, label: str, ranking: TrustCalibration | None, calibration: TrustCalibration | None
    ) -> list[Box]:
        """Draw them, and say of each how far it is to be trusted.

        Args:
            label: class name written on every box.
            ranking: what boxes are ordered by; None for a model without one.
            calibration: makes a probability of what is known of a box; None leaves trust uncalibrated.

        Returns:
            As :meth:`boxes`, with trust.

        Raises:
            WeakspotError: when a map holds NaN or infinity.
        """
        boxes, features = self._drawn(self.rule, label, ranking)
        if features is None:
            return with_trust(boxes, self.maps, self.rule, calibration) if boxes else []
        return with_trust_of(boxes, features, calibration) if boxes else []

    def features(self, boxes: Sequence[Box]) -> npt.NDArray[np.float64]:
        """What trust is made of, for each of some boxes that were drawn here, at least one: ``(n, features)``."""
        return box_features(boxes, self.maps, self.rule)

    def boxes_at(
        self,
        key: SteppedKey,
        steps: Sequence[float],
        label: str,
        ranking: TrustCalibration | None = None,
        calibration: TrustCalibration | None = None,
    ) -> list[list[Box]]:
        """Draw them at many values of one key of the rule, whose own value does not matter.

        Args:
            key: ``threshold`` or ``min_score``. With ``min_score`` boxes come with their trust, which does not depend
                on it.
            steps: values of `key`, in any order.
            label: class name written on every box.
            ranking: what boxes are ordered by; None where there is none.
            calibration: of trust; None where there is none.

        Returns:
            The boxes at each step.
        """
        if key == "threshold":
            return [self._drawn(replace(self.rule, threshold=step), label, ranking)[0] for step in steps]
        if ranking is None:
            return self._at_scores(steps, label, calibration)
        every = replace(self, rule=replace(self.rule, min_score=None, max_boxes=CANDIDATES))
        found = every.trusted_boxes(label, ranking, calibration)
        return [_above(found, replace(self.rule, min_score=step)) for step in steps]

    def _drawn(
        self, rule: BoxRule, label: str, ranking: TrustCalibration | None
    ) -> tuple[list[Box], npt.NDArray[np.float64] | None]:
        """Boxes by a rule and, where a ranking orders them, what is known of each, which takes longer than they do."""
        if self.index == 0:
            return [], None
        maps = self.maps
        wanted = rule if ranking is None else replace(rule, min_score=None, max_boxes=CANDIDATES)
        boxes = find_boxes(maps.evidence, self.size, wanted, score_map=maps.scores, within=maps.within, label=label)
        if ranking is None or not boxes:
            return boxes, None
        boxes, features = ranked(boxes, box_features(boxes, maps, rule), ranking)
        kept = _above(boxes, rule)
        return kept, features[: len(kept)]

    def _at_scores(self, steps: Sequence[float], label: str, calibration: TrustCalibration | None) -> list[list[Box]]:
        """Boxes with trust at several smallest scores, where nothing ranks them.

        They differ only where another region is left out, so they are drawn once for each number of regions.
        """
        whole = replace(self.rule, min_score=None, merge=None, max_boxes=sys.maxsize, outlines=False)
        peaks = np.array([box.score for box in self._drawn(whole, label, None)[0]])
        left = [int((peaks >= step).sum()) for step in steps]
        drawn = {
            count: self._drawn(replace(self.rule, min_score=step), label, None)[0]
            for count, step in dict(zip(left, steps, strict=True)).items()
        }
        distinct = list({box.xyxy: box for boxes in drawn.values() for box in boxes}.values())
        found = {box.xyxy: box for box in with_trust(distinct, self.maps, self.rule, calibration)}
        for count, boxes in drawn.items():
            known = [(box, found[box.xyxy]) for box in boxes]
            drawn[count] = [replace(box, trust=one.trust, doubt=one.doubt, level=one.level) for box, one in known]
        return [drawn[count] for count in left]

    def _evidence(self, output: ModelOutput) -> tuple[Maps, Maps]:
        """What boxes go round, and what they are scored by."""
        if output.mask_logits is not None and output.location_logits is not None:
            grid = evidence_grid(self.size)
            scores = place_scores(upsample(output.location_logits, grid), output.logits)
            return upsample(output.mask_logits, grid), scores
        scores = upsample(margin_map(output.maps, self.index), self.input_size)
        relative = self.rule.threshold_kind == "relative"
        return upsample(class_map(output.maps, self.index), self.input_size) if relative else scores, scores


def _above(boxes: Sequence[Box], rule: BoxRule) -> list[Box]:
    """Of boxes in decreasing score, those that the rule leaves."""
    return [box for box in boxes if rule.min_score is None or box.score >= rule.min_score][: rule.max_boxes]


def grid_of(map_: Maps) -> Size:
    """The ``(height, width)`` of a map, in cells."""
    return map_.shape[0], map_.shape[1]


def place_scores(location_logits: Maps, logits: npt.NDArray[np.float32]) -> Maps:
    """Score the places of a picture: a place is no surer than the picture it is in.

    A ranking looks at these scores among other things; without one, boxes of the evidence heads are scored by them.

    Args:
        location_logits: log-odds that there is a defect at a place, ``(h, w)``.
        logits: of the classes, Good first.

    Returns:
        The lower of the place's log-odds and the image's; a place that is surer than the image scores the share
        :data:`SURER` of the difference more. Minus infinity, so that no box is drawn there, where a place is both much
        less sure than the surest one (:data:`RIVALS`) and less sure than the image.
    """
    of_image = np.float32(log_odds(logits))
    rivals = location_logits >= min(location_logits.max() - RIVALS, of_image)
    lower = np.minimum(location_logits, of_image)
    scores: Maps = np.where(rivals, lower + SURER * (location_logits - lower), -np.inf).astype(np.float32)
    return scores


def evidence_grid(size: Size) -> Size:
    """The grid on which mask logits are thresholded: the original image's pixels, at most :data:`FINEST` along a side.

    Args:
        size: ``(height, width)`` of the original image.
    """
    scale = min(1.0, FINEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
