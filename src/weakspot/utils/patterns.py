"""What a regular expression of the user finds in a name: a label, or the group that a picture belongs to."""

from __future__ import annotations

import re


def found_text(expression: re.Pattern[str], name: str) -> str | None:
    """Search a name.

    Args:
        expression: from the user.
        name: a path or a file name.

    Returns:
        What its first pair of brackets matches, or the whole match where there are no brackets; None where it does not
        fit, or the brackets take no part in the match.

    Examples:
        >>> found_text(re.compile("part([0-9]+)_"), "part12_a.png"), found_text(re.compile("part"), "other.png")
        ('12', None)
    """
    match = expression.search(name)
    return None if match is None else match.group(1 if expression.groups else 0)
