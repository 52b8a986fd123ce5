"""How well images are told apart: scikit-learn's values, each with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from weakspot.metrics.intervals import N_RESAMPLES, Estimate, draw_indices, percentile_estimate, proportion, undefined
from weakspot.metrics.results import ClassificationResult, ClassScores, ConfusionMatrix
from weakspot.metrics.unvarying import certain, widened_macro, widened_ranking
from weakspot.types import GOOD, FloatArray

IntArray = npt.NDArray[np.integer[Any]]

TOP_K = (1, 2, 5)
"""How many guesses ``top_k_error`` allows."""

_SEED = 0


def classification_metrics(
    targets: IntArray,
    probabilities: FloatArray,
    class_names: Sequence[str],
    defects: Sequence[str],
    *,
    predicted: IntArray | None = None,
) -> ClassificationResult:
    """Measure a classifier on n images; class 0 is Good.

    Accuracy, recall per defect and, for two classes, precision and recall are proportions with Clopper–Pearson
    intervals. The others have bootstrap intervals over images, stratified by class; a balanced accuracy that no
    resample can change has the mean of its recalls' exact bounds, and the others those of
    :mod:`weakspot.metrics.unvarying`, which are wider than 95 %.

    Args:
        targets: true classes 0…K-1, shape ``(n,)``; n may be 0.
        probabilities: in 0…1, shape ``(n, K)``.
        class_names: K names, at least two.
        defects: defect type of each image, ``good`` for one without.
        predicted: predicted classes, shape ``(n,)``; the most probable class where None.

    Raises:
        ValueError: when shapes or ranges do not fit.
    """
    targets, probabilities, predicted = _checked(targets, probabilities, class_names, defects, predicted)
    counts = _confusion(targets, predicted, len(class_names))
    per_class = _per_class(targets, predicted, class_names)
    return ClassificationResult(
        accuracy=proportion(np.trace(counts), len(targets)),
        **_confusion_estimates(counts, list(per_class.values())),
        **_ranking_estimates(targets, 1.0 - probabilities[:, 0]),
        top_k_error=_top_k_error(targets, probabilities),
        confusion_matrix=ConfusionMatrix(list(class_names), counts.tolist()),
        per_class=per_class,
        recall_per_defect=_recall_per_defect(predicted, defects),
    )


def _checked(
    targets: IntArray,
    probabilities: FloatArray,
    class_names: Sequence[str],
    defects: Sequence[str],
    predicted: IntArray | None,
) -> tuple[IntArray, FloatArray, IntArray]:
    """Return targets, probabilities and predicted classes, found to fit together."""
    n, k = len(targets), len(class_names)
    if k < 2 or len(set(class_names)) != k:
        raise ValueError(f"there must be two or more different class names, not {list(class_names)}")
    probabilities = np.asarray(probabilities, dtype=np.float64)
    if n == 0 and probabilities.size == 0:
        probabilities = probabilities.reshape(0, k)
    if probabilities.shape != (n, k) or len(defects) != n:
        raise ValueError(f"{n} targets of {k} classes, probabilities {probabilities.shape}, {len(defects)} defects")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError("probabilities must lie in 0…1 and not be NaN")
    predicted = probabilities.argmax(axis=1) if predicted is None else predicted
    return _checked_classes(targets, n, k), probabilities, _checked_classes(predicted, n, k)


def _checked_classes(classes: IntArray, n: int, k: int) -> IntArray:
    array = np.asarray(classes)
    whole = array.astype(np.int64)
    if array.shape != (n,) or (whole != array).any() or ((whole < 0) | (whole >= k)).any():
        raise ValueError(f"classes must be {n} whole numbers in 0…{k - 1}")
    return whole


def _top_k_error(targets: IntArray, probabilities: FloatArray) -> dict[str, Estimate]:
    """Errors with k guesses; of equally probable classes the first is guessed first, as argmax has it."""
    of_truth = np.take_along_axis(probabilities, targets[:, None], axis=1)
    before = np.arange(probabilities.shape[1]) < targets[:, None]
    rank = ((probabilities > of_truth) | ((probabilities == of_truth) & before)).sum(axis=1)
    wanted = [k for k in TOP_K if k < probabilities.shape[1]]
    return {str(k): proportion((rank >= k).sum(), len(targets)) for k in wanted}


def as_good_or_not(
    targets: IntArray, probabilities: FloatArray, predicted: IntArray
) -> tuple[IntArray, FloatArray, IntArray]:
    """The same images with all classes but Good taken for one; arguments of :func:`classification_metrics`."""
    two = np.stack([probabilities[:, 0], 1 - probabilities[:, 0]], axis=1)
    return (targets != 0).astype(np.int64), two, (predicted != 0).astype(np.int64)


def _confusion(targets: IntArray, predicted: IntArray, k: int) -> IntArray:
    """Counts ``(k, k)``, rows true, columns predicted; scikit-learn refuses no images at all."""
    if len(targets) == 0:
        return np.zeros((k, k), dtype=np.int64)
    return np.asarray(confusion_matrix(targets, predicted, labels=np.arange(k)))


def _per_class(targets: IntArray, predicted: IntArray, class_names: Sequence[str]) -> dict[str, ClassScores]:
    """One class against the rest, in the order of the classes."""
    if len(targets) == 0:
        nothing = ClassScores(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
        return dict.fromkeys(class_names, nothing)
    precision, recall, f1, support = precision_recall_fscore_support(
        targets, predicted, labels=np.arange(len(class_names)), average=None, zero_division=np.nan
    )
    shares = [proportion(((targets == i) & (predicted == i)).sum(), n) for i, n in enumerate(support)]
    return {
        name: ClassScores(
            precision=float(precision[i]),
            recall=float(recall[i]),
            recall_low=shares[i].low,
            recall_high=shares[i].high,
            f1=float(f1[i]) if support[i] else math.nan,
            n=int(support[i]),
        )
        for i, name in enumerate(class_names)
    }


def _confusion_estimates(counts: IntArray, per_class: list[ClassScores]) -> dict[str, Estimate]:
    """Balanced accuracy, precision, recall and F1 with their intervals; `counts` has shape ``(K, K)``."""
    n, resamples = int(counts.sum()), _resampled_confusion(counts)
    occurring = [row for row in per_class if row.n]
    comparable = bool(per_class[0].n) and len(occurring) > 1

    def averaged(name: str) -> Estimate:
        if not comparable:
            return undefined(n)
        value = np.mean(np.nan_to_num([getattr(row, name) for row in occurring]))
        return percentile_estimate(float(value), n, macro_scores(resamples)[name])

    sizes = [row.n for row in per_class]
    if len(per_class) > 2:
        measured = [i for i, row in enumerate(per_class) if row.n]
        others = {name: widened_macro(name, averaged(name), sizes, measured) for name in ("precision", "f1")}
        others["recall"] = _as_recalls(averaged("recall"), counts)
    else:
        right = counts[1, 1]
        others = {
            "precision": proportion(right, counts[:, 1].sum()),
            "recall": proportion(right, counts[1].sum()),
            "f1": widened_macro(
                "f1", percentile_estimate(per_class[1].f1, n, class_scores(resamples)["f1"][:, 1]), sizes, [1]
            ),
        }
    return {"balanced_accuracy": _as_recalls(averaged("recall"), counts), **others}


def _as_recalls(balanced: Estimate, counts: IntArray) -> Estimate:
    """The mean of the recalls; where no resample can change it, with the mean of their exact bounds."""
    if not certain(balanced):
        return balanced
    exact = [proportion(right, true) for right, true in zip(np.diag(counts), counts.sum(axis=1), strict=True) if true]
    low, high = (float(np.mean([getattr(recall, end) for recall in exact])) for end in ("low", "high"))
    return replace(balanced, low=low, high=high)


def _resampled_confusion(counts: IntArray) -> IntArray:
    """Resample images within their true class: ``(K, K)`` → ``(resamples, K, K)``.

    Drawing the images of a class with replacement makes its row of the confusion matrix multinomial.
    """
    rng = np.random.default_rng(_SEED)
    rows = [
        rng.multinomial(row.sum(), row / row.sum(), N_RESAMPLES)
        if row.any()
        else np.zeros((N_RESAMPLES, len(row)), dtype=np.int64)
        for row in counts
    ]
    return np.stack(rows, axis=1)


def class_scores(counts: IntArray) -> dict[str, npt.NDArray[np.float64]]:
    """Precision, recall and F1 of each class: counts ``(r, K, K)`` → ``{name: (r, K)}``, 0 where undefined."""
    right = np.diagonal(counts, axis1=1, axis2=2).astype(np.float64)
    called, true = counts.sum(axis=1), counts.sum(axis=2)
    return {
        "precision": right / np.maximum(called, 1),
        "recall": right / np.maximum(true, 1),
        "f1": 2 * right / np.maximum(called + true, 1),
    }


def macro_scores(counts: IntArray) -> dict[str, npt.NDArray[np.float64]]:
    """Mean of :func:`class_scores` over the classes that occur: counts ``(r, K, K)`` → ``{name: (r,)}``."""
    occurs = counts.sum(axis=2) > 0
    return {
        name: (values * occurs).sum(axis=1) / np.maximum(occurs.sum(axis=1), 1)
        for name, values in class_scores(counts).items()
    }


def _ranking_estimates(targets: IntArray, scores: FloatArray) -> dict[str, Estimate]:
    """AUROC and average precision of not-Good with their intervals; scores ``(n,)``, higher is less Good."""
    positive = targets != 0
    if positive.all() or not positive.any():
        return {name: undefined(len(targets)) for name in ("auroc", "average_precision")}
    ranking = ranker(positive, scores)
    chunks = [ranking(_times_drawn(draws)) for draws in draw_indices(targets, N_RESAMPLES, _SEED)]
    values = {"auroc": roc_auc_score(positive, scores), "average_precision": average_precision_score(positive, scores)}
    return {
        name: widened_ranking(
            name,
            percentile_estimate(float(value), len(targets), np.concatenate([chunk[name] for chunk in chunks])),
            int((~positive).sum()),
            int(positive.sum()),
        )
        for name, value in values.items()
    }


def _times_drawn(draws: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """How often each image is in each resample: indices ``(r, n)`` → counts ``(r, n)``."""
    r, n = draws.shape
    return np.bincount((draws + n * np.arange(r)[:, None]).ravel(), minlength=r * n).reshape(r, n)


def ranker(
    positive: npt.NDArray[np.bool_], scores: FloatArray
) -> Callable[[npt.NDArray[np.intp]], dict[str, npt.NDArray[np.float64]]]:
    """Sort once, then get AUROC and average precision of many resamples at a time.

    Args:
        positive: shape ``(n,)``, both sides occurring.
        scores: shape ``(n,)``; equal scores are one step of the curve, as in scikit-learn.

    Returns:
        A function from how often each image is drawn, ``(r, n)``, to ``{"auroc": (r,), "average_precision": (r,)}``.
    """
    order = np.argsort(-scores, kind="stable")
    steps = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    hit = positive[order]

    def ranking(times: npt.NDArray[np.intp]) -> dict[str, npt.NDArray[np.float64]]:
        drawn = times[:, order]
        hits = np.cumsum(drawn * hit, axis=1)[:, steps].astype(np.float64)
        misses = np.cumsum(drawn * ~hit, axis=1)[:, steps].astype(np.float64)
        new_hits, new_misses = np.diff(hits, axis=1, prepend=0), np.diff(misses, axis=1, prepend=0)
        area = (new_misses * (hits - new_hits / 2)).sum(axis=1)
        precise = (new_hits * hits / np.maximum(hits + misses, 1)).sum(axis=1)
        return {"auroc": area / (hits[:, -1] * misses[:, -1]), "average_precision": precise / hits[:, -1]}

    return ranking


def _recall_per_defect(predicted: IntArray, defects: Sequence[str]) -> dict[str, Estimate]:
    """Share of each defect's images called anything but Good, sorted by name, without ``good``."""
    names = np.array(defects, dtype=object)
    return {
        name: proportion(((names == name) & (predicted != 0)).sum(), (names == name).sum())
        for name in sorted(set(defects) - {GOOD})
    }
