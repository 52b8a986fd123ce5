"""Can the label be told without the defect? What Good and defect images differ in that should not matter.

A classifier learns whatever tells the classes apart: another session's light, a mark in a corner, another file format
(Geirhos et al., "Shortcut Learning in Deep Neural Networks", Nature Machine Intelligence 2020). Defects are in
different places; a shortcut is in the same place, or all over, in most defect images. So simple measurements of every
cell of a coarse grid, of the picture as a whole and of the file are compared between the classes. How large the largest
difference gets by chance is found by shuffling the labels (maximum statistic: Westfall and Young, 1993).

Whether a difference is the defect's own is asked by :mod:`weakspot.data.defect_itself`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from weakspot.data.findings import Found, Shortcut, by_cause, filled
from weakspot.data.measurements import CELLS, GRID, Values, quantile

SHUFFLES = 999

P_VALUE = 0.01
"""By chance alone one data set in a hundred raises an alarm."""

MOST = 0.5
"""Share of defect images that must stand out: a shortcut works for most of them, a defect is elsewhere in each."""

FEWEST = 5
"""Groups of a class below which nothing can be shown."""

HOT = 3.0
"""From so many (robust) standard deviations of the Good images on a cell stands out."""

LARGE = 10
"""Number of cells from which on a region can be that of a defect that moves about, and yet often covers one place."""

AROUND = 0.1
"""A cell belongs to where a region is found when this share of the regions covers it."""

MOVED = 2.0
"""A region moves when it is found in this many times the cells that it usually has; one that is drawn is near 1."""


def find_shortcuts(values: Values, targets: Sequence[int], groups: Sequence[int] | None = None) -> list[Shortcut]:
    """Find measurements that tell Good from defect images.

    Args:
        values: :func:`~weakspot.data.measurements.measure_all` of the images, ``(n, measurements)``; NaN where an image
            cannot have one.
        targets: 0 for Good, anything else for a defect, ``(n,)``.
        groups: number of the group each image belongs to, so that images of a group count once; None: each is alone.

    Returns:
        Those that stand out, the strongest first, one for each cause; empty with fewer than five groups of either
        class.
    """
    labels = np.array([target != 0 for target in targets], dtype=bool)
    of_groups, of_labels = one_per_group(values, labels, groups)
    if min(of_labels.sum(), (~of_labels).sum()) < FEWEST:
        return []
    found = Found(*largest_correlations(of_groups, of_labels), len(values), _count(values, groups))
    return by_cause("label", striking(found), of_groups, of_labels, found)


def follow_confidence(
    values: Values, confidences: Sequence[float], groups: Sequence[int] | None = None
) -> list[Shortcut]:
    """Find measurements of Good images that the network's confidence in a defect goes with.

    Args:
        values: :func:`~weakspot.data.measurements.measure_all` of Good images, ``(n, measurements)``.
        confidences: probability that each shows a defect, 0…1, ``(n,)``.
        groups: as for :func:`find_shortcuts`.

    Returns:
        As :func:`find_shortcuts`; empty with fewer than four times as many groups.
    """
    with_confidence = np.column_stack([values, np.asarray(confidences, dtype=np.float64)])
    of_groups, same = one_per_group(with_confidence, np.zeros(len(values), dtype=bool), groups)
    if len(of_groups) < 4 * FEWEST:
        return []
    correlated = largest_correlations(of_groups[:, :-1], rankdata(of_groups[:, -1]))
    found = Found(*correlated, len(values), len(of_groups))
    return by_cause("confidence", striking(found), of_groups[:, :-1], same, found)


def joined(by_label: Sequence[Shortcut], by_confidence: Sequence[Shortcut]) -> list[Shortcut]:
    """Put what the confidence follows to the alarm of the same cause, so that one cause raises one alarm.

    Args:
        by_label: from :func:`find_shortcuts`.
        by_confidence: from :func:`follow_confidence`.

    Returns:
        All of `by_label`, and of `by_confidence` what has another cause, or lies at other places.
    """

    def same(one: Shortcut, other: Shortcut) -> bool:
        return one.cause == other.cause and (one.cause != "place" or bool(set(one.places) & set(other.places)))

    labelled = [replace(one, also_confidence=any(same(one, other) for other in by_confidence)) for one in by_label]
    return [*labelled, *(one for one in by_confidence if not any(same(one, other) for other in by_label))]


def striking(found: Found) -> list[int]:
    """Positions of the measures that stand out, the strongest first."""
    order = np.argsort(-np.abs(found.correlations), kind="stable")
    return [int(c) for c in order if found.p_values[c] <= P_VALUE and abs(found.correlations[c]) >= MOST]


def largest_correlations(values: Values, against: npt.NDArray[Any], *, seed: int = 0) -> tuple[Values, Values]:
    """Rank correlation of every measurement, and how often shuffling gives as large a one in *any* of them.

    Args:
        values: ``(n, measurements)``; NaN counts as the median of the others.
        against: ``(n,)``; booleans, both occurring, or ranks.
        seed: of the shuffles.

    Returns:
        Correlations and p-values, ``(measurements,)`` each. The correlation is the rank-biserial 2 AUROC − 1 for
        booleans, else Spearman's; it is 0 for a measurement that is the same in all images.
    """
    ranks = rankdata(filled(values), axis=0)
    rng = np.random.default_rng(seed)
    shuffled = np.stack([against, *(rng.permutation(against) for _ in range(SHUFFLES))]).astype(np.float64)
    centred = shuffled - shuffled.mean(axis=1, keepdims=True)
    products = centred @ (ranks - ranks.mean(axis=0))
    if against.dtype == bool:
        n = len(against)
        scale = np.full(ranks.shape[1], n / 2 * against.mean() * (1 - against.mean()) * n)
    else:
        scale = ranks.std(axis=0) * against.std() * len(against)
    correlations = np.divide(products, scale, out=np.zeros_like(products), where=scale > 1e-9)
    largest = np.sort(np.abs(correlations[1:]).max(axis=1))
    reached = SHUFFLES - np.searchsorted(largest, np.abs(correlations[0]) - 1e-12)
    return correlations[0], (1 + reached) / (1 + SHUFFLES)


def one_per_group(
    values: Values, labels: npt.NDArray[np.bool_], groups: Sequence[int] | None
) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Average the images of each group over what was measured; a group with both labels gives two averages.

    Args:
        values: ``(n, measurements)``; may hold NaN.
        labels: ``(n,)``.
        groups: number of the group of each image; None: each is alone.

    Returns:
        ``(groups, measurements)`` and ``(groups,)``.
    """
    numbers = np.arange(len(labels)) if groups is None else np.asarray(groups)
    _, of = np.unique(2 * numbers + labels, return_inverse=True)
    number, known = int(of.max(initial=-1)) + 1, ~np.isnan(values)
    sums, counts = np.zeros((number, values.shape[1])), np.zeros((number, values.shape[1]))
    np.add.at(sums, of, np.where(known, values, 0))
    np.add.at(counts, of, known)
    of_group = np.zeros(number, dtype=bool)
    of_group[of] = labels
    return np.where(counts, sums / np.maximum(counts, 1), np.nan), of_group


