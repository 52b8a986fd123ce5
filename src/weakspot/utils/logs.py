"""The log of a program that runs for months: lines for people, or a JSON object a line for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from weakspot.errors import WeakspotError

FORMATS = ("text", "json")


def check_format(form: str) -> None:
    """Refuse what is neither ``text`` nor ``json``.

    Raises:
        WeakspotError: naming the option.
    """
    if form not in FORMATS:
        raise WeakspotError(f"--log-format {form} is unknown; choose: {', '.join(FORMATS)}")


class JsonLines(logging.Formatter):
    """A JSON object a line: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=True, default=str)


class Lines(logging.Formatter):
    """Time, level and message, for people and for the journal of systemd."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")


@contextmanager
def logged_to_stderr(form: str, level: int = logging.INFO) -> Iterator[None]:
    """Send what weakspot logs to standard error while the block runs.

    Args:
        form: ``text`` or ``json``.
        level: the least level that is shown.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else Lines())
    logger = logging.getLogger("weakspot")
    before = logger.handlers, logger.level, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
