"""The controls in words."""

from __future__ import annotations

from typing import Any

import pytest

from weakspot.report.checks import baseline, checks


def estimate(value: float | None, low: float | None, high: float | None, n: int = 100) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def metrics(**controls: Any) -> dict[str, Any]:
    test = {
        "classification": {"balanced_accuracy": estimate(0.8, 0.7, 0.9)},
        "localisation": {"max_box_acc_v2": estimate(0.3, 0.2, 0.4)},
    }
    return {"test": test, "controls": controls}


def erased(boxes: float, elsewhere: float, p_value: float | None, images: int = 40) -> dict[str, Any]:
    difference = estimate(boxes - elsewhere, 0, 1, images)
    change = {"first": elsewhere, "second": boxes, "difference": difference, "parts": images, "p_value": p_value}
    return {"erased": change, "images": images, "skipped": 0, "alarm": None}


def border(low: float) -> dict[str, Any]:
    return {
        "share": estimate(low + 0.05, low, low + 0.1),
        "peaks": estimate(0.41, 0.3, 0.5, 90),
        "area": 0.36,
        "p_value": 0.2,
    }


@pytest.mark.parametrize(
    ("controls", "found", "meaning"),
    [
        ({"shuffled_labels": {"balanced_accuracy": estimate(0.5, 0.4, 0.6)}}, "0.400 – 0.600", "told apart"),
        ({"shuffled_labels": {"balanced_accuracy": estimate(0.6, 0.4, 0.85)}}, "0.800", "not shown that the classes"),
        ({"whole_image": {"max_box_acc_v2": estimate(0.1, 0, 0.2)}}, "one box round the whole picture 0.100", "beat all of them"),
        ({"whole_image": {"max_box_acc_v2": estimate(0.25, 0, 1)}, "random_box": {"max_box_acc_v2": estimate(0.1, 0, 1)}},
         "0.300 (0.200 – 0.400)", "not shown that the model's boxes beat one box round the whole picture"),
        ({"shuffled_boxes": {"max_box_acc_v2": estimate(0.01, 0, 0.1)}}, "the boxes of another picture 0.010", "beat all of them"),
        ({"erased": erased(2.5, 0.25, 0.001)}, "fall by 2.50 when the boxes", "rests on what is inside"),
        ({"erased": erased(0.5, 0.25, 0.3)}, "by 0.25 when as much", "not shown that the class rests"),
        ({"erased": erased(0.5, 0.7, 0.01)}, "by 0.70 when as much", "not shown that the class rests"),
        ({"erased": erased(0.5, 0.7, None, 1)}, "p = –", "not shown that the class rests"),
        ({"erased": erased(9.7, 0.5, 0.0001, 30)}, "p < 0.001", "The class rests on what is inside"),
        ({"border": border(0.3)}, "35% lies within 10% of the border, which is 36%", "No more than chance"),
        ({"border": border(0.4)}, "41% of 90 pictures", "More than chance"),
    ],
)  # fmt: skip
def test_a_control_is_said_with_its_numbers_and_what_they_mean(
    controls: dict[str, Any], found: str, meaning: str
) -> None:
    (check,) = checks(metrics(**controls))
    assert found in check.found
    assert meaning in check.meaning


def test_what_was_not_measured_is_not_said() -> None:
    assert checks(metrics()) == []
    assert checks(metrics(shuffled_labels={}, border={}, erased=erased(0, 0, None, 0))) == []
    without = metrics(centre_box={"max_box_acc_v2": estimate(0.1, 0, 1)})
    without["test"]["localisation"] = None
    assert checks(without) == []
    unknown = metrics(centre_box={"max_box_acc_v2": estimate(None, None, None)})
    unknown["test"]["localisation"]["max_box_acc_v2"] = estimate(None, None, None)
    (check,) = checks(unknown)
    assert "not shown" in check.meaning
    assert baseline(unknown) == "centre box –"
