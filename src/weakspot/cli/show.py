"""What is printed of a finished run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weakspot.utils import console

if TYPE_CHECKING:
    from weakspot.runs.folder import RunFolder

ONE_BOX = (
    "one box at most per picture, as boxes.method=single draws it round everything suspicious; for a box per defect: "
)
"""Said wherever boxes come from that rule, with what to do."""

FastestOption = Annotated[
    bool,
    typer.Option("--fastest/--no-fastest", help="Run the fastest certified export beside the run, if there is one."),
]
"""Of every verb that loads a model to predict with."""

LogFormatOption = Annotated[str, typer.Option(help="text, or json: an object a line on standard error.")]
"""Of the verbs that run for months."""


def chosen(run: Path, device: str, *, fastest: bool, say: Callable[[str], None] | None = None) -> Path:
    """What to load for a run; says so where it is not what was given.

    Args:
        run: as the user gave it.
        device: that it is to run on.
        fastest: whether a faster export may take its place.
        say: takes the line that says so; None for standard error.
    """
    if not fastest:
        return run
    from weakspot.inference import fastest as choice

    path, words = choice.fastest(run, device)
    if words and say is not None:
        say(words)
    elif words:
        console.remark(words, "dim", wrap=False)
    return path


def show_run(run: RunFolder) -> None:
    """Print a finished run's table and where to look.

    Args:
        run: of a training or an evaluation.
    """
    from weakspot.data.corrections import learnt_from_words
    from weakspot.evaluation.records import MetricsRecord
    from weakspot.report.tables import class_tables, metrics_table

    record = MetricsRecord.read(run.metrics)
    console.out.print(metrics_table(record, f"{record.data.subset or record.data.root}"))
    if record.data.learnt_from:
        console.out.print(learnt_from_words(record.data.learnt_from), highlight=False)
    if len(record.data.classes) > 2:
        console.out.print(*class_tables(record.measurement.test.classification))
    if record.boxes["method"] == "single":
        of_run = f"weakspot evaluate {shlex.quote(str(run.path))} boxes.method=components"
        console.remark(f"{ONE_BOX}{of_run}, or train with experiment=recommended", wrap=False)
    console.out.print(f"open this first: {run.report}", soft_wrap=True, highlight=False)
    console.out.print(f"the boxes:       {run.figures / 'gallery.png'}", soft_wrap=True, highlight=False)
    console.out.print(f"run folder:      {run.path}", soft_wrap=True, highlight=False)


def show_one_box() -> None:
    """Say of predictions that the rule of their model is one box per picture."""
    console.remark(f"{ONE_BOX}train with experiment=recommended", wrap=False)
