"""Is a difference between the classes the defect itself? Leave the defect out, and look whether the difference stays.

A missing limb changes the brightness at one place, a large stain the contrast of the picture: no shortcut, but what is
to be learnt. So everything is measured again without the pixels that the masks mark, or without what stands out in
each picture. The same regions are left out of Good pictures, so that leaving out tells nothing of the class. A
difference that is gone then was the defect's own; one that stays is a shortcut.

Regions that nobody drew (predicted boxes, unusual places) may themselves follow a shortcut: a network that has learnt a
mark in a corner marks the corner. So they never settle a place that they often cover. Without masks such a place is the
defect's own only where a large region stands out there that is another one in each picture: what moves about covers one
place in most pictures only if it is large, and a mark or a border never moves. So is a place that stands out in some
pictures where the others show another place instead: no mark knows where the defect is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.finding_words import BOXES, MASKS, MOVES, TURNS, UNUSUAL
from weakspot.data.findings import Found, Shortcut, by_cause
from weakspot.data.images import ImageInfo, read_mask
from weakspot.data.measurements import CELLS, COLUMNS, FILE_MEASURES, GRID, Ignored, Values, measure_all, of_rows
from weakspot.data.shortcuts import FEWEST, MOST, largest_correlations, moves, one_per_group, striking
from weakspot.data.unusual import smoothed, takes_turns, unusual
from weakspot.types import BoolArray, Sample, Size

LEFT_OUT = 3 * GRID
"""Number of cells that are left out of each picture as its most unusual ones: three eighths."""

ALWAYS = 0.9
"""Guessed regions that cover one place in this share of the defect images may themselves follow a shortcut."""

OFTEN = 0.5
"""The same for what differs at that very place, where the regions are predicted boxes."""

SELDOM = 0.25
"""The same where they are unusual places, which cover a place in three eighths of the images by chance."""

LEFT, LEFT_BY_GUESS = 0.7, 0.6
"""A difference of which less than this is left was the defect's own, by masks and by guessed regions."""

GROWN = 0.02
"""Regions are grown by this share of the longer side: an outline drawn by hand misses the edge of a defect."""


@dataclass(frozen=True)
class Checked:
    """Differences between the classes, told apart by whether they stay without the defect.

    Attributes:
        alarms: those that stay, or that nothing could settle, the strongest first.
        explained: those that are the defect's own, a sentence each.
    """

    alarms: list[Shortcut]
    explained: list[str]


@dataclass(frozen=True)
class Left:
    """Images measured again without some regions.

    Attributes:
        values: ``(n, measurements)``, NaN for what nothing is left of.
        what: what was left out, in words.
        sure: whether the regions are the truth.
        targets: 0 for Good, ``(n,)``.
        groups: number of the group of each image; None: each is alone.
        covered: bool ``(n, GRID, GRID)``, cells of which nothing is left.
    """

    values: Values
    what: str
    sure: bool
    targets: Sequence[int]
    groups: Sequence[int] | None
    covered: BoolArray


def check_against(found: Sequence[Shortcut], before: Values, left: Left) -> Checked:
    """Tell shortcuts from what the defect itself changes.

    A measure is the defect's own where it went with the label before, and has lost most of that. What nothing is left
    of counts as the median of the others, whatever their class.

    Args:
        found: from :func:`~weakspot.data.shortcuts.find_shortcuts`, of these images or of more.
        before: ``(n, measurements)`` of the images of `left`, with nothing left out.
        left: the same images without the regions.

    Returns:
        Alarms and what is explained; all are alarms where fewer than five groups of a class were measured.
    """
    labels = np.array([target != 0 for target in left.targets], dtype=bool)
    of_groups, of_labels = one_per_group(left.values, labels, left.groups)
    old_groups, old_labels = one_per_group(before, labels, left.groups)
    if not found or min(of_labels.sum(), (~of_labels).sum()) < FEWEST:
        return Checked(list(found), [])
    old, _ = largest_correlations(old_groups, old_labels)
    after = Found(*largest_correlations(of_groups, of_labels), len(labels), found[0].groups)
    standing = set(striking(after))
    moving = _moving(found, old_groups, old_labels, old) if left.what == UNUSUAL else dict[int, str]()
    alarms, explained = [], list[str]()
    for one in found:
        gone = [
            column
            for column in one.columns
            if column in moving or (column not in standing and _gone(left, column, labels, old, after.correlations))
        ]
        stays = [column for column in one.columns if column not in gone]
        if one.columns[0] in gone and not any(column in standing for column in stays):
            what = moving.get(one.columns[0], left.what)
            explained.append(replace(one, checked=what).explained)
        elif one.columns[0] not in gone:
            settled = _settles(left, one.columns[0], labels) and one.columns[0] in standing
            alarms.append(replace(one, checked=left.what) if settled else one)
        else:  # the strongest measure was the defect's own, and others are not
            rest = [column for column in striking(after) if column in stays]
            alarms += [replace(o, checked=left.what) for o in by_cause("label", rest, of_groups, of_labels, after)]
    return Checked(alarms, explained)


