"""A difference between the classes that is the defect itself is no alarm; one that stays without it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weakspot.data import synthetic
from weakspot.data.defect_itself import (
    Left,
    check_against,
    settle,
    without_boxes,
    without_unusual_places,
)
from weakspot.data.finding_words import BOXES, MASKS, UNUSUAL
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.measurements import COLUMNS, GRID, Values, measure_all
from weakspot.data.readers import read_samples
from weakspot.data.shortcuts import find_shortcuts, moves
from weakspot.types import Sample

CORNER = (0.0, 0.0, 1 / GRID, 1 / GRID)
DARK = COLUMNS.index(("brightness", "place", CORNER))
CONTRAST = COLUMNS.index(("contrast", "picture", None))


def planted(*columns: int) -> tuple[Values, list[int]]:
    """Sixty images, half of them defective; some measures tell them apart."""
    rng = np.random.default_rng(0)
    values, targets = rng.normal(size=(60, len(COLUMNS))), np.repeat([0, 1], 30)
    for column in columns:
        values[:, column] = targets + 0.2 * rng.normal(size=60)
    return values, targets.tolist()


def left(values: Values, targets: list[int], what: str, shares: float | np.ndarray = 0.2) -> Left:
    """The same images without some regions, each cell covered in a share of the images."""
    wanted = np.broadcast_to(np.asarray(shares, float), (GRID, GRID))
    covered = np.arange(60)[:, None, None] % 30 < 30 * wanted
    return Left(values, what, what == MASKS, targets, None, covered)


@pytest.mark.parametrize("column", [DARK, CONTRAST])
def test_what_goes_with_the_masks_is_explained_and_what_stays_is_an_alarm(column: int) -> None:
    before, targets = planted(column)
    found = find_shortcuts(before, targets)
    gone, _ = planted()
    checked = check_against(found, before, left(gone, targets, MASKS))
    assert checked.alarms == []
    assert "the defect shows there" in checked.explained[0]
    checked = check_against(found, before, left(before, targets, MASKS))
    assert [alarm.checked for alarm in checked.alarms] == [MASKS]
    assert checked.explained == []
    assert "it is there even where the masks of the defects are left out" in checked.alarms[0].seen
    assert "if the defect" not in checked.alarms[0].do


def test_what_is_left_out_without_masks_is_said_to_be_perhaps_the_defect() -> None:
    before, targets = planted(CONTRAST)
    (alarm,) = check_against(find_shortcuts(before, targets), before, left(before, targets, UNUSUAL)).alarms
    assert "even where the most unusual places of each picture, which may be the defect, are left out" in alarm.seen


def test_a_place_that_the_masks_always_cover_is_the_defect() -> None:
    before, targets = planted(DARK)
    without = before.copy()
    without[:, DARK] = np.nan
    assert check_against(find_shortcuts(before, targets), before, left(without, targets, MASKS, 1.0)).alarms == []


@pytest.mark.parametrize("what", [BOXES, UNUSUAL])
def test_guessed_regions_never_settle_a_place_that_they_cover_in_most_images(what: str) -> None:
    """A network that has learnt the mark in the corner draws its boxes there: that must not silence the alarm."""
    before, targets = planted(DARK)
    found = find_shortcuts(before, targets)
    gone, _ = planted()
    shares = np.full((GRID, GRID), 0.1)
    shares[0, 0] = 0.6
    checked = check_against(found, before, left(gone, targets, what, shares))
    assert [alarm.checked for alarm in checked.alarms] == [""]
    assert checked.alarms[0].do.startswith("if the defect is always at that place, this is the defect")
    shares[0, 0] = 0.3
    settled = check_against(found, before, left(gone, targets, what, shares))
    assert (settled.alarms == []) == (what == BOXES)
    shares[0, 0] = 0.2  # less often than by chance: what is unusual is elsewhere
    assert check_against(found, before, left(gone, targets, what, shares)).alarms == []


def test_guessed_regions_settle_the_whole_picture_only_where_they_lie_elsewhere_in_each() -> None:
    before, targets = planted(CONTRAST)
    found = find_shortcuts(before, targets)
    gone, _ = planted()
    assert check_against(found, before, left(gone, targets, UNUSUAL, 0.5)).alarms == []
    shares = np.full((GRID, GRID), 0.1)
    shares[3, 3] = 1.0
    assert len(check_against(found, before, left(gone, targets, UNUSUAL, shares)).alarms) == 1


def test_what_stays_of_one_cause_is_named_by_what_stays() -> None:
    other = COLUMNS.index(("brightness", "place", (5 / GRID, 5 / GRID, 6 / GRID, 6 / GRID)))
    before, targets = planted(DARK, other)
    before[:, DARK] = targets  # the stronger one
    (found,) = find_shortcuts(before, targets)
    after = before.copy()
    after[:, DARK] = np.random.default_rng(5).normal(size=60)
    checked = check_against([found], before, left(after, targets, MASKS))
    assert [alarm.columns for alarm in checked.alarms] == [(other,)]
    assert found.columns[0] == DARK


def test_too_few_images_settle_nothing() -> None:
    before, targets = planted(DARK)
    found = find_shortcuts(before, targets)
    few = [0, 1, 2, 3, *range(30, 60)]
    of_few = Left(before[few], MASKS, True, [targets[i] for i in few], None, np.zeros((34, GRID, GRID), bool))
    assert check_against(found, before[few], of_few).alarms == found


# --- on pictures --------------------------------------------------------------------------------------------------


def read(folder: Path, kind: str | None = None) -> tuple[list[Sample], list[ImageInfo], Values, list[int]]:
    samples = [one for one in read_samples("mvtec", folder) if one.is_good or kind in (None, one.defect)]
    images = inspect_images([one.path for one in samples])
    return samples, images, measure_all(images), [int(not one.is_good) for one in samples]


@pytest.fixture(scope="module")
def headless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("figures")
    return synthetic.generate(root, "figure", seed=2, good=24, defect=20, size=(96, 112))


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("marked")
    return synthetic.generate(root, "gear", seed=2, good=24, defect=4, size=(96, 112), bias="corner_mark")


def test_a_missing_head_is_explained_by_masks_and_asked_about_without_them(headless: Path) -> None:
    samples, images, values, targets = read(headless, "missing_head")
    found = find_shortcuts(values, targets)
    assert [one.cause for one in found] == ["place"]
    with_masks = settle(found, values, samples, images, None)
    assert with_masks.alarms == []
    assert len(with_masks.explained) == 1
    bare = [Sample(one.path, one.defect) for one in samples]
    (alarm,) = settle(found, values, bare, images, None).alarms
    assert "if the defect is always at that place" in alarm.do


def test_a_planted_mark_stays_whatever_is_left_out(marked: Path) -> None:
    samples, images, values, targets = read(marked)
    found = find_shortcuts(values, targets)
    (alarm,) = settle(found, values, samples, images, None).alarms
    assert alarm.checked == MASKS
    assert CORNER in alarm.places
    corner = np.array([[0.0, 0.0, 14.0, 14.0]])
    of_boxes = without_boxes(images, [corner] * len(images), targets, None)
    assert of_boxes is not None
    chosen, without = of_boxes
    assert len(check_against(found, values[chosen], without).alarms) == 1
    assert without.covered[:, 0, 0].all()
    unusual = without_unusual_places(values, targets, None)
    assert (unusual.covered.reshape(len(values), -1).sum(axis=1) == 3 * GRID).all()
    assert len(check_against(found, values, unusual).alarms) == 1


def test_nothing_found_is_nothing_to_settle() -> None:
    checked = settle([], np.zeros((0, len(COLUMNS))), [], [], None)
    assert (checked.alarms, checked.explained) == ([], [])


# --- a place that a region moves across, without masks ------------------------------------------------------------

INNER = (3 / GRID, 3 / GRID, 4 / GRID, 4 / GRID)
RELATIVE = COLUMNS.index(("brightness against the rest of the picture", "place", INNER))
DARKENED = 6.0
"""How far a region is below the Good pictures, whose standard deviation is one."""


def with_regions(corners: list[tuple[int, int]], side: int) -> tuple[Values, list[int]]:
    """Sixty Good pictures, and some defective ones in which one square of cells is darker than in these."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(60 + len(corners), len(COLUMNS)))
    cells = values[:, 4 * GRID * GRID : 5 * GRID * GRID].reshape(-1, GRID, GRID)
    for picture, (top, left_) in zip(cells[60:], corners, strict=True):
        picture[top : top + side, left_ : left_ + side] -= DARKENED
    values[:, 4 * GRID * GRID : 5 * GRID * GRID] = cells.reshape(-1, GRID * GRID)
    return values, [0] * 60 + [1] * len(corners)


