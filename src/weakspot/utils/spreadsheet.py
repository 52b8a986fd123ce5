"""Text in CSV files that a spreadsheet will not take for a formula, and that programs still read.

A cell is a formula to a spreadsheet when it starts with one of ``= + - @``, a tab or a line break
(https://owasp.org/www-community/attacks/CSV_Injection). Names of files, folders and classes are not ours.
"""

from __future__ import annotations

import re
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")


def inert(value: Any) -> Any:  # noqa: ANN401 - a cell
    """A text with an apostrophe in front where it could be a formula; numbers stay numbers.

    So do texts that are one already behind apostrophes, so that :func:`exact` is the inverse for any text.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def exact(cell: str) -> str:
    """The text that :func:`inert` made a cell from."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def inert_path(path: str) -> str:
    """The path with ``./`` in front where it could be a formula: the same file to any program."""
    return f"./{path}" if _FORMULA.match(path) else path
