"""The verbs that open a page in the browser: ``weakspot serve`` and ``weakspot roi``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from weakspot.cli.show import FastestOption, LogFormatOption, chosen
from weakspot.cli.syntax import typed_line
from weakspot.config.values import quoted
from weakspot.errors import WeakspotError
from weakspot.utils import console
from weakspot.utils.logs import check_format, logged_to_stderr

log = logging.getLogger(__name__)


def serve(
    run: Annotated[Path, typer.Argument(help="Run folder, bundle, or an exported model (.onnx, .xml).")],
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 8000,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    megabytes: Annotated[float, typer.Option(min=0.001, help="Largest request.")] = 32.0,
    megapixels: Annotated[float, typer.Option(min=0.001, help="Largest picture.")] = 50.0,
    images: Annotated[int, typer.Option(min=1, help="Most pictures in one request.")] = 32,
    at_once: Annotated[
        int | None,
        typer.Option(min=1, help="Requests read at a time; more wait. Default 4, or twice as many as streams."),
    ] = None,
    streams: Annotated[
        int | None,
        typer.Option(min=1, help="Pictures answered at once by an exported model; default: as suits the machine."),
    ] = None,
    fastest: FastestOption = True,
    log_format: LogFormatOption = "text",
    drift_state: Annotated[
        Path | None, typer.Option(help="File that keeps the watch for changes across restarts; made when missing.")
    ] = None,
) -> None:
    """Answer POST /predict with classes and boxes, and show a page to drop a picture on.

    Example:  weakspot serve outputs/photos
    """
    try:
        from weakspot.serve.app import Limits
        from weakspot.serve.run import LOOPBACK
        from weakspot.serve.run import serve as run_service
    except ImportError as error:
        raise WeakspotError(f"{error.name} is not installed; pip install 'weakspot[serve]'") from error
    from weakspot.inference.localizer import Localizer

    check_format(log_format)
    if host not in LOOPBACK:
        console.err.print(
            f"anyone who reaches {host} can use this: there is no password and no encryption", style="yellow"
        )

    def started(address: str) -> None:
        console.out.print(
            f"serving {run} at {address} (pages: / and /docs); Ctrl-C ends it", highlight=False, soft_wrap=True
        )

    machine = log_format == "json"
    with logged_to_stderr(log_format, logging.INFO if machine else logging.WARNING):
        path = chosen(run, device, fastest=fastest, say=log.info if machine else None)
        localizer = Localizer.load(path, device)
        limits = Limits(megabytes, megapixels, images, at_once or max(Limits.at_once, 2 * localizer.streams))
        run_service(localizer, run.name, host, port, limits, started, streams, drift_state)
    console.out.print("stopped", highlight=False)


def roi(
    data: Annotated[Path, typer.Argument(help="Folder of a data set, or of pictures.")],
    output: Annotated[Path, typer.Option(help="File to write (COCO polygons); train takes it as data.roi.")] = Path(
        "roi.json"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Draw the region of interest: what lies outside counts neither in training nor in maps and boxes.

    Example:  weakspot roi photos --output roi.json    (then: weakspot train photos data.roi=roi.json)
    """
    from weakspot.commands.roi import pictures_to_draw_on

    try:
        from weakspot.serve.roi_app import Drawing, make_roi_app
        from weakspot.serve.run import hosts_of, run_app
    except ImportError as error:
        raise WeakspotError(f"{error.name} is not installed; pip install 'weakspot[serve]'") from error

    if output.suffix.lower() != ".json":
        raise WeakspotError(f"--output {output}: the file is of COCO polygons; give a name that ends in .json")
    pictures, size, remarks = pictures_to_draw_on(data)
    for remark in remarks:
        console.remark(remark)

    def saved(share: float) -> None:
        line = typed_line("train", [str(data), f"data.roi={quoted(str(output))}"])
        text = f"saved: {output} ({share:.0%} of a picture); {line}"
        console.out.print(text, highlight=False, soft_wrap=True)

    def started(address: str) -> None:
        console.out.print(f"draw at {address} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        if browser:
            typer.launch(address)

    host = "127.0.0.1"
    run_app(make_roi_app(Drawing(pictures, size, output), hosts=hosts_of(host), saved=saved), host, port, started)
