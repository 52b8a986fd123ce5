"""The verbs ``weakspot export boxes`` and ``weakspot export model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weakspot import ui

app = typer.Typer(help="Boxes for annotation tools and detectors, models for other runtimes.", no_args_is_help=True)


@app.command()
def boxes(
    run: Annotated[Path, typer.Argument(help="Run folder, or the results of 'weakspot predict'.")],
    output: Annotated[Path, typer.Option(help="Folder for the annotations; must be new or empty.")],
    format_: Annotated[str, typer.Option("--format", help="coco, yolo, voc, labelstudio or csv.")] = "coco",
    pictures: Annotated[
        str | None, typer.Option(help="copy, link or none: the pictures, beside them; default none, for yolo copy.")
    ] = None,
) -> None:
    """Write predicted boxes as annotations: to correct in a tool, or to train a detector on.

    Example:  weakspot export boxes results --format labelstudio --output annotations
    """
    from weakspot.export.boxes import write_boxes
    from weakspot.export.source import check_pictures, read_source

    how = check_pictures(pictures or ("copy" if format_ == "yolo" else "none"))
    exported = read_source(run)
    with ui.status("writing"):
        said = write_boxes(exported, format_, output, how)
    if exported.unreadable:
        ui.err.print(f"{exported.unreadable} pictures could not be read when they were predicted", style="yellow")
    ui.out.print(said, markup=False, highlight=False, soft_wrap=True)
    ui.out.print(f"annotations: {output}", markup=False, highlight=False, soft_wrap=True)
