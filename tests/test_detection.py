"""Detection metrics and AUPRO on arrays small enough to count by hand, and against brute force."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakspot.metrics.detection import detection_metrics
from weakspot.metrics.regions import aupro

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


def brute_aupro(evidence: np.ndarray, regions: list[np.ndarray], limit: float) -> float:
    """Threshold by threshold, with the trapezium rule, cut at the limit by interpolation."""
    anywhere = np.any(regions, axis=0)
    points = [(0.0, 0.0)]
    for threshold in np.unique(evidence)[::-1]:
        hot = evidence >= threshold
        points.append((hot[~anywhere].mean(), np.mean([hot[region].mean() for region in regions])))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            y1 = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            x1 = limit
        area += (x1 - x0) * (y0 + y1) / 2
    return area / limit


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(np.int8, (2, 6, 7), elements=st.integers(0, 5)), st.sampled_from([0.3, 0.05, 1.0]))
def test_aupro_is_the_area_under_the_averaged_curves(values: np.ndarray, limit: float) -> None:
    masks = np.zeros(values.shape, bool)
    masks[0, 1:3, 1:4] = masks[0, 5, 6] = masks[1, 0, 0] = True
    regions = []
    for image, rows, columns in ((0, slice(1, 3), slice(1, 4)), (0, 5, 6), (1, 0, 0)):
        region = np.zeros(values.shape, bool)
        region[image, rows, columns] = True
        regions.append(region)
    evidence = values.astype(np.float32)
    assert aupro(list(evidence), list(masks), limit) == pytest.approx(brute_aupro(evidence, regions, limit), abs=1e-9)


def test_aupro_of_perfect_blind_and_missing_evidence() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    assert aupro([mask.astype(np.float32)], [mask]) == 1
    assert aupro([1 - mask.astype(np.float32)], [mask]) == 0
    assert math.isnan(aupro([np.ones((4, 5), np.float32)], [np.zeros((4, 5), bool)]))
    assert math.isnan(aupro([np.ones((2, 2), np.float32)], [np.ones((2, 2), bool)]))
