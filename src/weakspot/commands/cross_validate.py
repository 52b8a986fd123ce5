"""Train and test every fold of a split, and measure all of them together (``cv``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from weakspot.commands.train import train
from weakspot.config.schema import TrainConfig, with_values
from weakspot.errors import WeakspotError
from weakspot.evaluation.measure import measure
from weakspot.evaluation.pooled import MEMBERS, Pooled, shortcuts_of
from weakspot.evaluation.records import MetricsRecord, pooled_record
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.runs.folder import RunFolder, parent_folder
from weakspot.runs.identity import short_hash
from weakspot.utils import console
from weakspot.utils.files import write_json


def cross_validate(config: TrainConfig) -> Path:
    """Train and test every fold of a split (``cv``), and measure all of them together.

    Finished folds are not run again.

    Args:
        config: what ``conf/train.yaml`` and its groups compose to, with ``cv``.

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
        console.err.print(f"fold {fold + 1} of {folds}", style="bold")
        runs.append(train(with_values(config, {"cv": None, "split.folds": folds, "split.fold": fold})))
    folder = parent_folder(config) / f"cv{folds}-{short_hash([run.read_identity()['run'] for run in runs])}"
    record = write_pooled(folder, config.name, runs)
    console.alarms([alarm.to_dict() for alarm in record.measurement.alarms])
    return folder


def write_pooled(folder: Path, name: str, runs: Sequence[RunFolder]) -> MetricsRecord:
    """Measure finished folds together; writes ``metrics.json``, the predictions and the list of runs.

    What the folds found to tell the classes apart beside the defect is of the data set: it is among the alarms once.

    Args:
        folder: to write to.
        name: of the experiment.
        runs: one for each fold; no image was tested in two of them.

    Returns:
        Content of ``metrics.json``.

    Raises:
        WeakspotError: as :meth:`Pooled.read`.
    """
    pooled = Pooled.read(runs)
    with console.status("measuring all folds together"):
        measurement = measure(pooled.subsets)
        shortcuts, notes = shortcuts_of(runs)
        measurement = replace(measurement, alarms=[*shortcuts, *measurement.alarms], notes=notes)
        record = pooled_record(name, measurement, [run.path for run in runs])
    write_predictions(folder, pooled.predictions)
    write_json(folder / MEMBERS, [str(run.path.resolve()) for run in runs])
    record.write(folder / "metrics.json")
    return record
