"""The command line: ``weakspot VERB …``. Verbs parse, call the pipeline and print; they compute nothing themselves."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weakspot import __version__, cli_data, cli_export, cli_serve, ui
from weakspot.errors import WeakspotError, as_weakspot_error

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from weakspot.config import TrainConfig
    from weakspot.heatmaps.methods import Settings
    from weakspot.heatmaps.subject import Subject
    from weakspot.runs import RunFolder
    from weakspot.sweep import Outcome

app = typer.Typer(
    help="Find defects and draw boxes round them after training on image-level labels alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(cli_data.check)
app.command()(cli_data.split)
app.add_typer(cli_export.app, name="export")
app.command()(cli_serve.serve)
HYDRA_VERB = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def main() -> None:
    """Entry point: an error of the user's is one line and exit status 1; ``--debug`` shows the traceback."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except (WeakspotError, OSError) as error:
        if debug or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        ui.error(str(as_weakspot_error(error)))
        raise SystemExit(1) from error
    except SystemExit as end:
        if end.code == 130:  # what typer makes of Ctrl-C
            ui.err.print("interrupted; 'train' goes on from its last finished epoch when started again", style="yellow")
        raise


def _version(show: bool) -> None:
    if show:
        ui.out.print(f"weakspot {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
) -> None:
    """Options before the verb."""


@app.command(context_settings=HYDRA_VERB)
def train(context: typer.Context) -> None:
    """Train on image labels, draw boxes on the held-out part and measure.

    Example:  weakspot train data.root=mvtec data.subset=hazelnut    (weakspot train --help lists every key)
    """
    from weakspot import hydra_app

    if set(context.args) & set(hydra_app.HELP_FLAGS):
        return print(hydra_app.help_text("train"))
    done = hydra_app.run("train", _train_task, context.args)
    if done.sweep:
        failures = [asdict(failure) for failure in done.failures]
        from weakspot.crossval import find_runs

        _summarize([run for folder in done.folders for run in find_runs(folder)], done.sweep, failures)
    done.check()


