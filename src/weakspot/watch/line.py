"""The line itself: from a source through the model into the journal, in order, in bounded memory."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from weakspot.data.loading import Loaded
from weakspot.inference.batcher import Batcher
from weakspot.inference.localizer import Localizer
from weakspot.inference.observer import Observer, show_to
from weakspot.postprocess.prediction_files import to_line, to_record
from weakspot.types import Prediction
from weakspot.utils.files import jsonable, shown
from weakspot.watch.delivery import Delivery
from weakspot.watch.journal import Entry, Journal
from weakspot.watch.pictures import Picture, Source, read
from weakspot.watch.results import Results, line_bytes, overlay_jpeg
from weakspot.watch.telemetry import Telemetry
from weakspot.watch.verdicts import DEFECTIVE, UNREADABLE, verdict_of

log = logging.getLogger(__name__)

QUEUE = 16
"""Pictures that wait for the model at most; then the source waits."""

TICK = 0.1
"""Seconds after which the line looks round when nothing happens."""


@dataclass(frozen=True)
class Answered:
    """A picture with its prediction.

    Attributes:
        loaded: what was predicted, with the picture shrunk for an overlay.
        digest: what its content is known by.
        prediction: None for content that was answered before under the same name.
        overlay: JPEG file of an alarm; None for others.
    """

    picture: Picture
    loaded: Loaded
    digest: str
    prediction: Prediction | None
    overlay: bytes | None


class Line:
    """Answers the pictures of a source, each once.

    At most :data:`QUEUE` pictures wait and a few more are being answered; while they do, the source waits: files stay
    in their folder, a video is not read on, a camera drops frames (``newest``) or its driver does (``all``).

    Args:
        localizer: the model.
        source: of the pictures.
        journal: of the verdicts.
        results: files for people.
        deliveries: to the sinks.
        telemetry: is told what happens.
        overlays: whether overlays of alarms are kept.
        observers: see every prediction, in order; their alarms are logged.
    """

    def __init__(
        self,
        localizer: Localizer,
        source: Source,
        journal: Journal,
        results: Results,
        deliveries: Sequence[Delivery] = (),
        *,
        telemetry: Telemetry | None = None,
        overlays: bool = True,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._localizer, self._source, self._journal, self._results = localizer, source, journal, results
        self._deliveries, self._telemetry, self._observers = deliveries, telemetry, observers
        self._overlays = overlays
        self._batcher = Batcher(localizer)
        self._queue: queue.Queue[Picture | None] = queue.Queue(QUEUE)
        self.at_once = self._batcher.streams + 1
        self.beat = time.monotonic()
        self.failed: BaseException | None = None
        self._over = threading.Event()

    @property
    def waiting(self) -> int:
        """Pictures that are known of and not answered yet, about."""
        return self._source.waiting + self._queue.qsize() + self._batcher.waiting

    def run(self, stop: threading.Event) -> None:
        """Answer pictures until `stop` is set or the source ends; what has begun is finished.

        Args:
            stop: may be set by any thread or signal.

        Raises:
            WeakspotError: when the journal or the results cannot be written; after a restart it goes on.
        """
        feeder = threading.Thread(target=self._feed, args=(stop,), name="source", daemon=True)
        feeder.start()
        for delivery in self._deliveries:
            delivery.start()
        waiting: deque[Future[Answered]] = deque()
        ended = False
        try:
            with ThreadPoolExecutor(self.at_once, thread_name_prefix="picture") as pool:
                try:
                    while not (ended and not waiting):
                        self.beat = time.monotonic()
                        ended = self._fill(waiting, pool, stop, ended=ended)
                        self._enter(_finished(waiting))
                finally:
                    stop.set()
                    self._over.set()
                    for future in waiting:
                        future.cancel()
        finally:
            self._batcher.close()
            feeder.join(timeout=5)
        if self.failed is not None:
            raise self.failed

    def _feed(self, stop: threading.Event) -> None:
        """In a thread of its own: from the source to the queue."""
        try:
            for picture in self._source.pictures(stop):
                while not stop.is_set() or not self._source.repeats:
                    try:
                        self._queue.put(picture, timeout=TICK)
                        break
                    except queue.Full:
                        if stop.is_set():
                            break
        except BaseException as error:  # told by the thread that runs the line
            self.failed = error
        finally:
            self._queue_end()

    def _queue_end(self) -> None:
        while not self._over.is_set():
            try:
                self._queue.put(None, timeout=TICK)
                return
            except queue.Full:
                continue

    def _fill(
        self, waiting: deque[Future[Answered]], pool: ThreadPoolExecutor, stop: threading.Event, *, ended: bool
    ) -> bool:
        """Begin pictures while there is room; wait a moment where there is nothing to do. Whether the source ended."""
        while len(waiting) < 2 * self.at_once and not ended:
            try:
                picture = self._queue.get(timeout=TICK) if not waiting else self._queue.get_nowait()
            except queue.Empty:
                break
            if picture is None:
                ended = True
            elif not (stop.is_set() and self._source.repeats):  # else it comes again after the next start
                waiting.append(pool.submit(self._answer, picture))
        if waiting:
            with suppress(TimeoutError):
                waiting[0].exception(timeout=0.005 if len(waiting) < 2 * self.at_once and not ended else TICK)
        return ended

    def _answer(self, picture: Picture) -> Answered:
        """In one of several threads: from a file to a prediction and the overlay of an alarm."""
        loaded, digest = read(picture, self._localizer)
        if picture.image is None and self._journal.knows(picture.name, digest):
            return Answered(picture, loaded, digest, None, None)
        content = None
        try:
            prediction = self._batcher.submit(loaded).result()
            if self._overlays and loaded.image is not None and verdict_of(prediction) == DEFECTIVE:
                content = overlay_jpeg(loaded.image, prediction)
        except Exception as error:  # what the model fails on; the line goes on
            why = f"{shown(loaded.name)}: not predicted ({' '.join(str(error).split())})"
            prediction = Prediction(loaded.name, status="error", message=why)
        return Answered(picture, loaded, digest, prediction, content)

    def _enter(self, found: Sequence[Answered]) -> None:
        """Put verdicts into the journal, then into files, and say that there are more."""
        if not found:
            return
        now, number, entries, ends = time.time(), self._journal.last, list[Entry](), dict[str, int]()
        day = datetime.fromtimestamp(now).strftime("%Y-%m-%d")
        for one in found:
            if one.prediction is None:
                continue
            number += 1
            line = to_line(jsonable(to_record(one.prediction)))
            end = ends.get(day, self._results.end(day)) + len(line_bytes(line))
            ends[day] = end
            entries.append(
                Entry(
                    number, one.picture.name, one.digest, one.picture.stamp, verdict_of(one.prediction),
                    one.picture.seen, now, day, end, _storable(line),
                )
            )  # fmt: skip
            if one.overlay is not None:
                self._results.keep_overlay(number, day, one.picture.name, one.overlay)
        again = [(one.picture.name, one.picture.stamp) for one in found if one.prediction is None]
        self._journal.add(entries, again)
        self._results.write(entries)
        for one in found:
            self._source.taken(one.picture)
            self._note(one, now)
        for delivery in self._deliveries:
            delivery.ring()

    def _note(self, one: Answered, now: float) -> None:
        """Say what happened: to the log, to whoever counts, and to the observers."""
        prediction = one.prediction
        if prediction is None:
            return
        verdict = verdict_of(prediction)
        fields = {"picture": one.picture.name, "verdict": verdict, "seconds": round(now - one.picture.seen, 4)}
        if verdict == UNREADABLE:
            log.error("%s", prediction.message, extra={"fields": fields})
        else:
            log.debug("%s: %s", one.picture.name, verdict, extra={"fields": fields})
        if self._telemetry is not None:
            self._telemetry.note(prediction, now - one.picture.seen)
        show_to(self._observers, prediction, one.loaded, log)


def _finished(waiting: deque[Future[Answered]]) -> list[Answered]:
    """Take what is done from the front, so that the order stays."""
    found = []
    while waiting and waiting[0].done():
        found.append(waiting.popleft().result())
    return found


def _storable(line: str) -> str:
    """The line without lone surrogates, as it is written to the file."""
    return line.encode("utf-8", "backslashreplace").decode()


def there_in(folder: Path) -> Callable[[str], bool]:
    """Whether a picture of a name is still in a folder."""
    return lambda name: (folder / name).exists()
