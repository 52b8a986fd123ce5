"""AUPRO: by hand, and threshold by threshold."""

from __future__ import annotations

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakspot.metrics.aupro import aupro


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
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's mean of nothing
        assert math.isnan(aupro([np.ones((4, 5), np.float32)], [np.zeros((4, 5), bool)]))
        assert math.isnan(aupro([np.ones((2, 2), np.float32)], [np.ones((2, 2), bool)]))
    with pytest.raises(ValueError, match="zip"):
        aupro([np.ones((2, 2), np.float32)] * 2, [np.ones((2, 2), bool)])