@app.command(context_settings=HYDRA_VERB)
def evaluate(context: typer.Context) -> None:
    """Measure a run again with other boxes, or on other labelled images.

    Example:  weakspot evaluate -m run=RUN boxes.threshold=0.5,0.6    (weakspot evaluate --help lists every key)
    """
    from weakspot import hydra_app

    if set(context.args) & set(hydra_app.HELP_FLAGS):
        return print(hydra_app.help_text("evaluate"))
    hydra_app.run("evaluate", _evaluate_task, context.args).check()


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option(help="Run folder; default outputs/demo/<subset>/<date-time>.")] = None,
) -> None:
    """Generate pictures, train on their labels, look at the boxes. A few minutes on two cores.

    Example:  weakspot demo
    """
    from weakspot import hydra_app

    config = hydra_app.compose("train", ["experiment=demo"])
    if output:
        config.output = str(output)
    _train_task(config)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder, bundle, or an exported model (.onnx, .xml).")],
    source: Annotated[str, typer.Argument(help="Image, folder or glob pattern (quote it).")],
    output: Annotated[Path | None, typer.Option(help="Folder for the results; default outputs/predict/<time>.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Box threshold instead of the run's own.")] = None,
    overlays: Annotated[bool, typer.Option(help="Write a picture with map and boxes for every image.")] = True,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images in one forward pass; default: what suits the device.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Class, confidences and boxes for any number of images, as JSONL, CSV and overlay pictures.

    Example:  weakspot predict outputs/demo/fabric/20260101-120000-1a2b3c4d "photos/*.png"
    """
    images = find_sources(source)
    from weakspot import predicting
    from weakspot.localizer import Localizer

    localizer = Localizer.load(run, device)
    if threshold is not None:
        localizer = localizer.with_rule(threshold=threshold)
    folder = output or Path("outputs") / "predict" / datetime.now().strftime("%Y%m%d-%H%M%S")
    counts: Counter[str] = Counter()
    unreadable = 0
    with ui.progress_bar("predicting", len(images)) as progress:
        results = predicting.predict(localizer, images, folder, overlays=overlays, batch_size=batch_size)
        for done, prediction in enumerate(results, start=1):
            if prediction.status == "ok":
                counts[prediction.label] += 1
            else:
                unreadable += 1
                ui.error(prediction.message)
            progress(done, len(images))
    ui.out.print(f"{len(images)} images: " + ", ".join(f"{n} {label}" for label, n in sorted(counts.items())))
    ui.out.print(f"results: {folder}", soft_wrap=True)
    if run.is_dir() and str(localizer.device) == "cpu":
        _hint_at_faster(run)
    if unreadable:
        raise WeakspotError(f"{unreadable} of {len(images)} images could not be read; {folder} says which")


@app.command()
def summarize(
    folder: Annotated[Path, typer.Argument(help="Folder with run folders anywhere below it.")] = Path("outputs"),
    output: Annotated[Path | None, typer.Option(help="Folder for summary.html, .csv, .json; default FOLDER.")] = None,
) -> None:
    """Put all runs below a folder into one table: mean and deviation over folds and seeds.

    Where a sweep tried several thresholds over folds, each fold is scored at the one that is best on the others.

    Example:  weakspot summarize outputs/seed_table
    """
    from weakspot.report.leaderboard import find_runs

    _summarize(find_runs(folder), output or folder)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run, or of a cross-validation.")],
    second: Annotated[Path, typer.Argument(help="Another, tested on the same images.")],
    output: Annotated[Path | None, typer.Option(help="Write the comparison as JSON here as well.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="The page to look at; default outputs/compare/<time>/compare.html.")
    ] = None,
) -> None:
    """Is the second better than the first, or is it luck? Image by image, on those that both were tested on.

    Example:  weakspot compare outputs/seed_table/hazelnut/cv5-1a2b3c4d outputs/recommended/hazelnut/cv5-5e6f7a8b
    """
    from weakspot.crossval import compare as compared
    from weakspot.files import write_json
    from weakspot.report.compare_page import write_comparison
    from weakspot.report.tables import comparison_table

    found = compared(first, second)
    ui.out.print(comparison_table(found))
    path = page or Path("outputs") / "compare" / datetime.now().strftime("%Y%m%d-%H%M%S") / "compare.html"
    ui.out.print(f"side by side: {write_comparison(path, first, second, found)}", soft_wrap=True, highlight=False)
    if output:
        write_json(output, asdict(found))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder, or an evaluation below one.")],
) -> None:
    """Write a run's report.html again: verdict, confusion matrix, pictures, thresholds, in one file to open or mail.

    Example:  weakspot report outputs/recommended/hazelnut/20260101-120000-1a2b3c4d
    """
    from weakspot.report.run_report import read_evaluated, write_report

    ui.out.print(f"open this: {write_report(read_evaluated(run))}", soft_wrap=True, highlight=False)


@app.command()
def audit(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Does the network go by what is inside its boxes? Erases them and asks again, with other places as the control.

    Example:  weakspot audit outputs/recommended/hazelnut/20260101-120000-1a2b3c4d
    """
    from weakspot.audit import audit as audited
    from weakspot.runs import RunFolder

    found = audited(RunFolder(run), device)
    fall = found.erased
    ui.out.print(
        f"{found.images} pictures ({found.skipped} left out): erasing the boxes lowers the log-odds of a defect by "
        f"{fall.second:.2f}, erasing as much elsewhere by {fall.first:.2f}; difference {fall.difference.value:.2f} "
        f"({fall.difference.low:.2f} – {fall.difference.high:.2f}), p = {fall.p_value:.4f}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    if found.alarm:
        ui.alarm(found.alarm)


@app.command()
def explain(
    run: Annotated[str, typer.Argument(help="Run folder, bundle, or 'imagenet' for a classifier of photographs.")],
    image: Annotated[str, typer.Argument(help="Image, folder or glob pattern (quote it).")],
    heatmap: Annotated[str, typer.Option(help="Method, or 'all' for a comparison; a wrong one lists them.")] = "",
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
    from weakspot.heatmaps.methods import Settings

    images = find_sources(image)
    settings = Settings(target_layer, activation, scaling, patch, stride, fill)  # type: ignore[arg-type]
    folder = output or Path("outputs") / "explain" / datetime.now().strftime("%Y%m%d-%H%M%S")
    _explain(run, images, heatmap, target_class, settings, model, weights, folder, device)


@app.command()
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

    from weakspot.files import write_json
    from weakspot.report.explained import layers_table

    subject = _subject(run, model, weights, "cpu")
    height, width = subject.preprocess.image_size
    layers = subject.layers(torch.zeros(1, 3, height, width))
    ui.out.print(layers_table(layers, f"{run}, {height}×{width}, classes: {', '.join(subject.classes[:10])}"))
    if output:
        write_json(output, [{**asdict(layer), "usable": layer.usable} for layer in layers])


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every cached feature.")] = False,
    directory: Annotated[Path | None, typer.Option("--dir", help="The cache, if cache.dir was set.")] = None,
) -> None:
    """Show where the frozen layers' features are kept and how much there is, or clear them.

    Example:  weakspot cache --clear
    """
    from weakspot.features import FeatureCache, default_cache_dir

    store = FeatureCache(directory or default_cache_dir())
    if clear:
        ui.out.print(f"{store.clear()} files removed from {store.folder}", soft_wrap=True)
    else:
        files, size = store.usage()
        ui.out.print(f"{store.folder}: {files} files, {size / 2**20:.1f} MiB", soft_wrap=True)


def _subject(run: str, model: str, weights: Path | None, device: str) -> Subject:
    """What is explained: a run's model, or with ``imagenet`` one of torchvision's."""
    from weakspot.explain import subject_of_imagenet, subject_of_run

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
    from weakspot import explain as explaining
    from weakspot.heatmaps.methods import check_method
    from weakspot.report import explained
    from weakspot.report.overlays import UniqueNames

    # A photographs' classifier seldom ends as cam wants it; every network has gradients.
    method = heatmap or ("grad_cam" if run == "imagenet" else "cam")
    if method != "all":
        check_method(method, settings)
    subject = _subject(run, model, weights, device)
    donor = None if run == "imagenet" else explaining.donor_of(Path(run))
    names = UniqueNames()
    for path in images:
        stem = Path(names(path)).stem
        if method == "all":
            with ui.progress_bar("heat maps") as progress:
                found = explaining.compare_all(subject, path, target_class, settings, progress=progress)
            found.save(folder, stem)
            explained.write_sheet(folder / f"{stem}.png", found.image, found.methods, f"{path.name}: {found.target}")
            ui.out.print(explained.comparison_table_of(found.methods))
        else:
            with ui.status("explaining"):
                explanation = explaining.explain(subject, path, method, target_class, settings, donor)
            explanation.save(folder, stem)
            explained.write_explanation(folder / f"{stem}.png", explanation)
            at = f" at {explanation.layer}" if explanation.layer else ""
            ui.out.print(f"{path}: {method}{at} of {explanation.target}", soft_wrap=True, highlight=False)
            for line in (*explained.classes_in_words(explanation), *explained.regions_in_words(explanation)):
                ui.out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
        ui.out.print(f"to look at: {folder / f'{stem}.png'}", markup=False, soft_wrap=True, highlight=False)
    if subject.decides:
        ui.err.print(f"{subject.decides}; the map is the classifier's", style="dim")


def _hint_at_faster(run: Path) -> None:
    from weakspot.export.certificate import faster_export

    if found := faster_export(run):
        text = f"{found[0]} gives the same answers, {found[1]:.2f} × as fast when it was measured on this machine"
        ui.err.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def find_sources(source: str) -> list[Path]:
    """Image files that a path or glob pattern stands for, sorted. An existing path is never taken for a pattern.

    Raises:
        WeakspotError: when there is none.
    """
    from weakspot.data.images import is_image
    from weakspot.data.loading import pictures_in

    if not source:
        raise WeakspotError("the source is empty; give a file, a folder or a glob pattern")
    path = Path(source).expanduser()
    if path.is_dir():
        found = pictures_in(path)
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if is_image(Path(p)))  # noqa: PTH207 - any pattern
    if not found:
        what = "holds no images" if path.is_dir() else "is no file or folder and matches no image"
        raise WeakspotError(f"{source} {what} (png, jpg, jpeg, bmp, tif, tiff, webp)")
    return found


