"""Processes that do the same thing, or write to the same folder, take turns."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from weakspot.errors import WeakspotError
from weakspot.utils import console
from weakspot.utils.files import shown


@contextmanager
def alone(folder: Path, identity: str = "") -> Iterator[None]:
    """Wait until no other process of this user on this machine does the same thing, and keep others waiting meanwhile.

    A process that dies, however it dies, lets go.

    Args:
        folder: where the thing is done.
        identity: hash of what is done; empty for anything that writes there.
    """
    lock = _lock(folder, identity)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console.err.print(f"another process works on {identity or shown(folder)}; waiting for it", style="dim")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Refuse to write to a folder that another process of this user on this machine is writing to.

    Raises:
        WeakspotError: when there is one.
    """
    lock = _lock(folder, "")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WeakspotError(f"another process writes to {shown(folder)}; choose another folder or wait") from None
    try:
        yield
    finally:
        lock.release()


def _lock(folder: Path, identity: str) -> FileLock:
    name = hashlib.sha256(f"{folder.resolve()} {identity}".encode(errors="surrogateescape")).hexdigest()[:24]
    locks = Path(tempfile.gettempdir()) / f"weakspot-{getattr(os, 'getuid', int)()}"
    locks.mkdir(mode=0o700, exist_ok=True)
    return FileLock(locks / f"{name}.lock")
