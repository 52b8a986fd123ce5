"""Texts as values of Hydra's command line, and back."""

from __future__ import annotations

import re
import shlex


def quoted(word: str) -> str:
    """A text, such as the name of a folder, as a value that Hydra takes as it is.

    Args:
        word: any text.
    """
    if re.fullmatch(r"[A-Za-z0-9_./-]+", word) and not re.fullmatch(r"(?i)null|true|false|[-0-9._e]+|nan|inf", word):
        return word
    # Hydra takes a backslash for one, but for those before a quotation mark.
    return '"' + re.sub(r'(\\*)("|$)', lambda m: 2 * m[1] + (m[2] and '\\"'), word) + '"'


def typed_setting(key: str, value: object) -> str:
    r"""A setting as it is typed in a shell, whatever its value holds.

    Args:
        key: of the setting.
        value: its text.

    Examples:
        >>> typed_setting("output", "runs (1)"), typed_setting("output", "runs/1")
        ('\'output="runs (1)"\'', 'output=runs/1')
    """
    return shlex.quote(f"{key}={quoted(str(value))}")


def unquoted(value: str) -> str:
    """The text that a value of a setting stands for, the inverse of :func:`quoted`.

    Args:
        value: behind the equals sign, with quotation marks or without.
    """
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "\"'":
        return value
    return re.sub(rf"(\\+)({value[0]}|$)", lambda m: m[1][: len(m[1]) // 2] + m[2], value[1:-1])
