"""A stage of the heads' training that is cut off goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from weakspot.errors import WeakspotError
from weakspot.training.evidence.unfinished import FILE, Stage, Unfinished

STEPS = 6


def made() -> tuple[Stage, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=STEPS)
    return Stage("mask head", [module], STEPS, np.random.default_rng(4)), optimizer, schedule


def take(
    stage: Stage, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, n: int
) -> None:
    for _ in range(n):
        inputs = torch.from_numpy(stage.rng.normal(size=(4, 3)).astype(np.float32))
        loss = stage.modules[0](inputs).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def test_what_was_cut_off_comes_to_the_same_as_what_was_not(tmp_path: Path) -> None:
    whole = made()
    take(*whole, STEPS)
    cut = made()
    take(*cut, 2)
    Unfinished(tmp_path, *cut).save(2)
    take(*cut, 1)  # is lost
    resumed = made()
    assert Unfinished(tmp_path, *resumed).load() == 2
    take(*resumed, STEPS - 2)
    for ours, theirs in zip(resumed[0].modules[0].parameters(), whole[0].modules[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_nothing_is_taken_over_from_another_stage_or_of_another_length(tmp_path: Path) -> None:
    assert Unfinished(tmp_path, *made()).load() == 0
    stage, *rest = made()
    Unfinished(tmp_path, stage, *rest).save(3)
    assert Unfinished(tmp_path, Stage("location head", stage.modules, STEPS, stage.rng), *rest).load() == 0
    assert Unfinished(tmp_path, Stage(stage.name, stage.modules, STEPS + 1, stage.rng), *rest).load() == 0


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not torch's")
    with pytest.raises(WeakspotError, match=f"{FILE} is damaged .*; delete it"):
        Unfinished(tmp_path, *made()).load()
