"""The run that was made last, wherever it lies, for whoever wants to look at it without naming it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import platformdirs

from weakspot.errors import WeakspotError
from weakspot.runs.folder import RunFolder
from weakspot.utils.files import OUTPUTS, write_text

VARIABLE = "WEAKSPOT_RUN"
"""Environment variable that names a run."""


def note_latest(run: RunFolder) -> None:
    """Keep in the user's cache folder which run was made last; where nothing can be written there, do nothing.

    Args:
        run: finished.
    """
    with suppress(OSError):
        _note().parent.mkdir(parents=True, exist_ok=True)
        write_text(_note(), f"{run.path.resolve()}\n")


def latest_run(named: str | Path | None = None) -> Path:
    """The run to look at.

    Args:
        named: a run folder; None takes the one that the environment variable ``WEAKSPOT_RUN`` names, then the one that
            was trained last, then the newest below ``outputs`` here or one folder up.

    Returns:
        Its folder, relative to the current one where that is no longer.

    Raises:
        WeakspotError: when there is none.
    """
    named = named or os.environ.get(VARIABLE)
    if named:
        return Path(named)
    with suppress(OSError, ValueError):
        noted = Path(_note().read_text(encoding="utf-8").strip())
        if RunFolder(noted).metrics.is_file():
            return _short(noted)
    for folder in (OUTPUTS, ".." / OUTPUTS):
        made = [path for path in folder.rglob("metrics.json") if RunFolder(path.parent).fitted]
        if made:
            return max(made, key=lambda path: path.stat().st_mtime).parent
    raise WeakspotError(f"there is no finished run yet; make one with 'weakspot train photos', or set {VARIABLE}")


def _note() -> Path:
    return Path(platformdirs.user_cache_dir("weakspot")) / "latest-run.txt"


def _short(path: Path) -> Path:
    """The path as seen from here, where that is not longer."""
    with suppress(ValueError):  # on another drive
        near = Path(os.path.relpath(path))
        return near if len(near.parts) <= len(path.parts) else path
    return path
