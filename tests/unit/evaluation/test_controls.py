"""Controls: what guesses reach, and the alarms where that is about as much."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.evaluation.controls import border_evidence, box_controls, shuffled_boxes, shuffled_labels
from weakspot.evaluation.truth import Truth
from weakspot.types import Box, ModelOutput, Prediction, Sample

SIZE = (40, 60)


def prediction(*boxes: Box, size: tuple[int, int] = SIZE, said: ModelOutput | None = None) -> Prediction:
    return Prediction(Path("a.png"), height=size[0], width=size[1], label="anomaly", boxes=boxes, output=said)


def looked_at(row: int, column: int, shape: tuple[int, int] = (10, 20)) -> Prediction:
    """A defect whose whole evidence is one cell."""
    maps = np.zeros((2, *shape), np.float32)
    maps[1, row, column] = 3
    return prediction(output=ModelOutput(np.array([0, 1], np.float32), maps))


@pytest.fixture
def masked(tmp_path: Path) -> Truth:
    """Twelve images whose true box lies at another place in each."""
    samples = []
    for n in range(12):
        mask = np.zeros(SIZE, np.uint8)
        mask[3 * n : 3 * n + 4, 4 * n : 4 * n + 6] = 255
        cv2.imwrite(str(tmp_path / f"{n}.png"), mask)
        samples.append(Sample(Path(f"{n}.jpg"), "scratch", mask=tmp_path / f"{n}.png"))
    return Truth.read(samples, np.array([SIZE] * 12))


def test_boxes_that_fit_beat_the_controls(masked: Truth) -> None:
    fitting = [prediction(Box(4 * n, 3 * n, 4 * n + 6, 3 * n + 4)) for n in range(12)]
    controls, alarms = box_controls(masked, fitting)
    assert set(controls) == {"whole_image", "centre_box", "random_box", "shuffled_boxes"}
    assert controls["shuffled_boxes"]["max_box_acc_v2"]["value"] < 0.2
    assert alarms == []


def test_the_same_box_everywhere_raises_the_alarm(masked: Truth) -> None:
    same = [prediction(Box(20, 12, 40, 28)) for _ in range(12)]
    controls, (alarm,) = box_controls(masked, same)
    own = masked.localise([np.array([[20, 12, 40, 28]], float)] * 12)
    assert controls["shuffled_boxes"]["max_box_acc_v2"]["value"] == own["max_box_acc_v2"]["value"]
    assert "n = 12" in alarm["seen"]


def test_few_images_and_a_single_mask_say_nothing(masked: Truth) -> None:
    one = Truth(masked.samples[:1], masked.sizes[:1], masked.boxes[:1], masked.shares[:1])
    controls, alarms = box_controls(one, [prediction(Box(20, 12, 40, 28))])
    assert set(controls) == {"whole_image", "centre_box", "random_box"}
    assert alarms == []


@given(st.integers(2, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_shuffled_boxes_are_another_images_at_the_same_relative_place(n: int, seed: int) -> None:
    predictions = [prediction(Box(k, 0, k + 1, 2), size=(10 * (k + 1), 20 * (k + 1))) for k in range(n + 1)]
    shuffled = shuffled_boxes(predictions, range(n), np.random.default_rng(seed))
    assert shuffled[n].shape == (0, 4)
    donors = set()
    for k in range(n):
        ((x0, y0, x1, y1),) = shuffled[k] / np.array([20, 10, 20, 10]) / (k + 1)
        donor = round(x0 / (x1 - x0))
        assert donor != k
        assert y0 == 0
        assert y1 == pytest.approx(2 / 10 / (donor + 1))
        donors.add(donor)
    assert donors == set(range(n))


def labelled(groups: list[str | None]) -> list[Sample]:
    return [Sample(Path(f"{n}.jpg"), "good", group=group) for n, group in enumerate(groups)]


def test_shuffled_labels_mean_chance_and_right_answers_beat_them() -> None:
    targets = np.array([0] * 30 + [1] * 10)
    control, alarms = shuffled_labels(targets, targets, labelled([None] * 40))
    assert control["balanced_accuracy"]["value"] == pytest.approx(0.5, abs=0.02)
    assert control["balanced_accuracy"]["low"] < 0.5 < control["balanced_accuracy"]["high"] < 0.8
    assert alarms == []


def test_answers_that_are_luck_raise_the_alarm() -> None:
    targets = np.tile([0, 0, 0, 1], 10)
    said = np.random.default_rng(0).permutation(targets)
    _, (alarm,) = shuffled_labels(targets, said, labelled([None] * 40))
    assert "shuffled labels" in alarm["seen"]


def test_one_part_seen_often_is_no_evidence() -> None:
    targets = np.array([0] * 20 + [1] * 20)
    two_parts = labelled(["a"] * 20 + ["b"] * 20)
    control, alarms = shuffled_labels(targets, targets, two_parts)
    assert alarms  # one order in two gives the same answer
    assert control["balanced_accuracy"]["value"] == pytest.approx(0.5, abs=0.1)


def test_one_class_has_no_shuffled_labels() -> None:
    assert shuffled_labels(np.zeros(5, int), np.zeros(5, int), labelled([None] * 5)) == ({}, [])


def test_evidence_in_the_frame_raises_the_alarm_and_in_the_middle_none() -> None:
    control, (alarm,) = border_evidence([looked_at(0, 5)] * 12)
    assert control["share"]["value"] == 1
    assert control["area"] == pytest.approx(0.36)
    assert control["peaks"] == {"value": 1.0, "n": 12, "low": pytest.approx(0.735, abs=1e-3), "high": 1.0}
    assert "12 of 12" in alarm["seen"]
    control, alarms = border_evidence([looked_at(4, 9)] * 12)
    assert control["share"]["value"] == pytest.approx(0)
    assert alarms == []


def test_the_frame_may_cut_through_a_cell() -> None:
    control, alarms = border_evidence([looked_at(0, 2, (5, 5))] * 12)  # rows of a fifth: half of it is frame
    assert control["share"]["value"] == pytest.approx(0.5)
    assert control["peaks"]["value"] == 0
    assert alarms == []


def test_flat_evidence_lies_in_the_frame_as_its_area_says() -> None:
    refined = ModelOutput(
        np.zeros(2, np.float32), np.zeros((2, 3, 3), np.float32), np.zeros((20, 30)), np.zeros((7, 9))
    )
    control, _ = border_evidence([prediction(output=refined)] * 10)
    assert control["share"]["value"] == pytest.approx(control["area"])


def test_good_images_nothing_seen_and_too_few_are_left_out() -> None:
    nothing = prediction(output=ModelOutput(np.zeros(2, np.float32), np.zeros((2, 3, 3), np.float32)))
    good = Prediction(Path("g.png"), height=4, width=4, label="good", output=looked_at(0, 0).output)
    assert border_evidence([nothing] * 10 + [good] * 10 + [looked_at(0, 0)] * 9) == ({}, [])
