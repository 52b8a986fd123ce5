"""What a watcher leaves for people: prediction files by day and overlays of alarms, within a limit of size."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from PIL import Image

from weakspot.report.overlays import captioned
from weakspot.types import ImageArray, Prediction
from weakspot.utils.files import atomic_path
from weakspot.watch.journal import Entry, Journal

log = logging.getLogger(__name__)

_OVERLAY = re.compile(r"(\d{9,})-.*\.jpg")
CHUNK = 1000
"""Lines that are read from the journal at a time."""


class Results:
    """Writes ``predictions-YYYY-MM-DD.jsonl`` and ``overlays/YYYY-MM-DD/NUMBER-NAME.jpg``.

    Opened after a kill, it makes the files agree with the journal: what is not in the journal is cut off, what is
    missing is written.

    Args:
        folder: of the results.
        journal: the truth.
        limit: bytes that prediction files and overlays may have together; the oldest are removed, but for the newest
            day's predictions. None for no limit.
        there: whether a picture of a name may come again, so that the journal must go on knowing it.
    """

    def __init__(
        self, folder: Path, journal: Journal, limit: int | None = None, there: Callable[[str], bool] = lambda name: True
    ) -> None:
        self.folder, self._journal, self._limit, self._there = folder, journal, limit, there
        self._file: IO[bytes] | None = None
        self._day = ""
        for day in journal.days()[-2:]:  # a group of verdicts may have begun on the day before
            self._repair(day)
        self._remove_overlays_without_verdict()
        self._bytes = sum(path.stat().st_size for path in [*folder.glob("predictions-*.jsonl"), *self._overlays()])

    def path(self, day: str) -> Path:
        """The prediction file of a day."""
        return self.folder / f"predictions-{day}.jsonl"

    def end(self, day: str) -> int:
        """The byte at which the file of a day ends when all that is in the journal is written."""
        last = self._journal.last_of_day(day)
        return 0 if last is None else last.end

    def keep_overlay(self, number: int, day: str, name: str, content: bytes) -> None:
        """Keep the overlay of an alarm; one that cannot be written is told of and stops nothing.

        Args:
            number: the verdict's id.
            day: ``YYYY-MM-DD``.
            name: of the picture.
            content: a JPEG file.
        """
        stem = Path(name).stem.encode("utf-8", "replace")[:180].decode("utf-8", "ignore")
        path = self.folder / "overlays" / day / f"{number:09d}-{stem}.jpg"
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
            self._bytes += len(content)
        except OSError as error:
            log.warning("%s cannot be written (%s)", path, error.strerror)

    def write(self, entries: Sequence[Entry]) -> None:
        """Write the lines of verdicts that are in the journal."""
        for entry in entries:
            if entry.day != self._day or self._file is None:
                self._open(entry.day)
            assert self._file is not None  # noqa: S101 - for mypy
            line = line_bytes(entry.line or "")
            self._file.write(line)
            self._bytes += len(line)
        if self._file is not None:
            self._file.flush()
        self.make_room()

    def make_room(self) -> None:
        """Remove the oldest overlays and prediction files until the rest is within the limit."""
        if self._limit is None or self._bytes <= self._limit:
            return
        for day in self._journal.days(removed=True):  # what a sink waited for then, and pictures that were there
            self._journal.forget(day, self._there)
        days = self._journal.days()
        overlays = sorted(self._overlays())
        oldest = sorted({*days[:-1], *(path.parent.name for path in overlays)})
        for day in oldest:
            for path in (one for one in overlays if one.parent.name == day):
                self._remove(path)
                if self._bytes <= self._limit * 0.95:  # not again at the next picture
                    return
            if day in days[:-1]:
                self._remove(self.path(day))
                self._journal.forget(day, self._there)
                if self._bytes <= self._limit * 0.95:
                    return

    def close(self) -> None:
        """Close the file of the day."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _remove(self, path: Path) -> None:
        try:
            size = path.stat().st_size
            path.unlink()
            self._bytes -= size
            if path.parent.parent.name == "overlays" and not any(path.parent.iterdir()):
                path.parent.rmdir()
        except OSError as error:
            log.warning("%s cannot be removed (%s)", path, error.strerror)

    def _overlays(self) -> list[Path]:
        return [path for path in (self.folder / "overlays").glob("*/*.jpg") if _OVERLAY.fullmatch(path.name)]

    def _open(self, day: str) -> None:
        self.close()
        self._file, self._day = self.path(day).open("ab"), day

    def _repair(self, day: str) -> None:
        path = self.path(day)
        size = path.stat().st_size if path.is_file() else 0
        last = self._journal.last_of_day(day, size)
        whole = 0 if last is None else last.end
        if size > whole:
            with path.open("r+b") as file:
                file.truncate(whole)
        with path.open("ab") as file:
            while entries := self._journal.of_day(day, whole, CHUNK):
                file.writelines(line_bytes(entry.line or "") for entry in entries)
                whole = entries[-1].end

    def _remove_overlays_without_verdict(self) -> None:
        for path in self._overlays():
            found = _OVERLAY.fullmatch(path.name)
            if found and int(found[1]) > self._journal.last:
                path.unlink(missing_ok=True)


def line_bytes(line: str) -> bytes:
    """A line as it stands in the file; names that are not valid UTF-8 are written as ``predict`` writes them."""
    return (line + "\n").encode("utf-8", "backslashreplace")


def overlay_jpeg(image: ImageArray, prediction: Prediction) -> bytes:
    """The overlay of a picture as a JPEG file, as ``predict`` writes it."""
    stream = io.BytesIO()
    Image.fromarray(captioned(image, prediction)).save(stream, format="JPEG", quality=90)
    return stream.getvalue()
