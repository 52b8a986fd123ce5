"""Boxes as the detections of https://supervision.roboflow.com, which draws, tracks, counts and evaluates them."""

from __future__ import annotations

import numpy as np
import supervision

from weakspot.postprocess.boxes import boxes_array
from weakspot.types import GOOD, Prediction


def to_detections(prediction: Prediction) -> supervision.Detections:
    """See :meth:`weakspot.types.Prediction.to_supervision`."""
    boxes = prediction.boxes
    names = [GOOD, *sorted({known.name for known in prediction.classes} - {GOOD})]
    return supervision.Detections(
        xyxy=boxes_array(boxes).astype(np.float32),
        confidence=np.array([box.confidence for box in boxes], dtype=np.float32),
        class_id=np.array([names.index(box.label) for box in boxes], dtype=int),
        data={
            "class_name": np.array([box.label for box in boxes], dtype=np.str_),
            "log_odds": np.array([box.score for box in boxes], dtype=np.float64),
            "trust": np.array([box.trust for box in boxes], dtype=np.float64),
        },
    )
