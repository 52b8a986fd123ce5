"""Images that models were tested on, with what is needed to measure them: labels, masks, outputs, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from weakspot.data.annotated_truth import DrawnBoxes
from weakspot.data.classes import target_of
from weakspot.data.splits import group_numbers
from weakspot.evaluation.truth import Truth
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.ops.maps import Maps, visible
from weakspot.ops.resize import upsample
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.predictions import make_prediction
from weakspot.types import ANOMALY, GOOD, ModelOutput, Prediction, Sample, Size

TWO_CLASSES = (GOOD, ANOMALY)


@dataclass(frozen=True)
class EvaluatedSubset:
    """Images that one model was tested on; samples, store and predictions are in the same order.

    Attributes:
        samples: labels and masks.
        store: the model's outputs.
        predictions: made from those outputs by the box rule and the decision of `meta`; they hold no output, see
            :meth:`with_output`.
        meta: description of the model: classes, preprocessing, box rule, decision.
    """

    samples: Sequence[Sample]
    store: OutputStore
    predictions: Sequence[Prediction]
    meta: BundleMeta

    @classmethod
    def predict(cls, samples: Sequence[Sample], store: OutputStore, meta: BundleMeta) -> EvaluatedSubset:
        """Decide the classes and draw the boxes from saved outputs, by the box rule and the decision of `meta`.

        Args:
            samples: labels and masks of the images.
            store: outputs for the same images, in the same order.
            meta: description of the model.

        Raises:
            WeakspotError: when a defect type is not one of the model's classes.
        """
        predictions = []
        for i, (path, sample) in enumerate(zip(store.paths, samples, strict=True)):
            found = make_prediction(
                path, size_of(store, i), store[i], meta.classes, meta.preprocess, meta.boxes, meta.decision,
                trust=meta.trust, ranking=meta.ranking, familiarity=meta.familiarity,
            )  # fmt: skip
            target = meta.classes[target_of(sample, meta.classes, found.label)]
            # Cut to the picture, its maps have the resolution of the network's input: some 48 MB for each picture.
            predictions.append(replace(found, target=target, output=None))
        return cls(samples, store, predictions, meta)

    def output(self, row: int) -> ModelOutput:
        """The output for one image, without the border that its aspect ratio may have needed.

        Args:
            row: position of the image.
        """
        return visible(self.store[row], size_of(self.store, row), self.meta.preprocess)

    def with_output(self, row: int) -> Prediction:
        """The prediction for one image with its :meth:`output`, for whoever draws its maps.

        Args:
            row: position of the image.
        """
        return replace(self.predictions[row], output=self.output(row))


class EvaluatedImage(NamedTuple):
    """One image of a subset, and its position there."""

    subset: EvaluatedSubset
    row: int

    @property
    def sample(self) -> Sample:
        """Its label and mask."""
        return self.subset.samples[self.row]

    @property
    def prediction(self) -> Prediction:
        """What the model predicts."""
        return self.subset.predictions[self.row]


@dataclass(frozen=True)
class EvaluatedImages:
    """The images of one subset, or those of several folds together, as flat lists.

    Attributes:
        subsets: what the images come from; no image is in two of them.
        drawn: what a person drew, by path; None takes the boxes of the masks' regions.
    """

    subsets: Sequence[EvaluatedSubset]
    drawn: Mapping[Path, DrawnBoxes] | None = None

    @cached_property
    def images(self) -> list[EvaluatedImage]:
        """Every image, by its subset and its position there."""
        return [EvaluatedImage(subset, row) for subset in self.subsets for row in range(len(subset.samples))]

    @cached_property
    def samples(self) -> list[Sample]:
        """The label and mask of every image."""
        return [sample for subset in self.subsets for sample in subset.samples]

    @cached_property
    def predictions(self) -> list[Prediction]:
        """One prediction for every image."""
        return [prediction for subset in self.subsets for prediction in subset.predictions]

    @cached_property
    def truth(self) -> Truth:
        """The true boxes, from the masks or from what a person drew."""
        sizes = np.concatenate([subset.store.sizes for subset in self.subsets])
        return Truth.read(self.samples, sizes, self.drawn)

    @cached_property
    def classes(self) -> list[str]:
        """The names of the classes, if all models have the same ones; else Good and Anomaly."""
        known = {tuple(subset.meta.classes) for subset in self.subsets}
        return list(known.pop()) if len(known) == 1 else list(TWO_CLASSES)

    @cached_property
    def groups(self) -> list[int]:
        """The number of the group that each image belongs to."""
        return group_numbers(self.samples)

    @cached_property
    def boxes(self) -> list[npt.NDArray[np.float64]]:
        """Predicted boxes ``(n, 4)`` of each image, best first."""
        return [boxes_array(prediction.boxes) for prediction in self.predictions]

    @property
    def good(self) -> list[int]:
        """Positions of the Good images."""
        return [i for i, sample in enumerate(self.samples) if sample.is_good]

    def targets(self, classes: Sequence[str] | None = None) -> npt.NDArray[np.int64]:
        """The number of each image's true class, ``(n,)``, 0 for Good; of several, the one that it was given.

        Args:
            classes: class names that the numbers refer to; None takes :attr:`classes`.
        """
        names, given = classes or self.classes, [prediction.label for prediction in self.predictions]
        pairs = zip(self.samples, given, strict=True)
        return np.array([target_of(sample, names, label) for sample, label in pairs], dtype=np.int64)

    def decided(self, classes: Sequence[str] | None = None) -> npt.NDArray[np.int64]:
        """The number of the class that each image was given, ``(n,)``, 0 for Good.

        Args:
            classes: class names that the numbers refer to; None takes :attr:`classes`.
        """
        names, labels = list(classes or self.classes), [prediction.label for prediction in self.predictions]
        if names == list(TWO_CLASSES):
            return np.array([int(label != GOOD) for label in labels], dtype=np.int64)
        return np.array([names.index(label) for label in labels], dtype=np.int64)

    def probabilities(self) -> npt.NDArray[np.float64]:
        """Probabilities ``(n, classes)``, 0…1, in the order of :attr:`classes`."""
        if all(list(subset.meta.classes) == self.classes for subset in self.subsets):
            return class_probabilities(self.predictions, self.classes)
        return np.array([[1 - p.probability, p.probability] for p in self.predictions]).reshape(-1, 2)

    def output(self, i: int) -> ModelOutput:
        """The output for one image, without the border that its aspect ratio may have needed.

        Args:
            i: position of the image.
        """
        subset, row = self.images[i]
        return subset.output(row)

    def at_input_size(self, i: int, map_: Maps) -> Maps:
        """Bring a class activation map to the network's input size; maps of evidence heads are returned as they are.

        Args:
            i: position of the image that the map belongs to.
            map_: ``(h, w)``.
        """
        subset, row = self.images[i]
        if subset.store.mask_logits is not None:
            return map_
        return upsample(map_, subset.meta.preprocess.input_size(size_of(subset.store, row)))


def class_probabilities(predictions: Sequence[Prediction], classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Collect the probabilities of predictions as ``(n, classes)``, in the order of `classes`.

    Args:
        predictions: n of them.
        classes: class names that every prediction has.
    """
    rows = [{c.name: c.confidence for c in p.classes} for p in predictions]
    return np.array([[row[name] for name in classes] for row in rows], dtype=np.float64).reshape(-1, len(classes))


def size_of(store: OutputStore, row: int) -> Size:
    """``(height, width)`` of an image of a store, in pixels.

    Args:
        store: outputs for a set of images.
        row: position of the image in it.
    """
    height, width = store.sizes[row]
    return int(height), int(width)
