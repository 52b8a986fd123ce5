"""Watch a folder, a video or a camera: each picture one verdict, kept and told. No torch, as exports use it too."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from weakspot.drift.observer import DriftObserver
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.inference.observer import Observer
from weakspot.utils.files import shown
from weakspot.utils.locks import only_one
from weakspot.watch.address import is_stream, without_password
from weakspot.watch.delivery import Delivery
from weakspot.watch.folder import FolderSource, Pace
from weakspot.watch.journal import Journal
from weakspot.watch.line import Line, there_in
from weakspot.watch.pictures import Source
from weakspot.watch.results import Results
from weakspot.watch.verdicts import Sink
from weakspot.watch.video import FRAMES, VideoSource

if TYPE_CHECKING:
    from weakspot.watch.telemetry import Telemetry

log = logging.getLogger(__name__)

JOURNAL = "journal.sqlite"
DRIFT = "drift-state.json"
"""What the watch for changes knows, kept across restarts."""

STALLED = 60.0
"""Seconds without a round of the line after which it is not alive any more."""


@dataclass(frozen=True)
class Sinks:
    """Whom to tell.

    Attributes:
        webhooks: addresses to POST to.
        secret: that their requests are signed with; empty for none.
        brokers: MQTT addresses.
        password: of their user.
        opcua: address to serve at; None for none.
        flag: file for the last verdict; None for none.
    """

    webhooks: Sequence[str] = ()
    secret: str = field(default="", repr=False)
    brokers: Sequence[str] = ()
    password: str = field(default="", repr=False)
    opcua: str | None = None
    flag: Path | None = None


@dataclass(frozen=True)
class Orders:
    """What to watch and how.

    Attributes:
        source: folder, video file, number of a camera, or address of a stream.
        output: folder for journal, predictions and overlays.
        pace: how a folder is watched.
        stride: take every so-many-th frame of a video.
        frames: ``all`` or ``newest``, of a video.
        overlays: keep overlays of alarms.
        limit: bytes that predictions and overlays may have; None for no limit.
        sinks: whom to tell.
        patience: seconds that sinks get at the end for what they were not told yet.
        metrics: ``(host, port)`` of ``/metrics``, ``/live`` and ``/ready``; None for none.
    """

    source: str
    output: Path
    pace: Pace = field(default_factory=Pace)
    stride: int = 1
    frames: str = "all"
    overlays: bool = True
    limit: int | None = None
    sinks: Sinks = field(default_factory=Sinks)
    patience: float = 10.0
    metrics: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        if self.frames not in FRAMES:
            raise WeakspotError(f"--frames {self.frames} is unknown; choose: {', '.join(FRAMES)}")


def watch(
    localizer: Localizer,
    name: str,
    orders: Orders,
    stop: threading.Event,
    *,
    observer: Observer | None = None,
    started: Callable[[str], None] = lambda text: None,
) -> dict[str, int]:
    """Answer pictures until `stop` is set or the source ends.

    Args:
        localizer: a loaded model.
        name: what to call the model.
        orders: what to watch and how.
        stop: set by a signal or another thread.
        observer: sees every prediction, beside the watch for changes.
        started: called with a line when the first picture can come.

    Returns:
        Number of pictures that the journal has, by verdict.

    Raises:
        WeakspotError: when the source is not there, `output` is another source's, another process writes to it, a
            library or an address is missing, or the disk is full; after a restart it goes on where it was.
    """
    _check_places(orders)
    with only_one(orders.output), ExitStack() as stack:
        journal = Journal(orders.output / JOURNAL)
        stack.callback(journal.close)
        shown_source = without_password(orders.source)
        journal.claim(shown_source if is_stream(orders.source) else str(Path(orders.source).resolve()))
        source = _source(orders, journal)
        there = there_in(Path(orders.source)) if isinstance(source, FolderSource) else (lambda name: False)
        results = Results(orders.output, journal, orders.limit, there)
        stack.callback(results.close)
        deliveries = [Delivery(sink, journal, orders.output) for sink in _sinks(orders.sinks)]
        telemetry = _telemetry(name, orders)
        drift = DriftObserver(localizer.meta.familiarity, orders.output / DRIFT)
        stack.callback(drift.close)
        observers: list[Observer] = [drift] if observer is None else [drift, observer]
        line = Line(
            localizer, source, journal, results, deliveries,
            telemetry=telemetry, overlays=orders.overlays, observers=observers,
        )  # fmt: skip
        if telemetry is not None and orders.metrics is not None:
            stack.enter_context(_operated(telemetry, orders.metrics, line, source, deliveries, observers, stop))
        how = "looking again and again" if isinstance(source, FolderSource) and source.polling else "listening"
        text = f"watching {shown_source} ({how}) with {name}; results: {orders.output}; {journal.last} answered before"
        log.info("%s", text)
        started(text)
        try:
            line.run(stop)
        finally:
            for delivery in deliveries:
                delivery.stop(orders.patience)
            for delivery in deliveries:
                delivery.join()
        for delivery in deliveries:
            if delivery.backlog:
                log.warning("%d verdicts wait for %s in the journal", delivery.backlog, delivery.sink.name)
        return journal.counts()


def _check_places(orders: Orders) -> None:
    if (orders.output / "run.json").is_file():
        raise WeakspotError(f"{orders.output} is a run folder; choose another folder")
    if is_stream(orders.source):
        return
    place, output = Path(orders.source).resolve(), orders.output.resolve()
    if not place.exists():
        raise WeakspotError(
            f"{shown(orders.source)} does not exist; give a folder, a video file, a camera's number or an address"
        )
    if place.is_dir() and (output == place or place in output.parents):
        raise WeakspotError(
            f"--output {orders.output} lies in {orders.source}, which is watched; choose another folder"
        )


def _source(orders: Orders, journal: Journal) -> Source:
    if not is_stream(orders.source) and Path(orders.source).is_dir():
        return FolderSource(Path(orders.source), journal, orders.pace)
    return VideoSource(orders.source, journal, orders.stride, orders.frames)


def _sinks(orders: Sinks) -> list[Sink]:
    try:
        made: list[Sink] = []
        if orders.webhooks:
            from weakspot.watch.sinks.webhook import Webhook

            made += [Webhook(url, orders.secret) for url in orders.webhooks]
        if orders.brokers:
            from weakspot.watch.sinks.mqtt import Mqtt

            made += [Mqtt(url, orders.password) for url in orders.brokers]
        if orders.opcua:
            from weakspot.watch.sinks.opcua import OpcUa

            made.append(OpcUa(orders.opcua))
        if orders.flag:
            from weakspot.watch.sinks.flag import Flag

            made.append(Flag(orders.flag))
    except ImportError as error:
        extra = {"httpx": "webhook", "paho": "mqtt", "asyncua": "opcua"}.get(
            (error.name or "").partition(".")[0], "watch"
        )
        raise WeakspotError(f"{error.name} is not installed; pip install 'weakspot[{extra}]'") from error
    names = [sink.name for sink in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise WeakspotError(f"{twice} is given twice; give each receiver once")
    return made


def _telemetry(name: str, orders: Orders) -> Telemetry | None:
    if orders.metrics is None:
        return None
    try:
        from weakspot.watch.telemetry import Telemetry
    except ImportError as error:
        raise WeakspotError(f"{error.name} is not installed; pip install 'weakspot[watch]'") from error
    return Telemetry(name)


@contextmanager
def _operated(
    telemetry: Telemetry,
    address: tuple[str, int],
    line: Line,
    source: Source,
    deliveries: Sequence[Delivery],
    observers: Sequence[Observer],
    stop: threading.Event,
) -> Iterator[None]:
    from weakspot.watch.operate import operated

    def live() -> str:
        silent = time.monotonic() - line.beat
        return f"no round of the line for {silent:.0f} s" if silent > STALLED else ""

    def ready() -> str:
        if stop.is_set():
            return "stopping"
        return live() or ("" if source.reachable else "the source is away")

    telemetry.gauge("weakspot_queue", "Pictures known of and not answered yet.", lambda: float(line.waiting))
    telemetry.gauge("weakspot_source_up", "Whether the source is there.", lambda: float(source.reachable))
    telemetry.ask(lambda: _of_sinks(deliveries))
    telemetry.ask(lambda: [("weakspot_frames_dropped_total", "Frames left out.", "source", {"video": source.dropped})])
    for observer in observers:
        telemetry.ask_for_gauges(observer.gauges)
    with operated(*address, telemetry, live, ready) as port:
        log.info("metrics at http://%s:%d/metrics", address[0], port)
        yield


def _of_sinks(deliveries: Sequence[Delivery]) -> list[tuple[str, str, str, dict[str, float]]]:
    columns: list[tuple[str, str, list[int]]] = [
        ("weakspot_sink_backlog", "Verdicts not told yet.", [each.backlog for each in deliveries]),
        ("weakspot_sink_away", "Whether the counterpart is away.", [each.away for each in deliveries]),
        ("weakspot_sink_failures_total", "Tries that failed.", [each.failures for each in deliveries]),
        ("weakspot_sink_refused_total", "Verdicts in the dead letters.", [each.refused for each in deliveries]),
    ]
    names = [each.sink.name for each in deliveries]
    return [(name, text, "sink", dict(zip(names, map(float, values), strict=True))) for name, text, values in columns]
