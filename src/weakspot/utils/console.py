"""The terminal: one console for results, one for progress, and a progress bar with the time left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from weakspot.utils.agenda import Agenda
from weakspot.utils.progress_lines import ProgressLines

log = logging.getLogger(__name__)

out = Console()
"""Results, on standard output."""

err = Console(stderr=True)
"""Progress, remarks and errors, on standard error."""


_bars = True


def hide_bars() -> None:
    """No bars and spinners from now on: several processes would draw over each other."""
    global _bars
    _bars = False


def bars_shown() -> bool:
    """Whether there is a terminal, and it is ours alone."""
    return _bars and err.is_terminal


def error(message: str) -> None:
    """Print one red line on standard error, whatever characters are in it."""
    err.print(f"error: {message}", style="bold red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def status(text: str) -> Iterator[None]:
    """Show a spinner while the block runs, on a terminal only."""
    with err.status(text) if bars_shown() else nullcontext():
        yield


_silent = False


@contextmanager
def no_progress() -> Iterator[None]:
    """Neither bars nor lines of progress while the block runs, for work that is only tried out."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


_agenda: Agenda | None = None


@contextmanager
def following(agenda: Agenda) -> Iterator[None]:
    """Bars and lines of progress also say how much time is left for all of it while the block runs.

    Args:
        agenda: the stages; bars of other names say nothing of the whole.
    """
    global _agenda
    before, _agenda = _agenda, agenda
    try:
        yield
    finally:
        _agenda = before


WIDEST = 32
"""Characters that stand before a bar at most, so that a line fits a terminal of 80 columns."""


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; without a terminal a line now and then, and one in ``run.log`` in any case.

    Args:
        description: stands before the bar.
        total: number of steps, where it is known beforehand.

    Yields:
        The function to call with (done, total).
    """
    columns = (
        TextColumn("{task.description}"), BarColumn(12), MofNCompleteColumn(), TextColumn("{task.fields[remaining]}"),
    )  # fmt: skip
    with Progress(*columns, console=err, transient=True, disable=_silent or not bars_shown()) as progress:
        lines = progress_lines(description)
        short = description if len(description) <= WIDEST else f"{description[: WIDEST - 1]}…"
        task = progress.add_task(short, total=total, remaining="")

        def update(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total or None, remaining=lines.remaining(done, total))
            lines.update(done, total)

        yield update
        lines.end()


def progress_lines(description: str) -> ProgressLines:
    """Lines of progress for work that draws its own bar, or none.

    Args:
        description: stands before every line.
    """
    return ProgressLines(description, _line, agenda=None if _silent else _agenda)


def _line(text: str) -> None:
    """A line of progress: into the log, and on standard error where no bar is drawn and nobody else draws."""
    if _silent:
        return
    log.info("%s", text)
    if _bars and not err.is_terminal:
        err.print(text, markup=False, highlight=False, soft_wrap=True)


def remark(text: str, style: str | None = None, *, wrap: bool = True) -> None:
    """Print one line on standard error; a warning, which begins with ``warning:``, is yellow.

    Args:
        text: whatever characters are in it.
        style: of rich; None for the usual one.
        wrap: whether lines are broken at the width of the terminal; those to copy are not.
    """
    usual = "yellow" if text.startswith("warning:") else None
    err.print(text, style=style or usual, markup=False, highlight=False, soft_wrap=not wrap)


def alarm(record: Mapping[str, Any]) -> None:
    """Print an alarm: what was ``seen``, ``why`` it matters, what to ``do``."""
    text = f"alarm: {record['seen']}; {record['why']}. {record['do'][:1].upper()}{record['do'][1:]}."
    err.print(text, style="yellow", markup=False, highlight=False)


MOST_ALARMS = 3
"""Alarms printed in full."""


def alarms(records: Sequence[Mapping[str, Any]]) -> None:
    """Print the first :data:`MOST_ALARMS` alarms in full, and what the others have seen in a line each.

    Args:
        records: each with what was ``seen``, ``why`` it matters and what to ``do``, the most pressing first.
    """
    for record in records[:MOST_ALARMS]:
        alarm(record)
    for record in records[MOST_ALARMS:]:
        err.print(f"alarm, less pressing: {record['seen']}.", style="yellow", markup=False, highlight=False)
