"""Names that matplotlib's font cannot draw are boxes in its figures, and no reason for a warning on the terminal."""

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
