"""Many runs in one table: a row for each set of settings, mean ± standard deviation over folds and seeds."""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from weakspot.errors import WeakspotError
from weakspot.files import write_json, write_text
from weakspot.runs import RunFolder

CELL = ("name", "subset", "method", "threshold_kind", "threshold", "settings")
MEASURES = ("balanced_accuracy", "auroc", "v2", "oracle_single_v2")


def find_runs(folder: Path) -> list[RunFolder]:
    """Finished runs at or anywhere below a folder; evaluations inside a run are not runs of their own.

    Raises:
        WeakspotError: when there is none.
    """
    runs = [RunFolder(path.parent) for path in sorted(folder.rglob("metrics.json"))]
    runs = [run for run in runs if run.identity.is_file()]
    if not runs:
        raise WeakspotError(f"{folder} holds no finished run; give a folder such as outputs")
    return runs


def read_rows(runs: Iterable[RunFolder]) -> list[dict[str, Any]]:
    """One flat row a run: what it is, and its headline numbers (None where it has none); the same run counts once.

    Raises:
        WeakspotError: when a ``metrics.json`` is damaged.
    """
    rows, seen = [], set()
    for run in runs:
        try:
            metrics = json.loads(run.metrics.read_text(encoding="utf-8"))
            if metrics["run"] in seen:
                continue
            seen.add(metrics["run"])
            test, data, split, boxes = (metrics[key] for key in ("test", "data", "split", "boxes"))
            localisation = test.get("localisation") or {}
            rows.append(
                {
                    "name": metrics["name"],
                    "subset": data["subset"] or Path(data["root"]).name,
                    **{key: boxes[key] for key in CELL[2:5]},
                    "settings": metrics["settings"],
                    "fold": split.get("fold"),
                    "split_seed": split.get("seed"),
                    "seed": metrics["seed"],
                    "n": test["classification"]["accuracy"]["n"],
                    **{key: test["classification"][key]["value"] for key in MEASURES[:2]},
                    "v2": (localisation.get("v2") or {}).get("value"),
                    "oracle_single_v2": localisation.get("oracle_single_v2"),
                    "run": str(run.path),
                }
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeakspotError(f"{run.metrics} cannot be used ({type(error).__name__}: {error})") from error
    return rows


def aggregate(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of each measure, a row a cell, best V2 first within a subset.

    A single run has no deviation (None).
    """
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[tuple(row[key] for key in CELL)].append(row)
    table = []
    for cell, members in cells.items():
        entry: dict[str, Any] = {**dict(zip(CELL, cell, strict=True)), "runs": len(members)}
        for measure in MEASURES:
            values = [row[measure] for row in members if row[measure] is not None]
            entry[measure] = statistics.mean(values) if values else None
            entry[f"{measure}_sd"] = statistics.stdev(values) if len(values) > 1 else None
        table.append(entry)
    return sorted(table, key=lambda entry: (entry["name"], entry["subset"], -(entry["v2"] or 0)))


def write_leaderboard(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write ``summary.csv`` (a row a run) and ``summary.json`` (the runs, and their means by cell) into `folder`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys())
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / "summary.csv", text.getvalue())
    write_json(folder / "summary.json", {"runs": list(rows), "cells": aggregate(rows)})


def leaderboard_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The means for the terminal."""
    table = Table(title="mean ± standard deviation over folds and seeds, test parts", title_justify="left")
    for name in ("experiment", "subset", "boxes", "runs"):
        table.add_column(name)
    for name in ("balanced accuracy", "AUROC", "V2", "V2, best threshold (oracle)"):
        table.add_column(name, justify="right")
    for entry in aggregate(rows):
        rule = f"{entry['method']}, {entry['threshold_kind']} {entry['threshold']:g}"
        numbers = [_plus_minus(entry[key], entry[f"{key}_sd"]) for key in MEASURES]
        table.add_row(entry["name"], entry["subset"], rule, str(entry["runs"]), *numbers)
    return table


def _plus_minus(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.3f}" if sd is None else f"{mean:.3f} ± {sd:.3f}"
