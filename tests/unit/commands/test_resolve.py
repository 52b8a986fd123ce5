"""Settings that do not go together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.runs import train_config
from safetensors.torch import save_file

from weakspot.commands.resolve import RECOMMENDED_BACKBONE, check_settings, with_backbone
from weakspot.errors import WeakspotError


def test_quarter_turns_want_a_square_input() -> None:
    settings = ["data=synthetic", "trainer.augment=turns", "data.image_size=[64,96]"]
    with pytest.raises(WeakspotError, match=r"trainer\.augment=turns needs a square data\.image_size, not 64×96"):
        check_settings(train_config(*settings))
    check_settings(train_config(*settings[:2], "data.image_size=[64,64]"))
    with pytest.raises(WeakspotError, match=r"trainer\.augment=flip is unknown \(did you mean 'flips'\?\)"):
        check_settings(train_config(*settings[:1], "trainer.augment=flip"))


def test_auto_takes_the_small_network_unless_vgg16_is_needed(tmp_path: Path) -> None:
    def chosen(*overrides: str) -> str:
        return with_backbone(train_config("data=synthetic", "model=auto", *overrides)).model.backbone

    ours, other, damaged = (tmp_path / f"{name}.safetensors" for name in ("vgg", "other", "damaged"))
    save_file({"features.21.weight": torch.zeros(512, 512, 3, 3)}, ours)
    save_file({"21.weight": torch.zeros(8, 8, 3, 3)}, other)
    damaged.write_bytes(b"no tensors")
    assert chosen() == chosen("model.weights=imagenet") == RECOMMENDED_BACKBONE
    assert chosen(f"model.weights={ours}") == "vgg16"
    assert chosen("data.resize=tile") == "vgg16"
    for file in (other, damaged, tmp_path / "missing.pth"):
        assert chosen(f"model.weights={file}") == RECOMMENDED_BACKBONE
    named = train_config("data=synthetic", "model=resnet18", f"model.weights={ours}")
    assert with_backbone(named) is named


def test_a_negative_number_of_steps_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(WeakspotError, match=r"refine\.correction_steps=-1 must be at least 0, or null"):
        check_settings(train_config("data=synthetic", "refine=segment", "refine.correction_steps=-1"))


@pytest.mark.parametrize("effort", [0.0, 5.0])
def test_an_impossible_effort_is_refused(effort: float) -> None:
    with pytest.raises(WeakspotError, match=r"refine\.effort=.* must be from 0\.05 to 4"):
        check_settings(train_config("data=synthetic", "refine=segment", f"refine.effort={effort}"))