def _gone(left: Left, column: int, labels: npt.NDArray[np.bool_], old: Values, new: Values) -> bool:
    """Whether leaving the regions out can settle a measure, and has."""
    return _settles(left, column, labels) and _lost(float(old[column]), float(new[column]), sure=left.sure)


def _settles(left: Left, column: int, labels: npt.NDArray[np.bool_]) -> bool:
    """Whether regions can say anything about a measure: guesses only where they lie elsewhere in each picture."""
    if left.sure:
        return True
    shares, place = left.covered[labels].mean(axis=0), COLUMNS[column][2]
    if place is None:
        return float(shares.max()) < ALWAYS
    most = OFTEN if left.what == BOXES else SELDOM
    return float(shares[round(place[1] * GRID), round(place[0] * GRID)]) < most


def _moving(
    found: Sequence[Shortcut], values: Values, labels: npt.NDArray[np.bool_], correlations: Values
) -> dict[int, str]:
    """Measures of places where what stands out is another region in each defect picture, and how it is so."""
    moving = dict[int, str]()
    for one in found:
        places = [column for column in one.columns if COLUMNS[column][1] == "place"]
        if one.kind == "place" and takes_turns(values, labels, places):
            moving |= dict.fromkeys(places, TURNS)
        moved = [c for c in places if moves(values, labels, c, higher=bool(correlations[c] > 0))]
        moving |= dict.fromkeys(moved, MOVES)
    return moving


def _lost(before: float, after: float, *, sure: bool) -> bool:
    """Whether a correlation with the label has all but gone."""
    return abs(before) >= MOST / 2 and after * np.sign(before) < (LEFT if sure else LEFT_BY_GUESS) * abs(before)


# --- regions ------------------------------------------------------------------------------------------------------


def without_masks(
    samples: Sequence[Sample], images: Sequence[ImageInfo], groups: Sequence[int] | None
) -> tuple[list[int], Left] | None:
    """Measure again without the masks of the defects; each Good image is measured without the mask of a defect image.

    Args:
        samples: labels and masks; images without a mask that marks something are left out.
        images: the same images.
        groups: number of the group of each image; None: each is alone.

    Returns:
        Positions of the images that were measured, and what was found; None with fewer than five masks.

    Raises:
        WeakspotError: when an image or a mask cannot be read; the message names it.
    """
    sizes = [(image.height, image.width) for image in images]
    marked = [i for i, sample in enumerate(samples) if sample.mask and _marks(sample, sizes[i])]
    if len(marked) < FEWEST:
        return None
    kept = set(marked)
    chosen = [i for i, sample in enumerate(samples) if sample.is_good or i in kept]
    lent = np.random.default_rng(0).choice(marked, len(samples))
    donors = [i if not samples[i].is_good else int(lent[i]) for i in chosen]
    regions = [partial(_mask_of, samples[donor], sizes[donor]) for donor in donors]
    targets = [int(not samples[i].is_good) for i in chosen]
    return chosen, _measured(images, chosen, regions, targets, groups, MASKS)


