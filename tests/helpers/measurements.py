"""Measurements to test with, of which only what a test names is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from weakspot import metrics
from weakspot.evaluation.schema import (
    BeforeDecision,
    BorderEvidence,
    CalibrationResult,
    Controls,
    Erasure,
    Localisation,
    Measurement,
    Resolution,
    SubsetResult,
    TrustResult,
)
from weakspot.metrics import Estimate
from weakspot.metrics.paired import Difference
from weakspot.metrics.results import ClassificationResult, LocalisationResult

UNKNOWN = Estimate(math.nan, 0, math.nan, math.nan)


def classification(**known: Any) -> ClassificationResult:
    """Of no image, but for what is given."""
    nothing = metrics.classification_metrics(np.zeros(0, int), np.zeros((0, 2)), ["good", "anomaly"], [])
    return replace(nothing, **known)


def box_control(max_box_acc_v2: Estimate) -> LocalisationResult:
    """Boxes that know nothing of their image, of which only V2 is known."""
    return replace(metrics.localisation_metrics([], [], [], []), max_box_acc_v2=max_box_acc_v2)


def localisation(**known: Any) -> Localisation:
    """Of no image, but for what is given."""
    nothing = Localisation(
        **vars(metrics.localisation_metrics([], [], [], [])),
        **vars(metrics.max_box_accuracy(np.zeros((1, 0)), np.array([0.5]))),
        pointing_game=UNKNOWN,
        pixel=metrics.pixel_metrics([]),
        false_boxes_per_100_good=math.nan,
        before_decision=BeforeDecision(math.nan),
        resolution=Resolution(math.nan, math.nan, UNKNOWN),
        trust=TrustResult(UNKNOWN, {}, []),
        detection=metrics.detection_metrics([], [], [], []),
    )
    return replace(nothing, **known)


def measurement(
    of_classes: ClassificationResult, of_boxes: Localisation | None = None, controls: Controls | None = None
) -> Measurement:
    """What was measured, without a curve."""
    calibration = CalibrationResult(math.nan, math.nan, 0, [])
    return Measurement(SubsetResult(of_classes, calibration, localisation=of_boxes), controls or Controls())


def erasure(boxes: float, elsewhere: float, p_value: float, images: int) -> Erasure:
    """By how much the log-odds fall when boxes are erased, and when as much elsewhere is."""
    change = Estimate(boxes - elsewhere, images, 0.0, 1.0)
    return Erasure(Difference(elsewhere, boxes, change, images, p_value), images, 0)


def border(low: float) -> BorderEvidence:
    """Evidence along the border, its share from `low` on."""
    return BorderEvidence(Estimate(low + 0.05, 100, low, low + 0.1), Estimate(0.41, 90, 0.3, 0.5), 0.36, 0.2)
