"""The command line: ``weakspot VERB …``. Verbs parse, call a command and print; they compute nothing themselves."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from weakspot._version import __version__
from weakspot.cli import (
    data as cli_data,
)
from weakspot.cli import (
    drift as cli_drift,
)
from weakspot.cli import (
    explain as cli_explain,
)
from weakspot.cli import (
    export as cli_export,
)
from weakspot.cli import (
    predict as cli_predict,
)
from weakspot.cli import (
    review as cli_review,
)
from weakspot.cli import (
    serve as cli_serve,
)
from weakspot.cli import (
    watch as cli_watch,
)
from weakspot.cli.newcomer import need_data, need_run, of_folder, refuse_other_layout
from weakspot.cli.order import InOrder
from weakspot.cli.show import show_run
from weakspot.cli.slips import check_archives, check_verb, check_words, settings_that_name_data
from weakspot.cli.summarize import summarize, summarized
from weakspot.cli.syntax import check_options, hydra_arguments
from weakspot.errors import WeakspotError, as_weakspot_error
from weakspot.utils import console
from weakspot.utils.files import OUTPUTS, new_folder

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from weakspot.config.schema import TrainConfig
    from weakspot.config.sweep import Outcome

app = typer.Typer(
    cls=InOrder,
    help="Find defects and draw boxes round them after training on image-level labels alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(cli_data.check)
app.command()(cli_data.split)
app.command()(cli_drift.drift)
app.command()(cli_explain.audit)
app.command()(cli_explain.explain)
app.command()(cli_explain.summary)
app.add_typer(cli_export.app, name="export")
app.command()(cli_serve.serve)
app.command()(cli_serve.roi)
app.command()(cli_watch.watch)
app.command()(cli_review.review)
app.command()(cli_predict.predict)
app.command()(summarize)
HYDRA_VERB = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def main() -> None:
    """Entry point: an error of the user's is one line and exit status 1; ``--debug`` shows the traceback."""
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job may ignore it, and stays so
        signal.signal(signal.SIGINT, _note_interrupt)
    try:
        check_syntax(sys.argv[1:])
        app()
    except (Exception, KeyboardInterrupt) as error:  # the latter before typer has begun
        expected = isinstance(error, WeakspotError | OSError) or was_interrupted(error)
        if not expected or debug or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        if was_interrupted(error):
            _say_interrupted()
            raise SystemExit(INTERRUPTED) from error
        console.error(str(as_weakspot_error(error)))
        raise SystemExit(1) from error
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what typer makes of Ctrl-C
            _say_interrupted()
        raise


def check_syntax(arguments: Sequence[str]) -> None:
    """Tell whoever writes ``key=value`` for a verb that takes options what to write, and whoever slips otherwise.

    Args:
        arguments: behind ``weakspot``, as they were typed.

    Raises:
        WeakspotError: with the line to type.
    """
    command: Any = typer.main.get_command(app)
    words, path = list(arguments), list[str]()
    while words and hasattr(command, "commands"):  # a group of verbs
        path.append(words.pop(0))
        command = command.commands.get(path[-1])
    if command is None and len(path) == 1:
        check_verb(path[0], words)
    if command is None or hasattr(command, "commands"):
        return
    if command.context_settings == HYDRA_VERB:
        return check_archives(path[0], words, settings_that_name_data(words))
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    check_options(" ".join(path), words, options)
    check_words(" ".join(path), command, words)


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_INTERRUPTS: list[int] = []
"""Signals that have come; a library written in C may turn the exception that they raise into one of its own."""


