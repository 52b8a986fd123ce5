"""The verb that looks back over predictions for changes of the world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weakspot.utils import console
from weakspot.utils.files import OUTPUTS, new_folder


def drift(
    source: Annotated[
        Path, typer.Argument(help="predictions.jsonl, or a folder with it or with predictions-YYYY-MM-DD.jsonl files.")
    ],
    run: Annotated[
        Path | None, typer.Option(help="Run, bundle or exported model: compare with its training pictures, too.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for drift.html; default outputs/drift/<time>.")] = None,
    false_alarm_in: Annotated[
        int, typer.Option(min=1, help="Within n pictures the chance of a false alarm is at most n over this.")
    ] = 100_000,
) -> None:
    """Has the world changed? Light, focus, place, product and share of defects over a stream of predictions.

    Example:  weakspot drift outputs/predict/20260101-120000 --run outputs/photos
    """
    from weakspot.commands.drift import drift as look_back

    with console.progress_bar("looking for changes") as progress:
        found = look_back(source, output or new_folder(OUTPUTS / "drift"), run, false_alarm_in, progress)
    for alarm in found.monitor.alarms:
        text = f"{alarm.words}; look at: {', '.join(alarm.look_at)}"
        console.out.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not found.monitor.alarms:
        console.out.print(f"{found.monitor.pictures} pictures: no change found", highlight=False)
    if not found.carried:
        console.remark("these predictions carry no measures of the pictures: only scores and classes were watched")
    console.out.print(f"open this: {found.page}", soft_wrap=True, highlight=False)
