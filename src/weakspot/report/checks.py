"""The controls of a ``metrics.json`` in words: what would also reach such numbers, and what it means if it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weakspot.evaluation.controls import BORDER
from weakspot.report.page import interval, number

BOXES = {
    "whole_image": "one box round the whole picture",
    "centre_box": "one box in the middle, half as wide and high",
    "random_box": "a box drawn at random",
    "shuffled_boxes": "the boxes of another picture",
}
"""Boxes that do not look at the picture they are drawn on, in words."""


@dataclass(frozen=True)
class Check:
    """One control.

    Attributes:
        question: what it asks.
        found: what it says here.
        meaning: how to read that, in a sentence or two.
    """

    question: str
    found: str
    meaning: str


def checks(metrics: Mapping[str, Any]) -> list[Check]:
    """Every control that was measured, in the order in which they spoil a result most."""
    controls = metrics.get("controls") or {}
    makers = (_shuffled_labels, _boxes, _erased, _border)
    return [check for make in makers for check in make(controls, metrics["test"])]


def baseline(metrics: Mapping[str, Any]) -> str:
    """V2 of the boxes that look at nothing, in one line."""
    found = [
        (name, control["v2"]["value"]) for name, control in (metrics.get("controls") or {}).items() if "v2" in control
    ]
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in found)


def _shuffled_labels(controls: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[Check]:
    control = (controls.get("shuffled_labels") or {}).get("balanced_accuracy")
    if not control:
        return
    own = test["classification"]["balanced_accuracy"]["value"]
    above = own is not None and own > control["high"]
    yield Check(
        "Could the labels be shuffled without harm?",
        f"Shuffled: balanced accuracy {interval(control)}. With the true labels: {number(own)}.",
        "The true labels do better than shuffled ones can: the classes are told apart."
        if above
        else "Shuffled labels do as well: it is not shown that the classes are told apart at all.",
    )


def _boxes(controls: Mapping[str, Any], test: Mapping[str, Any]) -> Iterator[Check]:
    scores = {name: controls[name]["v2"]["value"] for name in BOXES if "v2" in (controls.get(name) or {})}
    if not scores or not test.get("localisation"):
        return
    own = test["localisation"]["v2"]
    best = max(scores, key=lambda name: scores[name] or 0.0)
    listed = "; ".join(f"{BOXES[name]} {number(value)}" for name, value in scores.items())
    beaten = own["low"] is not None and own["low"] > (scores[best] or 0.0)
    yield Check(
        "Would boxes that do not look at the picture fit as well?",
        f"V2 of {listed}. Of the model's boxes: {number(own['value'])} ({interval(own)}).",
        "The model's boxes beat all of them: they go by what is in the picture."
        if beaten
        else f"It is not shown that the model's boxes beat {BOXES[best]}: use the class, not the boxes.",
    )


def _erased(controls: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    control = controls.get("erased") or {}
    if not control.get("images"):
        return
    change = control["erased"]
    p_value = change["p_value"]
    shown = p_value is not None and p_value <= 0.05 and change["difference"]["value"] > 0
    chance = "p < 0.001" if p_value is not None and p_value < 0.001 else f"p = {number(p_value)}"
    yield Check(
        "Does the alarm go away when its boxes are painted over?",
        f"On {control['images']} pictures called defective the log-odds of a defect fall by {change['second']:.2f} "
        f"when the boxes are painted over with Good surface, and by {change['first']:.2f} when as much is painted "
        f"over elsewhere ({chance}).",
        "The class rests on what is inside the boxes."
        if shown
        else "It is not shown that the class rests on what is inside the boxes: it may look at something else.",
    )


def _border(controls: Mapping[str, Any], _: Mapping[str, Any]) -> Iterator[Check]:
    control = controls.get("border") or {}
    if not control:
        return
    share, peaks, area = control["share"], control["peaks"], control["area"]
    more = share["low"] is not None and share["low"] > area
    yield Check(
        "Does it look at the border instead of the part?",
        f"Of the evidence {share['value']:.0%} lies within {BORDER:.0%} of the border, which is {area:.0%} of the "
        f"picture; the strongest place lies there in {peaks['value']:.0%} of {peaks['n']} pictures called defective.",
        "More than chance puts there. Right if your defects lie at the border; else it goes by background or mounting: "
        "crop it, or photograph the classes alike."
        if more
        else "No more than chance puts there.",
    )
