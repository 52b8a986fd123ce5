"""What was found to go with the label, in words, and one finding for each cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from weakspot.data.finding_words import (
    DO,
    DO_OF_CONFIDENCE,
    LOOKS,
    MOVES,
    STAYS,
    TURNS,
    UNCHECKED,
    WHY,
    Place,
    in_words,
    so_do,
)
from weakspot.data.measurements import COLUMNS, GRID, Values

CAUSES = {
    "brightness": "light", "contrast": "light", "light from the right": "light", "light from below": "light",
    "light at the edge": "light", "tone curve": "light", "red or green cast": "light", "blue or yellow cast": "light",
    "sharpness or grain": "focus",
    "blocks of JPEG compression": "file", "bytes a pixel": "file", "JPEG quality": "file", "colour file": "file",
    "JPEG file": "file",
    "height": "size", "width": "size", "height by width": "size",
}  # fmt: skip
"""What is behind a measure of the picture as a whole, or of its file; behind a measure of a cell it is the place."""

ALIKE = 0.7
"""Measures whose ranks agree as much as this within the classes have one cause."""

WIDE = GRID
"""From so many cells on, the border left out, a difference at places is one of the picture as a whole."""

WHOLE = {
    "brightness": "brightness", "red": "red or green cast", "blue": "blue or yellow cast",
    "grain": "sharpness or grain", "sharpness": "sharpness or grain",
}  # fmt: skip
"""What a measure of a cell begins with, to the same measure of the picture as a whole."""


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
        places: every place that stands out, the strongest first.
        images: number of images compared; 0 where a version before 0.2 did not say.
        checked: what was left out to see whether the defect itself makes the difference: ``masks``, ``boxes``,
            ``unusual places``; empty where that could not be told.
        columns: positions of all measures of this cause in :data:`~weakspot.data.measurements.COLUMNS`.
        also_confidence: whether the network's confidence on Good images goes with it too.
    """

    measure: str
    place: Place | None
    kind: str
    goes_with: str
    correlation: float
    p_value: float
    groups: int
    others: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    images: int = 0
    checked: str = ""
    columns: tuple[int, ...] = field(default=(), compare=False)
    also_confidence: bool = False

    @property
    def cause(self) -> str:
        """``light``, ``focus``, ``file``, ``size`` or ``place``."""
        return "place" if self.kind == "place" else CAUSES[self.measure]

    @property
    def name(self) -> str:
        """What was measured, and where, in words."""
        where = {"picture": "of the picture as a whole", "file": "of the file"}.get(self.kind)
        return f"{self.measure} {where or in_words(self.place, len(self.places))}"

    @property
    def seen(self) -> str:
        """What was seen, in a sentence without its full stop."""
        counted = f"{self.images or self.groups} images"
        if self.images and self.groups < self.images:
            counted += f" of {self.groups} parts"
        basis = f"p = {self.p_value:.3f}, {counted}"
        if self.goes_with == "label":
            auroc = (1 + abs(self.correlation)) / 2
            than = "higher" if self.correlation > 0 else "lower"
            tells = f"{than} in defect images and alone tells them with AUROC {auroc:.2f}"
            confident = "; on Good images the network's confidence goes with it" if self.also_confidence else ""
            return f"{self.name} is {tells} ({basis}){self._others}{STAYS[self.checked]}{confident}"
        goes = "rises" if self.correlation > 0 else "falls"
        return (
            f"on Good images the network's confidence in a defect {goes} with {self.name} "
            f"(rank correlation {self.correlation:+.2f}, {basis}){self._others}"
        )

    @property
    def what(self) -> str:
        """What was seen, in a short sentence without its full stop and without numbers of a test."""
        more = self.correlation > 0
        if self.goes_with == "label":
            words = LOOKS[self.measure.split(" against")[0]][0 if more else 1]
            against = ", compared with the rest of the picture" if " against" in self.measure else ""
            where = f" {in_words(self.place, len(self.places))}" if self.kind == "place" else ""
            return f"defective pictures {words} than Good ones{where}{against}"
        goes = "rises" if more else "falls"
        return f"on Good pictures the network's confidence in a defect {goes} with {self.name}"

    @property
    def _others(self) -> str:
        return f"; {so_do(self.others)}" if self.others else ""

    @property
    def do(self) -> str:
        """What to do about it, in a sentence without its full stop."""
        if self.goes_with == "confidence":  # the classes are alike in it, so "photograph both alike" would be no cure
            return DO_OF_CONFIDENCE[self.cause]
        doubt = "" if self.checked else UNCHECKED.get(self.cause, "")
        return f"{doubt}{DO[self.cause]}"

    @property
    def explained(self) -> str:
        """What to say where the difference is the defect's own."""
        if self.checked in (MOVES, TURNS):
            return f"{self.what}; what stands out there is {self.checked}: the defect shows there"
        return f"{self.what}; where {self.checked} are left out, the difference is gone: the defect shows there"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with what was ``seen``, ``why`` it matters and what to ``do``."""
        record = {key: value for key, value in asdict(self).items() if key != "columns"}
        return {
            **record,
            "others": list(self.others),
            "places": [list(place) for place in self.places],
            "cause": self.cause,
            "what": self.what,
            "seen": self.seen,
            "why": WHY[self.goes_with],
            "do": self.do,
        }


@dataclass(frozen=True)
class Found:
    """Of every measure its correlation and its p-value, and how many images and groups they are of."""

    correlations: Values
    p_values: Values
    images: int
    groups: int


def by_cause(
    goes_with: str, columns: Sequence[int], values: Values, labels: npt.NDArray[np.bool_], found: Found
) -> list[Shortcut]:
    """Make one finding for each cause.

    Args:
        goes_with: ``label`` or ``confidence``.
        columns: positions of the measures that stand out, the strongest first.
        values: ``(groups, measurements)``.
        labels: ``(groups,)``, all the same for ``confidence``.
        found: their correlations and p-values.

    Returns:
        At most one finding for each of place, light, focus, file and size, the strongest first.
    """
    rank = {column: number for number, column in enumerate(columns)}
    members: dict[str, list[int]] = {}
    for column in columns:
        members.setdefault(_own_cause(column), []).append(column)
    for family in ("light", "focus"):
        cells = [column for column in members.get("place", []) if _family(column) == family]
        cause = _cause_of_cells(cells, family, members, values, labels, found.correlations)
        if cells and cause != "place":
            members["place"] = [column for column in members["place"] if column not in cells]
            members.setdefault(cause, []).extend(cells)
    _settle_files(members, rank)
    findings = [(cause, sorted(of, key=rank.__getitem__)) for cause, of in members.items() if of]
    return [_finding(goes_with, *each, found) for each in sorted(findings, key=lambda each: rank[each[1][0]])]


def _own_cause(column: int) -> str:
    """What is behind a measure, as long as no other one says more."""
    name, kind, _ = COLUMNS[column]
    return "place" if kind == "place" else CAUSES[name]


def _family(column: int) -> str:
    """Of a cell's measure, what the same measure of the whole picture would be: ``light`` or ``focus``."""
    return "focus" if COLUMNS[column][0].startswith(("grain", "sharpness")) else "light"


