"""A file that says good or bad, as a sink: the simplest bridge to a PLC or an older program."""

from __future__ import annotations

from pathlib import Path

from weakspot.types import GOOD
from weakspot.utils.files import atomic_path
from weakspot.watch.verdicts import DEFECTIVE, SinkAwayError, Verdict

WORDS = {GOOD: "good", DEFECTIVE: "bad"}
"""Anything else is ``unreadable``."""


class Flag:
    """Writes the last verdict as ``good 17``, ``bad 18`` or ``unreadable 19`` and a line end, by renaming.

    The third word ``unlike`` says that the picture is unlike those of training: do not believe its class.

    Whoever opens the file reads one verdict whole. The number is the verdict's id: who looks too seldom sees by it
    how many went by, and who looks twice at the same one.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = f"flag {path.absolute()}", path

    def tell(self, verdict: Verdict) -> None:
        """Write it.

        Raises:
            SinkAwayError: when it cannot be written, for instance on a drive that is away.
        """
        word, unlike = WORDS.get(verdict.verdict, "unreadable"), verdict.record.get("unlike_training")
        try:
            with atomic_path(self._path) as temporary:
                temporary.write_text(f"{word} {verdict.id}{' unlike' if unlike else ''}\n", encoding="ascii")
        except OSError as error:
            raise SinkAwayError(error.strerror or str(error)) from error

    def beat(self) -> None:
        """Nothing: the file stands for the last picture."""

    def close(self) -> None:
        """Nothing: the file stays."""
