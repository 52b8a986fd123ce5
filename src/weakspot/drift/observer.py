"""A monitor for a service or a watcher: shown every prediction by several threads, kept across restarts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weakspot.data.loading import Loaded
from weakspot.drift.monitor import Monitor
from weakspot.drift.state import load, save
from weakspot.postprocess.familiarity import Familiarity
from weakspot.types import Prediction

EVERY = 100
"""Pictures after which the state is written; so many are forgotten at most when the program is killed."""

log = logging.getLogger(__name__)


class DriftObserver:
    """Watches for changes of the world; an :class:`~weakspot.inference.observer.Observer`.

    Args:
        familiarity: what the model knows of its training pictures; None leaves the comparison with them out. Where it
            is too little to call any picture unlike training, the log says so.
        path: file of the state, read if it is there; None keeps none. The state of another model is not gone on from.

    Raises:
        WeakspotError: when the file is something else.
    """

    def __init__(self, familiarity: Familiarity | None, path: Path | None = None) -> None:
        self._path, self._lock, self._unsaved = path, threading.Lock(), 0
        self._monitor = _monitor(familiarity, path)
        if familiarity is not None and familiarity.level is None:
            log.warning("%s", familiarity.origin)

    def see(self, prediction: Prediction, loaded: Loaded | None = None) -> Sequence[Mapping[str, str]]:
        """See one more prediction; a full disk stops nothing.

        Args:
            prediction: the next of the stream.
            loaded: is not looked at.

        Returns:
            The alarm that it raises, if it does: what was ``seen``, ``why`` it matters and what to ``do``.
        """
        with self._lock:
            alarm = self._monitor.feed(prediction)
            self._unsaved += 1
            if alarm is not None or self._unsaved >= EVERY:
                self._save()
        if alarm is None:
            return []
        why = "what a model has learnt holds for pictures like those that it has learnt from"
        return [{"seen": alarm.words, "why": why, "do": f"Look at: {', '.join(alarm.look_at)}"}]

    def gauges(self) -> Mapping[str, float]:
        """Numbers for ``/metrics``: pictures watched, alarms raised."""
        with self._lock:
            return {"drift_pictures": float(self._monitor.pictures), "drift_alarms": float(len(self._monitor.alarms))}

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


def _monitor(familiarity: Familiarity | None, path: Path | None) -> Monitor:
    """The monitor that was kept, or a new one where none was or where it watched another model."""
    new = Monitor(familiarity)
    if path is None or not path.is_file():
        return new
    kept = load(path)
    if kept.model not in ("", new.model):
        log.warning("%s was kept while another model answered; the watch for changes starts anew", path)
        return new
    kept.model = new.model
    return kept
