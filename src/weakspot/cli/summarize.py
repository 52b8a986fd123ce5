"""The verb `summarize`, and the same table at the end of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weakspot.errors import WeakspotError
from weakspot.utils import console
from weakspot.utils.files import OUTPUTS

if TYPE_CHECKING:
    from weakspot.evaluation.experiments.schema import ExperimentTable

Words = list[str] | None


def summarize(
    folder: Annotated[Path, typer.Argument(help="Folder with run folders anywhere below it.")] = OUTPUTS,
    output: Annotated[Path | None, typer.Option(help="Folder for summary.html, .csv, .json; default FOLDER.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of experiments for GitHub.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print it for a paper (needs the package booktabs).")] = False,
    reference: Annotated[
        str | None,
        typer.Option(help="Experiment that the others are compared with; default plain_cam, else the first."),
    ] = None,
    experiment: Annotated[Words, typer.Option(help="Show this experiment only; repeatable.")] = None,
) -> None:
    """Put all runs below a folder into tables: experiments by subset, then mean and deviation over folds and seeds.

    Experiments are compared on the same test pictures. Where a sweep tried several thresholds over folds, each fold is
    scored at the one that is best on the others.

    Example:  weakspot summarize outputs --markdown
    """
    from weakspot.evaluation.experiments.found import result_folders
    from weakspot.report.leaderboard import runs_below

    if markdown and latex:
        raise WeakspotError("--markdown and --latex: give one of them")
    made = summarized(
        [run.path for run in runs_below(folder)],
        result_folders(folder),
        output or folder,
        reference=reference,
        experiments=experiment or [],
        printed=not (markdown or latex),
    )
    if markdown or latex:
        if not made.rows:
            raise WeakspotError(f"{folder} holds no cross-validation and no hold-out run; train with cv=3 first")
        from weakspot.report.experiments import as_latex, as_markdown

        typer.echo(as_markdown(made) if markdown else as_latex(made), nl=False)


def summarized(
    runs: Sequence[Path],
    results: Sequence[Path],
    folder: Path,
    failures: Sequence[Mapping[str, Any]] = (),
    *,
    reference: str | None = None,
    experiments: Sequence[str] = (),
    printed: bool = True,
) -> ExperimentTable:
    """Write the tables of `runs` and `results` into `folder` and print them.

    Args:
        runs: run folders, each fold by itself.
        results: folders of cross-validations and hold-out runs.
        folder: for ``summary.html`` and the files beside it.
        failures: cells of a sweep without a run.
        reference: experiment that the others are compared with.
        experiments: names of those to compare; nothing compares all.
        printed: also print tables and where the files are.
    """
    from weakspot.evaluation.experiments.table import experiment_table
    from weakspot.report.experiments import short_caption, terminal_table
    from weakspot.report.leaderboard import best_threshold_lines, leaderboard_table, read_rows, write_leaderboard
    from weakspot.runs.folder import RunFolder

    rows = read_rows(RunFolder(run) for run in runs)
    with console.progress_bar("experiments by subset") as progress:
        table = experiment_table(results, reference=reference, experiments=experiments, progress=progress)
    write_leaderboard(folder, rows, failures, table if table.rows or table.notes else None)
    if not printed:
        return table
    console.out.print(leaderboard_table(rows))
    lines = best_threshold_lines(rows)
    if table.rows:
        console.out.print(terminal_table(table))
        lines.append(short_caption(table))
    for line in [*lines, *(f"note: {note}" for note in table.notes)]:
        console.out.print(line, markup=False, highlight=False, soft_wrap=True)
    console.out.print(f"to look at: {folder / 'summary.html'}", markup=False, highlight=False, soft_wrap=True)
    console.out.print(f"every run:  {folder / 'summary.csv'}", markup=False, highlight=False, soft_wrap=True)
    return table
