"""Metrics as frozen, typed results; NaN stands for what is undefined."""

from weakspot.metrics.baselines import centre_box, random_box, whole_image_box
from weakspot.metrics.classification import as_good_or_not, classification_metrics
from weakspot.metrics.detection import detection_metrics
from weakspot.metrics.groups import widened_by_groups
from weakspot.metrics.intervals import Estimate, bootstrap, proportion
from weakspot.metrics.localisation import (
    BEST_BOXES,
    IOU_LEVELS,
    best_iou,
    box_accuracy,
    localisation_metrics,
    mask_boxes,
    max_box_accuracy,
    pixel_metrics,
    pointing_hit,
    size_class,
)
from weakspot.ops.iou import box_iou

__all__ = [
    "BEST_BOXES",
    "IOU_LEVELS",
    "Estimate",
    "as_good_or_not",
    "best_iou",
    "bootstrap",
    "box_accuracy",
    "box_iou",
    "centre_box",
    "classification_metrics",
    "detection_metrics",
    "localisation_metrics",
    "mask_boxes",
    "max_box_accuracy",
    "pixel_metrics",
    "pointing_hit",
    "proportion",
    "random_box",
    "size_class",
    "whole_image_box",
    "widened_by_groups",
]
