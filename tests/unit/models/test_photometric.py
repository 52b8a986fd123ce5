"""Lights: always the same ones, all different, and none of them moves anything."""

from __future__ import annotations

import numpy as np
import pytest

from weakspot.data.preprocess import Preprocess
from weakspot.data.views import AS_IS, AUGMENTATIONS, LIGHT, apply_view
from weakspot.models.photometric import in_light, see
from weakspot.types import ImageArray

SHA = "0123456789abcdef" * 4


def picture() -> ImageArray:
    image = np.full((48, 72, 3), (90, 120, 150), np.uint8)
    image[20:28, 30:44] = (200, 60, 60)
    return image


def test_a_light_is_drawn_by_image_and_number() -> None:
    first = [in_light(picture(), SHA, k) for k in range(8)]
    assert all(np.array_equal(one, in_light(picture(), SHA, k)) for k, one in enumerate(first))
    assert len({one.tobytes() for one in first}) == 8
    assert not np.array_equal(first[0], in_light(picture(), SHA[::-1], 0))


@pytest.mark.parametrize("light", range(12))
def test_a_light_moves_nothing_and_keeps_grey_grey(light: int) -> None:
    lit = in_light(picture(), SHA, light).astype(int)
    reddest = np.unravel_index((lit[..., 0] - lit[..., 1]).argmax(), lit.shape[:2])
    assert 18 <= reddest[0] < 30
    assert 28 <= reddest[1] < 46
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 56, 1)), 3, axis=2).astype(np.uint8)
    assert np.ptp(in_light(grey, SHA, light).astype(int), axis=2).max() <= 3  # JPEG rounds colours


def test_lights_differ_more_than_a_planted_bias() -> None:
    """One class photographed a quarter brighter must not stand out among the lights of the other."""
    means = [float(in_light(picture(), SHA, k).mean()) for k in range(40)]
    assert min(means) < picture().mean() / 1.2
    assert max(means) > picture().mean() * 1.15


def test_a_view_is_a_light_and_then_a_turn() -> None:
    preprocess = Preprocess((48, 72), "torchvision")
    pixels = preprocess(picture())
    for view in AUGMENTATIONS["photometric"]:
        turned, _, light = view.partition(LIGHT)
        lit = preprocess.normalise(in_light(picture(), SHA, int(light))) if light else pixels
        assert np.array_equal(see(pixels, SHA, view, preprocess), apply_view(lit, turned)), view
    assert see(pixels, SHA, AS_IS, preprocess) is not None
