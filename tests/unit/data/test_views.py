"""Finite augmentation: the eight views, and how epochs draw them."""

from __future__ import annotations

import numpy as np
import torch

from weakspot.data.views import AS_IS, AUGMENTATIONS, VIEWS, apply_view

PIXELS = np.arange(3 * 2 * 4, dtype=np.float32).reshape(3, 2, 4)


def test_a_view_is_torch_s_turn_and_mirror() -> None:
    for view, (turns, mirrored) in VIEWS.items():
        expected = torch.rot90(torch.from_numpy(PIXELS), turns, (1, 2))
        expected = expected.flip(2) if mirrored else expected
        assert np.array_equal(apply_view(PIXELS, view), expected.numpy()), view
    assert apply_view(PIXELS, "turn90")[0].tolist() == [[3, 7], [2, 6], [1, 5], [0, 4]]


def test_the_augmentations_are_closed_under_their_own_turns() -> None:
    for name, number in (("none", 1), ("flips", 4), ("turns", 8)):
        views = AUGMENTATIONS[name]
        assert views[0] == AS_IS
        assert (
            len({apply_view(PIXELS, view).tobytes() + bytes(apply_view(PIXELS, view).shape) for view in views})
            == number
        )
    assert {apply_view(PIXELS, view).shape for view in AUGMENTATIONS["flips"]} == {PIXELS.shape}
