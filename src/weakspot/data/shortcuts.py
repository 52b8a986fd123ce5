"""Can the label be told without the defect? What Good and defect images differ in that should not matter.

A classifier learns whatever tells the classes apart: another session's light, a mark in a corner, another file format
(Geirhos et al., "Shortcut Learning in Deep Neural Networks", Nature Machine Intelligence 2020). Defects are in
different places; a shortcut is in the same place, or all over, in most defect images. So simple measurements of every
cell of a coarse grid, of the picture as a whole and of the file are compared between the classes. How large the largest
difference gets by chance is found by shuffling the labels (maximum statistic: Westfall and Young, 1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from weakspot.data.measurements import COLUMNS, GRID, Values

SHUFFLES = 999

P_VALUE = 0.01
"""By chance alone one data set in a hundred raises an alarm."""

MOST = 0.5
"""Share of defect images that must stand out: a shortcut works for most of them, a defect is elsewhere in each."""

FEWEST = 5
"""Groups of a class below which nothing can be shown."""


CAUSES = {
    "brightness": "light", "contrast": "light", "light from the right": "light", "light from below": "light",
    "light at the edge": "light", "red or green cast": "light", "blue or yellow cast": "light",
    "sharpness or grain": "focus",
    "blocks of JPEG compression": "file", "bytes a pixel": "file", "JPEG quality": "file", "colour file": "file",
    "JPEG file": "file",
    "height": "size", "width": "size", "height by width": "size",
}  # fmt: skip
"""What is behind a measure of the picture as a whole, or of its file; behind a measure of a cell it is the place."""

ALIKE = 0.7
"""Measures whose ranks agree as much as this within the classes have one cause."""


@dataclass(frozen=True)
class Shortcut:
    """A property other than the defect that goes with the label, or with the network's confidence.

    Attributes:
        measure: what was measured.
        place: ``(x0, y0, x1, y1)`` as shares of width and height; None where it is the whole picture, or the file.
        kind: ``place``, ``picture`` or ``file``.
        goes_with: ``label`` or ``confidence``.
        correlation: −1…1. With the label it is the rank-biserial correlation, 2 AUROC − 1: at least this share of the
            defect images stands out. With the confidence it is Spearman's.
        p_value: how often shuffling gives as large a correlation in any measurement.
        groups: number of independent groups compared.
        others: weaker measures that have the same cause, in words.
    """

    measure: str
    place: tuple[float, float, float, float] | None
    kind: str
    goes_with: str
    correlation: float
    p_value: float
    groups: int
    others: tuple[str, ...] = ()

    @property
    def cause(self) -> str:
        """``light``, ``focus``, ``file``, ``size`` or ``place``."""
        return "place" if self.kind == "place" else CAUSES[self.measure]

    @property
    def name(self) -> str:
        """What was measured, and where, in words."""
        where = {"picture": "of the picture as a whole", "file": "of the file"}.get(self.kind) or _in_words(self.place)
        return f"{self.measure} {where}"

    @property
    def seen(self) -> str:
        """What was seen, in a sentence."""
        basis = f"p = {self.p_value:.3f}, {self.groups} groups"
        if self.goes_with == "label":
            auroc = (1 + abs(self.correlation)) / 2
            than = "higher" if self.correlation > 0 else "lower"
            tells = f"and alone tells them with AUROC {auroc:.2f}"
            return f"{self.name} is {than} in defect images {tells} ({basis}){self._others}"
        goes = "rises" if self.correlation > 0 else "falls"
        return (
            f"on Good images the network's confidence in a defect {goes} with {self.name} "
            f"(rank correlation {self.correlation:+.2f}, {basis}){self._others}"
        )

    @property
    def _others(self) -> str:
        if not self.others:
            return ""
        rest = f" and {len(self.others) - 2} more" if len(self.others) > 2 else ""
        return f"; so do {', '.join(self.others[:2])}{rest}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with what was ``seen``, ``why`` it matters and what to ``do``."""
        return {
            **asdict(self),
            "others": list(self.others),
            "cause": self.cause,
            "seen": self.seen,
            "why": WHY[self.goes_with],
            "do": DO[self.cause],
        }


WHY = {
    "label": "the network can learn this difference instead of the defect, and then fails on pictures without it",
    "confidence": "there is no defect in those images, so the network goes by something else too",
}
DO = {
    "place": "if the defect is not always there, photograph both classes alike, or crop or mask that place",
    "light": "photograph both classes in the same session, with the same light and exposure",
    "focus": "photograph both classes in the same session, with the same focus",
    "file": "save both classes by the same program with the same settings",
    "size": "save both classes at the same size",
}


def find_shortcuts(values: Values, targets: Sequence[int], groups: Sequence[int] | None = None) -> list[Shortcut]:
    """Find measurements that tell Good from defect images.

    Args:
        values: :func:`measure_all` of the images, ``(n, measurements)``.
        targets: 0 for Good, anything else for a defect, ``(n,)``.
        groups: number of the group each image belongs to, so that images of a group count once; None: each is alone.

    Returns:
        Those that stand out, the strongest first, one for each cause; empty with fewer than five groups of either
        class.
    """
    labels = np.array([target != 0 for target in targets], dtype=bool)
    of_groups, labels = _one_per_group(values, labels, groups)
    if min(labels.sum(), (~labels).sum()) < FEWEST:
        return []
    return _by_cause("label", of_groups, labels, *largest_correlations(of_groups, labels))


