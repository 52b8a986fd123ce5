"""The verb that predicts: here and now, or in shards on a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weakspot.cli.show import FastestOption, chosen, show_one_box
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.postprocess.familiarity import UNLIKE
from weakspot.types import GOOD
from weakspot.utils import console
from weakspot.utils.files import OUTPUTS, new_folder

if TYPE_CHECKING:
    from weakspot.inference.localizer import Localizer
    from weakspot.inference.shards.jobs import Job
    from weakspot.types import Prediction

ENGINES = ("local", "ray")


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, bundle, or an exported model (.onnx, .xml).")],
    source: Annotated[str, typer.Argument(help="Image, folder or glob pattern (quote it); with ray also a URL.")],
    output: Annotated[str | None, typer.Option(help="Folder for the results; default outputs/predict/<time>.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Box threshold instead of the run's own.")] = None,
    append: Annotated[
        bool, typer.Option("--append", help="Keep the predictions that --output holds, and add these; not with ray.")
    ] = False,
    overlays: Annotated[
        bool | None, typer.Option(help="Write a picture with map and boxes for every image; not with ray.")
    ] = None,
    heatmaps: Annotated[
        bool,
        typer.Option("--heatmaps", help="Write every map as a grey PNG, for other tools; not with ray."),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images in one forward pass; default: what suits the device.")
    ] = None,
    flip_tta: Annotated[
        bool | None, typer.Option(help="Look at the mirrored picture too, for a surer trust; default: as trained.")
    ] = None,
    roi: Annotated[
        Path | None, typer.Option(help="Masks of the regions of interest, for a model trained with a mask for each.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="Regular expression on the path: images it gives the same text are decided together."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fastest: FastestOption = True,
    engine: Annotated[str, typer.Option(help="local, or ray: many machines, a file per shard.")] = "local",
    file_format: Annotated[str | None, typer.Option("--format", help="ray: jsonl or parquet files.")] = None,
    shard_size: Annotated[int | None, typer.Option(min=1, help="ray: images in one result file; default 256.")] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="ray: workers; default one a GPU or core.")] = None,
) -> None:
    """Class, confidences and boxes for any number of images, as JSONL, CSV and overlay pictures.

    Example:  weakspot predict outputs/demo/fabric/20260101-120000-1a2b3c4d "photos/*.png"
    """
    if engine not in ENGINES:
        raise WeakspotError(f"--engine {engine} is unknown{did_you_mean(engine, ENGINES)}; choose: local, ray")
    if engine == "ray":
        from weakspot.inference.shards.jobs import Job

        for name, wanted in (("--overlays", overlays), ("--heatmaps", heatmaps)):
            if wanted:
                raise WeakspotError(f"{name} needs --engine local; predict the few pictures to see with it")
        if group is not None:
            raise WeakspotError("--group needs --engine local")
        if output is None:
            raise WeakspotError("--engine ray needs --output: the same command goes on there when it was interrupted")
        job = Job(
            run, source, output, file_format or "jsonl", shard_size or 256, threshold, batch_size, device, flip_tta,
            None if roi is None else str(roi.resolve()),
        )  # fmt: skip
        return _on_ray(job, actors)
    for name, value in (("--format", file_format), ("--shard-size", shard_size), ("--actors", actors)):
        if value is not None:
            raise WeakspotError(f"{name} is for --engine ray")
    images = _images(source, output)
    folder = Path(output) if output else new_folder(OUTPUTS / "predict")
    from weakspot.commands import predict as predicting
    from weakspot.inference.localizer import Localizer

    localizer = Localizer.load(chosen(run, device, fastest=fastest), device).adjusted(threshold, flip_tta)
    if roi is not None:
        localizer = localizer.with_masks(roi)
    results = predicting.predict(
        localizer, images, folder,
        overlays=overlays is not False, heatmaps=heatmaps, batch_size=batch_size, append=append, group=group,
    )  # fmt: skip
    _here(localizer, images, folder, results)


def _images(source: str, output: str | None) -> list[Path]:
    """The pictures to predict, all on this machine; says what is left out."""
    from weakspot.data.images import is_image, read_image
    from weakspot.data.left_out import left_out, left_out_words
    from weakspot.data.loading import find_sources

    for place in (source, output or ""):
        if "://" in place:
            raise WeakspotError(f"{place}: --engine local knows files of this machine only; add --engine ray")
    images = find_sources(source)
    if len(images) == 1 and not is_image(images[0]):  # a picture may have any name, but not any content
        read_image(images[0])
    if Path(source).is_dir() and (line := left_out_words(left_out(Path(source)))):
        console.remark(line)
    return images


def _here(localizer: Localizer, images: list[Path], folder: Path, results: Iterable[Prediction]) -> None:
    """Run through the predictions, and tell what they came to."""
    from weakspot.data.picture_sizes import OtherSizes

    sizes = OtherSizes(localizer.meta.pictures)
    counts: Counter[str] = Counter()
    unreadable = unlike = bare = 0
    with console.progress_bar("predicting", len(images)) as progress:
        for done, prediction in enumerate(results, start=1):
            sizes.add(prediction.path, prediction.size)
            if prediction.status == "ok":
                counts[prediction.label] += 1
                unlike += prediction.unlike_training
                bare += prediction.label != GOOD and not prediction.boxes
            else:
                unreadable += 1
                console.error(prediction.message)
            progress(done, len(images))
    _told(len(images), counts, str(folder))
    if sizes.remark:
        console.remark(sizes.remark)
    if unlike:
        text = f"{unlike} of them are {UNLIKE}: do not believe their class before you have looked"
        console.err.print(text, style="yellow", highlight=False, soft_wrap=True)
    if localizer.meta.boxes.method == "single":
        show_one_box()
    if bare and localizer.meta.boxes.min_score is not None:
        console.remark(_without_box(bare, sum(counts.values()) - counts[GOOD], localizer.meta.boxes.false_boxes))
    _check(unreadable, len(images), str(folder))


def _without_box(bare: int, defective: int, allowed: float) -> str:
    """Why pictures that are called defective may have no box, and what draws more."""
    return (
        f"{bare} of {defective} pictures called defective have no box: at most {allowed:g} false boxes per 100 Good "
        f"pictures are drawn; 'weakspot evaluate RUN output=RUN boxes.false_boxes={4 * allowed:g}' allows "
        "a run more, and finds more"
    )


def _on_ray(job: Job, actors: int | None) -> None:
    from weakspot.inference.shards import jobs, ray_engine
    from weakspot.inference.shards.files import Tally

    ray_engine.require_ray()
    plan = jobs.plan_shards(job)
    total = plan.done
    if total.rows:
        console.err.print(f"{total.rows} of {plan.images} images are done already", style="dim", highlight=False)
    with console.progress_bar("predicting", plan.images) as progress:
        progress(total.rows, plan.images)
        for receipt in ray_engine.predict(plan, actors=actors):
            for problem in receipt.problems:
                console.error(problem)
            total = Tally.total([total, receipt.tally])
            progress(total.rows, plan.images)
    jobs.finish(plan, total)
    _told(total.rows, Counter(total.labels), job.output)
    _check(total.unreadable, total.rows, job.output)


def _told(images: int, counts: Counter[str], folder: str) -> None:
    of_classes = ", ".join(f"{n} {label}" for label, n in sorted(counts.items()))
    console.out.print(f"{images} images: {of_classes or 'none could be read'}")
    console.out.print(f"results: {folder}", soft_wrap=True)


def _check(unreadable: int, images: int, folder: str) -> None:
    if unreadable:
        raise WeakspotError(f"{unreadable} of {images} images could not be read; {folder} says which")
