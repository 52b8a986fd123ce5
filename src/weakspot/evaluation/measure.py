"""Measure saved outputs. A run, a cross-validation and a cell of a sweep all get their numbers from here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.data.annotated_truth import DrawnBoxes
from weakspot.data.classes import target_of
from weakspot.evaluation.controls import FEWEST, border_evidence, box_controls, shuffled_labels
from weakspot.evaluation.localisation import measure_localisation
from weakspot.evaluation.schema import CalibrationResult, Controls, Measurement, PartialResult, SubsetResult
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset, class_probabilities
from weakspot.evaluation.truth import Truth
from weakspot.metrics import as_good_or_not, classification_metrics, widened_by_groups
from weakspot.metrics.calibration import expected_calibration_error, reliability
from weakspot.metrics.classification import IntArray
from weakspot.metrics.results import ClassificationResult
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.parts import together
from weakspot.types import ANOMALY, GOOD, FloatArray, Prediction, Sample


def measure(subsets: Sequence[EvaluatedSubset], drawn: Mapping[Path, DrawnBoxes] | None = None) -> Measurement:
    """Measure one subset, or the subsets of several folds together; no model is run.

    Pixels are compared on a grid of at most :data:`~weakspot.metrics.localisation.PIXEL_SIDE` a side, whatever the
    number of images. Where several images share a group, intervals come from drawing groups, which makes them wider.

    Args:
        subsets: labels, outputs and predictions of the images; no image is in two of them.
        drawn: what a person drew, by path; None takes the boxes of the masks' regions.

    Returns:
        Numbers with intervals, controls, alarms and the threshold curve; without masks no localisation and no curve.

    Raises:
        WeakspotError: when a mask is unusable; the message names it.

    Examples:
        Three images without masks, and a model's outputs for them that are right twice:

        >>> from weakspot.config.rules import BoxRule
        >>> from weakspot.data.preprocess import Preprocess
        >>> from weakspot.models.bundle_meta import BundleMeta
        >>> from weakspot.models.output_store import OutputStore
        >>> samples = [Sample(Path("1.png"), "good"), Sample(Path("2.png"), "good"), Sample(Path("3.png"), "crack")]
        >>> store = OutputStore(
        ...     paths=[sample.path for sample in samples],
        ...     sizes=np.array([[48, 64]] * 3),
        ...     logits=np.array([[2, -2], [-1, 1], [-3, 3]], np.float32),
        ...     maps=np.zeros((3, 2, 2, 2), np.float32),
        ...     bias=np.zeros(2, np.float32),
        ... )
        >>> meta = BundleMeta(
        ...     classes=["good", "anomaly"], preprocess=Preprocess((64, 64), "torchvision"), backbone="vgg16",
        ...     outputs=2, boxes=BoxRule(), thresholds={}, weights={}, split_hash="", data_hash="",
        ... )
        >>> result = measure([EvaluatedSubset.predict(samples, store, meta)])
        >>> result.test.classification.balanced_accuracy.value, result.test.localisation
        (0.75, None)
    """
    images = EvaluatedImages(subsets, drawn)
    shuffled, alarms = shuffled_labels(images)
    told_apart = None if shuffled is None else not alarms
    border, raised = border_evidence(images)
    alarms += raised
    controls = Controls(shuffled_labels=shuffled, border=border, told_apart=told_apart)
    localisation = curve = None
    if images.truth.with_boxes:
        localisation, curve = measure_localisation(images)
        boxes, raised = box_controls(images)
        beaten = None if len(images.truth.with_boxes) < FEWEST else not raised
        controls, alarms = replace(controls, boxes=boxes, boxes_beaten=beaten), [*alarms, *raised]
    return Measurement(replace(_measure_classes(images), localisation=localisation), controls, alarms, curve)


def _measure_classes(images: EvaluatedImages) -> SubsetResult:
    """Classification and calibration, and for more than two classes all defects taken for one."""
    targets, probabilities, decided = images.targets(), images.probabilities(), images.decided()
    defects = [sample.defect for sample in images.samples]

    def measured(true: IntArray, shares: FloatArray, predicted: IntArray, names: Sequence[str]) -> ClassificationResult:
        found = classification_metrics(true, shares, names, defects, predicted=predicted)
        if len(set(images.groups)) == len(images.samples):
            return found
        return widened_by_groups(found, true, shares, predicted, defects, images.groups)

    good_or_not = None
    if len(images.classes) > 2:
        good_or_not = measured(*as_good_or_not(targets, probabilities, decided), (GOOD, ANOMALY))
    return SubsetResult(
        measured(targets, probabilities, decided, images.classes),
        measure_calibration(probabilities, targets),
        len(set(images.groups)),
        good_or_not,
        per_part=_measure_parts(images, targets, probabilities),
    )


def _measure_parts(
    images: EvaluatedImages, targets: IntArray, probabilities: FloatArray
) -> ClassificationResult | None:
    """Classification with one decision for all photographs of a part; parts that carry both classes are left out."""
    members = defaultdict[int, list[int]](list)
    for i, group in enumerate(images.groups):
        members[group].append(i)
    parts = [of_part for of_part in members.values() if len(set(targets[of_part])) == 1]
    if len(members) == len(images.samples) or not parts:
        return None
    shares = np.array([together(probabilities[of_part]) for of_part in parts])
    decisions = [images.images[of_part[0]].subset.meta.decision for of_part in parts]
    decided = np.array([decision.decide(p) for decision, p in zip(decisions, shares, strict=True)])
    firsts = [of_part[0] for of_part in parts]
    defects = [images.samples[i].defect for i in firsts]
    return classification_metrics(targets[firsts], shares, images.classes, defects, predicted=decided)


def measure_calibration(probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.int64]) -> CalibrationResult:
    """Measure whether probabilities agree with how often the model is right.

    Args:
        probabilities: ``(n, classes)``, Good first, 0…1; n may be 0.
        targets: true classes, ``(n,)``.
    """
    n = len(targets)
    confidence = probabilities.max(axis=1, initial=0)
    right = probabilities.argmax(axis=1) == targets if n else np.zeros(0)
    brier = float(np.mean((1 - probabilities[:, 0] - (targets != 0)) ** 2)) if n else math.nan
    return CalibrationResult(expected_calibration_error(confidence, right), brier, n, reliability(confidence, right))


def measure_some(
    predictions: Sequence[Prediction],
    samples: Sequence[Sample],
    sizes: npt.NDArray[np.int64],
    classes: Sequence[str],
    kept: Sequence[int],
    drawn: Mapping[Path, DrawnBoxes] | None = None,
) -> PartialResult:
    """Measure a selection of the images from their predictions alone.

    Args:
        predictions: of all images.
        samples: the same images' labels and masks.
        sizes: their ``(height, width)``, shape ``(n, 2)``.
        classes: class names, ``good`` first.
        kept: positions of the images to measure; may be empty.
        drawn: as in :meth:`Truth.read`.
    """
    some, of_some = [samples[i] for i in kept], [predictions[i] for i in kept]
    truth = Truth.read(some, sizes[list(kept)], drawn)
    targets = np.array(
        [target_of(sample, classes, one.label) for sample, one in zip(some, of_some, strict=True)], dtype=np.int64
    )
    classification = classification_metrics(
        targets,
        class_probabilities(of_some, classes),
        classes,
        [sample.defect for sample in some],
        predicted=np.array([classes.index(prediction.label) for prediction in of_some], dtype=np.int64),
    )
    localisation = truth.localise([boxes_array(p.boxes) for p in of_some]) if truth.with_boxes else None
    return PartialResult(classification, localisation)