def _cause_of_cells(
    cells: Sequence[int],
    family: str,
    members: Mapping[str, Sequence[int]],
    values: Values,
    labels: npt.NDArray[np.bool_],
    correlations: Values,
) -> str:
    """What is behind measures of cells: the light or focus of the whole picture if they are many, or go with it."""
    # A lamp from the side changes how grain shows: stronger here, weaker there.
    signs = {bool(correlations[column] > 0) for column in cells}
    if family == "focus" and "light" in members and len(signs) > 1 and len({COLUMNS[c][2] for c in cells}) >= WIDE:
        return "light"
    # Where many cells are brighter, the others are darker than the rest of the picture: these do not count.
    places = {COLUMNS[column][2] for column in cells if correlations[column] * correlations[cells[0]] > 0}
    inside = sum(place is not None and min(place[:2]) > 0 and max(place[2:]) < 1 for place in places)
    if family in members and len({COLUMNS[column][2] for column in cells}) >= WIDE:
        return family
    if inside >= 2 * WIDE:
        return family
    wide = [cause for cause in members if cause != "place"]
    return next((cause for cause in wide if cells and _alike(cells, members[cause], values, labels)), "place")


def _settle_files(members: dict[str, list[int]], rank: Mapping[int, int]) -> None:
    """A blurred picture has a small file, and compression takes its grain: that is one cause each time."""
    if "file" not in members:
        return
    of_file = members["file"]
    hosts = [cause for cause in ("focus", "place", "light") if members.get(cause)]
    grain = [column for cause in hosts for column in members[cause] if _family(column) == "focus"]
    strongest = min((rank[column] for column in grain), default=len(rank))
    named = {COLUMNS[column][0] for column in of_file}
    of_content = named == {"bytes a pixel"} or (grain and strongest < min(rank[column] for column in of_file))
    if hosts and of_content and not named - {"bytes a pixel", "blocks of JPEG compression"}:
        members[hosts[0]].extend(members.pop("file"))
        return
    of_file.extend(members.pop("focus", []))
    if len([column for column in grain if column in members.get("place", [])]) == len(members.get("place", [])):
        of_file.extend(members.pop("place", []))


