"""Whether boxes that are trusted more fit better."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from weakspot.evaluation.localisation import measure_trust
from weakspot.evaluation.truth import Truth
from weakspot.types import Box, Prediction, Sample


def truth_of(n: int) -> Truth:
    true = np.array([[0, 0, 10, 10]])
    samples = [Sample(Path(f"{i}.png"), "cut", group=f"part {i // 2}") for i in range(n)]
    return Truth(samples, np.full((n, 2), 20), [true] * n, [0.25] * n)


def test_trust_is_held_against_the_masks() -> None:
    boxes = [
        Box(0, 0, 10, 10, trust=0.9, level="green"), Box(0, 0, 10, 6, trust=0.6), Box(0, 0, 10, 2, trust=0.3),
        Box(15, 15, 20, 20, trust=0.1),
    ]  # fmt: skip
    predictions = [Prediction(Path(f"{i}.png"), boxes=(box,)) for i, box in enumerate(boxes)]
    found = asdict(measure_trust(predictions, truth_of(4)))
    assert found["rank_correlation"]["value"] == pytest.approx(1)
    green = found["levels"]["green"]
    assert (green["n"], green["mean_iou"], green["iou_50"]["value"]) == (1, 1.0, 1.0)
    assert (found["levels"]["amber"]["mean_iou"], found["levels"]["red"]["mean_iou"]) == (0.6, 0.1)
    assert found["boxes"][1] == [0.6, 0.6]


def test_without_boxes_or_variation_there_is_no_correlation() -> None:
    none = asdict(measure_trust([Prediction(Path("0.png"))], truth_of(1)))
    assert math.isnan(none["rank_correlation"]["value"])
    assert none["levels"]["red"]["n"] == 0
    same = [Prediction(Path(f"{i}.png"), boxes=(Box(0, 0, 10, 10, trust=0.5),)) for i in range(4)]
    assert math.isnan(measure_trust(same, truth_of(4)).rank_correlation.value)
