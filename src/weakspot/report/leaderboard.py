"""Many runs in one table: a row for each set of settings, mean ± standard deviation over folds and seeds.

``summary.csv`` has a row for each run, ``summary_table.csv`` the table of experiments, ``summary.json`` holds
everything, ``summary.html`` is the page to read.
"""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from weakspot.config.schema import TrainConfig, read_config, with_values
from weakspot.errors import WeakspotError
from weakspot.evaluation.experiments.schema import ExperimentTable
from weakspot.evaluation.records import MetricsRecord
from weakspot.report.crossfit import SERIES, Row, best_thresholds, group_by, known
from weakspot.report.experiment_files import as_csv, as_json
from weakspot.report.summary_page import measured, plus_minus, rule_text, summary_page
from weakspot.runs.folder import RunFolder
from weakspot.runs.identity import flat_settings, settings_identity, short_hash
from weakspot.utils.files import write_json, write_text
from weakspot.utils.spreadsheet import inert

CELL = (*SERIES, "threshold", "settings")
MEASURES = ("balanced_accuracy", "auroc", "max_box_acc_v2", "box_accuracy_30", "oracle_single_max_box_acc_v2")
BEST = ("max_box_acc_v2", "balanced_accuracy")
COUNTS = ("n", "n_masks")
COLUMNS = (*CELL, "split_seed", "fold", "seed", *COUNTS, *MEASURES, "run")

TERMINAL = {
    "balanced_accuracy": "balanced\naccuracy", "auroc": "AUROC", "max_box_acc_v2": "V2",
    "oracle_single_max_box_acc_v2": "V2, oracle\nthreshold",
}  # fmt: skip
"""Heads of the columns in a terminal."""

NAME_WIDTH = 24
"""Longer names of experiments may be broken."""

# Settings that have a column of their own, that runs are repeated over, or that change no number.
NEVER_DIFFER = {
    "name", "seed", "output", "reuse", "cache", "objective", "data.root", "data.subset", "split.seed", "split.fold",
    "boxes.method", "boxes.threshold_kind", "boxes.threshold", "trainer.accelerator",
}  # fmt: skip


def runs_below(folder: Path) -> list[RunFolder]:
    """Find finished runs at or anywhere below a folder; evaluations inside a run do not count as runs.

    Raises:
        WeakspotError: when there is none.
    """
    runs = [RunFolder(path.parent) for path in sorted(folder.rglob("metrics.json"))]
    runs = [run for run in runs if run.identity.is_file()]
    if not runs:
        raise WeakspotError(f"{folder} holds no finished run; give a folder such as outputs")
    return runs


def read_rows(runs: Iterable[RunFolder]) -> list[dict[str, Any]]:
    """Read one flat row for each run, with the keys of :data:`COLUMNS`; a run that occurs twice counts once.

    These keys tell which runs belong together: ``settings`` is a hash over all settings but seeds and folds, ``recipe``
    the same without the threshold, ``data`` a hash over images, labels and masks; ``differs`` names the settings in
    which these runs differ. Measures are None where they were not measured.

    Raises:
        WeakspotError: when a run's ``metrics.json`` or ``config.yaml`` is damaged.
    """
    rows, configs, seen = [], [], set()
    for run in runs:
        try:
            record = MetricsRecord.read(run.metrics)
            if record.run in seen:
                continue
            seen.add(record.run)
            rows.append(_row(run, record))
        except (KeyError, TypeError) as error:
            raise WeakspotError(f"{run.metrics} cannot be used ({type(error).__name__}: {error})") from error
        configs.append(read_config(run.config))
    for row, config, differs in zip(rows, configs, _differences(rows, configs), strict=True):
        # One threshold for all: what is left is the recipe.
        row |= {"recipe": settings_identity(with_values(config, {"boxes.threshold": 0.5})), "differs": differs}
    return [{key: row[key] for key in COLUMNS} for row in rows]


def _row(run: RunFolder, record: MetricsRecord) -> dict[str, Any]:
    """What ``metrics.json`` and ``run.json`` say of a run."""
    test, data, split, boxes = record.measurement.test, record.data, record.split, record.boxes
    found = test.localisation
    return {
        "name": record.name,
        "subset": data.title,
        **{key: boxes[key] for key in ("method", "threshold_kind", "threshold")},
        "settings": record.settings,
        "data": short_hash([data.hash, run.read_identity().get("truth")]),
        "split_seed": split.seed,
        "fold": split.fold,
        "seed": record.seed,
        "n": test.classification.accuracy.n,
        "n_masks": found.n if found else 0,
        "balanced_accuracy": _measured(test.classification.balanced_accuracy.value),
        "auroc": _measured(test.classification.auroc.value),
        "max_box_acc_v2": _measured(found.max_box_acc_v2.value) if found else None,
        "box_accuracy_30": _measured(found.box_accuracy_30.value) if found else None,
        "oracle_single_max_box_acc_v2": _measured(found.oracle_single_max_box_acc_v2) if found else None,
        "run": str(run.path),
    }


def _measured(value: float) -> float | None:
    return None if math.isnan(value) else value


def _differences(rows: Sequence[Row], configs: Sequence[TrainConfig]) -> list[str]:
    """For each run the settings that are not the same in all of its name, as in ``model.outputs=1, refine=none``.

    The data's hash is one of them where images, labels or masks of one subset are not the same in all runs.
    """
    settings = [dict(flat_settings(asdict(config), NEVER_DIFFER)) for config in configs]
    versions = {subset: {row["data"] for row in members} for (subset,), members in group_by(rows, ["subset"]).items()}
    varied: dict[str, list[str]] = {}
    for name in {row["name"] for row in rows}:
        own = [mine for row, mine in zip(rows, settings, strict=True) if row["name"] == name]
        keys = dict.fromkeys(key for each in own for key in each)
        varied[name] = [key for key in keys if len({str(each.get(key)) for each in own}) > 1]
    texts = []
    for row, mine in zip(rows, settings, strict=True):
        groups = [f"{key}={mine[key]}" for key in varied[row["name"]] if key in mine]
        if len(versions[row["subset"]]) > 1:
            groups.append(f"data {row['data']}")
        texts.append(", ".join(groups))
    return texts


