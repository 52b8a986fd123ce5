"""A stage of the heads' training that was interrupted goes on from the last step that was kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weakspot.errors import WeakspotError
from weakspot.utils.files import atomic_path

FILE = "evidence-unfinished.pt"
"""There is one: the stage that is being trained."""


@dataclass(frozen=True)
class Stage:
    """A stage of training.

    Attributes:
        name: what the progress bar says.
        modules: what is trained.
        steps: number of optimiser steps.
        rng: what the stage draws from.
    """

    name: str
    modules: Sequence[nn.Module]
    steps: int
    rng: np.random.Generator


class Unfinished:
    """Keeps and restores what a stage has come to: its modules, its optimiser and the state of its random numbers.

    Args:
        folder: where the file lies; made when it is missing.
        stage: the stage.
        optimizer, schedule: of its parameters.
    """

    def __init__(
        self,
        folder: Path,
        stage: Stage,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        self._path, self._stage = folder / FILE, stage
        self._optimizer, self._schedule = optimizer, schedule

    def save(self, step: int) -> None:
        """Keep the state after `step` steps, whole or not at all."""
        stage, content = self._stage, BytesIO()
        state: dict[str, Any] = {
            "stage": stage.name,
            "steps": stage.steps,
            "step": step,
            "modules": [module.state_dict() for module in stage.modules],
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "rng": json.dumps(stage.rng.bit_generator.state),
        }
        torch.save(state, content)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load(self) -> int:
        """Restore the state that was kept of this stage.

        Returns:
            The number of steps that are done; 0 where nothing was kept.

        Raises:
            WeakspotError: when the file is damaged.
        """
        if not self._path.is_file():
            return 0
        stage = self._stage
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            if (state["stage"], state["steps"]) != (stage.name, stage.steps):
                return 0
            for module, of_module in zip(stage.modules, state["modules"], strict=True):
                module.load_state_dict(of_module)
            self._optimizer.load_state_dict(state["optimizer"])
            self._schedule.load_state_dict(state["schedule"])
            stage.rng.bit_generator.state = json.loads(state["rng"])
            return int(state["step"])
        except Exception as error:  # torch raises many types for damaged or unsafe files
            why = (str(error).splitlines() or [""])[0]
            raise WeakspotError(f"{self._path} is damaged ({why}); delete it, and the stage starts anew") from error
