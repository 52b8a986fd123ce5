"""The verb that stands at the line: ``weakspot watch``."""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from weakspot.cli.show import FastestOption, LogFormatOption, chosen
from weakspot.utils import console
from weakspot.utils.logs import check_format, logged_to_stderr

log = logging.getLogger(__name__)

SECRET, PASSWORD = "WEAKSPOT_WEBHOOK_SECRET", "WEAKSPOT_MQTT_PASSWORD"
"""Environment variables, since others on the machine can read a command line."""


def watch(
    run: Annotated[Path, typer.Argument(help="Run folder, bundle, or an exported model (.onnx, .xml).")],
    source: Annotated[str, typer.Argument(help="Folder, video file, number of a camera, or address (rtsp://…).")],
    output: Annotated[Path, typer.Option(help="Folder for the journal, predictions by day and overlays of alarms.")],
    webhook: Annotated[
        list[str] | None, typer.Option(help=f"Address to POST verdicts to; {SECRET} signs them.")
    ] = None,
    mqtt: Annotated[list[str] | None, typer.Option(help=f"mqtt://USER@HOST:PORT/TOPIC; password: {PASSWORD}.")] = None,
    opcua: Annotated[str | None, typer.Option(help="Serve OPC UA here, as opc.tcp://0.0.0.0:4840/.")] = None,
    flag: Annotated[Path | None, typer.Option(help="File that holds the last verdict, for the simplest PLC.")] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds for sinks at the end; the rest waits.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Answer the files that are there, and end.")] = False,
    poll: Annotated[
        float | None,
        typer.Option(min=0.05, help="Look every so many seconds; default: be told, but on network drives."),
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0, help="Seconds a file that was found by looking must not change.")
    ] = 1.0,
    stride: Annotated[int, typer.Option(min=1, help="Video: take every so-many-th frame.")] = 1,
    frames: Annotated[str, typer.Option(help="Video: all, or newest, which drops frames when it is late.")] = "all",
    overlays: Annotated[bool, typer.Option(help="Keep overlays of alarms.")] = True,
    limit: Annotated[
        float | None, typer.Option(min=0.001, help="GB for predictions and overlays; the oldest are removed.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Box threshold instead of the run's own.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fastest: FastestOption = True,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer /metrics, /live and /ready here; 0 for any free port.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address to answer at; default this machine alone.")] = "127.0.0.1",
    log_format: LogFormatOption = "text",
) -> None:
    """Give each picture that comes one verdict: keep it, and tell a webhook, MQTT, OPC UA or a file.

    A restart, also after a kill, goes on where it was: no picture is left out, none is answered twice.

    Example:  weakspot watch outputs/photos /data/camera --output line --mqtt mqtt://localhost/line1
    """
    check_format(log_format)
    from weakspot.commands import watch as watching
    from weakspot.inference.localizer import Localizer
    from weakspot.watch.folder import Pace

    orders = watching.Orders(
        source, output, Pace(poll, settle, once=once), stride, frames, overlays,
        None if limit is None else round(limit * 1e9),
        watching.Sinks(
            webhook or (), os.environ.get(SECRET, ""), mqtt or (), os.environ.get(PASSWORD, ""), opcua, flag
        ),
        patience, None if metrics_port is None else (metrics_host, metrics_port),
    )  # fmt: skip
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with logged_to_stderr(log_format):
            path = chosen(run, device, fastest=fastest, say=log.info)
            localizer = Localizer.load(path, device).adjusted(threshold)
            counts = watching.watch(localizer, run.name, orders, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    said = ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items())) or "no picture yet"
    console.out.print(f"ended; in the journal: {said}", highlight=False, soft_wrap=True)
