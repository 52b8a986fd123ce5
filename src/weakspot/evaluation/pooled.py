"""Several runs taken together: the folds of a cross-validation, pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.data.readers import target_of
from weakspot.data.splits import group_numbers
from weakspot.errors import WeakspotError
from weakspot.evaluation.controls import box_controls, shuffled_labels
from weakspot.evaluation.measure import class_metrics, class_probabilities
from weakspot.evaluation.truth import Truth, levels_reached, trust_metrics
from weakspot.metrics import (
    detection_metrics,
    pixel_metrics,
)
from weakspot.metrics.paired import cluster_estimate
from weakspot.models.bundle import BundleMeta, find_bundle, read_meta
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import comparable_map, visible
from weakspot.ops.resize import upsample
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.runs.folder import RunFolder, finished_run, own_test_subset
from weakspot.types import ANOMALY, GOOD, Prediction, Sample
from weakspot.utils.files import shown
from weakspot.utils.untrusted import read_json

TWO_CLASSES = (GOOD, ANOMALY)

MEMBERS = "folds.json"
"""Names the runs that a cross-validation consists of."""

PIXEL_SIDE = 160
"""Longest side at which pixels are compared: all folds' pixels are sorted together."""


@dataclass(frozen=True)
class Pooled:
    """The test subsets of one run or of several, together.

    Attributes:
        runs: where they come from.
        samples: labels and masks, no image twice.
        predictions: what was said of them.
        stores: maps, one store a run.
        false_boxes: on Good images before the class decision, and how many Good images there are.
        classes: that the runs know; Good and Anomaly where they do not know the same.
    """

    runs: list[RunFolder]
    samples: list[Sample]
    predictions: list[Prediction]
    stores: list[OutputStore]
    false_boxes: tuple[float, int]
    classes: list[str]

    @classmethod
    def read(cls, runs: Sequence[RunFolder]) -> Pooled:
        """From finished runs.

        Raises:
            WeakspotError: when one is not finished, or an image was tested in two.
        """
        samples, predictions, stores = list[Sample](), list[Prediction](), list[OutputStore]()
        count, good = 0.0, 0
        for run in runs:
            metrics = run.read_metrics()
            store, subset = own_test_subset(run)
            samples += subset
            predictions += read_predictions(run.predictions)
            stores.append(store)
            n = sum(sample.is_good for sample in subset)
            before = metrics["test"].get("localisation", {}).get("before_decision", {})
            count, good = count + (before.get("false_boxes_per_100_good") or 0) * n / 100, good + n
        seen: set[Path] = set()
        for sample in samples:
            if sample.path in seen:
                raise WeakspotError(
                    f"{shown(sample.path)} was tested in two of these runs; give the folds of one split"
                )
            seen.add(sample.path)
        known = {tuple(read_meta(run.bundle).classes) for run in runs}
        classes = list(known.pop()) if len(known) == 1 else list(TWO_CLASSES)
        return cls(list(runs), samples, predictions, stores, (count, good), classes)

    def targets(self, classes: Sequence[str] = TWO_CLASSES) -> npt.NDArray[np.int64]:
        """Number of each image's true class, ``(n,)``: 0 for Good."""
        return np.array([target_of(sample, classes) for sample in self.samples], dtype=np.int64)

    def said(self, classes: Sequence[str] = TWO_CLASSES) -> npt.NDArray[np.int64]:
        """Number of the class that each image was given, ``(n,)``."""
        labels = [prediction.label for prediction in self.predictions]
        if list(classes) == list(TWO_CLASSES):
            return np.array([int(label != GOOD) for label in labels], dtype=np.int64)
        return np.array([list(classes).index(label) for label in labels], dtype=np.int64)

    def right(self, classes: Sequence[str] = TWO_CLASSES) -> npt.NDArray[np.float64]:
        """1 where the image was given its true class, ``(n,)``; with two classes, called Good or not as it should."""
        return np.asarray(self.said(classes) == self.targets(classes), dtype=np.float64)

    def location_logits(self) -> list[tuple[OutputStore, int, BundleMeta]]:
        """Store, position in it, and model of every image."""
        metas = [read_meta(find_bundle(run.path)) for run in self.runs]
        return [(store, i, meta) for meta, store in zip(metas, self.stores, strict=True) for i in range(len(store))]

    def clusters(self) -> list[int]:
        """A number for the part each image shows."""
        return group_numbers(self.samples)

    def truth(self) -> Truth:
        """The masks."""
        return Truth.read(self.samples, np.concatenate([store.sizes for store in self.stores]))

    def v2(self, truth: Truth) -> npt.NDArray[np.float64]:
        """Share of the IoU levels that each image's three best boxes reach, ``(n,)``; NaN without a true box."""
        return np.array(
            [
                levels_reached(boxes_array(prediction.boxes), boxes)
                for prediction, boxes in zip(self.predictions, truth.boxes, strict=True)
            ]
        )

    def measure(self) -> dict[str, Any]:
        """As in a run's ``metrics.json``: ``test``, ``controls`` and ``alarms``.

        Intervals of classes and V2 allow for parts, where the split knows of any.
        """
        truth, clusters = self.truth(), np.array(self.clusters())
        boxes = [boxes_array(prediction.boxes) for prediction in self.predictions]
        classes, targets, said = self.classes, self.targets(self.classes), self.said(self.classes)
        if len(classes) == 2:
            probabilities = np.array([[1 - p.probability, p.probability] for p in self.predictions])
        else:
            probabilities = class_probabilities(self.predictions, classes)
        test = class_metrics(probabilities, targets, said, classes, self.samples)
        test["parts"] = len(set(clusters))
        shuffled, alarms = shuffled_labels(targets, said, self.samples)
        controls: dict[str, Any] = {"shuffled_labels": shuffled} if shuffled else {}
        if truth.known:
            known, v2 = truth.known, self.v2(truth)[truth.known]
            localisation = truth.localise(boxes)
            localisation["v2"] = cluster_estimate(v2, clusters[known].tolist(), np.zeros(len(known))).as_dict()
            test["localisation"] = {**localisation, **self._boxes_and_pixels(truth, boxes)}
            boxes_of_others, raised = box_controls(truth, self.predictions)
            controls, alarms = boxes_of_others | controls, [*alarms, *raised]
        return {"test": test, "controls": controls, "alarms": alarms}

    def _boxes_and_pixels(self, truth: Truth, boxes: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
        known, sizes = truth.measurable, [(int(h), int(w)) for h, w in truth.sizes]
        said = [
            visible(store[i], (int(store.sizes[i][0]), int(store.sizes[i][1])), read_meta(run.bundle).preprocess)
            for run, store in zip(self.runs, self.stores, strict=True)
            for i in range(len(store))
        ]
        return {
            "detection": detection_metrics(
                [boxes[i] for i in known],
                [np.array([box.score for box in self.predictions[i].boxes]) for i in known],
                [truth.boxes[i].astype(np.float64) for i in known],
                [sizes[i] for i in known],
            ),
            "pixel": pixel_metrics(
                ((upsample(comparable_map(said[i]), (PIXEL_SIDE, PIXEL_SIDE)), truth.mask(i)) for i in known),
                longest_side=PIXEL_SIDE,
            ),
            "trust": trust_metrics(self.predictions, truth),
            "before_decision": {"false_boxes_per_100_good": 100 * self.false_boxes[0] / max(1, self.false_boxes[1])},
        }


def find_runs(path: Path) -> list[RunFolder]:
    """The run in a folder, or the runs that a cross-validation's folder names.

    Raises:
        WeakspotError: when it is neither, or not finished.
    """
    if (path / MEMBERS).is_file():
        try:
            return [RunFolder(Path(run)) for run in read_json(path / MEMBERS)]
        except (OSError, ValueError, TypeError) as error:
            raise WeakspotError(f"{path / MEMBERS} is damaged ({error}); run the cross-validation again") from error
    return [finished_run(path)]
