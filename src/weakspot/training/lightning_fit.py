"""Fit the tail and the dense layer with Lightning: callbacks, checkpoints, loggers, and how long it will take."""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from weakspot.config.schema import TrainerConfig
from weakspot.errors import WeakspotError
from weakspot.runs.folder import CHECKPOINT
from weakspot.training.datamodule import DataModule
from weakspot.training.lightning_module import ClassifierModule
from weakspot.utils import console
from weakspot.utils.files import OUTPUTS, atomic_path

log = logging.getLogger(__name__)

CLASSIFIER = "classifier, all epochs"
"""Name of the stage, in lines of progress."""

ROUNDING = 1e-6


@dataclass(frozen=True)
class FitSummary:
    """What training did.

    Attributes:
        epochs: number of epochs, resumed ones included.
        seconds: wall-clock time of this session's training.
        history: one dictionary for each epoch: ``epoch``, ``seconds``, and what was logged (``train/loss``, …).
    """

    epochs: int
    seconds: float
    history: list[dict[str, float]]


def fit(module: ClassifierModule, data: DataModule, settings: TrainerConfig, folder: Path, seed: int) -> FitSummary:
    """Train `module` in place; resume from ``checkpoints/last.ckpt`` in `folder` where there is one.

    Args:
        module: the network with its loss and optimiser.
        data: training and validation batches.
        settings: the ``trainer`` group of the configuration.
        folder: run folder; gets ``checkpoints/`` and ``logs/``.
        seed: for layers that draw at random; it sets the process's global generators.

    Raises:
        WeakspotError: when the device does not exist, the checkpoint is damaged, the loss becomes NaN or infinite, or
            one of several processes dies.
    """
    checkpoint = folder / "checkpoints" / CHECKPOINT
    history = History()
    if checkpoint.is_file():
        saved = _read_checkpoint(checkpoint, history)
        if _complete(history, settings):
            module.load_state_dict(saved["state_dict"])
            return FitSummary(len(history.epochs), 0.0, history.epochs)
    pl.seed_everything(seed, verbose=False)
    trainer = _trainer(settings, folder, history)
    start = time.monotonic()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", module="lightning_fabric")
        warnings.filterwarnings("ignore", module="torch.utils.data")
        try:
            trainer.fit(module, data, ckpt_path=str(checkpoint) if checkpoint.is_file() else None, weights_only=True)
        except SystemExit:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            # Lightning answers Ctrl-C by leaving the interpreter.
            raise KeyboardInterrupt from None
        except (ProcessRaisedException, ProcessExitedException) as error:
            raise _of_process(error) from error
    if settings.strategy != "auto":  # the epochs went by in other processes; the checkpoint is what they left here
        _read_checkpoint(checkpoint, history)
        for epoch in history.epochs:
            _log_epoch(epoch)
    return FitSummary(len(history.epochs), time.monotonic() - start, history.epochs)


def _of_process(error: Exception) -> Exception:
    """What went wrong in one of several training processes, as if it had happened here."""
    if isinstance(error, ProcessExitedException):
        first = str(error).splitlines()[0]
        return WeakspotError(f"a training process died ({first}); the same command goes on from the last epoch")
    last = str(error).strip().splitlines()[-1]
    ours = f"{WeakspotError.__module__}.{WeakspotError.__qualname__}: "
    return WeakspotError(last.removeprefix(ours)) if last.startswith(ours) else error


def _read_checkpoint(path: Path, history: History) -> dict[str, Any]:
    """What training goes on from; `history` becomes the one in it.

    Raises:
        WeakspotError: when it is damaged, or holds anything but tensors and plain values, which is never unpickled.
    """
    try:
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        history.load_state_dict(saved["callbacks"][history.state_key])
        finished = saved["state_dict"] and history.epochs
    except Exception as error:  # torch raises many types for damaged or unsafe files
        raise WeakspotError(f"{path} is damaged; delete it to train from the start") from error
    if not finished:
        raise WeakspotError(f"{path} holds no finished epoch; delete it to train from the start")
    return saved


