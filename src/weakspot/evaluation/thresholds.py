"""Boxes at other thresholds: which to try, what each would draw, and the smallest score that Good images allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.evaluation.schema import ThresholdCurve
from weakspot.evaluation.subsets import EvaluatedImages, size_of
from weakspot.metrics import BEST_BOXES, IOU_LEVELS, best_iou, size_class
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import comparable_map, visible
from weakspot.postprocess.box_calibration import Calibration, calibrate_min_score
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.types import Box, ModelOutput

SWEEP_STEPS = 39


def threshold_steps(outputs: Sequence[ModelOutput], rule: BoxRule) -> npt.NDArray[np.float64]:
    """Choose 39 thresholds that are worth trying.

    Args:
        outputs: for images called defective; may be empty.
        rule: only its kind of threshold counts.

    Returns:
        ``(39,)``, rising: for a relative threshold shares of a map's range, else from the median of the maps upwards.
    """
    if rule.threshold_kind == "relative":
        return np.arange(1, SWEEP_STEPS + 1) / (SWEEP_STEPS + 1)
    planes = [comparable_map(one) if one.mask_logits is None else one.mask_logits.astype(np.float32) for one in outputs]
    low, high = (np.quantile(np.concatenate([p.ravel() for p in planes]), [0.5, 0.999])) if planes else (0.0, 1.0)
    return np.linspace(low, high, SWEEP_STEPS)


def sweep(images: EvaluatedImages) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Measure the best IoU of every image with a mask at every threshold; all else follows the image's own box rule.

    Args:
        images: at least one of them has a mask that marks something.

    Returns:
        Thresholds ``(t,)``, rising, among them those in use, and IoUs ``(t, n)`` of the n images with a mask.
    """
    known = images.truth.with_boxes
    decided = [
        images.images[i][0].meta.classes.index(images.predictions[i].label) for i in known
    ]  # of each image's own model
    called = [images.images[i] for i, index in zip(known, decided, strict=True) if index]
    raw = [subset.store[row]._replace(region=None) for subset, row in called]  # views of the stores, not copies
    in_use = sorted({subset.meta.boxes.threshold for subset in images.subsets})
    steps = threshold_steps(raw, images.subsets[0].meta.boxes)
    thresholds = np.unique(np.append(steps, in_use))
    ious = np.zeros((len(thresholds), len(known)))
    for n, i in enumerate(known):
        subset, row = images.images[i]
        size, true = size_of(subset.store, row), images.truth.boxes[i].astype(np.float64)
        meta = subset.meta
        # One at a time: cut to its picture, an output may be a thousand times as large as in the store.
        drawing = Drawing(images.output(i), decided[n], size, meta.preprocess.input_size(size), meta.boxes)
        for t, boxes in enumerate(drawing.boxes_at("threshold", thresholds.tolist(), "", meta.ranking)):
            ious[t, n] = best_iou(boxes_array(boxes)[:BEST_BOXES], true)
    return thresholds, ious


def threshold_curve(
    images: EvaluatedImages, thresholds: npt.NDArray[np.float64], ious: npt.NDArray[np.float64]
) -> ThresholdCurve:
    """Box accuracy at every threshold, and MaxBoxAccV2 by defect type and by size.

    Args:
        images: those that :func:`sweep` measured.
        thresholds: ``(t,)``, from :func:`sweep`.
        ious: ``(t, n)``, from :func:`sweep`.
    """
    truth = images.truth
    v2 = np.mean([ious >= level for level in IOU_LEVELS], axis=0)
    defects = np.array([truth.samples[i].defect for i in truth.with_boxes], dtype=object)
    sizes = np.array([size_class(truth.shares[i]) for i in truth.with_boxes], dtype=object)

    def v2_of(names: npt.NDArray[np.object_]) -> dict[str, list[float]]:
        return {name: v2[:, names == name].mean(axis=1).tolist() for name in sorted(set(names))}

    at_30, at_50, at_70 = ((ious >= level).mean(axis=1).tolist() for level in IOU_LEVELS)
    mean_iou = ious.mean(axis=1).tolist()
    return ThresholdCurve(thresholds.tolist(), mean_iou, at_30, at_50, at_70, v2_of(defects), v2_of(sizes))


def undecided_boxes(
    store: OutputStore, index: int, preprocess: Preprocess, rule: BoxRule, ranking: TrustCalibration | None = None
) -> list[Box]:
    """Draw the boxes of an image's likeliest defect class, whichever class the image is given.

    Args:
        store: outputs for a set of images.
        index: position of the image in it.
        preprocess: what brought the image to the network's input.
        rule: from evidence to boxes.
        ranking: what boxes are ordered by; None where there is none.
    """
    size = size_of(store, index)
    output = visible(store[index], size, preprocess)
    return Drawing(output, output.likeliest_defect, size, preprocess.input_size(size), rule).boxes("", ranking)


def undecided_boxes_with_trust(store: OutputStore, index: int, meta: BundleMeta) -> list[Box]:
    """As :func:`undecided_boxes`, by a model's own box rule, each box with its trust.

    Args:
        store: outputs for a set of images.
        index: position of the image in it.
        meta: description of the model.
    """
    size, rule = size_of(store, index), replace(meta.boxes, outlines=False)
    output = visible(store[index], size, meta.preprocess)
    drawing = Drawing(output, output.likeliest_defect, size, meta.preprocess.input_size(size), rule)
    return drawing.trusted_boxes("", meta.ranking, meta.trust)


def calibrated_rule(
    rule: BoxRule,
    held_out: OutputStore,
    preprocess: Preprocess,
    ranked: Sequence[float] | None = None,
) -> tuple[BoxRule, Calibration]:
    """Turn a ``calibrated`` box rule into an absolute one whose smallest score keeps false boxes rare.

    Args:
        rule: its ``threshold`` decides how far a box extends, its ``false_boxes`` how many false boxes are allowed.
        held_out: outputs for Good images that the model was not trained on.
        preprocess: what brought the images to the network's input.
        ranked: scores of all boxes on these images, where a ranking gives them; None scores them by their places.

    Returns:
        The absolute rule, and what its smallest score rests on.
    """
    if ranked is None:
        every = rule.absolute(min_score=None)
        ranked = [box.score for i in range(len(held_out)) for box in undecided_boxes(held_out, i, preprocess, every)]
    calibration = calibrate_min_score(ranked, len(held_out), rule.false_boxes)
    return rule.absolute(min_score=calibration.min_score), calibration
