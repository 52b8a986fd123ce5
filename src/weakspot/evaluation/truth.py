"""The true boxes of a set of images, read from their masks, and how well predicted boxes fit them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.data.annotated_truth import DrawnBoxes
from weakspot.data.classes import kinds_of
from weakspot.data.images import read_mask
from weakspot.metrics import BEST_BOXES, IOU_LEVELS, best_iou, localisation_metrics, mask_boxes, size_class
from weakspot.metrics.results import LocalisationResult
from weakspot.types import BoolArray, Sample

NO_BOXES: npt.NDArray[np.int64] = np.zeros((0, 4), dtype=np.int64)
NOTHING_DRAWN = DrawnBoxes(NO_BOXES, ())


@dataclass(frozen=True)
class Truth:
    """The true boxes of a set of images, by position; a mask is read again whenever it is needed, to save memory.

    Attributes:
        samples, sizes: the images and their ``(height, width)``, shape ``(n, 2)``.
        boxes: int64 ``(m, 4)`` true boxes of each image, one for each connected region of its mask; empty for Good
            images and where the mask is missing or marks nothing.
        shares: share of each image that its defect covers, 0…1.
        kinds: class of each true box of each image; empty where no person drew them.
    """

    samples: Sequence[Sample]
    sizes: npt.NDArray[np.int64]
    boxes: list[npt.NDArray[np.int64]]
    shares: list[float]
    kinds: list[tuple[str | None, ...]] = field(default_factory=list)

    @classmethod
    def read(
        cls,
        samples: Sequence[Sample],
        sizes: npt.NDArray[np.int64],
        drawn: Mapping[Path, DrawnBoxes] | None = None,
    ) -> Truth:
        """Read every mask and check it against its image's size.

        Args:
            samples: the images' labels and mask files.
            sizes: ``(n, 2)``, ``(height, width)`` of each image in pixels.
            drawn: what a person drew, by path; an image that is not named has no true box. None takes the boxes of the
                masks' connected regions.

        Returns:
            The true boxes and the share of each image that its defect covers.

        Raises:
            WeakspotError: when a mask cannot be read or is of another size; the message names it.
        """
        truth = cls(samples, sizes, [], [])
        for i, sample in enumerate(samples):
            mask = truth.mask(i)
            boxes = DrawnBoxes(mask_boxes(mask), ()) if drawn is None else drawn.get(sample.path, NOTHING_DRAWN)
            truth.boxes.append(boxes.boxes)
            truth.kinds.append(boxes.kinds)
            truth.shares.append(float(mask.mean()))
        return truth

    def localise(self, boxes: Sequence[npt.NDArray[np.float64]]) -> LocalisationResult:
        """Measure predicted boxes with :func:`~weakspot.metrics.localisation_metrics`.

        Args:
            boxes: predicted ``(k, 4)`` of each image, best first.
        """
        defects, classes = [sample.defect for sample in self.samples], [size_class(share) for share in self.shares]
        return localisation_metrics(boxes, self.boxes, defects, classes)

    def boxes_of(self, index: int, label: str, classes: Sequence[str]) -> npt.NDArray[np.int64] | None:
        """The true boxes of one kind of defect in an image.

        Args:
            index: position of the image.
            label: the kind.
            classes: names of all classes; where every box was drawn as one of them, these count, not the image's label.

        Returns:
            ``(m, 4)``; None where nobody said which of the image's boxes is of which of its kinds.
        """
        drawn, kinds = self.kinds[index], kinds_of(self.samples[index])
        if drawn and all(kind in classes for kind in drawn):
            return self.boxes[index][[kind == label for kind in drawn]]
        if len(kinds) > 1:
            return None
        return self.boxes[index] if label in kinds else NO_BOXES

    @property
    def with_boxes(self) -> list[int]:
        """Positions of the defect images with at least one true box."""
        return [i for i, boxes in enumerate(self.boxes) if len(boxes)]

    @property
    def fully_labelled(self) -> list[int]:
        """Positions of the images in which every pixel's truth is known: :attr:`with_boxes` and the Good ones."""
        return [i for i, sample in enumerate(self.samples) if sample.is_good or len(self.boxes[i])]

    def mask(self, index: int) -> BoolArray:
        """The mask at the original image's size; all False for Good images and where there is no mask.

        Args:
            index: position of the image.
        """
        sample, (height, width) = self.samples[index], (int(side) for side in self.sizes[index])
        if sample.is_good or sample.mask is None:
            return np.zeros((height, width), dtype=bool)
        return read_mask(sample.mask, (height, width))


def levels_reached(boxes: npt.NDArray[np.float64], truth: npt.NDArray[np.int64]) -> float:
    """Measure which share of the IoU levels the three best boxes of one image reach.

    Args:
        boxes: predicted ``(n, 4)``, best first; the first three count.
        truth: true boxes ``(m, 4)``.

    Returns:
        0…1: of the IoU levels 0.3, 0.5 and 0.7 the share that the best pair of boxes reaches; NaN without a true box.
    """
    iou = best_iou(boxes[:BEST_BOXES], truth.astype(np.float64))
    return float(np.mean(iou >= np.array(IOU_LEVELS))) if not math.isnan(iou) else math.nan
