"""Being told of changes in a folder: whether that works there, and without the waits of watchdog's own observer."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

RENAMING = 0.01
"""Seconds for which the first half of a rename waits for the second."""

NETWORK_DRIVES = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "afs", "ncpfs", "davfs"})
"""File systems whose changes from another machine inotify does not tell of; and anything of FUSE."""


def prompt_observer() -> Any:  # noqa: ANN401 - of a library that may be missing
    """An observer that tells of a file renamed into place at once.

    watchdog looks for both ends of a rename. For a file that leaves the folder it waits half a second, and all that
    comes after waits, too; a file that comes from outside is told as created, so that nobody knows that it is whole.
    Here the other end means nothing: the wait is short, and each end is told as a rename.
    """
    if not sys.platform.startswith("linux"):
        from watchdog.observers import Observer

        return Observer()
    from watchdog.observers.inotify import InotifyObserver

    for grouper in _groupers():
        grouper.delay = RENAMING
    return InotifyObserver(generate_full_events=True)


def _groupers() -> Iterator[Any]:
    """The classes of watchdog that look for both ends of a rename; the second is the name before watchdog 7."""
    for module, name in (
        ("inotify_move_event_grouper", "InotifyMoveEventGrouper"),
        ("inotify_buffer", "InotifyBuffer"),
    ):
        with suppress(ImportError):
            yield getattr(importlib.import_module(f"watchdog.observers.{module}"), name)


def on_network_drive(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether a folder lies on a drive of another machine, as far as that is known (Linux).

    Args:
        folder: any that exists.
        mounts: the list of what is mounted where.
    """
    place, best, kind = str(folder.resolve()), "", ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind in NETWORK_DRIVES or kind.startswith("fuse.")
