"""Writing files that appear whole or not at all, and naming them in messages."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The temporary file keeps the suffix, because many writers choose the format by it, lies in the same folder, because
    a rename is atomic only within one file system, and is hidden, so that nothing takes it for a result.

    Args:
        path: the file to write; missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The name itself is left out: with a long one the temporary name would exceed the file system's limit.
    temporary = path.parent / f".{uuid.uuid4().hex[:12]}{path.suffix}"
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:  # an interrupt (Ctrl-C) must not leave half a file either
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, errors: str = "strict") -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all, with line ends as they are.

    Args:
        path: the file to write.
        text: its content.
        errors: what to do with characters that UTF-8 cannot hold, as in :meth:`str.encode`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors))


def write_json(path: Path, data: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
    """Write `data` as JSON to `path`, whole or not at all; NaN and infinities become null, as JSON knows neither."""
    text = json.dumps(jsonable(data), ensure_ascii=False, indent=2, allow_nan=False)
    # A file name that is not valid UTF-8 holds lone surrogates; JSON writes them as Python does, `\udcXX`.
    write_text(path, text + "\n", errors="backslashreplace")


def jsonable(value: Any) -> Any:  # noqa: ANN401 - any nesting in, any nesting out
    """Return `value` with NumPy values, paths, tuples and non-finite numbers replaced by what JSON can hold."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def shown(path: Path | str) -> str:
    """Return the path, or the URL, as messages write it: on one line even where the name holds a line break."""
    text = str(path)
    return text if text.isprintable() else repr(text)
