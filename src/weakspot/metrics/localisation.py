"""How well boxes and evidence fit the masks.

Ground truth of an image is one box per 8-connected component of its mask, and the image counts as localised when any
of its three best boxes reaches the IoU with any of them: MaxBoxAccV2 of Choe et al., "Evaluating Weakly Supervised
Object Localization Methods Right" (CVPR 2020, PAMI 2022), except that the threshold is not picked on the test subset.
Where it is, the key says ``oracle``. Boxes are half-open ``[x0, y0, x1, y1]`` in original pixels, as float arrays
``(n, 4)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.metrics.aupro import aupro
from weakspot.metrics.intervals import proportion
from weakspot.metrics.results import BoxAccuracy, LocalisationResult, OracleBoxAccuracy, PixelResult
from weakspot.metrics.unvarying import mean_of_shares
from weakspot.ops.iou import BoxArray, box_iou
from weakspot.ops.regions import label_regions
from weakspot.ops.resize import scale_min_max, upsample
from weakspot.types import GOOD, BoolArray, FloatArray, Size

IOU_LEVELS = (0.3, 0.5, 0.7)
"""The IoU levels of MaxBoxAccV2."""

BEST_BOXES = 3
"""An image is localised by one of its boxes with the highest scores, this many."""

PIXEL_SIDE = 256
"""Pixels are measured on a grid whose longer side is this many, the image's shape kept; smaller images on their own."""


def mask_boxes(mask: BoolArray) -> npt.NDArray[np.int64]:
    """Return one half-open box per 8-connected component of a mask.

    Use the mask at full resolution: small components would be lost in a smaller one.

    Args:
        mask: shape ``(height, width)``, non-zero = defect.

    Returns:
        Shape ``(k, 4)``, xyxy in pixels of the mask, from top to bottom, then left to right.

    Raises:
        ValueError: when `mask` is not two-dimensional or empty.
    """
    corners, _, _ = label_regions(_checked_mask(mask))
    return corners[np.lexsort((corners[:, 0], corners[:, 1]))]


def best_iou(predicted: BoxArray, truth: BoxArray) -> float:
    """Return the highest IoU of any predicted box with any true one.

    Args:
        predicted: shape ``(n, 4)``.
        truth: shape ``(m, 4)``.

    Returns:
        In 0…1; 0 where nothing is predicted, NaN where there is no true box (nothing to find).

    Raises:
        ValueError: as :func:`box_iou`.
    """
    overlaps = box_iou(predicted, truth)
    if overlaps.shape[1] == 0:
        return math.nan
    return float(overlaps.max(initial=0.0))


def box_accuracy(ious: FloatArray) -> BoxAccuracy:
    """Share of images whose best IoU reaches 0.3, 0.5 and 0.7 (BoxAcc, Choe et al. 2020).

    Args:
        ious: :func:`best_iou` of each image, shape ``(n,)``, in 0…1; n may be 0.

    Raises:
        ValueError: for a wrong shape or values outside 0…1, NaN included.
    """
    ious = _checked_ious(ious, ndim=1)
    reached = ious[:, None] >= np.array(IOU_LEVELS)
    at_30, at_50, at_70 = (proportion(reached[:, i].sum(), len(ious)) for i in range(len(IOU_LEVELS)))
    v2 = mean_of_shares(reached.mean(axis=1))
    return BoxAccuracy(len(ious), at_30, at_50, at_70, v2, mean_of_shares(ious))


