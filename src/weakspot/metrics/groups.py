"""Intervals for images that are not independent: images of one group tend to be right or wrong together.

The group (cluster) bootstrap (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, 3.8) draws groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from weakspot.metrics.classification import IntArray, class_scores, macro_scores, ranker
from weakspot.metrics.intervals import N_RESAMPLES, Estimate, percentile_estimate, undefined
from weakspot.metrics.paired import draws_of_groups
from weakspot.metrics.results import ClassificationResult, ClassScores
from weakspot.types import FloatArray

Resampled = npt.NDArray[np.float64]


def widened_by_groups(
    metrics: ClassificationResult,
    targets: IntArray,
    probabilities: FloatArray,
    predicted: IntArray,
    defects: Sequence[str],
    groups: Sequence[int],
) -> ClassificationResult:
    """What :func:`~weakspot.metrics.classification.classification_metrics` found, its intervals wide enough for groups.

    Each interval becomes the hull of the one for independent images and that of the group (cluster) bootstrap; values
    stay.
    The ``top_k_error`` and what has no interval are left alone.

    Args:
        metrics: from the other arguments.
        targets: true classes, shape ``(n,)``, 0 for Good.
        probabilities: ``(n, K)``.
        predicted: predicted classes, ``(n,)``.
        defects: defect type of each image.
        groups: number of the group each image belongs to.
    """
    names, called = np.array(defects, dtype=object), predicted != 0
    ranking = _ranking(targets, 1.0 - probabilities[:, 0])

    def overall(times: npt.NDArray[np.intp]) -> dict[str, Resampled]:
        return _of_confusion(times, targets, predicted, probabilities.shape[1]) | ranking(times)

    def per_defect(times: npt.NDArray[np.intp]) -> dict[str, Resampled]:
        return {name: _share(times, names == name, called) for name in metrics.recall_per_defect}

    def per_class(times: npt.NDArray[np.intp]) -> dict[str, Resampled]:
        return {name: _share(times, targets == k, predicted == k) for k, name in enumerate(metrics.per_class)}

    chunks = [
        [of(times) for of in (overall, per_defect, per_class)] for times in draws_of_groups(groups, N_RESAMPLES, 0)
    ]
    of_all, of_defects, of_classes = (_joined(parts) for parts in zip(*chunks, strict=True))
    widened: dict[str, Any] = {name: _hull(getattr(metrics, name), resamples) for name, resamples in of_all.items()}
    return replace(
        metrics,
        **widened,
        recall_per_defect={name: _hull(found, of_defects[name]) for name, found in metrics.recall_per_defect.items()},
        per_class={name: _widened_recall(row, of_classes[name]) for name, row in metrics.per_class.items()},
    )


def _joined(chunks: Sequence[dict[str, Resampled]]) -> dict[str, Resampled]:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def worth(groups: IntArray) -> float:
    """How many independent images a set of images in groups is worth, 1…n, if a group is right or wrong as a whole.

    n² / Σ (images of a group)², after Kish, "Survey Sampling" (1965).

    Args:
        groups: number of the group each image belongs to, ``(n,)``, at least one.
    """
    _, sizes = np.unique(groups, return_counts=True)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def share_of_images(hit: npt.NDArray[np.bool_], groups: IntArray) -> Estimate:
    """Share of images that are `hit`, with Clopper and Pearson's interval for as many as they are worth.

    Unlike a bootstrap it has a width where all or none are hit.

    Args:
        hit: shape ``(n,)``; no image gives NaN.
        groups: number of the group each image belongs to, ``(n,)``.
    """
    n = len(hit)
    if not n:
        return undefined(0)
    value, independent = float(hit.mean()), worth(groups)
    hits, others = value * independent, (1 - value) * independent
    low = 0.0 if value == 0 else float(beta.ppf(0.025, hits, others + 1))
    high = 1.0 if value == 1 else float(beta.ppf(0.975, hits + 1, others))
    return Estimate(value, n, low, high)


def _of_confusion(times: npt.NDArray[np.intp], targets: IntArray, predicted: IntArray, k: int) -> dict[str, Resampled]:
    """Of each resample ``(r, n)``: what its confusion matrix says, NaN where it does not."""
    cells = [[times[:, (targets == i) & (predicted == j)].sum(axis=1) for j in range(k)] for i in range(k)]
    counts = np.stack([np.stack(row, axis=1) for row in cells], axis=1)
    true = counts.sum(axis=2)
    missing = (true[:, np.unique(targets)] == 0).any(axis=1)
    scores = macro_scores(counts) if k > 2 else {name: v[:, 1] for name, v in class_scores(counts).items()}
    if k == 2:
        scores["precision"] = np.where(counts[:, :, 1].any(axis=1), scores["precision"], math.nan)
    found = {name: np.where(missing, math.nan, values) for name, values in scores.items()}
    right = np.trace(counts, axis1=1, axis2=2)
    balanced = np.where(missing, math.nan, macro_scores(counts)["recall"])
    return {**found, "accuracy": right / np.maximum(true.sum(axis=1), 1), "balanced_accuracy": balanced}


def _ranking(targets: IntArray, scores: FloatArray) -> Callable[[npt.NDArray[np.intp]], dict[str, Resampled]]:
    """From resamples ``(r, n)`` to AUROC and average precision of each; nothing where all images are of one side."""
    positive = targets != 0
    if positive.all() or not positive.any():
        return lambda _: {}
    ranking = ranker(positive, scores)

    def of(times: npt.NDArray[np.intp]) -> dict[str, Resampled]:
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without one side: NaN
            return ranking(times)

    return of


def _share(times: npt.NDArray[np.intp], among: npt.NDArray[np.bool_], hit: npt.NDArray[np.bool_]) -> Resampled:
    """Share of the images `among` that are `hit`, in each resample; NaN where none was drawn."""
    with np.errstate(invalid="ignore"):
        return np.asarray(times[:, among & hit].sum(axis=1) / times[:, among].sum(axis=1))


def _hull(of_images: Estimate, resamples: Resampled) -> Estimate:
    of_groups = percentile_estimate(of_images.value, of_images.n, resamples)
    if math.isnan(of_images.value) or math.isnan(of_groups.low):
        return of_images
    low, high = min(of_images.low, of_groups.low), max(of_images.high, of_groups.high)
    return replace(of_images, low=low, high=high)


def _widened_recall(row: ClassScores, resamples: Resampled) -> ClassScores:
    hull = _hull(Estimate(row.recall, row.n, row.recall_low, row.recall_high), resamples)
    return replace(row, recall_low=hull.low, recall_high=hull.high)
