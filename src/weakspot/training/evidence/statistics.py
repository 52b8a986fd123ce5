"""Fit the statistics head: a logistic regression whose strength and calibration come from groups that were left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from weakspot.data.views import ImageView
from weakspot.models.statistics import StatisticsHead
from weakspot.training.evidence.source import FeatureSource
from weakspot.utils import console
from weakspot.utils.spread import spread_evenly

Floats = npt.NDArray[np.float64]

STATISTICS = "statistics of features"
"""Name of the stage, in lines of progress."""

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2)
"""Inverse strengths of regularisation that are tried (``C`` of :class:`LogisticRegression`, inputs standardised)."""

FOLDS = 5
"""Groups are left out in so many turns, or in as many as the rarer kind has groups."""

SAMPLE_IMAGES = 40
"""Number of images that the scale of the features is measured on."""

STEEPEST = 2.0
"""Calibration makes log-odds at most so many times larger: a few images that are all right prove no certainty."""


@dataclass(frozen=True)
class FittedStatistics:
    """A statistics head, and what others like it say of the images that they were not fitted on.

    Attributes:
        head: on the device of the source's network.
        left_out: ``(n,)``, calibrated log-odds of a defect for each item, from a regression without its group.
        strength: inverse strength of regularisation that was chosen, one of :data:`STRENGTHS`.
    """

    head: StatisticsHead
    left_out: Floats
    strength: float


def measured_statistics(source: FeatureSource, items: Sequence[ImageView]) -> tuple[StatisticsHead, Floats]:
    """Measure what a statistics head is fitted on.

    Args:
        source: network, preprocessing and cache.
        items: images and their views.

    Returns:
        A head that is scaled and not fitted yet, and the statistics of each item, ``(n, d)``.

    Raises:
        WeakspotError: when an image cannot be read.
    """
    head = _scaled_head(source, spread_evenly(items, SAMPLE_IMAGES))
    return head, _statistics(source, head, items)


def fit_measured(
    head: StatisticsHead,
    values: Floats,
    targets: Sequence[int],
    groups: Sequence[int],
    seed: int,
    strengths: Sequence[float] = STRENGTHS,
) -> FittedStatistics | None:
    """Fit a statistics head on what was measured of training images.

    Every group counts as one, however many photographs it has, and Good and defective count the same in sum. The
    strength of regularisation is the one whose log loss is lowest on groups that were left out in turn; on the same
    log-odds the result is calibrated (Platt, "Probabilistic Outputs for Support Vector Machines", 1999).

    Args:
        head: that measured; it is changed in place.
        values: ``(n, d)``.
        targets: class of each item; 0 is Good.
        groups: number of the group of each item.
        seed: decides the folds.
        strengths: inverse strengths of regularisation to choose among.

    Returns:
        The head and the log-odds of left-out items; None where no groups can be left out, as the others would all
        be Good, or all be defective.
    """
    splits = _splits(targets, groups, seed)
    if splits is None:
        return None
    defective = np.asarray(targets) != 0
    weights = group_weights(defective, np.asarray(groups))
    left_out = [_left_out(values, defective, weights, strength, splits) for strength in strengths]
    losses = [_log_loss(logits, defective, weights) for logits in left_out]
    best = int(np.argmin(losses))
    slope, shift = _calibration(left_out[best], defective, weights)
    weight, bias = _fit(values, defective, weights, strengths[best])
    with torch.no_grad():
        head.out.weight.copy_(torch.from_numpy(slope * weight)[None])
        head.out.bias.fill_(slope * bias + shift)
    return FittedStatistics(head.eval(), slope * left_out[best] + shift, strengths[best])


def _splits(
    targets: Sequence[int], groups: Sequence[int], seed: int
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] | None:
    """Items to fit on and items left out, in turn; None where the former would all be of one kind."""
    defective, of_item = np.asarray(targets) != 0, np.asarray(groups)
    folds = min(FOLDS, *(len(np.unique(of_item[defective == kind])) for kind in (True, False)))
    if folds < 2:
        return None
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = list(splitter.split(of_item, defective, of_item))
    if not all(0 < defective[fitted_on].sum() < len(fitted_on) for fitted_on, _ in splits):
        return None  # groups that hold images of both kinds
    return splits


def group_weights(defective: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> Floats:
    """Weights of items: those of a group sum to the same for every group, those of each kind to the same; mean 1.

    Args:
        defective: ``(n,)``, some are and some are not.
        groups: ``(n,)``, numbers of groups. One that has items of both kinds counts once in each.

    Examples:
        Three photographs of a good part, one of another, two of a defective one:

        >>> group_weights(np.array([0, 0, 0, 0, 1, 1], bool), np.array([0, 0, 0, 1, 2, 2])).tolist()
        [0.5, 0.5, 0.5, 1.5, 1.5, 1.5]
    """
    weights = np.zeros(len(defective))
    for kind in (True, False):
        members = np.flatnonzero(defective == kind)
        _, of, counts = np.unique(groups[members], return_inverse=True, return_counts=True)
        weights[members] = len(defective) / 2 / (len(counts) * counts[of])
    return weights


def _scaled_head(source: FeatureSource, items: Sequence[ImageView]) -> StatisticsHead:
    """A head whose features are divided by their standard deviation over some images."""
    squares: list[list[Floats]] = []
    means: list[list[Floats]] = []
    for view in source.features_of(items):
        squares.append([np.square(array, dtype=np.float64).mean(axis=(1, 2)) for array in view.features])
        means.append([array.mean(axis=(1, 2), dtype=np.float64) for array in view.features])
    taps = source.network.pyramid
    channels = [len(array) for array in means[0]]
    head = StatisticsHead(taps, channels)
    mean, square = (
        np.concatenate([np.mean(of_tap, axis=0) for of_tap in zip(*of_images, strict=True)])
        for of_images in (means, squares)
    )
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    least = 1e-3 * max(1e-12, float(np.median(spread)))  # of a channel that hardly ever answers
    head.scale.copy_(torch.from_numpy(np.maximum(spread, least)))
    return head.to(next(source.network.parameters()).device)


def _statistics(source: FeatureSource, head: StatisticsHead, items: Sequence[ImageView]) -> Floats:
    device = head.scale.device
    rows = []
    with console.progress_bar(STATISTICS) as progress, torch.inference_mode():
        for i, view in enumerate(source.features_of(items)):
            features = [torch.from_numpy(array)[None].to(device) for array in view.features]
            rows.append(head.statistics(features)[0].double().cpu().numpy())
            progress(i + 1, len(items))
    return np.stack(rows)


def _fit(values: Floats, defective: npt.NDArray[np.bool_], weights: Floats, strength: float) -> tuple[Floats, float]:
    """Weight ``(d,)`` and bias of a logistic regression on standardised values, for the values as they are."""
    scaler = StandardScaler().fit(values)
    model = LogisticRegression(C=strength, max_iter=500)
    model.fit(scaler.transform(values), defective, weights)
    weight = model.coef_[0] / scaler.scale_
    return weight, float(model.intercept_[0] - weight @ scaler.mean_)


def _left_out(
    values: Floats,
    defective: npt.NDArray[np.bool_],
    weights: Floats,
    strength: float,
    splits: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
) -> Floats:
    """Log-odds ``(n,)`` of every item from a regression that was fitted without its group."""
    logits = np.zeros(len(values))
    for fitted_on, left_out in splits:
        weight, bias = _fit(values[fitted_on], defective[fitted_on], weights[fitted_on], strength)
        logits[left_out] = values[left_out] @ weight + bias
    return logits


def _log_loss(logits: Floats, defective: npt.NDArray[np.bool_], weights: Floats) -> float:
    return float(-(weights * log_expit(np.where(defective, logits, -logits))).sum() / weights.sum())


def _calibration(logits: Floats, defective: npt.NDArray[np.bool_], weights: Floats) -> tuple[float, float]:
    """Slope and shift that make log-odds of left-out items fit best."""
    model = LogisticRegression(C=1.0).fit(logits[:, None], defective, weights)
    return float(np.clip(model.coef_[0, 0], 0, STEEPEST)), float(model.intercept_[0])
