"""``report.html`` of a cross-validation: all folds together, each one alone, and links to their own reports."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from weakspot._version import __version__
from weakspot.config.schema import read_config
from weakspot.evaluation.pooled import MEMBERS, Pooled, runs_of, shortcuts_of
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Alarm
from weakspot.report.advice import Here, pooled_advice
from weakspot.report.contents import Tested, common, records, write_page
from weakspot.report.lab import as_drawn
from weakspot.report.picture_records import link
from weakspot.report.pictures import figure_url
from weakspot.report.verdict import pooled_threshold
from weakspot.runs.folder import RunFolder
from weakspot.utils import console


def is_pooled(path: Path) -> bool:
    """Whether a folder is that of a cross-validation."""
    return (path / MEMBERS).is_file()


def write_pooled_report(folder: Path) -> Path:
    """Write the page and, for many pictures, a folder of them beside it.

    Args:
        folder: of a finished cross-validation.

    Returns:
        Path of the page.

    Raises:
        WeakspotError: when one of its files, or a fold, is missing or damaged.
    """
    runs, page = runs_of(folder), folder / "report.html"
    record = _with_shortcuts(MetricsRecord.read(folder / "metrics.json"), runs)
    pooled = Pooled.read(runs)
    with console.status("reading all folds"):
        truth = pooled.truth
        tested = [Tested(image, as_drawn(image.prediction, truth.boxes[i])) for i, image in enumerate(pooled.images)]
        config = read_config(runs[0].config)
        found = records(tested, truth, page, Path(config.data.root or "."))
        content = _content(record, common(record, tested, found, 0), runs, page)
    return write_page(page, "pooled.html", found, [sample.path for sample in pooled.samples], content)


def _with_shortcuts(record: MetricsRecord, runs: Sequence[RunFolder]) -> MetricsRecord:
    """The record with what the folds found in the data; a version before 0.2 left that out of a cross-validation's."""
    measurement = record.measurement
    if measurement.notes or any("goes_with" in alarm.details for alarm in measurement.alarms):
        return record
    shortcuts, notes = shortcuts_of(runs)
    return replace(record, measurement=replace(measurement, alarms=[*shortcuts, *measurement.alarms], notes=notes))


def _content(record: MetricsRecord, common: dict[str, Any], runs: list[RunFolder], page: Path) -> dict[str, Any]:
    """What the template shows beyond what it has in common with that of a run."""
    # The folds were drawn each at its own threshold: there is none to move.
    common["data"]["lab"] = {"key": "threshold", "steps": [None], "inUse": 0, "curve": [{}]}
    common["data"]["curves"] |= {"training": []}
    return {
        **common,
        "title": f"{record.data.title}: {record.name}, {len(runs)} folds",
        "advice": pooled_advice(record, Here(page.parent, runs[0].path, read_config(runs[0].config), folds=len(runs))),
        "threshold": pooled_threshold(record),
        "lab_key": None,
        "made": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "version": __version__,
        "folder": page.parent,
        "duplicates": None,
        "alarm_pictures": [_alarm_picture(alarm, runs) for alarm in record.measurement.alarms],
        "folds": [
            {
                "balanced_accuracy": fold.balanced_accuracy,
                "v2": fold.max_box_acc_v2,
                "thresholds": fold.thresholds,
                "folder": run.path.name,
                "link": link(page, run.report) if run.report.is_file() else None,
                "command": shlex.join(["weakspot", "report", str(run.path)]),
            }
            for fold, run in zip(record.folds, runs, strict=True)
        ],
    }


def _alarm_picture(alarm: Alarm, runs: Sequence[RunFolder]) -> str | None:
    """What an alarm looks like, from the fold that raised it; None where there is no picture."""
    name, fold = alarm.details.get("picture"), alarm.details.get("fold")
    if not name or not isinstance(fold, int) or not 0 <= fold < len(runs):
        return None
    return figure_url(runs[fold].figures / Path(str(name)).name)  # whatever else metrics.json says