def _finding(goes_with: str, cause: str, members: Sequence[int], found: Found) -> Shortcut:
    """One finding from its measures, named by the strongest that is of its kind."""
    lead = next((column for column in members if _own_cause(column) == cause), members[0])
    name, kind, place = COLUMNS[lead]
    places = [COLUMNS[column][2] for column in members]
    if cause != "place" and kind == "place":
        name, kind, place = next(of for word, of in WHOLE.items() if name.startswith(word)), "picture", None
    first = Shortcut(
        name, place, kind, goes_with, float(found.correlations[lead]), float(found.p_values[lead]), found.groups,
        images=found.images, columns=(lead, *(column for column in members if column != lead)),
        places=tuple(each for each in dict.fromkeys(places) if each is not None),
    )  # fmt: skip
    names = [_short(column, of_place=kind == "place") for column in first.columns[1:]]
    return replace(first, others=tuple(each for each in dict.fromkeys(names) if each not in (name, first.name)))


def _short(column: int, *, of_place: bool) -> str:
    """Name of a further measure; beside a place the measure is enough for another one."""
    name, kind, place = COLUMNS[column]
    if kind == "place":
        return name if of_place else f"{name} at some places"
    return Shortcut(name, place, kind, "label", 0, 1, 0).name


def _alike(first: Sequence[int], second: Sequence[int], values: Values, labels: npt.NDArray[np.bool_]) -> bool:
    """Whether the strongest measure of the first goes with any of the second within the classes."""
    return any(abs(correlation_within(values[:, [first[0], other]], labels)) >= ALIKE for other in second)


def correlation_within(pair: Values, labels: npt.NDArray[np.bool_]) -> float:
    """Rank correlation of two measures ``(n, 2)`` after what the classes differ in is taken away; 0 for a constant."""
    ranks = np.empty_like(pair)
    for label in np.unique(labels):
        inside = labels == label
        of_class = rankdata(filled(pair[inside]), axis=0)
        ranks[inside] = of_class - of_class.mean(axis=0)
    scale = float(np.sqrt((ranks**2).sum(axis=0).prod()))
    return float(ranks.prod(axis=1).sum() / scale) if scale > 1e-9 else 0.0


def filled(values: Values) -> Values:
    """What was not measured becomes the median of the others, whatever their class; 0 where nothing was.

    Args:
        values: ``(n, measurements)``, NaN for what was not measured.
    """
    known = ~np.isnan(values)
    medians = [np.median(column[of]) if of.any() else 0.0 for column, of in zip(values.T, known.T, strict=True)]
    return np.where(known, values, np.array(medians))
