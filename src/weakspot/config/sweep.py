"""What a sweep's cells come to, in whatever process they run, and the plugins that run them."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from weakspot.errors import WeakspotError, as_weakspot_error
from weakspot.utils import console, files
from weakspot.utils.files import OUTPUTS, write_json
from weakspot.utils.untrusted import read_json

OPTUNA = "hydra/sweeper=optuna"
PLUGINS = {
    "hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher",
    "hydra/launcher=submitit_slurm": "hydra_plugins.hydra_submitit_launcher",
    "hydra/launcher=submitit_local": "hydra_plugins.hydra_submitit_launcher",
    "hydra/launcher=ray": "ray",
    OPTUNA: "hydra_plugins.hydra_optuna_sweeper",
}
EXTRAS = {"submitit_slurm": "slurm", "submitit_local": "slurm", "ray": "ray"}
"""Where a plugin is not in the extra ``sweep``."""
SWEEPS = OUTPUTS / "sweeps"
CELLS = "cells"


@dataclass(frozen=True)
class Outcome:
    """What a command made: a folder, and what a search is to make small or large."""

    folder: Path
    score: float | None = None


@dataclass(frozen=True)
class Failure:
    """A cell of a sweep that failed: what it was to do, and why it could not."""

    overrides: list[str]
    error: str


@dataclass(frozen=True)
class Done:
    """What came of a command.

    Attributes:
        folders: of the finished cells, in order; one without a sweep.
        sweep: the sweep's own folder; None without one.
        failures: cells that failed.
    """

    folders: list[Path]
    sweep: Path | None = None
    failures: Sequence[Failure] = ()

    def check(self) -> None:
        """Raise what went wrong, now that the rest has been reported."""
        for failure in self.failures:
            console.error(f"{' '.join(failure.overrides)}: {failure.error}")
        if self.failures:
            total = len(self.failures) + len(self.folders)
            raise WeakspotError(
                f"{len(self.failures)} of {total} cells of the sweep failed, see above; "
                "the same command again skips the finished ones"
            )


@dataclass(frozen=True)
class Cell:
    """Runs one cell of a sweep and writes down what came of it.

    Attributes:
        task: what a cell does.
        folder: of the sweep; gets ``cells/<number>.json``.
        parent: process that the sweep was started in.
    """

    task: Callable[[DictConfig], Outcome]
    folder: Path
    parent: int

    def __call__(self, config: DictConfig) -> float | None:
        """Run the cell; returns its score.

        Raises:
            WeakspotError: when the cell failed in a search, which must know; in a plain sweep the others go on.
        """
        hydra_config = HydraConfig.get()
        record: dict[str, Any] = {"overrides": list(hydra_config.overrides.task)}
        path = self.folder / CELLS / f"{hydra_config.job.num:06d}.json"
        if os.getpid() != self.parent:
            console.hide_bars()
        try:
            outcome = self.task(config)
        except Exception as error:
            if not isinstance(error, WeakspotError | OSError):
                traceback.print_exc()  # our mistake rather than the user's
            failure = as_weakspot_error(error)
            console.error(str(failure))
            write_json(path, {**record, "error": str(failure)})
            if hydra_config.runtime.choices["hydra/sweeper"] != "basic":
                raise failure from error
            return None
        write_json(path, {**record, "folder": str(outcome.folder), "score": outcome.score})
        return outcome.score


def read_cells(folder: Path) -> Done:
    """What the cells of the sweep in `folder` came to."""
    cells = [read_json(path) for path in sorted((folder / CELLS).glob("*.json"))]
    finished = [Path(cell["folder"]) for cell in cells if "folder" in cell]
    return Done(finished, folder, [Failure(cell["overrides"], cell["error"]) for cell in cells if "error" in cell])


def prefer_own_files(conf: Path) -> None:
    """Let ``hydra/*/*.yaml`` below `conf` stand for the plugins' own defaults; Hydra refuses a name that has both."""
    Plugins.instance()  # registers them
    registered = ConfigStore.instance().repo["hydra"]
    for path in (conf / "hydra").glob("*/*.yaml"):
        registered[path.parent.name].pop(path.name, None)


def new_folder(given: str | None) -> Path:
    """The folder for a sweep's own files: the one that was given, or one that no other sweep of the same second has."""
    if given is not None:
        for old in (Path(given) / CELLS).glob("*.json"):
            old.unlink()
        return Path(given)
    return files.new_folder(SWEEPS)


def check_plugins(arguments: Sequence[str]) -> None:
    """Refuse a launcher or sweeper that is not installed, and Slurm where there is none.

    Raises:
        WeakspotError: saying what to install.
    """
    for argument in set(arguments) & set(PLUGINS):
        try:
            importlib.import_module(PLUGINS[argument])
        except ImportError as error:
            extra = EXTRAS.get(argument.partition("=")[2], "sweep")
            raise WeakspotError(f"{argument} needs a plugin: pip install 'weakspot[{extra}]'") from error
    if "hydra/launcher=submitit_slurm" in arguments and shutil.which("sbatch") is None:
        raise WeakspotError(
            "hydra/launcher=submitit_slurm: there is no sbatch here; start it where jobs are submitted, or try the "
            "sweep with hydra/launcher=submitit_local"
        )


def died(error: Exception) -> bool:
    """Whether this is the error by which a launcher (joblib, submitit, Ray) reports that a cell's process has died."""
    kinds: list[type[BaseException]] = [BrokenExecutor]
    if "submitit" in sys.modules:
        from submitit.core.utils import UncompletedJobError

        kinds.append(UncompletedJobError)
    if "ray" in sys.modules:
        from ray.exceptions import OutOfMemoryError, WorkerCrashedError

        kinds += [WorkerCrashedError, OutOfMemoryError]
    return isinstance(error, tuple(kinds))
