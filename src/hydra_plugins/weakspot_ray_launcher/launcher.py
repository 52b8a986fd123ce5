"""Cells of a sweep as Ray tasks.

Hydra's own plugin (hydra-ray-launcher 1.2.2) wants cloudpickle below 3, boto3 and all of Ray's dashboard; this is what
it does on a cluster that is there. Ray is imported when a sweep starts, since Hydra imports every plugin for every
command.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class RayLauncher(Launcher):
    """Runs cells on the cluster that ``RAY_ADDRESS`` names or that runs here, else on this machine.

    Args:
        num_cpus: cores a cell takes; so many cells run at once as the cluster has cores for.
        num_gpus: GPUs a cell takes; may be a fraction.
        retries: how often a cell is begun again when its worker died.
    """

    def __init__(self, num_cpus: float = 1, num_gpus: float = 0, retries: int = 2) -> None:
        self.options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_retries": retries}
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None
        self.task: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before :meth:`launch`."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a cell for each list of overrides; returns what each came to, in order."""
        from weakspot.inference.shards.ray_engine import connected

        setup_globals()
        if self.context is None or self.config is None or self.task is None:
            raise RuntimeError("launch() before setup()")
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        with connected() as ray:
            cell = ray.remote(_run_cell).options(**self.options)
            common = ray.put((self.context, self.config, self.task, Singleton.get_state(), str(Path.cwd())))
            jobs = [cell.remote(common, initial_job_idx + n, list(cells)) for n, cells in enumerate(job_overrides)]
            done: list[JobReturn] = ray.get(jobs)
            return done


def _run_cell(common: tuple[Any, ...], number: int, overrides: list[str]) -> JobReturn:
    """One cell, in a worker; as Hydra's launchers do it."""
    context, config, task, singletons, folder = common
    os.chdir(folder)
    setup_globals()
    Singleton.set_state(singletons)
    cell_config = context.config_loader.load_sweep_config(config, overrides)
    with open_dict(cell_config):
        cell_config.hydra.job.id = f"{config.hydra.job.name}_{number}"
        cell_config.hydra.job.num = number
    HydraConfig.instance().set_config(cell_config)
    return run_job(
        hydra_context=context,
        task_function=task,
        config=cell_config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
