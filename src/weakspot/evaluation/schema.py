"""What measuring finds, as frozen, typed objects, and how they are written to and read from ``metrics.json``.

:func:`weakspot.evaluation.measure.measure` makes a :class:`Measurement` of one run's test subset or of many folds';
tables, reports, comparisons and leaderboards read its attributes. NaN stands for what is undefined and None for what
was not measured; both are null in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weakspot.evaluation.serialise import structure, to_json, with_new_names
from weakspot.metrics.intervals import Estimate, undefined
from weakspot.metrics.paired import Difference
from weakspot.metrics.results import (
    ClassificationResult,
    DetectionResult,
    LocalisationResult,
    OracleBoxAccuracy,
    PixelResult,
    TrustResult,
)

UNKNOWN = undefined(0)
"""What a version before 0.2 did not measure."""


@dataclass(frozen=True)
class Alarm:
    """Something that spoils the numbers.

    Attributes:
        seen: what was seen, a sentence without its full stop.
        why: why it matters.
        do: what to do about it.
        details: further values for programs, such as the measurement and its p-value.
    """

    seen: str
    why: str
    do: str
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the details beside the sentences."""
        return {**self.details, "seen": self.seen, "why": self.why, "do": self.do}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Alarm:
        """Read what :meth:`to_dict` made.

        Raises:
            KeyError: when a sentence is missing.
        """
        details = {key: value for key, value in record.items() if key not in ("seen", "why", "do")}
        return cls(record["seen"], record["why"], record["do"], details)


@dataclass(frozen=True)
class CalibrationResult:
    """How well probabilities agree with the share of right answers.

    Attributes:
        ece: expected calibration error, 0…1.
        brier: Brier score of not-Good, 0…1.
        n: number of images.
        reliability: ``(mean confidence, share right, number of images)`` of each bin.
    """

    ece: float
    brier: float
    n: int
    reliability: list[tuple[float, float, int]]


@dataclass(frozen=True)
class BeforeDecision:
    """Boxes that Good images would get if no class decision took them away.

    Attributes:
        false_boxes_per_100_good: boxes per 100 Good images; NaN without one.
        good_images_with_a_box: share of Good images with a box.
    """

    false_boxes_per_100_good: float
    good_images_with_a_box: Estimate | None = None


@dataclass(frozen=True)
class Resolution:
    """How small a defect the maps can localise at all.

    Attributes:
        cell: longer side of a map's cell in pixels of the original image, median over the images.
        smallest: shortest side, in pixels, of a box that can be localised at IoU 0.5.
        smaller: share of the true boxes with a shorter side.
    """

    cell: float = math.nan
    smallest: float = math.nan
    smaller: Estimate = UNKNOWN


@dataclass(frozen=True, kw_only=True)
class Localisation(OracleBoxAccuracy, LocalisationResult):
    """How well boxes and maps fit the masks; NaN is what a cross-validation of a version before 0.2 did not measure.

    Attributes:
        pointing_game: share of images whose strongest point lies on the defect.
        pixel: single pixels, pooled.
        false_boxes_per_100_good: boxes on Good images, after the class decision.
        before_decision: the same before it.
        resolution: how small a defect the maps can localise.
        trust: whether trusted boxes fit better.
        detection: boxes matched one to one.
        per_class: the same by kind of defect; a box of another kind than its defect is false. None with one kind.
    """

    pointing_game: Estimate = UNKNOWN
    pixel: PixelResult
    false_boxes_per_100_good: float = math.nan
    before_decision: BeforeDecision
    resolution: Resolution = Resolution()
    trust: TrustResult
    detection: DetectionResult
    per_class: dict[str, DetectionResult] | None = None


@dataclass(frozen=True)
class PartialResult:
    """Some of the images measured again.

    Attributes:
        classification: of those images.
        localisation: of those with a true box; None where there is none.
    """

    classification: ClassificationResult
    localisation: LocalisationResult | None


@dataclass(frozen=True)
class SubsetResult:
    """The test subset's numbers.

    Attributes:
        classification: with intervals that are wide enough for groups.
        calibration: of the probabilities.
        groups: number of independent groups among the images.
        good_or_not: all defect classes taken for one; None with two classes.
        localisation: None where no image has a mask.
        other_groups: without the images whose group was trained on too; None where there is no such image.
        per_part: one decision for all photographs of a group, whose log-odds are averaged; groups with Good and
            defective images are left out. None where every image has a group of its own.
    """

    classification: ClassificationResult
    calibration: CalibrationResult
    groups: int | None = None
    good_or_not: ClassificationResult | None = None
    localisation: Localisation | None = None
    other_groups: PartialResult | None = None
    per_part: ClassificationResult | None = None


@dataclass(frozen=True)
class BorderEvidence:
    """How much of the evidence lies in the frame along the border.

    Attributes:
        share: of the evidence, mean over the images called defective.
        peaks: share of the images whose strongest place is there.
        area: share of the image that the frame covers.
        p_value: of so many peaks in the frame if they lay anywhere (binomial test).
    """

    share: Estimate
    peaks: Estimate
    area: float
    p_value: float

    @property
    def striking(self) -> bool:
        """Whether two thirds of the peaks lie in the frame, and chance does not explain that."""
        return 3 * self.peaks.value >= 2 - 1e-9 and self.p_value <= BORDER_P_VALUE


BORDER_P_VALUE = 0.01

FEWEST_ERASED = 10
"""Images below which erasing boxes raises no alarm."""

ERASED_P_VALUE = 0.05


