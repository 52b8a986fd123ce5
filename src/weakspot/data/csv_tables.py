"""CSV files as spreadsheets save them: UTF-8 or UTF-16, and commas, semicolons or tabs between the cells."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weakspot.errors import WeakspotError
from weakspot.utils.files import shown

_SEPARATORS = ",;\t"
_HEADER_BYTES = 2000
"""A file whose first line is longer is not taken for a table of pictures."""


def text_of(data: bytes, path: Path, errors: str = "strict") -> str:
    """Decode a text file: UTF-16 where it begins with the mark of that, else UTF-8 with a mark or without.

    Args:
        data: the content of the file.
        path: of the file, for the message.
        errors: what becomes of bytes that are no such text, as in :meth:`bytes.decode`.

    Raises:
        WeakspotError: for such bytes, where `errors` is ``strict``.
    """
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise WeakspotError(f"{shown(path)} is not UTF-8; save it as UTF-8 (in a spreadsheet: CSV UTF-8)") from error


def csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[Any, Any]]]:
    """The rows of a CSV with a header, each with the number of its line; the header is line 1.

    Args:
        text: of the file. The separator is the one that its header has most of.
        path: of the file, for messages.

    Returns:
        Cells by the names in the header, these without blanks around them; None is the name of cells beyond the header
        and the value of cells that a short row lacks.

    Raises:
        WeakspotError: for a line that is not CSV.
    """
    lines = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_separator(text))
    names: list[str] | None = None
    try:
        for cells in lines:
            if names is None:
                names = [cell.strip() for cell in cells]
            elif cells:
                row: dict[Any, Any] = dict(zip(names, [*cells, *[None] * len(names)], strict=False))
                yield lines.line_num, row | ({None: cells[len(names) :]} if len(cells) > len(names) else {})
    except csv.Error as error:
        raise WeakspotError(f"{shown(path)} line {lines.line_num}: not CSV ({error}); mend the line") from error


def header(path: Path) -> list[str]:
    """The names of a CSV's columns, without blanks around them; none where it cannot be read as one.

    Args:
        path: of the file; only its beginning is read.
    """
    try:
        with path.open("rb") as file:
            line = text_of(file.read(_HEADER_BYTES), path, "replace").partition("\n")[0]
        return [cell.strip() for cell in next(csv.reader([line], delimiter=_separator(line)), [])]
    except (OSError, csv.Error):
        return []


def _separator(text: str) -> str:
    return max(_SEPARATORS, key=text.partition("\n")[0].count)
