"""The service's watch for changes of the world: every prediction is shown to it, and ``/health`` asks it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from weakspot.drift.monitor import Monitor
from weakspot.drift.state import load, save
from weakspot.inference.localizer import Localizer
from weakspot.types import Prediction

EVERY = 100
"""Pictures after which the state is written; so many are forgotten at most when the service is killed."""

log = logging.getLogger(__name__)


class Watch:
    """A monitor that several threads may use.

    Args:
        localizer: knows its training pictures.
        path: file of the state, read if it is there; None keeps none.

    Raises:
        WeakspotError: when the file is something else.
    """

    def __init__(self, localizer: Localizer, path: Path | None = None) -> None:
        self._path, self._lock, self._unsaved = path, threading.Lock(), 0
        kept = path is not None and path.is_file()
        self._monitor = load(path) if kept and path is not None else Monitor(localizer.meta.familiarity)

    def see(self, prediction: Prediction) -> None:
        """Show it one more prediction; a full disk does not stop the service."""
        with self._lock:
            alarm = self._monitor.feed(prediction)
            self._unsaved += 1
            if alarm is not None:
                log.warning("%s; look at: %s", alarm.words, ", ".join(alarm.look_at))
            if alarm is not None or self._unsaved >= EVERY:
                self._save()

    def status(self) -> dict[str, Any]:
        """As :meth:`~weakspot.drift.monitor.Monitor.status`."""
        with self._lock:
            return self._monitor.status()

    def close(self) -> None:
        """Write the state for the last time."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        self._unsaved = 0
        if self._path is None:
            return
        try:
            save(self._path, self._monitor)
        except OSError as error:
            log.error("the state of the watch for changes is not kept: %s", error)
