"""The one exception type that is meant for users."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class WeakspotError(Exception):
    """A problem the user can mend: a bad file, key, folder or setting.

    The message is one line that names the file or key and the way out. The command line prints it without a
    traceback (``--debug`` or ``HYDRA_FULL_ERROR=1`` shows the traceback) and exits with status 1.

    Examples:
        >>> from weakspot.config.rules import BoxRule
        >>> try:
        ...     BoxRule(method="componets")
        ... except WeakspotError as error:
        ...     print(error)
        boxes.method=componets is not a choice (did you mean 'components'?); choose from single, components
    """


def as_weakspot_error(error: BaseException) -> WeakspotError:
    """Turn an error into one line for people; that of an operating system's error names the file and what is wrong."""
    if isinstance(error, WeakspotError):
        return error
    if not isinstance(error, OSError):
        return WeakspotError(" ".join(f"{type(error).__name__}: {error}".split()))
    named = f": {error.filename}" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    way_out = "make room and start the same command again" if full else "choose another file or folder"
    return WeakspotError(f"{error.strerror or error}{named}" + (f"; {way_out}" if named or full else ""))


def did_you_mean(wrong: str, valid: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest valid name, or an empty string where none is near.

    Args:
        wrong: what the user wrote.
        valid: the names that would have been right; letter case does not matter.

    Returns:
        Text to put behind `wrong` in a message, with a space in front, or an empty string.
    """
    by_folded = {name.casefold(): name for name in valid}
    near = difflib.get_close_matches(wrong.casefold(), by_folded, n=1, cutoff=0.5)
    return f" (did you mean {by_folded[near[0]]!r}?)" if near else ""