def aggregate(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Average each measure over the runs of a cell, with standard deviations.

    Within a subset the best V2 is first, or the best balanced accuracy where nothing has masks. A single run has no
    deviation (None). ``n_low`` and ``n_high`` are the smallest and largest number of test images of a run,
    ``n_masks_low`` and ``n_masks_high`` those of test images with a mask.
    """
    table = []
    for cell, members in group_by(rows, CELL).items():
        entry: dict[str, Any] = {**dict(zip(CELL, cell, strict=True)), "runs": len(members)}
        for count in COUNTS:
            numbers = [row[count] for row in members]
            entry |= {f"{count}_low": min(numbers), f"{count}_high": max(numbers)}
        for measure in MEASURES:
            values = [row[measure] for row in members if known(row[measure])]
            entry[measure] = statistics.mean(values) if values else None
            entry[f"{measure}_sd"] = statistics.stdev(values) if len(values) > 1 else None
        table.append(entry)
    return sorted(table, key=lambda entry: (entry["name"], entry["subset"], *(-(entry[key] or 0) for key in BEST)))


def write_leaderboard(
    folder: Path,
    rows: Sequence[Row],
    failures: Sequence[Mapping[str, Any]] = (),
    table: ExperimentTable | None = None,
) -> None:
    """Write ``summary.csv``, ``summary.json`` and ``summary.html`` into `folder`; older ones are replaced.

    Args:
        folder: where they go; made if missing.
        rows: one for each run, from :func:`read_rows`; may be empty.
        failures: cells of a sweep that failed, each with ``overrides`` (list of ``key=value``) and ``error``.
        table: experiments side by side, which go into ``summary_table.csv`` too; None where there are none.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows({key: inert(value) for key, value in row.items()} for row in rows)
    # Paths may hold what UTF-8 cannot.
    write_text(folder / "summary.csv", text.getvalue(), errors="backslashreplace")
    cells, best, failed = aggregate(rows), best_thresholds(rows), [dict(failure) for failure in failures]
    content = {"runs": list(rows), "cells": cells, "best_threshold": best, "failed": failed}
    write_json(folder / "summary.json", content | {"table": table and as_json(table)})
    if table:
        write_text(folder / "summary_table.csv", as_csv(table), errors="backslashreplace")
    else:
        (folder / "summary_table.csv").unlink(missing_ok=True)
    page = summary_page(folder, rows, cells, best, failed, table)
    write_text(folder / "summary.html", page, errors="backslashreplace")


def leaderboard_table(rows: Sequence[Row]) -> Table:
    """The means for the terminal."""
    title = "mean ± standard deviation over folds and seeds"
    table = Table(title=title, title_justify="left", caption="test subsets", caption_justify="left")
    if not rows:
        table.add_row("no finished run")
        return table
    cells = aggregate(rows)
    texts = {"experiment": [entry["name"] for entry in cells], "subset": [entry["subset"] for entry in cells]}
    if any(entry["differs"] for entry in cells):
        texts["settings that differ"] = [entry["differs"] for entry in cells]
    boxes = [f"{rule_text(entry)} {entry['threshold']:g}" for entry in cells]
    if len(set(boxes)) > 1:
        texts["boxes"] = boxes
    else:
        table.caption = f"test subsets; boxes of all runs: {boxes[0]}"
    for name, column in texts.items():
        # Names of usual length stay whole where a terminal is narrow; what else there is to read gives way.
        whole = name == "experiment" and max(map(len, column)) <= NAME_WIDTH
        table.add_column(name, overflow="fold", no_wrap=whole)
    measures = measured(cells, TERMINAL)
    for name in ("runs", *(TERMINAL[measure] for measure in measures)):
        table.add_column(name, justify="right", no_wrap=True)
    for n, entry in enumerate(cells):
        numbers = [plus_minus(entry, measure).replace(" ± ", "\n± ") for measure in measures]
        # Text, because rich would take [brackets] in a plain string for its markup.
        table.add_row(*(Text(column[n]) for column in texts.values()), str(entry["runs"]), *numbers)
    return table


def best_threshold_lines(rows: Sequence[Row]) -> list[str]:
    """For every subset and rule with several thresholds a line with honest choice and oracle, for the terminal."""
    return [f"best threshold, {_who(entry)}: {_choice(entry)}" for entry in best_thresholds(rows)]


def _who(entry: Row) -> str:
    who = f"{entry['name']}/{entry['subset']}, {rule_text(entry)}"
    return f"{who} ({entry['differs']})" if entry["differs"] else who


def _choice(entry: Row) -> str:
    """The honest threshold or why there is none, then the oracle."""
    text = entry["note"]
    if text is None:
        low, high = entry["honest_threshold_low"], entry["honest_threshold_high"]
        span = f"{low:g} to {high:g} in" if low < high else "in all"
        text = (
            f"V2 {plus_minus(entry, 'honest_threshold_max_box_acc_v2')} at {entry['honest_threshold']:g} "
            f"({span} {entry['n_folds']} folds, each chosen on the other folds)"
        )
    if entry["oracle_threshold"] is None:
        return str(text)
    return f"{text}; oracle V2 {plus_minus(entry, 'oracle_threshold_max_box_acc_v2')} at {entry['oracle_threshold']:g}"
