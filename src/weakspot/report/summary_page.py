"""``summary.html``: many runs compared, as one page that loads nothing from outside."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
from matplotlib.colors import to_hex

from weakspot.evaluation.experiments.schema import ExperimentTable
from weakspot.report.crossfit import SERIES, Row, group_by, known
from weakspot.report.experiments import caption, panels
from weakspot.report.page import number, render
from weakspot.runs.folder import RunFolder

COLOURS = mpl.colormaps["cividis"]  # made to look the same to colour-blind eyes, and in grey
HEAT_MAPS = {
    "max_box_acc_v2": "V2 (mean box accuracy over IoU 0.3, 0.5, 0.7)",
    "box_accuracy_30": "Box accuracy at IoU ≥ 0.3",
}

COLUMNS = {
    "balanced_accuracy": "balanced accuracy", "auroc": "AUROC", "max_box_acc_v2": "V2",
    "box_accuracy_30": "box accuracy, IoU ≥ 0.3",
    "oracle_single_max_box_acc_v2": "V2 at each run's best threshold (oracle)",
}  # fmt: skip
"""Heads of the measures' columns."""


def summary_page(
    folder: Path,
    rows: Sequence[Row],
    cells: Sequence[Row],
    best: Sequence[Row],
    failures: Sequence[Mapping[str, Any]],
    table: ExperimentTable | None = None,
) -> str:
    """Make the page as text.

    Args:
        folder: where the page will lie; links are relative to it.
        rows: one for each run, from :func:`weakspot.report.leaderboard.read_rows`.
        cells: their means, from :func:`weakspot.report.leaderboard.aggregate`.
        best: from :func:`weakspot.report.crossfit.best_thresholds`.
        failures: cells of the sweep that failed, each with ``overrides`` and ``error``.
        table: experiments side by side; None where there are none.
    """
    return render(
        "summary.html",
        rows=[{**row, "link": run_link(folder, row["run"]), "folder": Path(row["run"]).name} for row in rows],
        cells=cells,
        best=best,
        failures=failures,
        measures=measured(cells, COLUMNS),
        heads=COLUMNS,
        heat_maps=heat_map_tables(cells, best),
        folds=folds(rows),
        table=table,
        panels=panels(table) if table else [],
        caption=caption(table) if table and table.rows else [],
        plus_minus=plus_minus,
        rule_text=rule_text,
    )


def measured(entries: Sequence[Row], measures: Iterable[str]) -> list[str]:
    """Measures that at least one entry has a value of; without masks none of boxes has.

    Args:
        entries: rows of a table.
        measures: their names, in order.
    """
    return [measure for measure in measures if any(known(entry[measure]) for entry in entries)]


def plus_minus(entry: Row, measure: str) -> str:
    """Write a measure as its mean and, where there is one, its standard deviation.

    Args:
        entry: a row of the leaderboard.
        measure: name of the measure; ``<measure>_sd`` holds its deviation.
    """
    sd = entry[f"{measure}_sd"]
    return number(entry[measure]) if sd is None else f"{number(entry[measure])} ± {number(sd)}"


def rule_text(entry: Row) -> str:
    """Write the box rule without its threshold."""
    return f"{entry['method']}, {entry['threshold_kind']}"


def run_link(folder: Path, run: str) -> str | None:
    """Link a run's report, or its gallery where there is no report.

    Args:
        folder: that the page lies in.
        run: the run folder.

    Returns:
        A relative URL as seen from `folder`; None where neither is there any more.
    """
    found = RunFolder(Path(run))
    page = next((path for path in (found.report, found.figures / "gallery.png") if path.is_file()), None)
    if page is None:
        return None
    # Links are left unresolved, as a browser takes ".." by name; bytes, as a file name need not be valid UTF-8.
    return quote(os.fsencode(Path(os.path.relpath(page, folder)).as_posix()))


def folds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """V2 of every threshold in every fold, for each series of runs with at least two folds.

    Returns:
        For each its :data:`SERIES`, ``thresholds`` (columns) and ``lines``: ``split_seed``, ``fold`` and
        ``values``, one a threshold (mean over seeds), None where it was not run.
    """
    tables = []
    for series, members in group_by(rows, SERIES).items():
        lines = group_by(members, ["split_seed", "fold"])
        if len({fold for _, fold in lines}) < 2:
            continue
        thresholds = sorted({row["threshold"] for row in members})
        tables.append(
            {
                **dict(zip(SERIES, series, strict=True)),
                "thresholds": thresholds,
                "lines": [
                    {"split_seed": seed, "fold": fold, "values": [_mean_at(own, t) for t in thresholds]}
                    for (seed, fold), own in sorted(
                        lines.items(), key=lambda item: [-1 if v is None else v for v in item[0]]
                    )
                ],
            }
        )
    return tables


def _mean_at(rows: Sequence[Row], threshold: float) -> float | None:
    values = [row["max_box_acc_v2"] for row in rows if row["threshold"] == threshold and known(row["max_box_acc_v2"])]
    return statistics.mean(values) if values else None


def heat_map_tables(cells: Sequence[Row], best: Sequence[Row]) -> list[dict[str, Any]]:
    """A table of subset × threshold for each measure and each (experiment, method, threshold kind), ready to show.

    Args:
        cells: one for each set of settings, from :func:`weakspot.report.leaderboard.aggregate`.
        best: from :func:`weakspot.report.crossfit.best_thresholds`; their honest thresholds are marked.

    Returns:
        For each ``title``, ``thresholds`` (columns), ``low`` and ``high`` (ends of the colour scale), ``scale`` (its
        colours), and ``lines`` with ``subset``, ``differs`` and ``squares``: one a threshold, None where there is no
        number, else ``value``, ``background``, ``colour`` and ``marked`` (the honest choice). Nothing for a measure
        that no run has.
    """
    honest = {tuple(entry[key] for key in SERIES): entry["honest_threshold"] for entry in best}
    maps = []
    for measure, title in HEAT_MAPS.items():
        for group, members in group_by(cells, ["name", "method", "threshold_kind"]).items():
            values = [cell[measure] for cell in members if known(cell[measure])]
            if not values:
                continue
            ends, thresholds = (min(values), max(values)), sorted({cell["threshold"] for cell in members})
            lines = []
            for series, own in group_by(members, SERIES).items():
                at = {cell["threshold"]: cell[measure] for cell in own if known(cell[measure])}
                squares = [
                    _square(at[threshold], *ends, marked=threshold == honest.get(series)) if threshold in at else None
                    for threshold in thresholds
                ]
                lines.append({**dict(zip(SERIES, series, strict=True)), "squares": squares})
            maps.append(
                {
                    "title": f"{title}: {', '.join(group)} threshold",
                    "thresholds": thresholds,
                    "low": ends[0],
                    "high": ends[1],
                    "scale": [to_hex(COLOURS(step / 8)) for step in range(9)],
                    "lines": lines,
                }
            )
    return maps


def _square(value: float, low: float, high: float, *, marked: bool) -> dict[str, Any]:
    rgba = COLOURS((value - low) / (high - low) if high > low else 0.5)
    return {"value": value, "background": to_hex(rgba), "colour": text_colour(rgba[:3]), "marked": marked}


def text_colour(rgb: Sequence[float]) -> str:
    """Black or white, whichever stands out more on a background of red, green and blue in 0…1 (WCAG 2 contrast)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"
