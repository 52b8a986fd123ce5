"""Controls: what guesses reach, and the alarms where that is about as much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.reports import make_meta
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.config.rules import BoxRule
from weakspot.evaluation.controls import border_evidence, box_controls, shuffled_boxes, shuffled_labels
from weakspot.evaluation.schema import Alarm, BorderEvidence
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset
from weakspot.metrics import Estimate
from weakspot.models.output_store import OutputStore
from weakspot.types import Box, ModelOutput, Prediction, Sample

SIZE = (40, 60)
NOTHING = ModelOutput(np.zeros(2, np.float32), np.zeros((2, 10, 20), np.float32))


def prediction(*boxes: Box, size: tuple[int, int] = SIZE, output: ModelOutput = NOTHING) -> Prediction:
    return Prediction(Path("a.png"), height=size[0], width=size[1], label="anomaly", boxes=boxes, output=output)


def evaluated(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> EvaluatedImages:
    """Images that have these predictions, made of the outputs that they hold."""
    sizes, outputs = np.array([one.size for one in predictions]), [one.output or NOTHING for one in predictions]
    store = OutputStore.of([sample.path for sample in samples], sizes, outputs, np.zeros(2, np.float32))
    return EvaluatedImages([EvaluatedSubset(samples, store, predictions, make_meta(["good", "anomaly"], BoxRule()))])


def border_of(predictions: Sequence[Prediction]) -> tuple[BorderEvidence | None, list[Alarm]]:
    samples = [Sample(Path(f"{n}.jpg"), "scratch") for n in range(len(predictions))]
    return border_evidence(evaluated(samples, predictions))


def looked_at(row: int, column: int, shape: tuple[int, int] = (10, 20)) -> Prediction:
    """A defect whose whole evidence is one cell."""
    maps = np.zeros((2, *shape), np.float32)
    maps[1, row, column] = 3
    return prediction(output=ModelOutput(np.array([0, 1], np.float32), maps))


@pytest.fixture
def masked(tmp_path: Path) -> list[Sample]:
    """Twelve images whose true box lies at another place in each."""
    samples = []
    for n in range(12):
        mask = np.zeros(SIZE, np.uint8)
        mask[3 * n : 3 * n + 4, 4 * n : 4 * n + 6] = 255
        cv2.imwrite(str(tmp_path / f"{n}.png"), mask)
        samples.append(Sample(Path(f"{n}.jpg"), "scratch", mask=tmp_path / f"{n}.png"))
    return samples


def test_boxes_that_fit_beat_the_controls(masked: list[Sample]) -> None:
    fitting = [prediction(Box(4 * n, 3 * n, 4 * n + 6, 3 * n + 4)) for n in range(12)]
    controls, alarms = box_controls(evaluated(masked, fitting))
    assert set(controls) == {"whole_image", "centre_box", "random_box", "shuffled_boxes"}
    assert controls["shuffled_boxes"].max_box_acc_v2.value < 0.2
    assert alarms == []


def test_the_same_box_everywhere_raises_the_alarm(masked: list[Sample]) -> None:
    same = [prediction(Box(20, 12, 40, 28)) for _ in range(12)]
    images = evaluated(masked, same)
    controls, (alarm,) = box_controls(images)
    own = images.truth.localise([np.array([[20, 12, 40, 28]], float)] * 12)
    assert controls["shuffled_boxes"].max_box_acc_v2.value == own.max_box_acc_v2.value
    assert "n = 12" in alarm.seen


def test_ten_images_with_fitting_boxes_are_enough(masked: list[Sample]) -> None:
    """Six of ten boxes fit and no guess does: p is above 0.01, and still this is no alarm."""
    boxes = [Box(4 * n, 3 * n, 4 * n + 6, 3 * n + 4) if n < 6 else Box(40, 0, 48, 6) for n in range(10)]
    assert box_controls(evaluated(masked[:10], [prediction(box) for box in boxes]))[1] == []


def test_few_images_and_a_single_mask_say_nothing(masked: list[Sample]) -> None:
    controls, alarms = box_controls(evaluated(masked[:1], [prediction(Box(20, 12, 40, 28))]))
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


def labelled(targets: np.ndarray, decided: np.ndarray, groups: Sequence[str | None] | None = None) -> EvaluatedImages:
    samples = [
        Sample(Path(f"{n}.jpg"), "scratch" if target else "good", group=group)
        for n, (target, group) in enumerate(zip(targets, groups or [None] * len(targets), strict=True))
    ]
    predictions = [
        Prediction(sample.path, height=4, width=4, label="anomaly" if index else "good")
        for sample, index in zip(samples, decided, strict=True)
    ]
    return evaluated(samples, predictions)


def test_shuffled_labels_mean_chance_and_right_answers_beat_them() -> None:
    targets = np.array([0] * 30 + [1] * 10)
    control, alarms = shuffled_labels(labelled(targets, targets))
    assert control is not None
    assert control.value == pytest.approx(0.5, abs=0.02)
    assert control.low < 0.5 < control.high < 0.8
    assert control.n == 40
    assert alarms == []


def test_answers_that_are_luck_raise_the_alarm() -> None:
    targets = np.tile([0, 0, 0, 1], 10)
    decided = np.random.default_rng(0).permutation(targets)
    _, (alarm,) = shuffled_labels(labelled(targets, decided))
    assert "shuffled labels" in alarm.seen


@pytest.mark.parametrize(("decided", "words"), [(1, "all 40 pictures are called defective"), (0, "are called Good")])
def test_where_all_get_one_class_the_costs_are_named(decided: int, words: str) -> None:
    _, (alarm,) = shuffled_labels(labelled(np.tile([0, 1], 20), np.full(40, decided)))
    assert words in alarm.seen
    assert "decision.miss" in alarm.do


def test_one_part_seen_often_is_no_evidence() -> None:
    targets = np.array([0] * 20 + [1] * 20)
    two_parts = ["a"] * 20 + ["b"] * 20
    control, alarms = shuffled_labels(labelled(targets, targets, two_parts))
    assert alarms  # one order in two gives the same answer
    assert control is not None
    assert control.value == pytest.approx(0.5, abs=0.1)


def test_labels_are_shuffled_inside_a_group_that_shows_both_classes() -> None:
    """A part photographed before and after it was damaged: swapping whole groups would change nothing."""
    targets = np.tile([0, 1], 12)
    pairs = [f"part {n // 2}" for n in range(24)]
    control, alarms = shuffled_labels(labelled(targets, targets, pairs))
    assert alarms == []
    assert control is not None
    assert control.value == pytest.approx(0.5, abs=0.02)
    _, (alarm,) = shuffled_labels(labelled(targets, np.random.default_rng(1).permutation(targets), pairs))
    assert "shuffled labels" in alarm.seen


def test_one_class_has_no_shuffled_labels() -> None:
    assert shuffled_labels(labelled(np.zeros(5, int), np.zeros(5, int))) == (None, [])


def test_evidence_in_the_frame_raises_the_alarm_and_in_the_middle_none() -> None:
    control, (alarm,) = border_of([looked_at(0, 5)] * 12)
    assert control is not None
    assert control.share.value == 1
    assert control.area == pytest.approx(0.36)
    assert control.peaks == Estimate(1.0, 12, pytest.approx(0.735, abs=1e-3), 1.0)
    assert "12 of 12" in alarm.seen
    control, alarms = border_of([looked_at(4, 9)] * 12)
    assert control is not None
    assert control.share.value == pytest.approx(0)
    assert alarms == []


def test_the_frame_may_cut_through_a_cell() -> None:
    control, alarms = border_of([looked_at(0, 2, (5, 5))] * 12)  # rows of a fifth: half of it is frame
    assert control is not None
    assert control.share.value == pytest.approx(0.5)
    assert control.peaks.value == 0
    assert alarms == []


def test_flat_evidence_lies_in_the_frame_as_its_area_says() -> None:
    refined = ModelOutput(
        np.zeros(2, np.float32), np.zeros((2, 3, 3), np.float32), np.zeros((20, 30)), np.zeros((7, 9))
    )
    control, _ = border_of([prediction(output=refined)] * 10)
    assert control is not None
    assert control.share.value == pytest.approx(control.area)


def test_good_images_nothing_seen_and_too_few_are_left_out() -> None:
    good = Prediction(Path("g.png"), height=4, width=4, label="good", output=looked_at(0, 0).output)
    assert border_of([prediction()] * 10 + [good] * 10 + [looked_at(0, 0)] * 9) == (None, [])
