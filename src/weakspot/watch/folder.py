"""A folder that a camera fills, as a source of pictures: inotify through watchdog, or looking again and again.

The folder itself is the queue. However many files wait in it, a few thousand names are in memory at most; the others
are found by listing it again, oldest first.
"""

from __future__ import annotations

import heapq
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weakspot.data.images import is_image
from weakspot.errors import WeakspotError
from weakspot.utils.files import shown
from weakspot.watch.journal import Journal
from weakspot.watch.notices import on_network_drive, prompt_observer
from weakspot.watch.pictures import Picture

log = logging.getLogger(__name__)

MOST_NAMES = 5000
"""Names of files that are in memory at most, of those that were told and of those that were found each."""

SHARE = 20
"""Listing the folder takes one part in so many of the time, at most, while nothing is known to be new."""

OPEN = 30.0
"""Seconds after its last change for which a file that was not closed is not whole, whatever its size says."""


@dataclass(frozen=True)
class Pace:
    """How a folder is watched.

    Attributes:
        poll: seconds between two looks where changes are not told; None has them told where that works.
        settle: seconds for which a file that was found by looking keeps its size and time before it counts as whole.
        sweep: seconds between two looks although changes are told, for what was missed.
        once: end when every file that is there was given out.
    """

    poll: float | None = None
    settle: float = 1.0
    sweep: float = 30.0
    once: bool = False


