"""Telling sinks: a thread each, from the journal, in order, again and again while the counterpart is away."""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from pathlib import Path

from weakspot.watch.journal import Journal
from weakspot.watch.verdicts import Sink, SinkRefusedError, Verdict, told_as

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Verdicts that are told before the journal notes it; after a kill these may be told again."""

SHORTEST, LONGEST = 0.25, 30.0
"""Seconds between two tries while a counterpart is away: doubled from the first to the second."""

BEAT = 1.0


class Delivery:
    """Tells one sink everything from the journal; the line never waits for it.

    Args:
        sink: whom to tell.
        journal: what to tell.
        folder: for ``dead-letters-SINK.jsonl``, the verdicts that the counterpart refused.

    Attributes:
        away: whether the last try failed.
        failures: tries that failed.
        refused: verdicts that the counterpart refused.
    """

    def __init__(self, sink: Sink, journal: Journal, folder: Path) -> None:
        self.sink, self._journal = sink, journal
        plain = re.sub(r"[^A-Za-z0-9]+", "-", sink.name).strip("-")[:80]
        self._dead_letters = folder / f"dead-letters-{plain}.jsonl"
        self._told = journal.told(sink.name)
        self.away, self.failures, self.refused = False, 0, 0
        self._bell, self._stop = threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._thread = threading.Thread(target=self._work, name=sink.name, daemon=True)

    @property
    def backlog(self) -> int:
        """Verdicts that the sink was not told yet."""
        return self._journal.last - self._told

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def ring(self) -> None:
        """Say that there is more in the journal."""
        self._bell.set()

    def stop(self, patience: float) -> None:
        """Tell what is left, for some seconds at most, and end; the rest is told after the next start.

        Args:
            patience: seconds.
        """
        self._deadline = time.monotonic() + patience
        self._stop.set()
        self._bell.set()

    def join(self) -> None:
        """Wait for the end that :meth:`stop` has begun."""
        self._thread.join(max(0.0, self._deadline - time.monotonic()) + LONGEST)

    def _work(self) -> None:
        pause, beaten = SHORTEST, 0.0
        while True:
            self._bell.clear()
            fine = self._told_some()
            pause = SHORTEST if fine else min(LONGEST, 2 * pause)
            ending = self._stop.is_set()
            if ending and (self.backlog == 0 or time.monotonic() >= self._deadline):
                break
            now = time.monotonic()
            if fine and now - beaten >= BEAT:
                beaten = now
                self._beat()
            if not fine:
                wait = pause * random.uniform(0.5, 1)  # noqa: S311 - so that not all come back at once
                if ending:
                    time.sleep(min(wait, SHORTEST))
                else:
                    self._stop.wait(wait)
            elif self.backlog == 0:
                self._bell.wait(BEAT)
        try:
            self.sink.close()
        except Exception as error:  # whatever its library raises, it is over
            log.warning("%s: %s", self.sink.name, error)

    def _told_some(self) -> bool:
        """As :meth:`_tell_some`; a full disk or a locked journal counts as a counterpart that is away."""
        try:
            return self._tell_some()
        except Exception as error:  # the thread goes on: it is tried again
            self._note_away(str(error) or type(error).__name__)
            return False

    def _tell_some(self) -> bool:
        """Tell what is next; whether the counterpart was there."""
        entries = self._journal.after(self._told, AT_ONCE)
        told, refused, fine = self._told, 0, True
        for entry in entries:
            if time.monotonic() >= self._deadline:
                break
            verdict = told_as(entry)
            try:
                self.sink.tell(verdict)
            except SinkRefusedError as error:
                self._bury(verdict, str(error))
                refused += 1
            except Exception as error:  # SinkAwayError, or what its library raises besides
                fine = False
                self._note_away(str(error) or type(error).__name__)
                break
            told = entry.id
        if told != self._told:
            self._journal.tell(self.sink.name, told, refused)
            self._told, self.refused = told, self.refused + refused
            if fine:
                self._note_there()
        return fine

    def _note_there(self) -> None:
        if self.away:
            log.warning("%s is there again", self.sink.name)
        self.away = False

    def _note_away(self, why: str) -> None:
        self.failures += 1
        if not self.away:
            log.warning("%s is away (%s); verdicts wait in the journal", self.sink.name, why)
        self.away = True

    def _bury(self, verdict: Verdict, why: str) -> None:
        log.error("%s refused verdict %d (%s); it is in %s", self.sink.name, verdict.id, why, self._dead_letters)
        with self._dead_letters.open("ab") as file:
            file.write(verdict.to_json() + b"\n")

    def _beat(self) -> None:
        try:
            self.sink.beat()
        except Exception as error:  # as in _tell_some
            self._note_away(str(error) or type(error).__name__)
        else:
            self._note_there()
