"""Shards on a Ray cluster: Ray Data streams them through a pool of actors, one for each GPU or processor core.

Ray restarts a worker that died and gives it its shard once more; files are replaced as a whole, so nothing is doubled
(Moritz et al., "Ray: A Distributed Framework for Emerging AI Applications", OSDI 2018).
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weakspot.errors import WeakspotError
from weakspot.inference.exported import EXPORTED
from weakspot.inference.shards.files import Tally
from weakspot.inference.shards.jobs import Job, Receipt, Shard, ShardPlan, Worker

if TYPE_CHECKING:
    import numpy.typing as npt

TRIES = 4
"""How often a shard is begun before the job gives up: a picture that kills every worker must not do so for ever."""

STARTS = 3
"""How often a cluster of this machine is started before that is given up: Ray allows it 30 seconds."""

Batch = dict[str, "npt.NDArray[Any]"]


def require_ray() -> Any:  # noqa: ANN401 - a module
    """Import the module ``ray``.

    Raises:
        WeakspotError: when it is not installed.
    """
    # Read when ray is imported: what its C++ processes print is no news to a user, nothing is sent home, and workers
    # are no less important than other programs (Ray starts them at niceness 15).
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise WeakspotError("Ray is not installed; pip install 'weakspot[ray]'") from error
    return ray


@contextmanager
def connected() -> Iterator[Any]:
    """Yield the module ``ray``, connected to a cluster while the block runs.

    The cluster is the one that ``RAY_ADDRESS`` names or that ``ray start`` started here, else a new one on this machine
    alone. A connection that exists already is used and stays open.

    Raises:
        WeakspotError: when Ray is not installed or the cluster cannot be reached.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    for left in reversed(range(STARTS)):
        try:
            ray.init(include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
            break
        except Exception as error:  # that it took too long, on a busy machine, is none of Ray's own exceptions
            ray.shutdown()
            if isinstance(error, ConnectionError | RuntimeError | ValueError) or not left:
                where = os.environ.get("RAY_ADDRESS", "this machine")
                reason = str(error).splitlines()[0]
                raise WeakspotError(f"no Ray cluster at {where} ({reason}); see 'ray start'") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def predict(plan: ShardPlan, *, actors: int | None = None) -> Iterator[Receipt]:
    """Do a plan's shards on a Ray cluster.

    Args:
        plan: its shards are done in any order.
        actors: how many run at once; None for one on each GPU, or on each core where the model runs on the processor.

    Yields:
        A receipt for each shard, when its part is written.

    Raises:
        WeakspotError: when Ray is not installed, a shard cannot be done, or workers keep dying.
    """
    if not plan.shards:
        return
    if actors is not None and actors < 1:
        raise WeakspotError(f"--actors {actors} must be at least 1")
    with connected() as ray:
        _quiet(ray)
        needs = _resources(plan.job, ray.cluster_resources(), actors)
        size = min(needs.pop("actors"), len(plan.shards))
        files = ray.put(plan.files)  # held here, so that a restarted actor finds it
        rows = [{"number": shard.number, "names": json.dumps(shard.names)} for shard in plan.shards]
        receipts = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardActor,
            fn_constructor_args=(plan.job, str(Path.cwd()), [files]),
            batch_size=1,
            # Ray hands an actor two at once, in any order: one would wait behind a slow one, or die with a deadly one.
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=1),
            max_restarts=-1,
            max_task_retries=TRIES - 1,
            **needs,
        )
        try:
            for row in receipts.iter_rows():
                receipt = _receipt(json.loads(row["receipt"]))
                if receipt.failed:
                    raise WeakspotError(receipt.failed)
                yield receipt
        except ray.exceptions.RayError as error:
            raise _explained(error, ray) from error


class ShardActor:
    """A :class:`~weakspot.inference.shards.jobs.Worker` as Ray Data calls it: batches of one shard in, receipts out.

    Args:
        job: what to do.
        folder: to work in, so that relative paths mean what they meant where the job was started.
        files: a reference to the model's files.
    """

    def __init__(self, job: Job, folder: str, files: list[Any]) -> None:
        import ray

        self._worker = Worker(job, ray.get(files[0]))
        self._folder = folder

    def __call__(self, batch: Batch) -> Batch:
        """Do one shard."""
        try:
            os.chdir(self._folder)
        except OSError as error:
            number, problem = int(batch["number"][0]), f"{self._folder} is not on {os.uname().nodename} ({error})"
            receipt = Receipt(number, Tally.of([]), failed=f"{problem}; use URLs, or folders that all machines share")
        else:
            shard = Shard(int(batch["number"][0]), json.loads(str(batch["names"][0])))
            receipt = self._worker(shard)
        return {"receipt": np.array([json.dumps(asdict(receipt))], dtype=object)}


def _receipt(record: dict[str, Any]) -> Receipt:
    return Receipt(**{**record, "tally": Tally(**record["tally"]), "problems": tuple(record["problems"])})


def _resources(job: Job, cluster: Mapping[str, float], actors: int | None) -> dict[str, Any]:
    """How many actors, and what each is given."""
    cores, gpus = max(1, int(cluster.get("CPU", 1))), int(cluster.get("GPU", 0))
    on_gpu = job.device not in ("cpu",) and job.run.suffix.lower() not in EXPORTED and gpus > 0
    count = actors or (gpus if on_gpu else cores)
    if on_gpu:  # the cores of a GPU's share decode for it
        return {"actors": count, "num_gpus": min(1.0, gpus / count), "num_cpus": max(1, cores // count)}
    return {"actors": count, "num_cpus": min(1.0, cores / count)}


def _quiet(ray: Any) -> None:  # noqa: ANN401 - a module
    """Keep Ray's log and bars to itself; weakspot has its own."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    warnings.filterwarnings("ignore", message=".ray_remote_args. is deprecated")  # pyproject.toml keeps below its end
    for name in ("ray.data", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _explained(error: Exception, ray: Any) -> Exception:  # noqa: ANN401 - a module
    """One line for what Ray says: a worker that died is the user's to know about, another error is our mistake."""
    lost = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
    if not isinstance(error, lost):
        return error
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return WeakspotError(
        f"a worker died {TRIES} times on the same pictures ({reason}); finished shards are kept, and the same command "
        "goes on with the others"
    )