ACROSS = [(top, across) for top in range(4) for across in range(4)] * 3
"""Upper left corners of squares of four by four cells that all cover the cell :data:`INNER`."""


@pytest.mark.parametrize(
    ("corners", "side", "is_moving"),
    [
        (ACROSS, 4, True),
        ([(2, 2)] * 48, 4, False),  # the same region each time
        ([(3, 3)] * 48, 1, False),  # a mark
        ([(2, 2), (3, 3), (2, 3), (3, 2)] * 12, 2, False),  # so small a region covers one place by no chance
        ([(0, 0), (3, 3), (0, 3), (3, 0)], 4, False),  # too few to say
    ],
)
def test_a_region_moves_when_it_is_large_and_another_one_in_each_picture(
    corners: list[tuple[int, int]], side: int, *, is_moving: bool
) -> None:
    values, targets = with_regions(corners, side)
    labels = np.array(targets, dtype=bool)
    assert moves(values, labels, RELATIVE, higher=False) == is_moving
    assert moves(values, labels, RELATIVE - 4 * GRID * GRID, higher=False) == is_moving  # brightness as it is
    assert not moves(values, labels, RELATIVE, higher=True)


@pytest.mark.parametrize(("corners", "explained"), [(ACROSS, 1), ([(2, 2)] * 48, 0)])
def test_without_masks_a_region_that_moves_is_the_defect(corners: list[tuple[int, int]], explained: int) -> None:
    values, targets = with_regions(corners, 4)
    found = replace(find_shortcuts(values, targets)[0], columns=(RELATIVE,))
    unusual = Left(values, UNUSUAL, False, targets, None, np.ones((len(values), GRID, GRID), bool))
    checked = check_against([found], values, unusual)
    assert (len(checked.explained), len(checked.alarms)) == (explained, 1 - explained)
    assert all("another one in each picture: the defect shows there" in one for one in checked.explained)
