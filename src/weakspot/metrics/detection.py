"""Boxes as a detector's users count them: one-to-one matches, precision, recall and average precision."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from weakspot.metrics.intervals import Estimate, proportion
from weakspot.metrics.results import DetectionResult
from weakspot.types import Size

LEVELS = (0.3, 0.5)
MOST_BOXES = 100


def detection_metrics(
    predicted: Sequence[npt.NDArray[np.float64]],
    scores: Sequence[npt.NDArray[np.float64]],
    truth: Sequence[npt.NDArray[np.float64]],
    sizes: Sequence[Size],
) -> DetectionResult:
    """Precision, recall and average precision of boxes, by the COCO protocol (Lin et al., ECCV 2014).

    At each IoU level a predicted box, in decreasing score, takes the true box it fits best of those not yet taken; a
    true box is found once, and what is left over is a false box. pycocotools does the matching and the curve (101
    recall points). At most 100 boxes an image count.

    Args:
        predicted: boxes ``(n, 4)`` of each image, half-open ``[x0, y0, x1, y1]`` in pixels.
        scores: ``(n,)`` of each image's boxes.
        truth: true boxes ``(m, 4)``; none for a Good image.
        sizes: ``(height, width)`` of each image.
    """
    boxes, true = sum(map(len, predicted)), sum(map(len, truth))
    evaluation = _evaluate(predicted, scores, truth, sizes) if boxes and true else None
    at_levels: list[float | Estimate] = []
    for index in range(len(LEVELS)):
        hits, average = (0, 0.0 if true else math.nan) if evaluation is None else _at(evaluation, index)
        at_levels += [average, proportion(hits, boxes), proportion(hits, true)]
    return DetectionResult(boxes, true, boxes / len(predicted) if predicted else math.nan, *at_levels)  # type: ignore[arg-type]


def hits_of_images(
    predicted: Sequence[npt.NDArray[np.float64]],
    scores: Sequence[npt.NDArray[np.float64]],
    truth: Sequence[npt.NDArray[np.float64]],
    sizes: Sequence[Size],
) -> npt.NDArray[np.int64]:
    """How many of each image's boxes match a true one at IoU 0.3: what :func:`detection_metrics` adds up.

    Args:
        predicted: as there.
        scores: as there.
        truth: as there.
        sizes: as there.

    Returns:
        int64 ``(images,)``.
    """
    if not any(map(len, predicted)) or not any(map(len, truth)):
        return np.zeros(len(predicted), dtype=np.int64)
    hits = np.zeros(len(predicted), dtype=np.int64)
    for image in _evaluate(predicted, scores, truth, sizes).evalImgs:
        if image:
            hits[image["image_id"] - 1] = int((image["dtMatches"][0] > 0).sum())
    return hits


def _evaluate(
    predicted: Sequence[npt.NDArray[np.float64]],
    scores: Sequence[npt.NDArray[np.float64]],
    truth: Sequence[npt.NDArray[np.float64]],
    sizes: Sequence[Size],
) -> COCOeval:
    real, found, annotations = COCO(), list[dict[str, Any]](), list[dict[str, Any]]()
    for image, (boxes, values, true) in enumerate(zip(predicted, scores, truth, strict=True), start=1):
        for box in true.tolist():
            where = _xywh(box)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": where,
                 "area": where[2] * where[3], "iscrowd": 0}
            )  # fmt: skip
        for box, value in zip(boxes.tolist(), values.tolist(), strict=True):
            found.append({"image_id": image, "category_id": 1, "bbox": _xywh(box), "score": value})
    real.dataset = {
        "images": [{"id": i, "height": height, "width": width} for i, (height, width) in enumerate(sizes, start=1)],
        "annotations": annotations,
        "categories": [{"id": 1}],
        "info": {},
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        real.createIndex()
        evaluation = COCOeval(real, real.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.array(LEVELS)
        evaluation.params.maxDets = [MOST_BOXES]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _at(evaluation: COCOeval, index: int) -> tuple[int, float]:
    """Number of true boxes found, and average precision, at one IoU level."""
    hits = sum(int((image["dtMatches"][index] > 0).sum()) for image in evaluation.evalImgs if image)
    return hits, float(evaluation.eval["precision"][index].mean())


def _xywh(box: Sequence[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
