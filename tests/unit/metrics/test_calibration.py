"""Calibration error and the bins of the reliability diagram, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from weakspot.metrics.calibration import expected_calibration_error, reliability


def test_calibration_error_by_hand() -> None:
    confidences, right = np.array([0.6, 0.6, 0.9, 0.9]), np.array([1, 0, 1, 1])
    assert reliability(confidences, right, bins=2) == [(0.6, 0.5, 2), (0.9, 1.0, 2)]
    assert expected_calibration_error(confidences, right, bins=2) == pytest.approx(0.1)
    assert math.isnan(expected_calibration_error(np.zeros(0), np.zeros(0)))
    assert expected_calibration_error(np.array([0.7]), np.array([True])) == pytest.approx(0.3)