def _train_task(config: DictConfig) -> Outcome:
    from weakspot import pipeline
    from weakspot.config import TrainConfig, typed
    from weakspot.sweep import Outcome

    settings = typed(config, TrainConfig)
    if settings.cv is not None:
        return _cross_validate(settings)
    run = pipeline.train(settings)
    _show(run)
    return Outcome(run.path, run.last_logged(settings.objective))


def _cross_validate(settings: TrainConfig) -> Outcome:
    from weakspot.crossval import cross_validate, find_runs
    from weakspot.report.tables import class_tables, pooled_table
    from weakspot.runs import RunFolder
    from weakspot.sweep import Outcome

    folder = cross_validate(settings)
    metrics = RunFolder(folder).read_metrics()
    ui.out.print(pooled_table(metrics, f"{settings.data.subset or settings.data.root}, {settings.cv} folds together"))
    if len(metrics["data"]["classes"]) > 2:
        ui.out.print(*class_tables(metrics["test"]["classification"]))
    ui.out.print(f"folder: {folder}", soft_wrap=True, highlight=False)
    scores = [run.last_logged(settings.objective) for run in find_runs(folder)]
    known = [score for score in scores if score is not None]
    return Outcome(folder, sum(known) / len(known) if known else None)


def _evaluate_task(config: DictConfig) -> Outcome:
    from weakspot import pipeline
    from weakspot.config import EvaluateConfig, typed
    from weakspot.sweep import Outcome

    run = pipeline.evaluate(typed(config, EvaluateConfig))
    _show(run)
    return Outcome(run.path)


