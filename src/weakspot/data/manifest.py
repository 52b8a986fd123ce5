"""A table of images and labels, as CSV or JSON lines.

Columns: ``path`` and ``label``; and, where wanted, ``subset`` (train, val, test; ``split`` and ``part`` mean the same),
``group`` (images of one group stay in one subset) and ``mask``. Relative paths start from the folder of the table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weakspot.data.csv_tables import csv_rows, text_of
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import SUBSETS, Subset
from weakspot.utils.files import shown
from weakspot.utils.untrusted import parse_json

COLUMNS = ("path", "label", "subset", "group", "mask")

OLD_COLUMNS = ("part", "split")
"""Other names of ``subset``, which tables from elsewhere and from before version 0.2 use."""

_SUBSETS: dict[str, Subset] = {subset: subset for subset in SUBSETS}


@dataclass(frozen=True)
class Row:
    """One image of a table.

    Attributes:
        path, mask: existing files, with ``..`` taken out; the mask is None where the table names none.
        label: as the table writes it.
        subset, group: None where the table gives none.
        where: file and line, for messages.
    """

    path: Path
    label: str
    subset: Subset | None
    group: str | None
    mask: Path | None
    where: str


def read_rows(table: Path, root: Path, *, outside: bool = False) -> list[Row]:
    """Read a table of images.

    Args:
        table: the file, in UTF-8 or UTF-16 with its mark; ``.jsonl`` holds an object on each line, anything else is CSV
            with commas, semicolons or tabs.
        root: files must lie in this folder. Links in it are not resolved: they are the user's own.
        outside: allow other files as well.

    Raises:
        WeakspotError: for a file in another encoding; and naming file and line, for an unknown column, an image named
            twice, a file that is missing or outside `root`, an unknown subset, or a subset that only some images have.
    """
    rows: list[Row] = []
    lines: dict[Path, int] = {}
    for number, values in _records(table):
        where = f"{shown(table)} line {number}"
        _check_columns(values, where)
        row = _row(values, where, table.parent, None if outside else root)
        if (first := lines.setdefault(row.path, number)) != number:
            raise WeakspotError(f"{where}: {shown(row.path)} stands on line {first} already; remove one of the lines")
        rows.append(row)
    if not rows:
        raise WeakspotError(f"{shown(table)} names no image; give a line for each, with path and label")
    without = [row for row in rows if row.subset is None]
    if without and len(without) < len(rows):
        raise WeakspotError(f"{without[0].where} has no subset while others have one; give every image one, or none")
    return rows


def _records(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines of a table, each with its number from 1; the header of a CSV is line 1."""
    try:
        data = table.read_bytes()
    except OSError as error:
        raise WeakspotError(
            f"{shown(table)}: {error.strerror}; data.options.file names the table, relative to data.root"
        ) from error
    text = text_of(data, table)
    if table.suffix.lower() != ".jsonl":
        yield from csv_rows(text, table)
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield number, _json_object(line, f"{shown(table)} line {number}")


def _json_object(line: str, where: str) -> dict[str, Any]:
    try:
        values = parse_json(line)
    except ValueError as error:
        raise WeakspotError(f"{where}: not JSON ({error}); mend the line") from error
    if not isinstance(values, dict):
        raise WeakspotError(f'{where}: not an object such as {{"path": "a.png", "label": "good"}}; mend the line')
    return values


def _check_columns(values: dict[Any, Any], where: str) -> None:
    for name in values:
        if name is None:
            raise WeakspotError(f"{where}: more cells than columns; quote cells that hold the separator")
        if name not in (*COLUMNS, *OLD_COLUMNS):
            raise WeakspotError(
                f"{where}: column {name!r} is unknown{did_you_mean(name, COLUMNS)}; there are {', '.join(COLUMNS)}"
            )
    same = [name for name in ("subset", *OLD_COLUMNS) if name in values]
    if len(same) > 1:
        raise WeakspotError(f"{where}: {' and '.join(same)} are the same thing; leave one of the columns out")
    for name in ("path", "label"):
        if name not in values:
            raise WeakspotError(f"{where}: there is no {name}; every image needs path and label")


def _row(values: dict[str, Any], where: str, folder: Path, root: Path | None) -> Row:
    texts = {name: _text(value, f"{where}: {name}") for name, value in values.items()}
    for name in ("path", "label"):
        if not texts[name]:
            raise WeakspotError(f"{where}: {name} is empty; every image needs path and label")
    subset = texts.get("subset") or texts.get("part") or texts.get("split")
    if subset and subset not in _SUBSETS:
        raise WeakspotError(
            f"{where}: subset {subset!r} is unknown{did_you_mean(subset, _SUBSETS)}; use {', '.join(_SUBSETS)}"
        )
    mask = texts.get("mask")
    return Row(
        path=_file(texts["path"], folder, root, where),
        label=texts["label"],
        subset=_SUBSETS[subset] if subset else None,
        group=texts.get("group") or None,
        mask=_file(mask, folder, root, where) if mask else None,
        where=where,
    )


def _text(value: object, what: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip()
    raise WeakspotError(f"{what} is {json.dumps(value)}, which is no text; mend the line")


def _file(name: str, folder: Path, root: Path | None, where: str) -> Path:
    """The file that a cell names, inside `root` where one is given."""
    path = Path(os.path.normpath(folder / name))
    whole, base = (os.path.normpath(each.absolute()) for each in (folder / name, root or folder))
    if root is not None and not Path(whole).is_relative_to(base):
        raise WeakspotError(
            f"{where}: {shown(Path(name))} lies outside {shown(root)}; data.options.outside=true allows that"
        )
    if not path.is_file():
        raise WeakspotError(f"{where}: {shown(path)} does not exist; mend the line")
    return path