class FolderSource:
    """Image files below a folder, each when it is whole.

    A file counts as whole when whoever wrote it closes it or renames it into the folder (inotify), and where changes
    are not told, as on network drives, when it has kept its size and time for a while. Hidden files, folders that are
    links and files without an image's extension are left out. Files with the same name and other content are other
    pictures where size or time differ too; one that only got another time is not.

    Args:
        folder: what to watch.
        journal: knows what was answered.
        pace: how to watch.

    Raises:
        WeakspotError: when there is no such folder.
    """

    repeats = True
    dropped = 0

    def __init__(self, folder: Path, journal: Journal, pace: Pace | None = None) -> None:
        if not folder.is_dir():
            raise WeakspotError(
                f"{shown(folder)} is no folder; give one that exists, a video file, a camera or an address"
            )
        self.folder, self._journal, self.pace = folder, journal, pace or Pace()
        self._told: deque[tuple[str, float]] = deque()
        self._events: deque[tuple[str, str, float]] = deque()
        self._ready: deque[tuple[str, float]] = deque()
        self._unsettled: dict[str, tuple[tuple[int, int], float]] = {}
        self._held: set[str] = set()
        self._open: dict[str, float] = {}
        self._under_way: set[str] = set()
        self._again: set[str] = set()
        self._lock, self._bell = threading.Lock(), threading.Event()
        self._observer: Any = None
        self._more, self._next_look = True, 0.0
        self.reachable = True
        self.polling = self.pace.poll is not None or on_network_drive(folder)
        self._rest = (self.pace.poll or 1.0) if self.polling else self.pace.sweep

    @property
    def waiting(self) -> int:
        """Files known of and not given out yet; where there are very many, more lie in the folder."""
        return len(self._events) + len(self._told) + len(self._ready) + len(self._unsettled)

    def pictures(self, stop: threading.Event) -> Iterator[Picture]:
        """Files in the order in which they became whole; those that are there already by their time, oldest first."""
        self._listen()
        try:
            while not stop.is_set():
                picture = self._next()
                if picture is not None:
                    yield picture
                elif self.pace.once and self._idle():
                    return
                else:
                    self._bell.wait(0.05)
                    self._bell.clear()
        finally:
            self._deafen()

    def taken(self, picture: Picture) -> None:
        """Say that a picture's verdict is in the journal."""
        with self._lock:
            self._under_way.discard(picture.name)
            again = picture.name in self._again
            self._again.discard(picture.name)
        if again:
            self._told.append((picture.name, time.time()))

    def _idle(self) -> bool:
        with self._lock:
            return not (self._more or self.waiting or self._under_way or self._again)

    def _next(self) -> Picture | None:
        now = time.monotonic()
        self._take_in(now)
        self._settle(now)
        if not self._ready and not self._held and (self._more or now >= self._next_look):
            self._look(now)
        for queue in (self._ready, self._told):
            while queue:
                name, seen = queue.popleft()
                picture = self._checked(name, seen)
                if picture is not None:
                    return picture
            if self._held:
                break  # what lay there before comes before what is told now
        return None

    def _checked(self, name: str, seen: float) -> Picture | None:
        """The picture of a name, unless it was answered, is being answered, or is gone."""
        stamp = self._stamp(name)
        if stamp is None:
            return None
        with self._lock:
            if name in self._under_way:  # perhaps written again: compared when the first has its verdict
                self._again.add(name)
                return None
            if self._journal.stamp_of(name) == stamp:
                return None
            self._under_way.add(name)
        return Picture(name, self.folder / name, seen, stamp)

    def _take_in(self, now: float) -> None:
        """Go through what watchdog has told, in order."""
        while self._events:
            kind, name, seen = self._events.popleft()
            if kind == "created":  # perhaps linked or moved here from elsewhere: then nobody will close it
                self._note(name, now)
            elif kind == "modified":
                if len(self._open) >= MOST_NAMES:
                    self._open = {one: since for one, since in self._open.items() if now - since <= OPEN}
                if len(self._open) < MOST_NAMES:
                    self._open[name] = now
            else:
                self._open.pop(name, None)
                self._unsettled.pop(name, None)
                self._held.discard(name)
                if len(self._told) < MOST_NAMES:
                    self._told.append((name, seen))
                else:
                    self._more = True

    def _being_written(self, name: str) -> bool:
        """Whether a file was changed a moment ago and not closed since; a change may also be one of its time alone."""
        since = self._open.get(name)
        if since is not None and time.monotonic() - since > OPEN:
            del self._open[name]
            return False
        return since is not None

    def _note(self, name: str, now: float) -> None:
        stamp = self._stamp(name)
        if stamp is not None and len(self._unsettled) < MOST_NAMES:
            self._unsettled.setdefault(name, (stamp, now))
        elif stamp is not None:
            self._more = True

    def _settle(self, now: float) -> None:
        """Move files that have not changed for a while to those that are ready."""
        due = [name for name, (_, since) in self._unsettled.items() if now - since >= self.pace.settle]
        for name in due:
            before, _ = self._unsettled.pop(name)
            self._held.discard(name)
            stamp = self._stamp(name)
            if stamp == before and not self._being_written(name):
                self._ready.append((name, time.time()))
            elif stamp is not None:
                self._unsettled[name] = (stamp, now)

    def _look(self, now: float) -> None:
        """List the folder for files that have no verdict, oldest first."""
        try:
            found = heapq.nsmallest(MOST_NAMES, self._unanswered())
        except OSError as error:
            if self.reachable:
                log.warning("%s cannot be listed (%s); trying again", shown(self.folder), error.strerror)
            self.reachable, self._next_look, self._more = False, now + 1.0, False
            return
        if not self.reachable:
            log.warning("%s is there again", shown(self.folder))
            self._deafen()
            self._listen()
            self.reachable = True
        took = time.monotonic() - now
        if self._more:  # the first look, or not all were told
            self._held.update(name for _, name, _ in found)
        self._more = len(found) == MOST_NAMES
        self._next_look = now + took + max(self._rest, SHARE * took)
        for changed, name, size in found:
            self._unsettled.setdefault(name, ((changed, size), now))

    def _unanswered(self) -> Iterator[tuple[int, str, int]]:
        folders = [""]
        while folders:
            below = folders.pop()
            try:
                entries = os.scandir(self.folder / below)
            except FileNotFoundError:
                if not below:
                    raise
                continue  # a folder that went meanwhile
            with entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{name}/")
                    elif is_image(Path(name)):
                        stamp = self._stamp(name)
                        if stamp and name not in self._under_way and self._journal.stamp_of(name) != stamp:
                            yield stamp[0], name, stamp[1]

    def _stamp(self, name: str) -> tuple[int, int] | None:
        try:
            status = (self.folder / name).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _listen(self) -> None:
        if self.polling:
            return
        try:
            from watchdog.events import FileSystemEvent, FileSystemEventHandler
        except ImportError:
            log.warning("watchdog is not installed (pip install 'weakspot[watch]'): looking every second instead")
            self.polling, self._rest = True, 1.0
            return
        source = self

        class Ears(FileSystemEventHandler):
            def on_closed(self, event: FileSystemEvent) -> None:
                source._hear("closed", event.src_path)

            def on_moved(self, event: FileSystemEvent) -> None:
                if event.dest_path:  # else it was moved out
                    source._hear("moved", event.dest_path)

            def on_created(self, event: FileSystemEvent) -> None:
                source._hear("created", event.src_path)

            def on_modified(self, event: FileSystemEvent) -> None:
                source._hear("modified", event.src_path)

        self._observer = prompt_observer()
        try:
            self._observer.schedule(Ears(), str(self.folder), recursive=True)
            self._observer.start()
        except OSError as error:  # no more watches
            log.warning("%s cannot be watched (%s): looking every second instead", shown(self.folder), error)
            self._observer, self.polling, self._rest = None, True, 1.0

    def _hear(self, kind: str, path: str | bytes) -> None:
        """In watchdog's thread: note an event, or that there were more than can be noted."""
        name = os.path.relpath(os.fsdecode(path), self.folder)
        if any(part.startswith(".") for part in Path(name).parts) or not is_image(Path(name)):
            return
        if len(self._events) < MOST_NAMES:
            self._events.append((kind, name, time.time()))
            if kind != "modified":
                self._bell.set()
        else:
            self._more = True

    def _deafen(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None
        self._open.clear()