def moves(values: Values, labels: npt.NDArray[np.bool_], column: int, *, higher: bool) -> bool:
    """Whether what stands out at a place is a large region that is another one in each picture, as a defect's is.

    The region: cells that touch one another and differ from the same cells of Good pictures, all of them compared with
    the rest of their picture. A mark or a tinted border is the same region each time.

    Args:
        values: ``(n, measurements)``, NaN for what was not measured.
        labels: whether each shows a defect, ``(n,)``.
        column: position of the measure of the place.
        higher: whether it is higher in defect pictures.

    Returns:
        False too where the place stands out in fewer than five pictures.
    """
    cells = GRID * GRID
    first, cell = CELLS + column % CELLS // cells * cells, column % cells
    of_cells = values[:, first : first + cells]
    usual = quantile(of_cells[~labels].T, 0.5)
    spread = 1.4826 * quantile(np.abs(of_cells[~labels] - usual).T, 0.5)
    above = np.nan_to_num(of_cells[labels] - usual) * (1 if higher else -1)
    hot = (above > HOT * np.maximum(spread, 1e-6)).reshape(-1, GRID, GRID)
    connected = [cv2.connectedComponents(one.astype(np.uint8), connectivity=8)[1].ravel() for one in hot]
    regions = np.array([parts == parts[cell] for parts in connected if parts[cell]]).reshape(-1, cells)
    if len(regions) < FEWEST:
        return False
    size = float(np.median(regions.sum(axis=1)))
    return size >= LARGE and int((regions.mean(axis=0) >= AROUND).sum()) >= MOVED * size


def _count(values: Values, groups: Sequence[int] | None) -> int:
    """Number of independent groups; one with both labels is one."""
    return len(values) if groups is None else len(set(groups))
