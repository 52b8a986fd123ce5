"""The lines of a ``split.csv``: a run's own, one from elsewhere, or one that a spreadsheet saved again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from weakspot.data.csv_tables import csv_rows, text_of
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import SUBSETS, Subset
from weakspot.utils.files import shown

_NAMED: dict[str, Subset] = {subset: subset for subset in SUBSETS}

_COLUMNS = ("subset", "split", "part")
"""Names of the column; files from before version 0.2 call it ``part``."""


def split_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Read a split file, with commas, semicolons or tabs between its cells.

    Args:
        path: the file.

    Returns:
        Each row with the number of its line; the header is line 1.

    Raises:
        WeakspotError: when it cannot be read, or is no CSV.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeakspotError(
            f"{shown(path)}: cannot be read as a split ({error.strerror}); make the split anew"
        ) from error
    yield from csv_rows(text_of(data, path, "surrogateescape"), path)  # names of files need not be UTF-8


def subset_in(row: Mapping[str, str], where: str) -> Subset | None:
    """The subset that a row names, in any letter case; None where it names none.

    Args:
        row: from :func:`split_rows`.
        where: the file and the place in it, for the message.

    Raises:
        WeakspotError: for a subset that there is not.
    """
    value = next((row[name] for name in _COLUMNS if row.get(name)), "").strip()
    if value and value.casefold() not in _NAMED:
        raise WeakspotError(
            f"{where}: subset {value!r} is unknown{did_you_mean(value, _NAMED)}; use {', '.join(_NAMED)}"
        )
    return _NAMED.get(value.casefold())
