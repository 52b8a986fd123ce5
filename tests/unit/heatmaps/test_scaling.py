"""Scaling of maps, on hand-made arrays."""

from __future__ import annotations

import numpy as np
import pytest

from weakspot.errors import WeakspotError
from weakspot.heatmaps.scaling import SCALINGS, scale

MIXED = [[-4.0, 2.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("scaling", "map_", "wanted"),
    [
        ("none", MIXED, MIXED),
        ("scale_after_relu", MIXED, [[0, 1], [0, 0.5]]),
        ("scale_before_relu", MIXED, [[0, 0.5], [0, 0.25]]),
        ("relative", MIXED, [[0, 1], [4 / 6, 5 / 6]]),
        ("logits", MIXED, [[-16, 8], [0, 4]]),
        ("scale_after_relu", [[-3.0, -1.0]], [[0, 0]]),  # all negative: nothing speaks for the class
        ("scale_before_relu", [[-3.0, -1.0]], [[0, 0]]),
        ("relative", [[-3.0, -1.0]], [[0, 1]]),
        ("scale_after_relu", [[2.0, 2.0]], [[1, 1]]),  # flat
        ("scale_before_relu", [[2.0, 2.0]], [[1, 1]]),
        ("relative", [[2.0, 2.0]], [[0, 0]]),
        ("scale_after_relu", [[0.0, 0.0]], [[0, 0]]),
        ("scale_before_relu", [[0.0, 0.0]], [[0, 0]]),
        ("logits", [[3.0]], [[3]]),
    ],
)
def test_every_scaling_on_hand_made_maps(scaling: str, map_: list[list[float]], wanted: list[list[float]]) -> None:
    given = np.array([map_, map_], dtype=np.float32)
    assert np.array_equal(scale(given, scaling), np.array([wanted, wanted], dtype=np.float32))
    assert np.array_equal(given, np.array([map_, map_], dtype=np.float32))  # what was given stays


def test_each_image_is_scaled_by_itself() -> None:
    scaled = scale(np.array([[[1.0, 2.0]], [[10.0, 40.0]]]), "scale_after_relu")
    assert np.array_equal(scaled, [[[0.5, 1.0]], [[0.25, 1.0]]])


def test_an_unknown_scaling_lists_the_known() -> None:
    with pytest.raises(WeakspotError, match=r"did you mean 'scale_after_relu'.*" + ", ".join(SCALINGS)):
        scale(np.zeros((1, 2, 2)), "scale_after_relus")