def without_boxes(
    images: Sequence[ImageInfo],
    boxes: Sequence[npt.NDArray[np.float64]],
    targets: Sequence[int],
    groups: Sequence[int] | None,
) -> tuple[list[int], Left] | None:
    """Measure again without the predicted boxes of defect images; each Good image is measured without those of one.

    Args:
        images: that boxes were predicted for.
        boxes: ``(m, 4)`` of each image, in its pixels.
        targets: 0 for Good.
        groups: number of the group of each image; None: each is alone.

    Returns:
        As :func:`without_masks`.

    Raises:
        WeakspotError: when an image cannot be read; the message names it.
    """
    marked = [i for i, (of, target) in enumerate(zip(boxes, targets, strict=True)) if target and len(of)]
    if len(marked) < FEWEST:
        return None
    kept = set(marked)
    chosen = [i for i, target in enumerate(targets) if not target or i in kept]
    lent = np.random.default_rng(0).choice(marked, len(targets))
    donors = [i if targets[i] else int(lent[i]) for i in chosen]
    regions = [partial(_boxes_of, boxes[d], (images[d].height, images[d].width)) for d in donors]
    of_chosen = [targets[i] for i in chosen]
    return chosen, _measured(images, chosen, regions, of_chosen, groups, BOXES)


def _measured(
    images: Sequence[ImageInfo],
    chosen: Sequence[int],
    regions: Sequence[Ignored],
    targets: Sequence[int],
    groups: Sequence[int] | None,
    what: str,
) -> Left:
    values = measure_all([images[i] for i in chosen], ignored=regions)
    covered = np.isnan(values[:, : GRID * GRID]).reshape(-1, GRID, GRID)
    return Left(values, what, what == MASKS, targets, None if groups is None else [groups[i] for i in chosen], covered)


def _marks(sample: Sample, size: Size) -> bool:
    return sample.mask is not None and bool(read_mask(sample.mask, size).any())


def _mask_of(sample: Sample, own: Size, size: Size) -> BoolArray | None:
    """The mask of a defect image, at the size of another image and grown."""
    return None if sample.mask is None else _grown(read_mask(sample.mask, own), size)


def _boxes_of(boxes: npt.NDArray[np.float64], own: Size, size: Size) -> BoolArray:
    """Boxes of an image as a region of another one, grown."""
    region = np.zeros(own, dtype=bool)
    for x0, y0, x1, y1 in boxes.round().astype(int):
        region[max(0, y0) : y1, max(0, x0) : x1] = True
    return _grown(region, size)


def _grown(region: BoolArray, size: Size) -> BoolArray:
    """A region ``(H, W)`` brought to a size and grown by :data:`GROWN`."""
    resized = cv2.resize(region.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    reach = max(1, round(GROWN * max(size)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(resized, kernel), dtype=bool)


def without_unusual_places(values: Values, targets: Sequence[int], groups: Sequence[int] | None) -> Left:
    """Measure again without the cells of each image that differ most from the same cells of the Good images.

    No picture is read again. What is left out is chosen alike in both classes.

    Args:
        values: ``(n, measurements)``.
        targets: 0 for Good.
        groups: number of the group of each image; None: each is alone.

    Returns:
        The same images; nothing is known any more of their files, whose measures stay as they are.
    """
    n, good = len(values), np.array([target == 0 for target in targets], dtype=bool)
    flat = smoothed(unusual(values, good)).reshape(n, -1)
    covered = flat.argsort(axis=1).argsort(axis=1) >= GRID * GRID - LEFT_OUT
    rows = np.column_stack([values[:, :CELLS], values[:, -1 - len(FILE_MEASURES) :]])
    rows[:, :CELLS] = np.where(np.tile(covered, 4), np.nan, rows[:, :CELLS])
    return Left(of_rows(rows), UNUSUAL, False, targets, groups, covered.reshape(n, GRID, GRID))


def settle(
    found: Sequence[Shortcut],
    values: Values,
    samples: Sequence[Sample],
    images: Sequence[ImageInfo],
    groups: Sequence[int] | None,
) -> Checked:
    """Tell shortcuts from what the defect itself changes, by the masks where there are some, else by unusual places.

    Args:
        found: from :func:`~weakspot.data.shortcuts.find_shortcuts` of all these images.
        values: ``(n, measurements)``.
        samples: their labels and masks.
        images: their files.
        groups: number of the group of each image; None: each is alone.

    Returns:
        Alarms and what is explained.

    Raises:
        WeakspotError: when an image or a mask cannot be read; the message names it.
    """
    if not found:
        return Checked([], [])
    masked = without_masks(samples, images, groups)
    if masked is not None:
        return check_against(found, values[masked[0]], masked[1])
    targets = [int(not sample.is_good) for sample in samples]
    return check_against(found, values, without_unusual_places(values, targets, groups))
