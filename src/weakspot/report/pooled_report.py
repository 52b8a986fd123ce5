"""``report.html`` of a cross-validation: all folds together, each by itself, and links to their own reports."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from weakspot._version import __version__
from weakspot.config.schema import read_config
from weakspot.errors import WeakspotError
from weakspot.evaluation.pooled import MEMBERS, Pooled, find_runs
from weakspot.report.contents import Tested, common, records, write_page
from weakspot.report.lab import as_drawn
from weakspot.report.records import link
from weakspot.report.verdict import pooled_advice, pooled_threshold
from weakspot.runs.folder import RunFolder
from weakspot.utils import console
from weakspot.utils.files import shown


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
    try:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeakspotError(f"{shown(folder / 'metrics.json')} is missing or damaged; cross-validate again") from error
    runs, page = find_runs(folder), folder / "report.html"
    pooled = Pooled.read(runs)
    with console.status("reading all folds"):
        truth = pooled.truth()
        tested = [
            Tested(pooled.samples[i], prediction, *where, as_drawn(prediction, truth.boxes[i]))
            for i, (prediction, where) in enumerate(zip(pooled.predictions, pooled.outputs(), strict=True))
        ]
        config = read_config(runs[0].config)
        found = records(tested, truth, page, Path(config.data.root or "."))
        content = _content(metrics, common({"alarms": [], **metrics}, tested, found, 0), runs, page)
    return write_page(page, "pooled.html", found, [sample.path for sample in pooled.samples], content)


def _content(metrics: dict[str, Any], common: dict[str, Any], runs: list[RunFolder], page: Path) -> dict[str, Any]:
    """What the template shows beyond what it has in common with that of a run."""
    # The folds were drawn each at its own threshold: there is none to move.
    common["data"]["lab"] = {"key": "threshold", "steps": [None], "inUse": 0, "curve": [{}]}
    common["data"]["curves"] |= {"training": []}
    data = metrics["data"]
    return {
        **common,
        "title": f"{data['subset'] or Path(data['root'] or 'data').name}: {metrics['name']}, {len(runs)} folds",
        "advice": pooled_advice(metrics),
        "threshold": pooled_threshold(metrics),
        "lab_key": None,
        "made": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "version": __version__,
        "folder": page.parent,
        "duplicates": None,
        "folds": [
            {
                **fold,
                "folder": run.path.name,
                "link": link(page, run.report) if run.report.is_file() else None,
                "command": f"weakspot report {run.path}",
            }
            for fold, run in zip(metrics["folds"], runs, strict=True)
        ],
    }