def _summarize(runs: list[RunFolder], folder: Path, failures: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write the leaderboard of `runs` into `folder` and print it; `failures` are the sweep's cells without a run."""
    from weakspot.report.leaderboard import best_threshold_lines, leaderboard_table, read_rows, write_leaderboard

    rows = read_rows(runs)
    write_leaderboard(folder, rows, failures)
    ui.out.print(leaderboard_table(rows))
    for line in best_threshold_lines(rows):
        ui.out.print(line, markup=False, highlight=False, soft_wrap=True)
    ui.out.print(f"to look at: {folder / 'summary.html'}", markup=False, highlight=False, soft_wrap=True)
    ui.out.print(f"every run:  {folder / 'summary.csv'}", markup=False, highlight=False, soft_wrap=True)


def _show(run: RunFolder) -> None:
    """Print a finished run's table and where to look."""
    from weakspot.report.tables import class_tables, metrics_table

    metrics = run.read_metrics()
    data = metrics["data"]
    ui.out.print(metrics_table(metrics, f"{data['subset'] or data['root']}"))
    if len(data["classes"]) > 2:
        ui.out.print(*class_tables(metrics["test"]["classification"]))
    ui.out.print(f"open this first: {run.report}", soft_wrap=True, highlight=False)
    ui.out.print(f"the boxes:       {run.figures / 'gallery.png'}", soft_wrap=True, highlight=False)
    ui.out.print(f"run folder:      {run.path}", soft_wrap=True, highlight=False)