def max_box_accuracy(ious: FloatArray, thresholds: FloatArray) -> OracleBoxAccuracy:
    """What the best threshold would have reached, had one known the masks (MaxBoxAcc and V2, Choe et al. 2020).

    Args:
        ious: :func:`best_iou` of each image at each threshold, shape ``(t, n)``, in 0…1.
        thresholds: shape ``(t,)``.

    Returns:
        Of equally good thresholds the first given; NaN for no image or no threshold.

    Raises:
        ValueError: when shapes do not fit or IoUs lie outside 0…1.
    """
    ious, thresholds = _checked_ious(ious, ndim=2), np.asarray(thresholds, dtype=np.float64)
    if thresholds.shape != ious.shape[:1]:
        raise ValueError(f"thresholds {thresholds.shape} do not fit ious {ious.shape}, which must be (t, n)")
    if ious.size == 0:
        accuracy, best, single = np.full((1, len(IOU_LEVELS)), math.nan), [0] * len(IOU_LEVELS), 0
        thresholds = np.array([math.nan])
    else:
        accuracy = np.stack([(ious >= level).mean(axis=1) for level in IOU_LEVELS], axis=1)
        best, single = accuracy.argmax(axis=0).tolist(), int(accuracy.mean(axis=1).argmax())
    at_best = [float(accuracy[row, column]) for column, row in enumerate(best)]
    return OracleBoxAccuracy(
        oracle_n=ious.shape[1],
        oracle_box_accuracy_30=at_best[0],
        oracle_box_accuracy_50=at_best[1],
        oracle_box_accuracy_70=at_best[2],
        oracle_threshold_30=float(thresholds[best[0]]),
        oracle_threshold_50=float(thresholds[best[1]]),
        oracle_threshold_70=float(thresholds[best[2]]),
        oracle_max_box_acc_v2=float(np.mean(at_best)),
        oracle_single_max_box_acc_v2=float(accuracy[single].mean()),
        oracle_single_threshold=float(thresholds[single]),
    )


def localisation_metrics(
    predicted: Sequence[BoxArray], truth: Sequence[BoxArray], defects: Sequence[str], sizes: Sequence[str]
) -> LocalisationResult:
    """Measure predicted boxes against true ones, over all images and per defect.

    Images without a true box are left out: Good ones silently, those with a defect counted.

    Args:
        predicted: for each image, shape ``(k, 4)``, best first; k may be 0. The first three count, so that nothing is
            gained by many boxes.
        truth: for each image, shape ``(m, 4)``, from :func:`mask_boxes`; m may be 0.
        defects: defect type of each image, ``good`` for one without.
        sizes: :func:`size_class` of each image's defect; whatever for one without.

    Raises:
        ValueError: when lengths differ, or as :func:`box_iou`.
    """
    if not len(predicted) == len(truth) == len(defects) == len(sizes):
        raise ValueError(f"{len(predicted)} predicted, {len(truth)} true, {len(defects)} defects: lengths differ")
    ious = np.array([best_iou(p[:BEST_BOXES], t) for p, t in zip(predicted, truth, strict=True)], dtype=np.float64)
    names, classes, measured = np.array(defects, dtype=object), np.array(sizes, dtype=object), ~np.isnan(ious)
    boxes = [len(p) for p, known in zip(predicted, measured, strict=True) if known]
    return LocalisationResult(
        **vars(box_accuracy(ious[measured])),
        mean_boxes=float(np.mean(boxes)) if boxes else math.nan,
        n_without_truth=int((~measured & (names != GOOD)).sum()),
        per_defect={name: box_accuracy(ious[measured & (names == name)]) for name in sorted(set(defects) - {GOOD})},
        per_size={
            name: box_accuracy(ious[measured & (classes == name)])
            for name in ("small", "medium", "large")
            if (measured & (classes == name)).any()
        },
    )


def pointing_hit(evidence: FloatArray, mask: BoolArray) -> bool:
    """Tell whether the strongest point of the evidence lies on the defect.

    The pointing game of Zhang et al., "Top-Down Neural Attention by Excitation Backprop" (IJCV 2018), without
    tolerance. The point is the centre of the first highest cell.

    Args:
        evidence: shape ``(h, w)``.
        mask: shape ``(height, width)`` of the original image, non-zero = defect.

    Returns:
        False also for a flat map, which points nowhere.

    Raises:
        WeakspotError: when the evidence holds NaN or infinity.
        ValueError: when either is not two-dimensional or empty.
    """
    evidence, mask = _checked_evidence(evidence), _checked_mask(mask)
    if scale_min_max(evidence) is None:
        return False
    row, column = np.unravel_index(int(evidence.argmax()), evidence.shape)
    y = _cell_centres(evidence.shape[0], mask.shape[0])[row]
    x = _cell_centres(evidence.shape[1], mask.shape[1])[column]
    return bool(mask[y, x])


