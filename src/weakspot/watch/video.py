"""A video file, a camera or a stream as a source of pictures, through OpenCV."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from weakspot.errors import WeakspotError
from weakspot.types import ImageArray
from weakspot.watch.address import is_stream, without_password
from weakspot.watch.journal import Journal
from weakspot.watch.pictures import Picture

log = logging.getLogger(__name__)

AGAIN = 2.0
"""Seconds after which a camera or stream that is gone is tried again."""

FRAMES = ("all", "newest")


class VideoSource:
    """Frames of a video file, of a camera (by its number) or of a stream (by its address, such as ``rtsp://…``).

    With ``all`` no frame is lost as long as whoever sends them waits: a file does; a camera or stream that is read too
    slowly drops frames itself. With ``newest`` they are read as they come, and what was not asked for before the next
    one is dropped and counted. A file goes on after the last frame that has a verdict, and ends; cameras and streams
    are opened again when they end, and what they showed meanwhile is gone.

    Args:
        source: file, number or address.
        journal: knows which frames of a file were answered.
        stride: take every so-many-th frame.
        frames: ``all`` or ``newest``.

    Raises:
        WeakspotError: when a file cannot be opened as a video.
    """

    def __init__(self, source: str, journal: Journal, stride: int = 1, frames: str = "all") -> None:
        self.live = is_stream(source)
        self._source, self._stride, self._newest = source, stride, frames == "newest"
        self.repeats = not self.live
        self.dropped, self.reachable, self._first = 0, True, 0
        self._shown = Path(without_password(source)) if self.live else Path(source)
        if self.live:
            name = f"camera-{source}" if source.isdigit() else without_password(source).rsplit("/", 1)[-1] or "stream"
            now = time.time_ns() // 10**6
            self._prefix = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{now % 1000:03d}-"
        else:
            status = Path(source).stat()
            self._prefix = f"{Path(source).name}-{status.st_size}-{status.st_mtime_ns}-"
            last = journal.last_name(self._prefix)
            self._first = 0 if last is None else int(last.rsplit("-", 1)[1]) + 1
            capture = self._opened()
            opened = capture.isOpened()
            capture.release()
            if not opened:
                raise WeakspotError(
                    f"{source} cannot be opened as a video; give a folder, a video, a camera or an address"
                )
        self._slot: tuple[int, float, ImageArray] | None = None
        self._change = threading.Condition()
        self._ended = False
        self._failed: BaseException | None = None

    @property
    def waiting(self) -> int:
        """One where a frame is there and not given out yet."""
        return int(self._slot is not None)

    def taken(self, picture: Picture) -> None:
        """Say that a frame's verdict is in the journal: nothing to do."""

    def pictures(self, stop: threading.Event) -> Iterator[Picture]:
        """Frames in order."""
        if not self._newest:
            yield from map(self._picture, self._frames(stop))
            return
        grabbing = threading.Thread(target=self._grab, args=(stop,), name="grab", daemon=True)
        grabbing.start()
        while not stop.is_set():
            with self._change:
                self._change.wait_for(lambda: self._slot is not None or self._ended, timeout=0.2)
                frame, self._slot = self._slot, None
                ended = self._ended and frame is None
            if frame is not None:
                yield self._picture(frame)
            elif ended:
                break
        grabbing.join(timeout=5)
        if self._failed is not None:
            raise self._failed

    def _picture(self, frame: tuple[int, float, ImageArray]) -> Picture:
        number, seen, image = frame
        name = f"{self._prefix}{number:09d}"
        shown = f"{self._shown.stem if not self.live else self._prefix.rstrip('-')}-{number:09d}"
        return Picture(name, self._shown.with_name(shown) if not self.live else Path(shown), seen, image=image)

    def _grab(self, stop: threading.Event) -> None:
        try:
            for frame in self._frames(stop):
                with self._change:
                    self.dropped += self._slot is not None
                    self._slot = frame
                    self._change.notify()
        except BaseException as error:  # told by the thread that takes the frames
            self._failed = error
        finally:
            with self._change:
                self._ended = True
                self._change.notify()

    def _frames(self, stop: threading.Event) -> Iterator[tuple[int, float, ImageArray]]:
        number = 0
        while not stop.is_set():
            capture = self._opened()
            try:
                self._tell(reachable=capture.isOpened())
                while not stop.is_set() and capture.grab():
                    if number >= self._first and number % self._stride == 0:
                        fine, frame = capture.retrieve()
                        if fine:
                            yield number, time.time(), _rgb(frame)
                    number += 1
            finally:
                capture.release()
            if not self.live:
                return
            self._tell(reachable=False)
            stop.wait(AGAIN)

    def _tell(self, *, reachable: bool) -> None:
        if reachable != self.reachable:
            log.warning("%s is %s", self._shown, "there again" if reachable else "gone; trying again")
        self.reachable = reachable

    def _opened(self) -> Any:  # noqa: ANN401 - of OpenCV
        return cv2.VideoCapture(int(self._source) if self._source.isdigit() else self._source)


def _rgb(frame: Any) -> ImageArray:  # noqa: ANN401 - of OpenCV
    if frame.ndim == 2 or frame.shape[2] == 1:
        return np.repeat(frame.reshape(*frame.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(frame[:, :, 2::-1])
