"""The controls of a measurement in words: what would also reach such numbers, and what that means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from weakspot.evaluation.controls import BORDER
from weakspot.evaluation.schema import ERASED_P_VALUE, Measurement
from weakspot.report.page import interval, number

BOXES = {
    "whole_image": "one box round the whole picture",
    "centre_box": "one box in the middle, half as wide and high",
    "random_box": "a box drawn at random",
    "shuffled_boxes": "the boxes of another picture",
}
"""Boxes that know nothing of the picture they are drawn on, in words."""


@dataclass(frozen=True)
class Check:
    """One control.

    Attributes:
        question: what the control tests, as a question.
        found: its result in this measurement.
        meaning: how to read the result, in a sentence or two.
    """

    question: str
    found: str
    meaning: str


def checks(measurement: Measurement) -> list[Check]:
    """List every control that was measured; those that spoil a result most come first."""
    makers = (_shuffled_labels, _boxes, _erased, _border)
    return [check for make in makers for check in make(measurement)]


def baseline(measurement: Measurement) -> str:
    """Write MaxBoxAccV2 of the boxes that know nothing of the picture, in one line."""
    return ", ".join(
        f"{name.replace('_', ' ')} {number(control.max_box_acc_v2.value)}"
        for name, control in measurement.controls.boxes.items()
    )


def _shuffled_labels(measurement: Measurement) -> Iterator[Check]:
    control = measurement.controls.shuffled_labels
    if not control:
        return
    own = measurement.test.classification.balanced_accuracy.value
    told_apart = measurement.controls.told_apart
    above = own > control.high if told_apart is None else told_apart
    yield Check(
        "Could the labels be shuffled without harm?",
        f"Shuffled: balanced accuracy {interval(control)}. With the true labels: {number(own)}.",
        "The true labels do better than shuffled ones can: the classes are told apart."
        if above
        else "Shuffled labels do as well: it is not shown that the classes are told apart at all.",
    )


def _boxes(measurement: Measurement) -> Iterator[Check]:
    controls, localisation = measurement.controls.boxes, measurement.test.localisation
    scores = {name: controls[name].max_box_acc_v2.value for name in BOXES if name in controls}
    if not scores or not localisation:
        return
    own = localisation.max_box_acc_v2
    best = max(scores, key=lambda name: scores[name])
    listed = "; ".join(f"{BOXES[name]} {number(value)}" for name, value in scores.items())
    known = measurement.controls.boxes_beaten
    beaten = own.low > scores[best] if known is None else known
    yield Check(
        "Would boxes that do not look at the picture fit as well?",
        f"V2 of {listed}. Of the model's boxes: {number(own.value)} ({interval(own)}).",
        "The model's boxes beat all of them: they go by what is in the picture."
        if beaten
        else f"It is not shown that the model's boxes beat {BOXES[best]}: use the class, not the boxes.",
    )


def _erased(measurement: Measurement) -> Iterator[Check]:
    control = measurement.controls.erased
    if not control or not control.images:
        return
    change = control.erased
    shown = change.p_value <= ERASED_P_VALUE and change.difference.value > 0
    chance = "p < 0.001" if change.p_value < 0.001 else f"p = {number(change.p_value)}"
    yield Check(
        "Does the alarm go away when its boxes are painted over?",
        f"On {control.images} pictures called defective the log-odds of a defect fall by {change.second:.2f} "
        f"when the boxes are painted over with Good surface, and by {change.first:.2f} when as much is painted "
        f"over elsewhere ({chance}).",
        "The class rests on what is inside the boxes."
        if shown
        else "It is not shown that the class rests on what is inside the boxes: it may look at something else.",
    )


def _border(measurement: Measurement) -> Iterator[Check]:
    control = measurement.controls.border
    if not control:
        return
    share, peaks, area = control.share, control.peaks, control.area
    more = share.low > area or control.striking
    yield Check(
        "Does it look at the border instead of the part?",
        f"Of the evidence {share.value:.0%} lies within {BORDER:.0%} of the border, which is {area:.0%} of the "
        f"picture; the strongest place lies there in {peaks.value:.0%} of {peaks.n} pictures called defective.",
        "More than chance puts there. Right if your defects lie at the border; else it goes by background or mounting: "
        "crop it, or photograph the classes alike."
        if more
        else "No more than chance puts there.",
    )
