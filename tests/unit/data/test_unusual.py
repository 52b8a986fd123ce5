"""A place that stands out only where no other place does is the defect's; a mark knows nothing of the defect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from weakspot.data.defect_itself import check_against, without_unusual_places
from weakspot.data.finding_words import TURNS
from weakspot.data.measurements import CELLS, FILE_MEASURES, GRID, Values, of_rows
from weakspot.data.shortcuts import find_shortcuts
from weakspot.data.unusual import smoothed, takes_turns, unusual

PLACES = [(1, 1), (1, 6), (6, 1), (6, 6)]
N = 60


def column(place: tuple[int, int]) -> int:
    """Position of the brightness of a cell, against the rest of its picture."""
    return CELLS + place[0] * GRID + place[1]


def pictures(dark: list[list[tuple[int, int]]]) -> tuple[Values, npt.NDArray[np.bool_]]:
    """Sixty Good pictures of even brightness, and one defective one for each list of cells that are darker."""
    n = N + len(dark)
    rng = np.random.default_rng(3)
    rows = np.zeros((n, CELLS + 1 + len(FILE_MEASURES)))
    rows[:, :CELLS] = 50 + rng.normal(size=(n, CELLS))
    brightness = rows[:, : GRID * GRID].reshape(n, GRID, GRID)
    for picture, cells in zip(brightness[N:], dark, strict=True):
        for y, x in cells:
            picture[y, x] -= 20
    return of_rows(rows), np.arange(n) >= N


AT_ONE_OF_FOUR = [[PLACES[0]]] * 33 + [[place] for place in PLACES[1:] for _ in range(9)]
MARKED = [[PLACES[0]]] * 55 + [[]] * 5
"""A mark, and nothing else that is seen."""
MARKED_BESIDE_A_DEFECT = [[PLACES[k % 3 + 1], *([PLACES[0]] if k % 5 < 3 else [])] for k in range(N)]
"""A mark in three pictures of five, and a defect in all of them at one of three other places."""


@pytest.mark.parametrize(
    ("dark", "in_turn"),
    [
        (AT_ONE_OF_FOUR, True),
        (MARKED, False),
        (MARKED_BESIDE_A_DEFECT, False),
        ([[PLACES[0]]] * 4 + [[PLACES[1]]] * 20, False),  # too few to say
        ([[PLACES[0]]] * 60, False),  # always there
    ],
)
def test_a_place_takes_turns_with_others_where_the_rest_show_another_one(
    dark: list[list[tuple[int, int]]], *, in_turn: bool
) -> None:
    values, defective = pictures(dark)
    assert takes_turns(values, defective, [column(PLACES[0])]) == in_turn


def test_what_else_differs_at_the_place_is_not_the_defects() -> None:
    values, defective = pictures(AT_ONE_OF_FOUR)
    values[defective, column((0, 0))] -= 5  # another measure of the same finding, in every defect picture
    assert takes_turns(values, defective, [column(PLACES[0])])
    assert not takes_turns(values, defective, [column(PLACES[0]), column((0, 0))])


@pytest.mark.parametrize(("dark", "alarms"), [(AT_ONE_OF_FOUR, 0), (MARKED, 1)])
def test_without_masks_a_defect_that_is_often_at_one_place_raises_no_alarm(
    dark: list[list[tuple[int, int]]], alarms: int
) -> None:
    values, defective = pictures(dark)
    found = find_shortcuts(values, defective.astype(int).tolist())
    assert [one.kind for one in found] == ["place"]
    left = without_unusual_places(values, defective.astype(int).tolist(), None)
    checked = check_against(found, values, left)
    assert (len(checked.alarms), len(checked.explained)) == (alarms, 1 - alarms)
    assert all(TURNS in one for one in checked.explained)


def test_how_unusual_a_place_is() -> None:
    values, defective = pictures([[(2, 3)]])
    cells = unusual(values, ~defective)
    assert cells.shape == (N + 1, GRID, GRID)
    assert np.unravel_index(cells[N].argmax(), (GRID, GRID)) == (2, 3)
    assert 0.8 < np.median(cells[:N]) < 1.2
    assert cells.max() <= 20
    assert smoothed(cells)[N, 2, 3] == pytest.approx(cells[N, 1:4, 2:5].mean())


@pytest.mark.filterwarnings("error")
def test_cells_outside_a_region_of_interest_are_as_usual() -> None:
    values, defective = pictures(AT_ONE_OF_FOUR)
    values[:, column((3, 3)) % (GRID * GRID) : CELLS : GRID * GRID] = np.nan
    cells = unusual(values, ~defective)
    assert (cells[:, 3, 3] == 0).all()
    assert np.isfinite(cells).all()
