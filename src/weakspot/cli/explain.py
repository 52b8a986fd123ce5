"""The verbs that look into a model: ``audit``, ``explain``, ``summary``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weakspot.errors import WeakspotError
from weakspot.utils import console
from weakspot.utils.files import OUTPUTS, new_folder

if TYPE_CHECKING:
    from weakspot.heatmaps.methods import Settings
    from weakspot.heatmaps.subject import Subject


def audit(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Does the network go by what is inside its boxes? Erases them and asks again, with other places as the control.

    Example:  weakspot audit outputs/recommended/hazelnut/20260101-120000-1a2b3c4d
    """
    from weakspot.commands.audit import audit as audited
    from weakspot.runs.folder import RunFolder

    found = audited(RunFolder(run), device)
    fall = found.erased
    if not found.images:
        console.out.print(
            f"nothing was measured: no box of the {found.skipped} pictures that were asked leaves room to erase "
            "as much elsewhere, which is the control; they are too large: train with a higher boxes.threshold",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
        return
    console.out.print(
        f"{found.images} pictures ({found.skipped} left out): erasing the boxes lowers the log-odds of a defect by "
        f"{fall.second:.2f}, erasing as much elsewhere by {fall.first:.2f}; difference {fall.difference.value:.2f} "
        f"({fall.difference.low:.2f} – {fall.difference.high:.2f}), p = {fall.p_value:.4f}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    if found.alarm:
        console.alarm(found.alarm.to_dict())


def explain(
    run: Annotated[str, typer.Argument(help="Run folder, bundle, or 'imagenet' for a classifier of photographs.")],
    image: Annotated[str, typer.Argument(help="Image, folder or glob pattern (quote it).")],
    heatmap: Annotated[str, typer.Option(help="Method, or 'all' to compare; default: evidence, the boxes' map.")] = "",
    target_class: Annotated[str | None, typer.Option(help="Name or id; default: the class decided for.")] = None,
    target_layer: Annotated[str | None, typer.Option(help="As 'weakspot summary' lists them.")] = None,
    activation: Annotated[str | None, typer.Option(help="conv or relu; of grad_cam alone.")] = None,
    scaling: Annotated[
        str | None, typer.Option(help="none, scale_after_relu, scale_before_relu, relative, logits; of grad_cam alone.")
    ] = None,
    patch: Annotated[int | None, typer.Option(min=1, help="Occlusion: side in pixels of the network's input.")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Occlusion: step, as large as the patch at most.")] = None,
    fill: Annotated[str, typer.Option(help="Occlusion: mean, black, white or grey.")] = "mean",
    model: Annotated[str, typer.Option(help="With imagenet: torchvision's name of the classifier.")] = "vgg16",
    weights: Annotated[
        Path | None, typer.Option(help="With imagenet: file of its weights; default: torchvision's cache or download.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results; default outputs/explain/<time>.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Why is this picture what the model says? Classes, heat map, evidence by region, what would change the decision.

    Example:  weakspot explain outputs/photos new_photos/a.png    (or: weakspot explain imagenet photo.jpg)
    """
    from weakspot.data.loading import find_sources
    from weakspot.heatmaps.methods import Settings

    images = find_sources(image)
    settings = Settings(target_layer, activation, scaling, patch, stride, fill)  # type: ignore[arg-type]
    folder = output or new_folder(OUTPUTS / "explain")
    _explain(run, images, heatmap, target_class, settings, model, weights, folder, device)


def summary(
    run: Annotated[str, typer.Argument(help="Run folder, bundle, or 'imagenet' for a classifier of photographs.")],
    model: Annotated[str, typer.Option(help="With imagenet: torchvision's name of the classifier.")] = "vgg16",
    weights: Annotated[Path | None, typer.Option(help="With imagenet: file of its weights.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the layers as JSON here as well.")] = None,
) -> None:
    """List a model's layers: type, output, parameters, what was trained, and where heat maps can be taken.

    Example:  weakspot summary outputs/photos
    """
    import torch

    from weakspot.report.explained import layers_table
    from weakspot.utils.files import write_json

    subject = _subject(run, model, weights, "cpu")
    height, width = subject.preprocess.image_size
    layers = subject.layers(torch.zeros(1, 3, height, width))
    console.out.print(layers_table(layers, f"{run}, {height}×{width}, classes: {', '.join(subject.classes[:10])}"))
    if output:
        write_json(output, [{**asdict(layer), "usable": layer.usable} for layer in layers])


def _subject(run: str, model: str, weights: Path | None, device: str) -> Subject:
    """What is explained: a run's model, or with ``imagenet`` one of torchvision's."""
    from weakspot.explain.subjects import subject_of_imagenet, subject_of_run

    if run == "imagenet":
        return subject_of_imagenet(model, weights, device)
    if weights is not None or model != "vgg16":
        raise WeakspotError("--model and --weights belong to 'imagenet'; a run has its own")
    return subject_of_run(Path(run), device)


def _explain(
    run: str,
    images: Sequence[Path],
    heatmap: str,
    target_class: str | None,
    settings: Settings,
    model: str,
    weights: Path | None,
    folder: Path,
    device: str,
) -> None:
    from weakspot.explain import explanation as explaining
    from weakspot.explain.subjects import donor_of
    from weakspot.heatmaps.methods import Settings, check_method
    from weakspot.postprocess.prediction_files import UniqueNames
    from weakspot.report import explained

    # A photographs' classifier seldom ends as cam wants it; every network has gradients.
    usual = "cam" if settings != Settings() else explaining.EVIDENCE
    method = heatmap or ("grad_cam" if run == "imagenet" else usual)
    if method not in ("all", explaining.EVIDENCE):
        check_method(method, settings)
    subject = _subject(run, model, weights, device)
    donor = None if run == "imagenet" else donor_of(Path(run))
    names = UniqueNames()
    for path in images:
        stem = names(path)
        if method == "all":
            _compare(subject, path, target_class, settings, folder / stem)
        else:
            with console.status("explaining"):
                explanation = explaining.explain(subject, path, method, target_class, settings, donor)
            explanation.save(folder, stem)
            explained.write_explanation(folder / f"{stem}.png", explanation)
            at = f" at {explanation.layer}" if explanation.layer else ""
            console.out.print(
                f"{path}: {explanation.method}{at} of {explanation.target}", soft_wrap=True, highlight=False
            )
            if explanation.remark:
                console.remark(f"warning: {explanation.remark}")
            words = (explained.classes_in_words, explained.parts_in_words, explained.regions_in_words)
            for line in (line for in_words in words for line in in_words(explanation)):
                console.out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        console.out.print(f"to look at: {folder / f'{stem}.png'}", markup=False, soft_wrap=True, highlight=False)
    if subject.decides:
        which = "the classifier's"
        if method == explaining.EVIDENCE:
            which = "that of the boxes for a defect, and the classifier's for Good (--heatmap cam shows that one)"
        console.err.print(f"{subject.decides}; the map is {which}", style="dim", soft_wrap=True)


def _compare(subject: Subject, path: Path, target_class: str | None, settings: Settings, target: Path) -> None:
    """Every method on one picture; files and lines come as each method ends, as the last ones take minutes."""
    from weakspot.explain.compare_methods import Comparison, compare_all
    from weakspot.report import explained

    def written(found: Comparison) -> None:
        found.save(target.parent, target.name)
        sheet = target.parent / f"{target.name}.png"
        explained.write_sheet(sheet, found.image, found.methods, f"{path.name}: {found.target}")
        console.remark(explained.compared_in_words(found.methods[-1]), "dim")

    with console.progress_bar("heat maps, the slow ones last") as progress:
        found = compare_all(subject, path, target_class, settings, progress=progress, so_far=written)
    console.out.print(explained.comparison_table_of(found.methods))
