"""What the metrics find, as frozen, typed objects; NaN stands for what is undefined."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial

from weakspot.metrics.intervals import Estimate, undefined


@dataclass(frozen=True)
class ConfusionMatrix:
    """How often images of each true class were given each class.

    Attributes:
        labels: class names, Good first.
        counts: ``K`` rows (true class) of ``K`` numbers (predicted class).
    """

    labels: list[str]
    counts: list[list[int]]

    @property
    def good(self) -> int:
        """Number of Good images."""
        return sum(self.counts[0])

    @property
    def false_alarms(self) -> int:
        """Number of Good images that were called defective."""
        return self.good - self.counts[0][0]

    @property
    def defects(self) -> int:
        """Number of images with a defect."""
        return sum(map(sum, self.counts[1:]))

    @property
    def missed(self) -> int:
        """Number of images with a defect that were called Good."""
        return sum(row[0] for row in self.counts[1:])


@dataclass(frozen=True)
class ClassScores:
    """One class against the rest.

    Attributes:
        precision: 0…1; NaN for a class that was never predicted.
        recall: 0…1, with its Clopper–Pearson interval `recall_low` to `recall_high`; NaN where `n` is 0.
        recall_low, recall_high: see `recall`.
        f1: 0…1; NaN where `n` is 0.
        n: number of images of the class.
    """

    precision: float
    recall: float
    recall_low: float
    recall_high: float
    f1: float
    n: int


@dataclass(frozen=True)
class ClassificationResult:
    """What :func:`classification_metrics` finds; estimates are in 0…1.

    Attributes:
        accuracy: share of images given their true class.
        balanced_accuracy: mean recall of the classes that occur; NaN unless Good and another one do.
        precision, recall, f1: for two classes those of the other one than Good, n counting images called not-Good,
            images that are, and all; for more, the mean over the classes that occur (a class never predicted has
            precision 0 there), NaN as balanced accuracy is.
        auroc, average_precision: of not-Good, ranked by ``1 - P(good)``; NaN unless both sides occur.
        top_k_error: ``{"1": estimate, …}`` for the k of :data:`TOP_K` below K: the share of images whose true class is
            not among the k most probable ones, whatever was decided.
        confusion_matrix: counts of true and predicted classes.
        per_class: by name.
        recall_per_defect: by defect type, the share of its images that is called anything but Good.
    """

    accuracy: Estimate
    balanced_accuracy: Estimate
    precision: Estimate
    recall: Estimate
    f1: Estimate
    auroc: Estimate
    average_precision: Estimate
    top_k_error: dict[str, Estimate]
    confusion_matrix: ConfusionMatrix
    per_class: dict[str, ClassScores]
    recall_per_defect: dict[str, Estimate]


@dataclass(frozen=True)
class BoxAccuracy:
    """Share of images whose best IoU reaches a level (BoxAcc, Choe et al. 2020); all NaN for no image.

    Attributes:
        n: number of images with a true box.
        box_accuracy_30, box_accuracy_50, box_accuracy_70: at IoU 0.3, 0.5 and 0.7, with Clopper–Pearson intervals.
        max_box_acc_v2: their mean (MaxBoxAccV2), with a bootstrap interval.
        mean_iou: mean of the best IoU, with a bootstrap interval.
    """

    n: int
    box_accuracy_30: Estimate
    box_accuracy_50: Estimate
    box_accuracy_70: Estimate
    max_box_acc_v2: Estimate
    mean_iou: Estimate


@dataclass(frozen=True)
class LocalisationResult(BoxAccuracy):
    """Box accuracy over all images with a true box, and by kind of defect.

    Attributes:
        mean_boxes: predicted boxes per image with a true box; NaN for none.
        n_without_truth: number of defect images without a true box, which are left out.
        per_defect: by defect type, sorted by name.
        per_size: by size of the defect: ``small``, ``medium``, ``large``.
    """

    mean_boxes: float
    n_without_truth: int
    per_defect: dict[str, BoxAccuracy]
    per_size: dict[str, BoxAccuracy]


@dataclass(frozen=True)
class OracleBoxAccuracy:
    """What the best threshold would have reached, had one known the masks (MaxBoxAcc and V2, Choe et al. 2020).

    Attributes:
        oracle_n: number of images with a true box.
        oracle_box_accuracy_30, oracle_box_accuracy_50, oracle_box_accuracy_70: each at its own best threshold.
        oracle_threshold_30, oracle_threshold_50, oracle_threshold_70: those thresholds.
        oracle_max_box_acc_v2: the mean of the three.
        oracle_single_max_box_acc_v2: MaxBoxAccV2 at the one threshold that is best for it.
        oracle_single_threshold: that threshold.
    """

    oracle_n: int = 0
    oracle_box_accuracy_30: float = math.nan
    oracle_box_accuracy_50: float = math.nan
    oracle_box_accuracy_70: float = math.nan
    oracle_threshold_30: float = math.nan
    oracle_threshold_50: float = math.nan
    oracle_threshold_70: float = math.nan
    oracle_max_box_acc_v2: float = math.nan
    oracle_single_max_box_acc_v2: float = math.nan
    oracle_single_threshold: float = math.nan


@dataclass(frozen=True)
class PixelResult:
    """Single pixels, pooled over all images; no interval, as pixels of an image are not independent.

    Attributes:
        pixel_auroc, pixel_average_precision, aupro: 0…1; NaN unless both kinds of pixels occur.
        n: number of images.
        n_defect_images: number of images with a defect pixel on the grid.
        longest_side: of the grid that each image was measured on, in pixels; None where a version before 0.2 measured.
    """

    pixel_auroc: float
    pixel_average_precision: float
    aupro: float
    n: int
    n_defect_images: int
    longest_side: int | None = None


@dataclass(frozen=True)
class DetectionResult:
    """Boxes matched one to one at IoU 0.3 and 0.5.

    Attributes:
        n_boxes: number of predicted boxes.
        n_true: number of true boxes.
        boxes_per_image: predicted boxes per image; NaN without an image.
        ap_30, ap_50: average precision, 0…1; NaN without a true box.
        precision_30, precision_50: share of predicted boxes that match a true one, with Clopper–Pearson intervals (a
            little narrow, as boxes of one image are not independent).
        recall_30, recall_50: share of true boxes that are found, likewise.
    """

    n_boxes: int
    n_true: int
    boxes_per_image: float
    ap_30: float
    precision_30: Estimate
    recall_30: Estimate
    ap_50: float
    precision_50: Estimate
    recall_50: Estimate


@dataclass(frozen=True)
class TrustLevel:
    """Boxes of one colour.

    Attributes:
        n: number of boxes.
        mean_iou: with the nearest true box; NaN for no box.
        iou_50: share of them with an IoU of 0.5 or more.
    """

    n: int
    mean_iou: float
    iou_50: Estimate


@dataclass(frozen=True)
class TrustResult:
    """Whether boxes that are trusted more fit better, on the images with a mask.

    Attributes:
        rank_correlation: Spearman's, of trust and IoU over boxes; NaN for fewer than three boxes.
        levels: by colour, ``green``, ``amber`` and ``red``.
        boxes: ``[trust, IoU]`` of each box.
        false_green: share of green boxes among those that Good images would get if no class decision took them away.
    """

    rank_correlation: Estimate
    levels: dict[str, TrustLevel]
    boxes: list[list[float]]
    false_green: Estimate = field(default_factory=partial(undefined, 0))
