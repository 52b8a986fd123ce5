"""Names that matplotlib's font cannot draw are boxes in its figures, and no reason for a warning or an error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def any_name() -> Iterator[None]:
    """Draw whatever characters a name has; the pages beside the figures show it as it is written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def drawable(name: str) -> str:
    """A name as a figure can show it; bytes that are not UTF-8, which matplotlib refuses, are written as digits.

    Args:
        name: of a file, a folder or a class.
    """
    return name.encode("utf-8", "backslashreplace").decode()