def pixel_metrics(pairs: Iterable[tuple[FloatArray, BoolArray]], *, longest_side: int = PIXEL_SIDE) -> PixelResult:
    """AUROC and average precision of single pixels, pooled over all images, and the overlap of regions.

    To bound memory, each image is compared on a grid of its own: the original size, scaled so that the longer side is
    at most `longest_side`. Evidence is resized bilinearly, the mask to its nearest pixel. A hundred images of 512×512
    take about 0.5 GB and 1 s, a `longest_side` of 256 a quarter. No interval: pixels of an image are not independent.

    Args:
        pairs: for each image, evidence ``(h, w)``, comparable between images, and mask ``(height, width)``, non-zero =
            defect, all False for a Good image; taken one at a time.
        longest_side: in pixels.

    Raises:
        WeakspotError: when evidence holds NaN or infinity.
        ValueError: when an array is not two-dimensional or empty.
    """
    scores, truths = [], []
    for evidence, any_mask in pairs:
        mask = _checked_mask(any_mask)
        grid = _grid(mask.shape, longest_side)
        scores.append(upsample(_checked_evidence(evidence), grid))
        truths.append(_nearest(mask, grid))
    area = precision = overlap = math.nan
    if any(t.any() for t in truths) and not all(t.all() for t in truths):
        area, precision = _curve_areas(*(np.concatenate([a.ravel() for a in arrays]) for arrays in (truths, scores)))
        overlap = aupro(scores, truths)
    with_defect = sum(bool(t.any()) for t in truths)
    return PixelResult(area, precision, overlap, len(truths), with_defect, longest_side)


def size_class(share: float) -> str:
    """Name the size of a defect that covers `share` (0…1) of its image, by fixed limits of 0.5 % and 5 %."""
    return "small" if share < 0.005 else "medium" if share < 0.05 else "large"


def _grid(shape: tuple[int, ...], longest_side: int) -> Size:
    """``(height, width)`` scaled down, never up, so that neither side is longer than `longest_side`."""
    height, width = shape
    longest = max(height, width, longest_side)
    return max(1, height * longest_side // longest), max(1, width * longest_side // longest)


def _cell_centres(cells: int, pixels: int) -> npt.NDArray[np.int64]:
    """The pixel under the centre of each of `cells` equal cells laid over `pixels`; exact."""
    return (2 * np.arange(cells, dtype=np.int64) + 1) * pixels // (2 * cells)


def _nearest(mask: BoolArray, size: Size) -> BoolArray:
    rows, columns = _cell_centres(size[0], mask.shape[0]), _cell_centres(size[1], mask.shape[1])
    return np.asarray(mask[np.ix_(rows, columns)])


def _curve_areas(truth: BoolArray, scores: FloatArray) -> tuple[float, float]:
    """AUROC and average precision of millions of pixels, as scikit-learn defines them.

    Both are sums over the few defect pixels, so only the values of the others are sorted, without their positions;
    scikit-learn's two functions would sort everything with its position, twice.
    """
    values, counts = np.unique(scores[truth], return_counts=True)
    others = np.sort(scores[~truth])
    below, up_to = (np.searchsorted(others, values, side) for side in ("left", "right"))
    hits = np.cumsum(counts[::-1])[::-1]  # defect pixels at or above each value
    precision = hits / (hits + len(others) - below)
    area = (counts * (below + up_to) / 2).sum() / (counts.sum() * len(others))
    return float(area), float((counts * precision).sum() / counts.sum())


def _checked_ious(ious: FloatArray, ndim: int) -> npt.NDArray[np.float64]:
    array = np.asarray(ious, dtype=np.float64)
    if array.ndim != ndim or not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"IoUs must have {ndim} dimension(s), not {array.ndim}, and lie in 0…1, NaN excluded")
    return array


def _checked_mask(mask: BoolArray) -> BoolArray:
    array = np.asarray(mask)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"a mask must have shape (height, width) and not be empty, not {array.shape}")
    return np.asarray(array != 0)


def _checked_evidence(evidence: FloatArray) -> FloatArray:
    array = np.asarray(evidence)
    if not np.isfinite(array).all():
        raise WeakspotError("the evidence holds NaN or infinity, so it cannot be measured; check weights and training")
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"evidence must have shape (height, width) and not be empty, not {array.shape}")
    return array
