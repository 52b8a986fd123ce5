"""Settings that do not go together."""

from __future__ import annotations

import pytest
from helpers.runs import train_config

from weakspot.commands.resolve import check_settings
from weakspot.errors import WeakspotError


def test_quarter_turns_want_a_square_input() -> None:
    settings = ["data=synthetic", "trainer.augment=turns", "data.image_size=[64,96]"]
    with pytest.raises(WeakspotError, match=r"trainer\.augment=turns needs a square data\.image_size, not 64×96"):
        check_settings(train_config(*settings))
    check_settings(train_config(*settings[:2], "data.image_size=[64,64]"))
    with pytest.raises(WeakspotError, match=r"trainer\.augment=flip is unknown \(did you mean 'flips'\?\)"):
        check_settings(train_config(*settings[:1], "trainer.augment=flip"))