def _note_interrupt(number: int, frame: FrameType | None) -> None:
    _INTERRUPTS.append(number)
    signal.default_int_handler(number, frame)


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C led to an error, as libraries that it stops half-way raise others while they clean up."""
    if _INTERRUPTS:
        return True
    seen, waiting = list[BaseException](), [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, KeyboardInterrupt):
            return True
        seen.append(one)  # OmegaConf's errors are their own cause
        waiting += [cause for cause in (one.__cause__, one.__context__) if cause and cause not in (*seen, *waiting)]
    return False


def _say_interrupted() -> None:
    text = "interrupted; run the same command again ('train' goes on from where it was)"
    console.err.print(text, style="yellow", highlight=False, soft_wrap=True)


def _version(show: bool) -> None:
    if show:
        console.out.print(f"weakspot {__version__}")
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
    """Train on image labels, draw boxes on the held-out subset and measure.

    Example:  weakspot train photos    (folders photos/good and photos/defect; weakspot train --help lists every key)
    """
    need_data(context.args)
    from weakspot.config import hydra_app

    if set(context.args) & set(hydra_app.HELP_FLAGS):
        return print(hydra_app.help_text("train"))
    settings = hydra_arguments("train", context.args, "data.root")
    refuse_other_layout(context.args, settings)
    settings = of_folder(context.args, settings)
    done = hydra_app.run("train", _train_task, settings)
    if done.sweep:
        failures = [asdict(failure) for failure in done.failures]
        from weakspot.evaluation.pooled import runs_of

        runs = [run.path for folder in done.folders for run in runs_of(folder)]
        summarized(runs, done.folders, done.sweep, failures)
    done.check()


@app.command(context_settings=HYDRA_VERB)
def evaluate(context: typer.Context) -> None:
    """Measure a run again with other boxes, or on other labelled images.

    Example:  weakspot evaluate -m RUN boxes.threshold=0.5,0.6    (weakspot evaluate --help lists every key)
    """
    need_run(context.args)
    from weakspot.config import hydra_app

    if set(context.args) & set(hydra_app.HELP_FLAGS):
        return print(hydra_app.help_text("evaluate"))
    hydra_app.run("evaluate", _evaluate_task, hydra_arguments("evaluate", context.args, "run")).check()


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option(help="Run folder; default outputs/demo/<subset>/<date-time>.")] = None,
) -> None:
    """Generate pictures, train on their labels, look at the boxes: experiment=recommended, made small.

    A few minutes on two cores.

    Example:  weakspot demo
    """
    console.remark("generating pictures, training on their labels, measuring: about 2 minutes on a CPU", "dim")
    from weakspot.config import hydra_app

    config = hydra_app.compose("train", ["experiment=demo"])
    if output:
        config["output"] = str(output)
    _train_task(config)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of a run, a cross-validation, or a sweep over seeds.")],
    second: Annotated[Path, typer.Argument(help="Another, tested on the same images.")],
    output: Annotated[Path | None, typer.Option(help="Write the comparison as JSON here as well.")] = None,
    page: Annotated[
        Path | None, typer.Option(help="The page to look at; default outputs/compare/<time>/compare.html.")
    ] = None,
) -> None:
    """Is the second better than the first, or is it luck? Image by image, on those that both were tested on.

    Of a sweep over seeds (train -m … cv=3 seed=1,2,3) the answers for an image are averaged over the trainings.

    Example:  weakspot compare outputs/plain_cam/hazelnut/cv5-1a2b3c4d outputs/recommended/hazelnut/cv5-5e6f7a8b
    """
    from weakspot.evaluation.comparison import compare as compared
    from weakspot.report.compare_page import write_comparison
    from weakspot.report.tables import comparison_table
    from weakspot.utils.files import write_json

    found = compared(first, second)
    console.out.print(comparison_table(found))
    path = page or new_folder(OUTPUTS / "compare") / "compare.html"
    console.out.print(f"side by side: {write_comparison(path, first, second, found)}", soft_wrap=True, highlight=False)
    if output:
        write_json(output, asdict(found))


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder, an evaluation below one, or a cross-validation.")],
) -> None:
    """Write a run's report.html again: verdict, confusion matrix, pictures, thresholds, in one file to open or mail.

    Example:  weakspot report outputs/recommended/hazelnut/20260101-120000-1a2b3c4d
    """
    from weakspot.report.pooled_report import is_pooled, write_pooled_report
    from weakspot.report.run_report import read_evaluated, write_report

    page = write_pooled_report(run) if is_pooled(run) else write_report(read_evaluated(run))
    console.out.print(f"open this: {page}", soft_wrap=True, highlight=False)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove every cached feature.")] = False,
    directory: Annotated[Path | None, typer.Option("--dir", help="The cache, if cache.dir was set.")] = None,
) -> None:
    """Show where the frozen layers' features are kept and how much there is, or clear them.

    Example:  weakspot cache --clear
    """
    from weakspot.models.feature_cache import FeatureCache, default_cache_dir

    store = FeatureCache(directory or default_cache_dir())
    if clear:
        console.out.print(f"{store.clear()} files removed from {store.folder}", soft_wrap=True)
    else:
        files, size = store.usage()
        console.out.print(f"{store.folder}: {files} files, {size / 2**20:.1f} MiB", soft_wrap=True)


def _train_task(config: DictConfig) -> Outcome:
    from weakspot.commands.train import train as run_training
    from weakspot.config.schema import TrainConfig, typed
    from weakspot.config.sweep import Outcome

    settings = typed(config, TrainConfig)
    if settings.cv is not None:
        return _cross_validate(settings)
    run = run_training(settings)
    show_run(run)
    return Outcome(run.path, run.last_logged(settings.objective))


def _cross_validate(settings: TrainConfig) -> Outcome:
    from weakspot.commands.cross_validate import cross_validate
    from weakspot.config.sweep import Outcome
    from weakspot.evaluation.pooled import runs_of
    from weakspot.evaluation.records import MetricsRecord
    from weakspot.report.pooled_report import write_pooled_report
    from weakspot.report.tables import class_tables, pooled_table
    from weakspot.runs.folder import RunFolder

    folder = cross_validate(settings)
    record = MetricsRecord.read(RunFolder(folder).metrics)
    title = f"{settings.data.subset or settings.data.root}, {settings.cv} folds together"
    console.out.print(pooled_table(record, title))
    if len(record.data.classes) > 2:
        console.out.print(*class_tables(record.measurement.test.classification))
    console.out.print(f"open this first: {write_pooled_report(folder)}", soft_wrap=True, highlight=False)
    console.out.print(f"folder:          {folder}", soft_wrap=True, highlight=False)
    scores = [run.last_logged(settings.objective) for run in runs_of(folder)]
    known = [score for score in scores if score is not None]
    return Outcome(folder, sum(known) / len(known) if known else None)


def _evaluate_task(config: DictConfig) -> Outcome:
    from weakspot.commands.evaluate import evaluate as run_evaluation
    from weakspot.config.schema import EvaluateConfig, typed
    from weakspot.config.sweep import Outcome

    run = run_evaluation(typed(config, EvaluateConfig))
    show_run(run)
    return Outcome(run.path)
