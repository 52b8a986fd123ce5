"""``run.log``: what was done in a run folder, line by line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from weakspot.errors import WeakspotError


class _Log(logging.FileHandler):
    """A log that is left incomplete where there is no room for it: whatever matters more will say so."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Pass over what cannot be written."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close, whatever is still to be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write weakspot's log to `path` as well, while the block runs."""
    handler = _Log(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("weakspot")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except WeakspotError as error:
        logger.error("%s", error)
        raise
    except Exception:
        logger.exception("something else went wrong")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()
