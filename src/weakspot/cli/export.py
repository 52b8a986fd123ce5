"""The verbs ``weakspot export boxes`` and ``weakspot export model``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weakspot.utils import console

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
    with console.status("writing"):
        summary = write_boxes(exported, format_, output, how)
    if exported.unreadable:
        console.err.print(f"{exported.unreadable} pictures could not be read when they were predicted", style="yellow")
    console.out.print(summary, markup=False, highlight=False, soft_wrap=True)
    console.out.print(f"annotations: {output}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def model(
    run: Annotated[Path, typer.Argument(help="Run folder or bundle.")],
    format_: Annotated[str, typer.Option("--format", help="onnx or openvino.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8; what the last two cost is measured.")] = "fp32",
    output: Annotated[Path | None, typer.Option(help="The file; default RUN/exports/model.onnx or .xml.")] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of pictures to compare on; default the test subset.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many pictures to compare on at most.")] = 100,
) -> None:
    """Write the model as one file that runs without torch, and prove on real pictures that it says the same.

    Beside it lie its certificate, thresholds, region of interest and model card: a folder to hand over to a line.

    Example:  weakspot export model outputs/photos --format onnx
    """
    from weakspot.export.model import Order, export_model

    order = Order(run, format_, precision, output, images, count)
    with console.progress_bar("comparing") as progress:
        found = export_model(order, progress)
    familiar = "" if found.same_familiarity is None else f", {found.same_familiarity} the same familiarity"
    console.out.print(
        f"{found.images} pictures through both: probabilities differ by at most {found.largest_difference:.1e}, "
        f"{found.same_class} get the same class, {found.same_boxes} the same boxes{familiar}; "
        f"{found.speed['ratio']:.2f} × as fast as PyTorch here",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for name, key in (("balanced accuracy", "balanced_accuracy"), ("V2", "max_box_acc_v2")):
        values = [found.accuracy[side][key]["value"] for side in found.accuracy if key in found.accuracy[side]]
        if len(values) == 2:
            console.out.print(f"{name}: {values[0]:.4f} → {values[1]:.4f}", highlight=False)
    console.out.print(f"model: {order.target}", markup=False, highlight=False, soft_wrap=True)
    console.out.print(
        f"to hand over: {order.target.parent}, with {order.target.name}.card.md",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