class History(Callback):
    """Keeps one dictionary for each epoch and logs it as a line; the checkpoint holds them for a resumed run."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep what was logged."""
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.epochs.append({"epoch": trainer.current_epoch + 1, "seconds": time.monotonic() - self._start, **values})
        _log_epoch(self.epochs[-1])

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From the checkpoint."""
        self.epochs = list(state_dict["epochs"])


def _log_epoch(epoch: dict[str, float]) -> None:
    values = {name: value for name, value in epoch.items() if name not in ("epoch", "seconds")}
    log.info("epoch %d: %s", epoch["epoch"], ", ".join(f"{name} {value:.4f}" for name, value in values.items()))


def _complete(history: History, settings: TrainerConfig) -> bool:
    """Whether training had ended before it was cut off; Lightning does not remember why it stopped."""
    stop = settings.stop_at_accuracy
    reached = stop is not None and history.epochs[-1]["train/accuracy"] >= stop - ROUNDING
    return reached or len(history.epochs) >= settings.epochs


class _WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that replace the last one whole or not at all.

    Lightning's own are made in the system's temporary folder and moved, which on another disk means copied: a kill
    meanwhile would leave half of one, and nothing to go on from.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: object = None
    ) -> None:
        """Write it beside the last one."""
        content = BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())


class _Lines(Callback):
    """Says where there is no terminal, and in ``run.log``, how far training is."""

    def __init__(self) -> None:
        self._lines = console.progress_lines(CLASSIFIER)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:  # noqa: ANN401 - as Lightning has it
        """One more batch is done."""
        if trainer.is_global_zero:
            self._lines.update(trainer.global_step, int(trainer.estimated_stepping_batches))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All epochs are done."""
        self._lines.end()


class _ProgressBar(RichProgressBar):
    """Lightning's bar without the logger's version number."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """What stands beside the bar."""
        return {name: value for name, value in super().get_metrics(trainer, pl_module).items() if name != "v_num"}


def _loggers(choice: str, folder: Path) -> list[Logger]:
    """CSV, which the report reads, and what was chosen beside it."""
    loggers: list[Logger] = [CSVLogger(folder, "logs", "csv")]
    if choice == "tensorboard":
        loggers.append(TensorBoardLogger(folder, "logs", "tensorboard"))
    if choice == "mlflow":
        # One data base for all runs below the working folder, since MLflow is for comparing them.
        store = OUTPUTS / "mlflow.db"
        store.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        try:
            loggers.append(
                MLFlowLogger(
                    "weakspot", run_name=folder.name, tracking_uri=f"sqlite:///{store.resolve()}",
                    artifact_location=(store.parent / "mlartifacts").resolve().as_uri(),
                )
            )  # fmt: skip
        except ModuleNotFoundError as error:
            raise WeakspotError("mlflow is not installed; pip install 'weakspot[mlflow]'") from error
    return loggers


def _trainer(settings: TrainerConfig, folder: Path, history: History) -> pl.Trainer:
    for name in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
    callbacks: list[Callback] = [
        ModelCheckpoint(
            folder / "checkpoints", filename=Path(CHECKPOINT).stem, enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
        history,
        _Lines(),
    ]  # fmt: skip
    if console.bars_shown():
        callbacks.append(_ProgressBar(leave=True))
    if settings.stop_at_accuracy is not None:
        callbacks.append(
            EarlyStopping(
                "train/accuracy", mode="max", patience=settings.epochs, check_on_train_epoch_end=True,
                # Lightning wants it exceeded, we want it reached.
                stopping_threshold=settings.stop_at_accuracy - ROUNDING,
                check_finite=False,
            )
        )  # fmt: skip
    try:
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=settings.precision,  # type: ignore[arg-type]
            # Which processes there are is said here, not by the queue that a run may be a job of.
            plugins=[LightningEnvironment(), _WholeCheckpoints()],
            use_distributed_sampler=False,  # the data module shares batches out, without repeating any image
            max_epochs=settings.epochs,
            callbacks=callbacks,
            logger=_loggers(settings.logger, folder),
            num_sanity_val_steps=0,
            log_every_n_steps=1,
            enable_progress_bar=console.bars_shown(),
            enable_model_summary=False,
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise WeakspotError(
            f"trainer.accelerator={settings.accelerator}: {str(error).splitlines()[0]}; try trainer.accelerator=cpu"
        ) from error
