"""What sinks are told, and what a sink is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from weakspot.types import GOOD, Prediction
from weakspot.watch.journal import Entry

DEFECTIVE, UNREADABLE = "defective", "unreadable"
VERDICTS = (GOOD, DEFECTIVE, UNREADABLE)


class SinkAwayError(Exception):
    """The counterpart cannot be reached, or has no time: the same verdict is tried again later."""


class SinkRefusedError(Exception):
    """The counterpart will never take this verdict: it goes to the dead letters, and the next one is told."""


@dataclass(frozen=True)
class Verdict:
    """A verdict as sinks are told it.

    Attributes:
        id: 1, 2, 3 and so on, in the order of the pictures.
        key: 32 hexadecimal digits, the same for the same picture however often it is told.
        verdict: ``good``, ``defective`` or ``unreadable``.
        answered: when, in seconds since 1970.
        record: the line of ``predictions.jsonl``.
    """

    id: int
    key: str
    verdict: str
    answered: float
    record: dict[str, Any]

    def to_json(self) -> bytes:
        """The message: ``id``, ``key``, ``time`` (ISO 8601, UTC), ``verdict``, and all that the record has."""
        time = datetime.fromtimestamp(self.answered, UTC).isoformat(timespec="milliseconds")
        content = {"id": self.id, "key": self.key, "time": time, "verdict": self.verdict, **self.record}
        return json.dumps(content, ensure_ascii=True, allow_nan=False).encode()


class Sink(Protocol):
    """Is told verdicts one by one, in order, by a thread of its own; one file each in ``watch/sinks/``.

    Attributes:
        name: kind and address, without passwords; the journal keeps under it how far the sink was told.
    """

    name: str

    def tell(self, verdict: Verdict) -> None:
        """Return when the counterpart has it.

        Raises:
            SinkAwayError: when it could not be told for now.
            SinkRefusedError: when it will never take this one.
        """

    def beat(self) -> None:
        """Show that the watcher is alive, about once a second; nothing where the counterpart does not ask for it."""

    def close(self) -> None:
        """Say goodbye; called once, after the last :meth:`tell`."""


def verdict_of(prediction: Prediction) -> str:
    """``good``, ``defective`` or ``unreadable``."""
    if prediction.status != "ok":
        return UNREADABLE
    return GOOD if prediction.label == GOOD else DEFECTIVE


def told_as(entry: Entry) -> Verdict:
    """What sinks are told of an entry of the journal.

    Args:
        entry: whose line is still there.
    """
    return Verdict(entry.id, entry.key, entry.verdict, entry.answered, json.loads(entry.line or "{}"))
