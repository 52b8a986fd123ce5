"""Overlap of boxes: by hand, against torchvision, and what always holds."""

import math

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from weakspot.metrics import (
    best_iou,
    box_iou,
)

pytestmark = pytest.mark.usefixtures("warnings_are_errors")

NO_BOX = np.zeros((0, 4))


coordinates = st.integers(-1000, 1000)


sides = st.integers(1, 500)


int_boxes = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], coordinates, coordinates, sides, sides)


box_lists = st.lists(int_boxes, min_size=1, max_size=5).map(np.array)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 4, 2], [0, 0, 4, 2], 1.0),
        ([0, 0, 4, 2], [2, 0, 6, 2], 4 / 12),
        ([0, 0, 4, 2], [4, 0, 8, 2], 0.0),  # half-open: neighbours share nothing
        ([0, 0, 4, 2], [10, 10, 11, 11], 0.0),
        ([0, 0, 10, 10], [3, 4, 4, 5], 0.01),
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),  # a pixel
        ([0, 0, 10, 2], [0, 0, 2, 10], 4 / 36),  # swapping height and width would make these equal
    ],
)
def test_iou_by_hand(a, b, expected):
    assert box_iou(np.array([a]), np.array([b])) == pytest.approx(expected)


@given(box_lists, box_lists)
@settings(deadline=None)
def test_iou_equals_torchvision(a, b):
    expected = torchvision.ops.box_iou(torch.from_numpy(a).double(), torch.from_numpy(b).double())
    np.testing.assert_allclose(box_iou(a, b), expected.numpy(), rtol=1e-12)


@given(box_lists, box_lists, coordinates, coordinates)
@settings(deadline=None)
def test_iou_properties(a, b, dx, dy):
    overlap = box_iou(a, b)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_array_equal(overlap, box_iou(b, a).T)
    shift = np.array([dx, dy, dx, dy])
    np.testing.assert_array_equal(overlap, box_iou(a + shift, b + shift))
    np.testing.assert_array_equal(overlap == 1, (a[:, None] == b[None]).all(axis=-1))
    np.testing.assert_array_equal(np.diag(box_iou(a, a)), 1)


def test_iou_of_no_boxes():
    assert box_iou(NO_BOX, np.array([[0, 0, 1, 1]])).shape == (0, 1)
    assert box_iou(np.array([[0, 0, 1, 1]]), NO_BOX).shape == (1, 0)
    assert box_iou(np.array([]), np.array([])).shape == (0, 0)


@pytest.mark.parametrize("bad", [[[0, 0, 0, 1]], [[3, 0, 1, 1]], [[0, 0, 1]], [[0, 0, np.nan, 1]], [0, 0, 1, 1]])
def test_iou_refuses_what_is_no_box(bad):
    with pytest.raises(ValueError, match="boxes must be"):
        box_iou(np.array(bad, dtype=float), np.array([[0, 0, 1, 1]]))


def test_best_iou():
    truth = np.array([[0, 0, 4, 2], [10, 10, 14, 12]])
    assert best_iou(np.array([[50, 50, 60, 60], [10, 10, 14, 11]]), truth) == 0.5
    assert best_iou(truth[::-1], truth) == 1.0
    assert best_iou(NO_BOX, truth) == 0.0
    assert math.isnan(best_iou(truth, NO_BOX))
    assert math.isnan(best_iou(NO_BOX, NO_BOX))
