"""The layouts of data sets by name; a reader enters itself here."""

from __future__ import annotations

from collections.abc import Callable

from weakspot.types import Sample

Reader = Callable[..., list[Sample]]

READERS: dict[str, Reader] = {}
"""The layouts by name."""


def reader(name: str) -> Callable[[Reader], Reader]:
    """Register a function as the reader of a layout.

    Args:
        name: of the layout, ``data=name``.
    """

    def register(function: Reader) -> Reader:
        READERS[name] = function
        return function

    return register
