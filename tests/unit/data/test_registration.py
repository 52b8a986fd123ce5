"""The surface of two pictures agrees, once one is registered on the other, as only that of the same part does."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from weakspot.data.registration import (
    PARTNERS,
    PROPOSED,
    RIM,
    SAMPLED,
    partners,
    proposals,
    registrable,
    sampled_places,
    sampled_surface,
    seen_from_both,
    similarity,
    standing_out,
    transform,
)

Float = npt.NDArray[np.float32]

SHAPE = (160, 220)


def grain(seed: int, sigma: float = 1.0) -> Float:
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32), (0, 0), sigma)
    return np.asarray(smooth / smooth.std(), np.float32)


def product(seed: int) -> Float:
    """A form that all parts share and that blurs keep, with a fine surface of its own."""
    return np.asarray(128 + 20 * grain(1000, 6) + 6 * grain(seed), np.float32)


def moved(picture: Float, down: float = 0, right: float = 0, turn: float = 0, scale: float = 1) -> Float:
    height, width = picture.shape
    model = cv2.getRotationMatrix2D((width / 2, height / 2), turn, scale)
    model[:, 2] += (right, down)
    return np.asarray(cv2.warpAffine(picture, model, (width, height), borderMode=cv2.BORDER_REFLECT), np.float32)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, 3), (-3, 3), (0.5, -0.5)])
def test_a_picture_shifted_by_three_pixels_is_found_where_it_went(down: float, right: float) -> None:
    one, other = registrable(product(1)), registrable(moved(product(1), down, right))
    model = transform(one, other, (0, 0))
    assert model is not None
    middle = np.array([SHAPE[1] / 2, SHAPE[0] / 2, 1])
    assert np.allclose(model @ middle - middle[:2], [right, down], atol=0.05)  # a twentieth of a pixel
    assert np.allclose(model[:, :2], np.eye(2), atol=0.002)
    assert similarity(one, other, (0, 0)) > (0.98 if down % 1 == 0 else 0.85)


@pytest.mark.parametrize(("turn", "scale"), [(2.0, 1.0), (0.0, 1.03), (-1.5, 0.97)])
def test_a_turn_and_a_scale_are_undone(turn: float, scale: float) -> None:
    one, other = registrable(product(1)), registrable(moved(product(1), 3, -2, turn, scale))
    assert similarity(one, other, (-3, 2)) > 0.85


def test_another_surface_of_the_same_form_does_not_agree() -> None:
    assert abs(similarity(registrable(product(1)), registrable(moved(product(2), 3)), (0, 0))) < 0.15


def test_what_cannot_be_registered_agrees_with_nothing() -> None:
    flat, one = registrable(np.full(SHAPE, 128, np.float32)), registrable(product(1))
    assert transform(flat, one, (0, 0)) is None
    assert similarity(flat, one, (0, 0)) == 0
    small = registrable(product(1)[: 2 * RIM, : 2 * RIM])
    assert similarity(small, small, (0, 0)) == 0  # nothing but rim


def test_only_the_bare_surface_counts() -> None:
    picture = np.full(SHAPE, 60, np.float32)
    picture[40:120, 50:170] = 160 + 3 * grain(1)[40:120, 50:170]
    counts = registrable(picture).counts
    assert counts[60:100, 70:150].all()
    assert not counts[:32].any()
    assert not counts[60:100, 49:51].any()  # the edge of the product


# --- whom to compare ----------------------------------------------------------------------------------------------


def test_a_shifted_surface_is_proposed_among_parts_of_one_form() -> None:
    pictures = [registrable(product(seed)) for seed in range(8)] + [registrable(moved(product(5), 3))]
    places = sampled_places(pictures[0])
    assert places.shape == (SAMPLED, 2)
    surfaces = np.stack([sampled_surface(pictures[0], one, (0, 0), places) for one in pictures])
    likely = list(proposals(surfaces))
    assert (likely[5][0], likely[8][0]) == (8, 5)
    assert all(len(set(others)) == PROPOSED and k not in others for k, others in enumerate(likely))


def test_whom_a_picture_is_compared_with_is_limited() -> None:
    apart = {(0, k): 0.1 * k for k in range(1, 21)}
    chosen = partners(apart, [[3], *([] for _ in range(20))])
    assert chosen[0] == [3, 20, 19, 18, 17, 16, 15, 14]
    assert len(chosen[0]) == PARTNERS
    assert chosen[3] == [0]
    assert partners({}) == {}


# --- the gap ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("similarities", "same"),
    [
        ([0.97, 0.85, 0.84, 0.84], {0}),
        ([0.97, 0.96, 0.85, 0.84, 0.84], {0, 1}),  # photographed three times
        ([0.87, 0.85, 0.84, 0.84], set()),  # one of many
        ([0.97, 0.85, 0.75, 0.72], set()),  # the others differ as much among themselves
        ([0.97, 0.85, 0.84, 0.3], set()),  # two others in the same pose are too few
        ([0.65, 0.2, 0.2, 0.2], set()),  # not even the same pose
        ([], set()),
    ],
)
def test_the_same_part_stands_above_a_gap(similarities: list[float], same: set[int]) -> None:
    assert standing_out(dict(enumerate(similarities))) == same


def test_a_pair_is_seen_from_both_pictures() -> None:
    others = [2, 3, 4]
    alike = {(0, 1): 0.97, **{(a, b): 0.85 for a in (0, 1) for b in others}}
    whom = {0: [1, *others], 1: [0, *others]}
    assert seen_from_both(whom, alike) == [(0, 1)]
    assert seen_from_both(whom, {**alike, (1, 4): 0.96}) == []
    assert seen_from_both({0: [1, *others]}, alike) == []
