"""How long training will take."""

from pathlib import Path

import numpy as np
import pytest
import torch

from weakspot.errors import WeakspotError
from weakspot.models.evidence import EvidenceNet
from weakspot.models.network import CamNet
from weakspot.training.estimate import DECODING, measure_costs
from weakspot.training.evidence.bank import Bank, TrainingBank
from weakspot.training.evidence.fit import projected_channels
from weakspot.training.evidence.heads import HeadTrainer
from weakspot.utils import console, progress_lines


def test_every_kind_of_work_costs_something_and_nothing_is_changed() -> None:
    torch.manual_seed(0)
    network = CamNet("resnet18")  # with batch normalisation, whose statistics a blank picture would change
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    without = measure_costs(network, (64, 96), 4, heads=False)
    assert without.stem > DECODING
    assert without.tail > 0
    assert (without.imitating, without.location_step, without.mask_step, without.location) == (0, 0, 0, 0)
    costs = measure_costs(network, (64, 96), 4, heads=True)
    assert costs.imitating > costs.stem
    assert costs.location_step > 3 * costs.location > 0
    assert costs.answer > DECODING + costs.location
    assert network.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_sizes_that_the_heads_cannot_learn_from_are_refused_before_training(tiny: None) -> None:
    with pytest.raises(WeakspotError, match="needs both sides to be multiples of"):
        measure_costs(CamNet("tiny"), (100, 100), 2, heads=True)


def test_the_random_numbers_of_training_do_not_depend_on_it(tiny: None) -> None:
    network = CamNet("tiny")
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    measure_costs(network, (64, 96), 2, heads=True)
    assert torch.equal(torch.rand(3), wanted)


def test_what_is_tried_out_is_not_announced_as_work(
    tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_lines, "FIRST_S", 0.0)  # as on a machine that is slow
    with console.progress_bar("maps") as update:
        update(1, 2)
    assert "maps: 1 of 2" in capsys.readouterr().err
    measure_costs(CamNet("tiny"), (64, 96), 2, heads=True)
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
