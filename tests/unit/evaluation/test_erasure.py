"""Boxes are erased, and the network is asked again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.evaluation.erasure import Erasure, erase, other_places
from weakspot.metrics import Estimate
from weakspot.metrics.paired import Difference, paired_difference
from weakspot.types import Box, Prediction

BOX = Box(10, 20, 30, 32)


def prediction(*boxes: Box) -> Prediction:
    return Prediction(Path("a.png"), height=60, width=80, label="anomaly", probability=0.9, boxes=boxes)


def test_erasing_takes_the_donor_fitted_to_the_surroundings() -> None:
    image = np.full((60, 80, 3), 100, np.uint8)
    image[20:32, 10:30] = 240  # the defect
    donor = np.full((60, 80, 3), 30, np.uint8)
    donor[24:26, 15:20] = 40  # its texture
    result = erase(image, [BOX], donor)
    inside = result[20:32, 10:30]
    assert (inside[4:6, 5:10] == 110).all()
    assert (inside[0] == 100).all()
    assert (result[:10] == image[:10]).all()
    assert (result[:, 40:] == image[:, 40:]).all()
    assert (image[20:32, 10:30] == 240).all()  # the original stays


def test_erasing_everything_and_with_a_donor_of_another_size() -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    donor = np.full((7, 5, 3), 77, np.uint8)
    assert (erase(image, [Box(0, 0, 30, 20)], donor) == 77).all()
    assert (erase(image, [], donor) == image).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 40))
@settings(max_examples=40)
def test_other_places_are_as_large_inside_and_touch_no_box(seed: int, width: int, height: int) -> None:
    box = Box(5, 6, 5 + width, 6 + height)
    for place in other_places(prediction(box), np.random.default_rng(seed)):
        assert (place.x1 - place.x0, place.y1 - place.y0) == (width, height)
        assert 0 <= place.x0 < place.x1 <= 80
        assert 0 <= place.y0 < place.y1 <= 60
        assert place.x1 <= box.x0 or box.x1 <= place.x0 or place.y1 <= box.y0 or box.y1 <= place.y0


def test_without_room_there_is_no_other_place() -> None:
    assert other_places(prediction(Box(0, 0, 70, 60)), np.random.default_rng(0)) == []
    assert other_places(prediction(), np.random.default_rng(0)) == []


@pytest.mark.parametrize(
    ("value", "p_value", "images", "alarmed"),
    [
        (5.0, 0.001, 30, False),
        (5.0, 0.2, 30, True),
        (-5.0, 0.001, 30, True),
        (-5.0, 0.001, 9, False),
        (float("nan"), float("nan"), 0, False),
    ],
)
def test_when_it_alarms(value: float, p_value: float, images: int, *, alarmed: bool) -> None:
    found = Erasure(Difference(0.0, value, Estimate(value, images, 0, 9), images, p_value), images, 0)
    assert (found.alarm is not None) is alarmed
    assert json.loads(json.dumps(found.to_dict(), default=str))["images"] == images


def test_an_audit_without_a_control_says_so_and_prints_no_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = paired_difference(np.zeros(0), np.zeros(0), [], np.zeros(0))
    monkeypatch.setattr("weakspot.commands.audit.audit", lambda *_: Erasure(nothing, 0, 7))
    result = CliRunner().invoke(app, ["audit", "run"])
    assert result.exit_code == 0, result.output
    assert "nothing was measured: no box of the 7 pictures that were asked leaves room" in result.output
    assert "nan" not in result.output
