"""Writing files and folders that appear whole or not at all, and naming them in messages."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

OUTPUTS = Path("outputs")
"""Folder, below the working folder, for whatever is not told where to go."""

_TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}(\.\w+)?")
_tidied: set[tuple[int, Path]] = set()


_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
"""What NumPy says when an array does not fit on the disk any more."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The temporary file keeps the suffix, because many writers choose the format by it, lies in the same folder, because
    a rename is atomic only within one file system, and is hidden, so that nothing takes it for a result. What a process
    that was killed has left is removed when the next one writes there.

    Args:
        path: the file, or folder, to write; missing parent folders are made.

    Raises:
        OSError: when it cannot be written, naming `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        temporary.replace(path)
        temporary.unlink(missing_ok=True)  # rename(2) does nothing where both are the same file, linked twice
    except OSError as error:
        remove(temporary)
        if error.errno is None and _SHORT_WRITE.fullmatch(str(error)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk names no file at all
    except BaseException:  # an interrupt (Ctrl-C) must not leave half a file either
        remove(temporary)
        raise


def temporary_beside(path: Path) -> Path:
    """A new hidden name in the same folder that says whose it is, with the same suffix."""
    here = os.getpid(), path.parent.absolute()
    if here not in _tidied:
        _tidied.add(here)
        _tidy(path.parent)
    # The name itself is left out: with a long one the temporary name would exceed the file system's limit.
    return path.parent / f".{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}"


def is_temporary(path: Path) -> bool:
    """Whether a file or folder is one of :func:`atomic_path` that has not got its name, or never will."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _tidy(folder: Path) -> None:
    """Remove temporary files and folders of processes of this machine that are no more."""
    if os.name != "posix":  # elsewhere nobody can be asked about without harm
        return
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".")]
        for match in filter(None, map(_TEMPORARY.fullmatch, names)):
            if match[1] == _machine() and not _alive(int(match[2])):
                remove(folder / match[0])
    except OSError:  # whoever writes there will say what is wrong with it
        return


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _machine() -> str:
    """Eight hexadecimal digits for this machine, since another one that sees the same files has its own processes."""
    return hashlib.sha256(platform.node().encode(errors="replace")).hexdigest()[:8]


def new_folder(parent: Path, ending: str = "") -> Path:
    """Make a new folder named by the time, even if the clock went back: ``<date>-<time>[-<number>]ENDING``.

    Args:
        parent: folder to make it in; made when it is missing.
        ending: of its name.

    Returns:
        The new, empty folder.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    for name in chain([stamp], (f"{stamp}-{number}" for number in count(2))):
        folder = parent / f"{name}{ending}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not parent.is_dir():
                raise
            continue
        return folder
    raise AssertionError


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
    """Write `data` as JSON, whole or not at all; NaN and infinities become null, as JSON knows neither.

    Args:
        path: the file; an older one is replaced.
        data: anything that :func:`jsonable` takes.
    """
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
