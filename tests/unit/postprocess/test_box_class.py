"""The class of a box is that of its region."""

from __future__ import annotations

import numpy as np
import pytest

from weakspot.postprocess.box_class import with_class
from weakspot.types import Box

NAMES = ["good", "crack", "hole"]
LEFT, RIGHT = (0, 0, 20, 10), (20, 10, 40, 20)


def boxes(*corners: tuple[int, int, int, int]) -> list[Box]:
    return [Box(*xyxy, score=1.0, label="crack") for xyxy in corners]


def maps() -> np.ndarray:
    """2 × 4 cells over 20 × 40 pixels: crack at the top left, hole at the bottom right, where Good is hot too."""
    found = np.zeros((3, 2, 4), np.float32)
    found[1, 0, :2] = 3.0
    found[1, 1, 2:] = 4.0
    found[2, 1, 2:] = 5.0
    found[0, 1, 2:] = 4.5
    return found


def test_each_of_several_boxes_takes_the_class_of_its_own_region() -> None:
    assert [box.label for box in with_class(boxes(LEFT, RIGHT), maps(), NAMES, (20, 40))] == ["crack", "hole"]
    assert [box.label for box in with_class(boxes(RIGHT, LEFT), maps(), NAMES, (20, 40))] == ["hole", "crack"]
    # All of the picture: crack has 6 + 8 in 8 cells, hole has 10.
    assert [box.label for box in with_class(boxes((0, 0, 40, 20), RIGHT), maps(), NAMES, (20, 40))] == ["crack", "hole"]


def test_a_box_that_cuts_through_cells_looks_at_all_of_them() -> None:
    found = maps()
    found[2, 0, 2] = 10.0  # hole beside the crack: 3 + 3 against 10
    across = (5, 2, 21, 8)
    assert [box.label for box in with_class(boxes(across, LEFT), found, NAMES, (20, 40))] == ["hole", "crack"]


@pytest.mark.parametrize("names", [NAMES, NAMES[:2]])
def test_an_only_box_or_an_only_kind_keeps_the_class_of_the_picture(names: list[str]) -> None:
    given = boxes(RIGHT) if len(names) > 2 else boxes(RIGHT, LEFT)
    assert with_class(given, maps()[: len(names)], names, (20, 40)) == given
    assert with_class([], maps(), names, (20, 40)) == []
