"""Detection metrics and AUPRO on arrays small enough to count by hand, and against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.results import detection_metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.metrics import box_iou, proportion

NONE = np.empty((0, 4))
SIZE = (100, 100)


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(corners, dtype=np.float64).reshape(-1, 4)


def test_a_true_box_is_found_once_and_a_good_image_s_box_is_false() -> None:
    predicted = [boxes((0, 0, 10, 10), (0, 0, 10, 11)), boxes((5, 5, 9, 9))]
    scores = [np.array([0.9, 0.8]), np.array([0.1])]
    found = detection_metrics(predicted, scores, [boxes((0, 0, 10, 10), (50, 50, 60, 60)), NONE], [SIZE, SIZE])
    assert (found["precision_50"]["value"], found["precision_50"]["n"]) == (pytest.approx(1 / 3), 3)
    assert (found["recall_50"]["value"], found["recall_50"]["n"]) == (0.5, 2)
    # Precision is 1 up to recall 0.5 (51 of COCO's 101 points) and 0 beyond.
    assert found["ap_50"] == pytest.approx(51 / 101)
    assert found["boxes_per_image"] == 1.5


def test_levels_are_inclusive_and_the_lower_one_is_easier() -> None:
    predicted, truth = [boxes((0, 0, 10, 5))], [boxes((0, 0, 10, 10))]  # IoU exactly 0.5
    found = detection_metrics(predicted, [np.array([1.0])], truth, [SIZE])
    assert found["precision_50"]["value"] == found["precision_30"]["value"] == 1
    found = detection_metrics([boxes((0, 0, 10, 4))], [np.array([1.0])], truth, [SIZE])
    assert (found["ap_50"], found["ap_30"]) == (0, pytest.approx(1))


def test_nothing_predicted_and_nothing_true() -> None:
    found = detection_metrics([NONE], [np.array([])], [boxes((0, 0, 1, 1))], [SIZE])
    assert (found["ap_30"], found["recall_30"]["value"]) == (0, 0)
    assert math.isnan(found["precision_30"]["value"])
    found = detection_metrics([boxes((0, 0, 1, 1))], [np.array([1.0])], [NONE], [SIZE])
    assert math.isnan(found["ap_30"])
    assert found["precision_30"]["value"] == 0


def test_what_is_counted() -> None:
    found = detection_metrics([boxes((0, 0, 1, 1)), NONE], [np.ones(1), np.ones(0)], [NONE, NONE], [SIZE, SIZE])
    assert set(found) == {
        "n_boxes", "n_true", "boxes_per_image",
        "ap_30", "precision_30", "recall_30", "ap_50", "precision_50", "recall_50",
    }  # fmt: skip
    assert (found["n_boxes"], found["n_true"], found["boxes_per_image"]) == (1, 0, 0.5)
    assert math.isnan(detection_metrics([], [], [], [])["boxes_per_image"])


def test_boxes_of_less_than_a_pixel_count() -> None:
    tiny = np.array([[2.0, 3.0, 2.5, 4.0]])
    found = detection_metrics([tiny], [np.ones(1)], [tiny], [SIZE])
    assert (found["recall_50"]["value"], found["ap_50"]) == (1, pytest.approx(1))


def test_more_than_a_hundred_boxes_of_an_image_do_not_count() -> None:
    wrong, right = [(0, 0, 2, 2)] * 100, (50, 50, 60, 60)
    for n, hits in ((99, 1), (100, 0)):
        predicted = [boxes(*wrong[:n], right)]
        found = detection_metrics(predicted, [np.linspace(1, 0, n + 1)], [boxes(right)], [SIZE])
        assert found["recall_50"]["value"] == hits


def test_lists_of_unequal_length_are_refused() -> None:
    one, score = boxes((0, 0, 1, 1)), np.ones(1)
    for arguments in (
        ([one, one], [score, score], [one], [SIZE, SIZE]),
        ([one], [score, score], [one], [SIZE]),
        ([one], [np.ones(2)], [one], [SIZE]),
    ):
        with pytest.raises(ValueError, match="zip"):
            detection_metrics(*arguments)


def brute_detection(
    predicted: list[np.ndarray], scores: list[np.ndarray], truth: list[np.ndarray], level: float
) -> tuple[int, float]:
    """Hits and average precision at 101 recalls, as Lin et al. describe them, box by box."""
    hits = []
    for found, values, true in zip(predicted, scores, truth, strict=True):
        free = list(range(len(true)))
        for i in np.argsort(-values, kind="stable"):
            overlaps = [(box_iou(found[i : i + 1], true[j : j + 1])[0, 0], j) for j in free]
            best = max(overlaps, default=(0.0, -1))
            hits.append((values[i], best[0] >= level))
            if best[0] >= level:
                free.remove(best[1])
    hits.sort(key=lambda pair: -pair[0])
    right = np.cumsum([hit for _, hit in hits])
    recall, precision = right / sum(map(len, truth)), right / np.arange(1, len(right) + 1)
    at = [max((p for p, r in zip(precision, recall, strict=True) if r >= wanted), default=0) for wanted in GRID]
    return int(right[-1]), float(np.mean(at))


GRID = np.linspace(0, 1, 101)
corner = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 9), st.integers(1, 9))
some_boxes = st.lists(corner.map(lambda c: (c[0], c[1], c[0] + c[2], c[1] + c[3])), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(some_boxes, some_boxes), min_size=1, max_size=3), st.integers(0, 1000))
def test_matches_and_average_precision_box_by_box(images: list[tuple[list, list]], seed: int) -> None:
    predicted, truth = ([boxes(*image[i]) for image in images] for i in (0, 1))
    order = np.random.default_rng(seed).permutation(sum(map(len, predicted))) + 1.0  # no two scores are equal
    scores = np.split(order, np.cumsum([len(found) for found in predicted])[:-1])
    result = detection_metrics(predicted, scores, truth, [SIZE] * len(images))
    for level, name in ((0.3, "30"), (0.5, "50")):
        hits, average = brute_detection(predicted, scores, truth, level)
        assert result[f"recall_{name}"] == proportion(hits, sum(map(len, truth))).as_dict()
        assert result[f"precision_{name}"] == proportion(hits, len(order)).as_dict()
        assert result[f"ap_{name}"] == pytest.approx(average)