def follow_confidence(
    values: Values, confidences: Sequence[float], groups: Sequence[int] | None = None
) -> list[Shortcut]:
    """Find measurements of Good images that the network's confidence in a defect goes with.

    Args:
        values: :func:`measure_all` of Good images, ``(n, measurements)``.
        confidences: probability that each shows a defect, 0…1, ``(n,)``.
        groups: as for :func:`find_shortcuts`.

    Returns:
        As :func:`find_shortcuts`; empty with fewer than four times as many groups.
    """
    with_confidence = np.column_stack([values, np.asarray(confidences, dtype=np.float64)])
    of_groups, _ = _one_per_group(with_confidence, np.zeros(len(values), dtype=bool), groups)
    if len(of_groups) < 4 * FEWEST:
        return []
    found = largest_correlations(of_groups[:, :-1], rankdata(of_groups[:, -1]))
    return _by_cause("confidence", of_groups[:, :-1], np.zeros(len(of_groups), dtype=bool), *found)


def _by_cause(
    goes_with: str, values: Values, labels: npt.NDArray[np.bool_], correlations: Values, p_values: Values
) -> list[Shortcut]:
    """Those that stand out, the strongest of each cause, with the names of the weaker ones."""
    columns = [
        int(column)
        for column in np.argsort(-np.abs(correlations), kind="stable")
        if p_values[column] <= P_VALUE and abs(correlations[column]) >= MOST
    ]
    findings: list[tuple[list[int], list[Shortcut]]] = []
    for column in columns:
        name, kind, place = COLUMNS[column]
        correlation, p_value = float(correlations[column]), float(p_values[column])
        found = Shortcut(name, place, kind, goes_with, correlation, p_value, len(values))
        same = [each for each in findings if _one_cause(each, found, column, values, labels)]
        if same:
            same[0][0].append(column)
            same[0][1].append(found)
        else:
            findings.append(([column], [found]))
    return [replace(members[0], others=_names(members)) for _, members in findings]


def _one_cause(
    finding: tuple[list[int], list[Shortcut]],
    found: Shortcut,
    column: int,
    values: Values,
    labels: npt.NDArray[np.bool_],
) -> bool:
    """Whether a measure has the cause of a finding: by what it is of, by touching its place, or by going with it."""
    columns, members = finding
    if found.kind != "place" and found.cause == members[0].cause:
        return True
    if found.kind == "place" and any(_touching(found.place, member.place) for member in members):
        return True
    return any(abs(_correlation_within(values[:, [column, other]], labels)) >= ALIKE for other in columns)


def _touching(
    first: tuple[float, float, float, float] | None, second: tuple[float, float, float, float] | None
) -> bool:
    """Whether two cells are the same one or neighbours, corners included."""
    if first is None or second is None:
        return False
    return all(abs(a - b) * GRID < 1.5 for a, b in zip(first[:2], second[:2], strict=True))


def _correlation_within(pair: Values, labels: npt.NDArray[np.bool_]) -> float:
    """Rank correlation of two measures ``(n, 2)`` after what the classes differ in is taken away; 0 for a constant."""
    ranks = np.empty_like(pair)
    for label in np.unique(labels):
        inside = labels == label
        of_class = rankdata(pair[inside], axis=0)
        ranks[inside] = of_class - of_class.mean(axis=0)
    scale = float(np.sqrt((ranks**2).sum(axis=0).prod()))
    return float(ranks.prod(axis=1).sum() / scale) if scale > 1e-9 else 0.0


def _names(members: Sequence[Shortcut]) -> tuple[str, ...]:
    """Names of all but the strongest, once each; beside a place the measure is enough for another one."""
    strongest, *weaker = members
    of_place = strongest.kind == "place"
    names = dict.fromkeys(one.measure if of_place and one.kind == "place" else one.name for one in weaker)
    return tuple(name for name in names if name not in (strongest.measure, strongest.name) or not of_place)


def largest_correlations(values: Values, against: npt.NDArray[Any], *, seed: int = 0) -> tuple[Values, Values]:
    """Rank correlation of every measurement, and how often shuffling gives as large a one in *any* of them.

    Args:
        values: ``(n, measurements)``.
        against: ``(n,)``; booleans, both occurring, or ranks.
        seed: of the shuffles.

    Returns:
        Correlations and p-values, ``(measurements,)`` each. The correlation is the rank-biserial 2 AUROC − 1 for
        booleans, else Spearman's; it is 0 for a measurement that is the same in all images.
    """
    ranks = rankdata(values, axis=0)
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


def _one_per_group(
    values: Values, labels: npt.NDArray[np.bool_], groups: Sequence[int] | None
) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Average the images of each group; a group with both labels gives two averages."""
    numbers = np.arange(len(labels)) if groups is None else np.asarray(groups)
    _, of = np.unique(2 * numbers + labels, return_inverse=True)
    counts = np.bincount(of)
    sums = np.zeros((len(counts), values.shape[1]))
    np.add.at(sums, of, values)
    of_group = np.zeros(len(counts), dtype=bool)
    of_group[of] = labels
    return sums / counts[:, None], of_group


# --- measurements -------------------------------------------------------------------------------------------------


def _in_words(place: tuple[float, float, float, float] | None) -> str:
    """A place in words."""
    if place is None:
        return ""
    x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    return f"at one place ({x:.0%} from the left, {y:.0%} from the top)"
