"""The controls in words."""

from __future__ import annotations

import math

import pytest
from helpers.measurements import UNKNOWN, border, box_control, classification, erasure, localisation, measurement

from weakspot.evaluation.schema import Controls, Measurement
from weakspot.metrics import Estimate
from weakspot.report.checks import baseline, checks


def estimate(value: float, low: float, high: float, n: int = 100) -> Estimate:
    return Estimate(value, n, low, high)


def boxes(**v2: Estimate) -> Controls:
    return Controls({name: box_control(value) for name, value in v2.items()})


def measured(controls: Controls, v2: Estimate | None = estimate(0.3, 0.2, 0.4)) -> Measurement:  # noqa: B008 - frozen
    of_boxes = localisation(max_box_acc_v2=v2) if v2 else None
    return measurement(classification(balanced_accuracy=estimate(0.8, 0.7, 0.9)), of_boxes, controls)


@pytest.mark.parametrize(
    ("controls", "found", "meaning"),
    [
        (Controls(shuffled_labels=estimate(0.5, 0.4, 0.6)), "0.400 – 0.600", "told apart"),
        (Controls(shuffled_labels=estimate(0.6, 0.4, 0.85)), "0.800", "not shown that the classes"),
        (boxes(whole_image=estimate(0.1, 0, 0.2)), "one box round the whole picture 0.100", "beat all of them"),
        (boxes(whole_image=estimate(0.25, 0, 1), random_box=estimate(0.1, 0, 1)),
         "0.300 (0.200 – 0.400)", "not shown that the model's boxes beat one box round the whole picture"),
        (boxes(shuffled_boxes=estimate(0.01, 0, 0.1)), "the boxes of another picture 0.010", "beat all of them"),
        (Controls(erased=erasure(2.5, 0.25, 0.001, 40)), "fall by 2.50 when the boxes", "rests on what is inside"),
        (Controls(erased=erasure(0.5, 0.25, 0.3, 40)), "by 0.25 when as much", "not shown that the class rests"),
        (Controls(erased=erasure(0.5, 0.7, 0.01, 40)), "by 0.70 when as much", "not shown that the class rests"),
        (Controls(erased=erasure(0.5, 0.7, math.nan, 1)), "p = –", "not shown that the class rests"),
        (Controls(erased=erasure(9.7, 0.5, 0.0001, 30)), "p < 0.001", "The class rests on what is inside"),
        (Controls(border=border(0.3)), "35% lies within 10% of the border, which is 36%", "No more than chance"),
        (Controls(border=border(0.4)), "41% of 90 pictures", "More than chance"),
    ],
)  # fmt: skip
def test_a_control_is_said_with_its_numbers_and_what_they_mean(controls: Controls, found: str, meaning: str) -> None:
    (check,) = checks(measured(controls))
    assert found in check.found
    assert meaning in check.meaning


def test_what_was_not_measured_is_not_said() -> None:
    assert checks(measured(Controls())) == []
    assert checks(measured(Controls(erased=erasure(0, 0, math.nan, 0)))) == []
    centre = boxes(centre_box=estimate(0.1, 0, 1))
    assert checks(measured(centre, v2=None)) == []
    unknown = measured(boxes(centre_box=UNKNOWN), v2=UNKNOWN)
    (check,) = checks(unknown)
    assert "not shown" in check.meaning
    assert baseline(unknown) == "centre box –"