@dataclass(frozen=True)
class Erasure:
    """What erasing boxes and running the model again found.

    Attributes:
        erased: by how much the log-odds of a defect fall when the boxes are erased (``second``) and when as large boxes
            elsewhere are (``first``).
        images: how many were painted over.
        skipped: images called defective whose boxes leave no room for others as large, or that have none.
    """

    erased: Difference
    images: int
    skipped: int

    @property
    def alarm(self) -> Alarm | None:
        """Raised where the boxes matter no more than other places."""
        if self.images < FEWEST_ERASED:
            return None
        if self.erased.p_value <= ERASED_P_VALUE and self.erased.difference.value > 0:
            return None
        return Alarm(
            f"erasing the boxes of {self.images} pictures lowers the log-odds of a defect by "
            f"{self.erased.second:.2f}, erasing as much elsewhere by {self.erased.first:.2f} "
            f"(p = {self.erased.p_value:.3f})",
            "it cannot be shown that the network goes by what is inside the boxes",
            "look at the overlays, and at the other alarms, before any box is used",
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**to_json(self), "alarm": self.alarm.to_dict() if self.alarm else None}


@dataclass(frozen=True)
class Controls:
    """What guesses would have scored.

    Attributes:
        boxes: by name, boxes that know nothing of their image; see :mod:`weakspot.evaluation.controls`.
        shuffled_labels: balanced accuracy of the same answers against shuffled labels, mean and middle 95 %.
        border: evidence along the border.
        erased: what erasing the boxes does.
        told_apart: whether the true labels do better than shuffled ones; None where a version before 0.2 did not say.
        boxes_beaten: whether the predicted boxes do better than the best of `boxes`; None where that is not known, or
            too few images have a mask.
    """

    boxes: dict[str, LocalisationResult] = field(default_factory=dict)
    shuffled_labels: Estimate | None = None
    border: BorderEvidence | None = None
    erased: Erasure | None = None
    told_apart: bool | None = None
    boxes_beaten: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, an entry a control; what was not measured is left out."""
        shuffled = self.shuffled_labels and {"balanced_accuracy": to_json(self.shuffled_labels)}
        others = {
            "shuffled_labels": shuffled,
            "border": to_json(self.border),
            "erased": self.erased and self.erased.to_dict(),
        }
        verdicts = {"told_apart": self.told_apart, "boxes_beaten": self.boxes_beaten}
        boxes = {name: to_json(result) for name, result in self.boxes.items()}
        known = {name: value for name, value in verdicts.items() if value is not None}
        return boxes | {name: value for name, value in others.items() if value} | known

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Controls:
        """Read what :meth:`to_dict` made."""
        named = ("shuffled_labels", "border", "erased", "told_apart", "boxes_beaten")
        shuffled = (record.get("shuffled_labels") or {}).get("balanced_accuracy")
        return cls(
            {name: structure(value, LocalisationResult) for name, value in record.items() if name not in named},
            structure(shuffled, Estimate) if shuffled else None,
            structure(record["border"], BorderEvidence) if record.get("border") else None,
            structure(record["erased"], Erasure) if record.get("erased") else None,
            _flag(record.get("told_apart")),
            _flag(record.get("boxes_beaten")),
        )


def _flag(value: Any) -> bool | None:  # noqa: ANN401 - JSON
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"not true, false or null: {value!r}")
    return value


@dataclass(frozen=True)
class ThresholdCurve:
    """Box accuracy at every threshold, each list as long as `thresholds`.

    Attributes:
        thresholds: rising.
        mean_iou, box_accuracy_30, box_accuracy_50, box_accuracy_70: over the images with a mask, 0…1.
        max_box_acc_v2_by_defect, max_box_acc_v2_by_size: MaxBoxAccV2 by name.
    """

    thresholds: list[float]
    mean_iou: list[float]
    box_accuracy_30: list[float]
    box_accuracy_50: list[float]
    box_accuracy_70: list[float]
    max_box_acc_v2_by_defect: dict[str, list[float]]
    max_box_acc_v2_by_size: dict[str, list[float]]


@dataclass(frozen=True)
class Measurement:
    """Everything that measuring finds.

    Attributes:
        test: the test subset's numbers.
        controls: what guesses would have scored.
        alarms: what spoils the numbers.
        curve: box accuracy at every threshold; None without masks.
        notes: differences between the classes that are the defect's own, a sentence each.
    """

    test: SubsetResult
    controls: Controls = field(default_factory=Controls)
    alarms: list[Alarm] = field(default_factory=list)
    curve: ThresholdCurve | None = None
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: ``test``, ``controls``, ``alarms``, ``curve`` and ``notes`` of ``metrics.json``."""
        return {
            "test": {name: value for name, value in to_json(self.test).items() if value is not None},
            "controls": self.controls.to_dict(),
            "alarms": [alarm.to_dict() for alarm in self.alarms],
            "curve": to_json(self.curve),
            "notes": self.notes,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Measurement:
        """Read what :meth:`to_dict` made, or a file from before version 0.2 of weakspot.

        Raises:
            KeyError, TypeError, ValueError, cattrs.BaseValidationError: when it is something else.
        """
        record = with_new_names(record)
        return cls(
            structure(record["test"], SubsetResult),
            Controls.from_dict(record.get("controls") or {}),
            [Alarm.from_dict(alarm) for alarm in record.get("alarms") or []],
            structure(record["curve"], ThresholdCurve) if record.get("curve") else None,
            [str(note) for note in record.get("notes") or []],
        )
