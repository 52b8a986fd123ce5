"""``weakspot review``: correct predictions in the browser, and train again with what was corrected."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from weakspot.errors import WeakspotError
from weakspot.utils import console


def review(
    run: Annotated[Path, typer.Argument(help="Run folder of weakspot train.")],
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of other pictures; default: the run's training and validation ones.")
    ] = None,
    test: Annotated[
        bool, typer.Option("--test", help="The run's test pictures instead: to measure with, never to learn from.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="COCO file of corrections; default RUN/review/annotations.json.")
    ] = None,
    retrain: Annotated[
        Path | None,
        typer.Option(help="No page: train again with the corrections, into this folder, and compare with RUN."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Correct boxes and labels in the browser, most worth a look first; then train again with what was corrected.

    Example:  weakspot review outputs/photos
    """
    if pictures is not None and test:
        raise WeakspotError("--pictures and --test name different pictures; give one of them")
    try:
        from weakspot.serve.run import hosts_of, run_app
    except ImportError as error:
        raise WeakspotError(f"{error.name} is not installed; pip install 'weakspot[serve]'") from error
    from weakspot.commands.review import ReviewRequest, prepare_review
    from weakspot.serve.review_app import make_review_app
    from weakspot.utils.locks import only_one

    request = ReviewRequest(run, pictures, test, output, device)
    if request.file.suffix.lower() != ".json":
        raise WeakspotError(f"--output {output}: the file is COCO; give a name that ends in .json")
    if retrain is not None:
        return _retrain(run, request.file, retrain)
    with only_one(request.file):
        session = prepare_review(request)
        for remark in (*session.remarks, *session.store.remarks):
            console.remark(remark)

        def started(address: str) -> None:
            text = f"review {len(session.store.pictures)} pictures at {address} (Ctrl-C ends it, every change is saved)"
            console.out.print(text, highlight=False, soft_wrap=True)
            if browser:
                typer.launch(address)

        host = "127.0.0.1"
        try:
            run_app(make_review_app(session, hosts=hosts_of(host)), host, port, started)
        finally:
            console.out.print(f"corrections: {request.file}", highlight=False, soft_wrap=True)
            if session.trainings is not None and session.trainings.status().state == "running":
                console.remark("the training goes on; 'weakspot review' with the same run shows how far it is")


def _retrain(run: Path, annotations: Path, folder: Path) -> None:
    from weakspot.cli.show import show_run
    from weakspot.commands.retrain import retrain as run_retraining
    from weakspot.serve.review_training import PAGE
    from weakspot.utils.progress_lines import set_pace

    if not annotations.is_file():
        review = shlex.join(["weakspot", "review", str(run)])
        raise WeakspotError(f"{annotations} does not exist; correct some pictures first: {review}")
    set_pace(first_s=1.0, every_s=3.0)
    show_run(run_retraining(run, annotations, folder))
    console.out.print(f"before and after: {folder / PAGE}", highlight=False, soft_wrap=True)
