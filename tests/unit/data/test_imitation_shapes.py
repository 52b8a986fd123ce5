"""Where imitated defects are laid: on objects, and evenly on a surface that is alike everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from weakspot.data.imitation_shapes import ANYWHERE, SHAPES, moved_onto, structure_of
from weakspot.data.imitations import imitate_defect
from weakspot.types import BoolArray, ImageArray

SIZE = (120, 160)


def before_a_background() -> tuple[ImageArray, BoolArray]:
    """A threaded bar before even grey, and where it is: 5 % of the picture."""
    rng = np.random.default_rng(0)
    image = np.full((*SIZE, 3), 180.0)
    where = np.zeros(SIZE, dtype=bool)
    where[50:62, 40:120] = True
    image[where] = (90 + 60 * np.sin(np.nonzero(where)[1] / 1.5))[:, None]
    return np.clip(image + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8), where


def test_structure_is_the_length_of_the_gradient() -> None:
    ramp = np.repeat(np.arange(60, dtype=np.float32)[None, :, None], 40, axis=0).repeat(3, axis=2)
    found = structure_of(ramp)
    assert found.shape == (40, 60)
    np.testing.assert_allclose(found[:, 5:-5], 8.0, rtol=1e-4)  # Sobel's weights sum to 8 for a slope of 1


def test_a_shape_moves_onto_the_only_place_with_structure() -> None:
    structure, opacity = np.zeros((9, 11), np.float32), np.zeros((9, 11), np.float32)
    structure[6, 8] = 1
    opacity[2, 3] = 1
    moved = moved_onto(structure, opacity, np.random.default_rng(0))
    assert moved[6, 8] == 1
    assert moved.sum() == 1


def test_what_touches_the_rim_stays_and_so_does_everything_on_an_even_surface() -> None:
    structure, opacity = np.zeros((9, 11), np.float32), np.zeros((9, 11), np.float32)
    opacity[0:3, 4] = 1
    structure[6, 8] = 1
    rng = np.random.default_rng(0)
    assert moved_onto(structure, opacity, rng) is opacity
    opacity[0] = 0
    assert moved_onto(np.ones((9, 11), np.float32), opacity, rng) is opacity


def test_most_imitations_touch_a_small_object() -> None:
    image, where = before_a_background()
    masks = [imitate_defect(image, np.random.default_rng(seed))[1] for seed in range(120)]
    visible = [mask for mask in masks if mask.any()]
    assert np.mean([bool((mask & where).any()) for mask in visible]) > 0.7
    assert np.mean([float(mask.mean()) for mask in visible]) < 0.06


def test_on_a_surface_that_is_alike_everywhere_they_lie_anywhere() -> None:
    image = np.random.default_rng(1).integers(90, 160, (*SIZE, 1), dtype=np.uint8).repeat(3, axis=2)
    covered = np.zeros(SIZE)
    for seed in range(300):
        covered += imitate_defect(image, np.random.default_rng(seed))[1]
    quarters = covered.reshape(2, 60, 2, 80).sum(axis=(1, 3))
    assert quarters.min() > 0.12 * quarters.sum()


@pytest.mark.parametrize("name", ANYWHERE)
def test_shapes_for_any_place_are_shapes(name: str) -> None:
    assert name in SHAPES
