"""Maps resized and scaled: against torch, and at the ends of float32."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from weakspot.ops.resize import scale_min_max, upsample


@pytest.mark.parametrize("shape", [(14, 14), (7, 11), (1, 1), (1, 5), (6, 1)])
@pytest.mark.parametrize("size", [(31, 53), (224, 100), (14, 77)])
def test_upsample_equals_torch(shape, size):
    map_ = np.random.default_rng(3).normal(0, 5, shape).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(map_)[None, None], size, mode="bilinear")[0, 0]
    result = upsample(map_, size)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected.numpy(), rtol=0, atol=1e-5 * max(1, np.ptp(map_)))


@pytest.mark.parametrize("size", [(3, 5), (10, 7), (20, 14)])
def test_upsample_equals_torch_where_it_makes_smaller(size):
    map_ = np.random.default_rng(4).normal(size=(40, 28)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(map_)[None, None], size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(upsample(map_, size), expected.numpy(), atol=1e-5)


def test_upsample_takes_a_view_that_is_not_contiguous():
    maps = np.random.default_rng(5).normal(size=(4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(upsample(maps[..., 1], (8, 13)), upsample(maps[..., 1].copy(), (8, 13)))
    np.testing.assert_array_equal(upsample(maps[..., 1].T, (13, 8)), upsample(maps[..., 1].T.copy(), (13, 8)))


def test_upsample_takes_whole_numbers():
    result = upsample(np.array([[0, 4]]), (1, 4))
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [[0, 1, 3, 4]])


def test_upsample_refuses_what_is_no_map_or_no_size():
    with pytest.raises(ValueError, match=r"^the map must have shape \(height, width\)"):
        upsample(np.zeros((2, 3, 4), np.float32), (5, 5))
    with pytest.raises(ValueError, match="size"):
        upsample(np.zeros((2, 3), np.float32), (0, 5))


def test_scale_min_max_reaches_exactly_0_and_1():
    scaled = scale_min_max(np.array([[-3, 7, 2]], np.float32))
    np.testing.assert_array_equal(scaled, [[0, 1, 0.5]])


@pytest.mark.parametrize("value", [0.0, -4.0, 1e-30, 3e38])
def test_scale_min_max_of_a_flat_map_is_none(value):
    assert scale_min_max(np.full((2, 3), value, np.float32)) is None


@pytest.mark.parametrize("value", [0.1, -7.3, 1000.0])
def test_a_map_that_differs_by_rounding_only_is_flat_and_by_more_is_not(value):
    rounded, different = np.full((2, 3), value, np.float32), np.full((2, 3), value, np.float32)
    rounded[1, 2] = np.nextafter(rounded[1, 2], np.float32(np.inf))
    different[1, 2] += 1e-4 * abs(value)
    assert scale_min_max(rounded) is None
    np.testing.assert_array_equal(scale_min_max(different), [[0, 0, 0], [0, 0, 1]])


def test_scale_min_max_survives_the_whole_float32_range():
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(scale_min_max(np.array([[-largest, largest, 0]], np.float32)), [[0, 1, 0.5]])


maps = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 4))
