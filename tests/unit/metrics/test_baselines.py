"""Boxes that a guess would draw."""

import numpy as np
import pytest

from weakspot.metrics import (
    best_iou,
    centre_box,
    random_box,
    whole_image_box,
)

pytestmark = pytest.mark.usefixtures("warnings_are_errors")


def test_a_random_box_lies_in_the_image_and_repeats():
    for size in ((1, 1), (40, 1000)):
        first, again = (random_box(size, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, again)
        assert (first[0, :2] >= 0).all()
        assert first[0, 2] <= size[1]
        assert first[0, 3] <= size[0]


def test_a_random_box_always_has_an_area():
    class Same:
        def uniform(self, low, high, n):
            assert low == 0
            return np.full(n, high / 2)

    assert random_box((10, 30), Same()).tolist() == [[15.0, 5.0, 15.0 + 1e-6, 5.0 + 1e-6]]


def test_baseline_boxes():
    np.testing.assert_array_equal(whole_image_box((6, 10)), [[0, 0, 10, 6]])
    np.testing.assert_array_equal(centre_box((6, 10)), [[2.5, 1.5, 7.5, 4.5]])
    assert best_iou(centre_box((5000, 10000)), whole_image_box((5000, 10000))) == 0.25
    assert best_iou(centre_box((1, 1), 0.2), whole_image_box((1, 1))) == pytest.approx(0.04)
    for fraction in (0.0, 1.2, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            centre_box((6, 10), fraction)
