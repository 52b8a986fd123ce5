"""Train and test every fold of a split, and measure all of them together (``cv``)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from weakspot.commands import train as pipeline
from weakspot.config.schema import TrainConfig
from weakspot.errors import WeakspotError
from weakspot.evaluation.pooled import MEMBERS, Pooled
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.runs.folder import RunFolder, parent_folder
from weakspot.runs.identity import short_hash
from weakspot.utils import console
from weakspot.utils.files import write_json


def cross_validate(config: TrainConfig) -> Path:
    """Train and test every fold of a split (``cv``), and measure all of them together.

    Finished folds are not run again, as ever.

    Returns:
        The folder with the pooled ``metrics.json``, ``predictions.jsonl`` and the list of runs.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    folds = config.cv
    if folds is None or folds < 2 or config.split.folds is not None:
        raise WeakspotError(f"cv={folds}: give at least 2 folds, and leave split.folds and split.fold out")
    if config.output is not None:
        raise WeakspotError("output= names one folder and cv needs one for every fold; leave it out, or set name=")
    runs = []
    for fold in range(folds):
        single = deepcopy(config)
        single.cv, single.split.folds, single.split.fold = None, folds, fold
        console.err.print(f"fold {fold + 1} of {folds}", style="bold")
        runs.append(pipeline.train(single))
    folder = parent_folder(config) / f"cv{folds}-{short_hash([run.read_identity()['run'] for run in runs])}"
    for alarm in write_pooled(folder, config.name, runs)["alarms"]:
        console.alarm(alarm)
    return folder


def write_pooled(folder: Path, name: str, runs: Sequence[RunFolder]) -> dict[str, Any]:
    """Measure finished folds together; writes ``metrics.json``, the predictions and the list of runs.

    Args:
        folder: to write to.
        name: of the experiment.
        runs: one a fold, tested on different images.

    Returns:
        Content of ``metrics.json``.

    Raises:
        WeakspotError: as :meth:`Pooled.read`.
    """
    pooled = Pooled.read(runs)
    with console.status("measuring all folds together"):
        measured = pooled.measure()
        write_predictions(folder, pooled.predictions)
    folds = [run.read_metrics() for run in runs]
    metrics = {
        "name": name,
        "data": folds[0]["data"],
        "split": {key: folds[0]["split"][key] for key in ("seed", "folds", "near_duplicates", "leakage")},
        "folds": [{"run": str(run.path), **_headline(fold)} for run, fold in zip(runs, folds, strict=True)],
        **measured,
    }
    write_json(folder / MEMBERS, [str(run.path.resolve()) for run in runs])
    write_json(folder / "metrics.json", metrics)
    return metrics


def _headline(metrics: dict[str, Any]) -> dict[str, Any]:
    localisation = metrics["test"].get("localisation")
    return {
        "balanced_accuracy": metrics["test"]["classification"]["balanced_accuracy"],
        "v2": localisation and localisation["v2"],
        "thresholds": metrics["thresholds"],
    }
