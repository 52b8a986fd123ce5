"""A training with what was corrected that kills itself; by itself, so that a process of its own can load it."""

from __future__ import annotations

import os
import signal
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from helpers.backbones import tiny_backbone
from weakspot.commands.retrain import retrain
from weakspot.models import backbones


def dying(run: Path, annotations: Path, folder: Path, where: str, what: str, count: int) -> None:
    """Train again; at the count-th call of ``where.what``, a function or a method, the process is killed.

    Args:
        run: as :func:`weakspot.commands.retrain.retrain` has it, like the next two.
        annotations: COCO file.
        folder: for the results.
        where: a module.
        what: a name in it, perhaps with the name of a method; empty lets it live.
        count: from 1 on.
    """
    warnings.simplefilter("ignore")
    backbones.BACKBONES["tiny"] = tiny_backbone
    if what:
        owner: Any = import_module(where)
        *classes, name = what.split(".")
        for each in classes:
            owner = getattr(owner, each)
        call, calls = getattr(owner, name), 0

        def watched(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        setattr(owner, name, watched)
    retrain(run, annotations, folder)
