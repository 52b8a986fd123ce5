"""Finite augmentation: the eight views, and how epochs draw them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.runs import train_config

from weakspot.config.schema import check_settings
from weakspot.data.views import AS_IS, AUGMENTATIONS, VIEWS, apply_view
from weakspot.errors import WeakspotError
from weakspot.training.datamodule import EpochShuffle

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


def test_each_epoch_draws_every_image_once_and_in_time_every_view() -> None:
    order = EpochShuffle(5, seed=1, views=4)
    drawn = set()
    for epoch in range(40):
        order.set_epoch(epoch)
        items = list(order)
        assert sorted(item // 4 for item in items) == list(range(5))
        assert items == list(order)
        drawn |= set(items)
    assert drawn == set(range(20))
    assert len(order) == 5


def test_quarter_turns_want_a_square_input() -> None:
    settings = ["data=synthetic", "trainer.augment=turns", "data.image_size=[64,96]"]
    with pytest.raises(WeakspotError, match=r"trainer\.augment=turns needs a square data\.image_size, not 64×96"):
        check_settings(train_config(*settings))
    check_settings(train_config(*settings[:2], "data.image_size=[64,64]"))
    with pytest.raises(WeakspotError, match=r"trainer\.augment=flip is unknown \(did you mean 'flips'\?\)"):
        check_settings(train_config(*settings[:1], "trainer.augment=flip"))
