"""How long training will take."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from weakspot.errors import WeakspotError
from weakspot.models.evidence import EvidenceNet
from weakspot.models.network import CamNet
from weakspot.training.estimate import DECODING, Work, estimate_minutes
from weakspot.training.evidence.bank import Bank, TrainingBank
from weakspot.training.evidence.fit import projected_channels
from weakspot.training.evidence.heads import HeadTrainer
from weakspot.utils import console, progress_lines


def test_minutes_grow_with_the_work_and_nothing_is_changed() -> None:
    torch.manual_seed(0)
    network = CamNet("resnet18")  # with batch normalisation, whose statistics a blank picture would change
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    none = Work(stem_images=0, tail_images=0, batch_size=4)
    assert estimate_minutes(network, (64, 96), none) == 0.0
    frozen = estimate_minutes(network, (64, 96), replace(none, stem_images=10_000))
    assert frozen > 10_000 * 0.01 / 60  # reading alone
    heads = Work(0, 0, 4, imitations=1, location_steps=500, mask_steps=1000)
    assert estimate_minutes(network, (64, 96), heads) > 0
    whole = estimate_minutes(network, (64, 96), replace(heads, stem_images=10_000, outputs=50, whole=50))
    assert whole > frozen / 3
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_comes_after_the_last_output_is_counted(tiny: None) -> None:
    """Once announced as "under a minute", the demo took 85 s: nothing between outputs and report was in it."""
    network, none = CamNet("tiny"), Work(stem_images=0, tail_images=0, batch_size=2)
    reported = 60 * estimate_minutes(network, (64, 96), replace(none, reported=40))
    assert reported == pytest.approx(10.0, abs=1e-6)
    again = 60 * estimate_minutes(network, (64, 96), replace(none, read_again=300))
    assert again == pytest.approx(300 * DECODING, abs=1e-6)


def test_sizes_that_the_heads_cannot_learn_from_are_refused_before_training(tiny: None) -> None:
    work = Work(1, 1, 2, imitations=1, location_steps=1, mask_steps=1)
    with pytest.raises(WeakspotError, match="needs both sides to be multiples of"):
        estimate_minutes(CamNet("tiny"), (100, 100), work)


def test_the_random_numbers_of_training_do_not_depend_on_it(tiny: None) -> None:
    network = CamNet("tiny")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    estimate_minutes(network, (64, 96), Work(1, 1, 2, imitations=1, location_steps=1, mask_steps=1))
    assert torch.equal(torch.rand(3), wanted)


def test_what_is_tried_out_is_not_announced_as_work(
    tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_lines, "FIRST_S", 0.0)  # as on a machine that is slow
    with console.progress_bar("maps") as update:
        update(1, 2)
    assert "maps: 1 of 2" in capsys.readouterr().err
    estimate_minutes(CamNet("tiny"), (64, 96), Work(1, 1, 2, imitations=1, location_steps=1, mask_steps=1))
    assert capsys.readouterr().err == ""
    with console.progress_bar("maps") as update:
        update(1, 2)
    assert "maps: 1 of 2" in capsys.readouterr().err


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11, 20])
def test_the_heads_learn_for_any_number_of_steps(tiny: None, steps: int, tmp_path: Path) -> None:
    """Ten once ended in a division by zero, as the learning rate of so few rises for one step."""
    network = CamNet("tiny").eval()
    with torch.inference_mode():
        features = network.forward_taps(torch.zeros((1, 3, 64, 96)), tuple(network.taps))
    shapes = [features[tap].shape for tap in network.pyramid]
    sizes = [(shape[2], shape[3]) for shape in shapes]
    narrow = projected_channels([shape[1] for shape in shapes])
    net = EvidenceNet(network.pyramid, [(shape[1], c) for shape, c in zip(shapes, narrow, strict=True)])
    masks = np.zeros((1, 2 * sizes[0][0], 2 * sizes[0][1]), np.float32)
    trainer = HeadTrainer(net, TrainingBank(Bank(tmp_path, 2, narrow, sizes, (64, 96)), [0], [1], [0], masks), 1e-4, 0)
    trainer.fit_location(steps)
    assert all(torch.isfinite(parameter).all() for parameter in net.parameters())
