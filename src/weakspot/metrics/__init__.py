"""Metrics as plain dictionaries, ready for JSON; what is undefined is NaN (the writer makes it null)."""

from weakspot.metrics.classification import classification_metrics
from weakspot.metrics.intervals import Estimate, bootstrap, proportion
from weakspot.metrics.localisation import (
    best_iou,
    box_accuracy,
    box_iou,
    centre_box,
    localisation_metrics,
    mask_boxes,
    max_box_accuracy,
    pixel_metrics,
    pointing_hit,
    whole_image_box,
)

__all__ = [
    "Estimate",
    "best_iou",
    "bootstrap",
    "box_accuracy",
    "box_iou",
    "centre_box",
    "classification_metrics",
    "localisation_metrics",
    "mask_boxes",
    "max_box_accuracy",
    "pixel_metrics",
    "pointing_hit",
    "proportion",
    "whole_image_box",
]
