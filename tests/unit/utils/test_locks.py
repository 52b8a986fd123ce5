"""One process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from weakspot.errors import WeakspotError
from weakspot.utils import locks


def test_who_writes_where_another_process_writes_is_told(tmp_path: Path) -> None:
    with locks.alone(tmp_path):
        with locks.only_one(tmp_path / "other"):
            pass
        with pytest.raises(WeakspotError, match=r"another process writes to .*choose another folder or wait"):
            locks.only_one(tmp_path).__enter__()
    with locks.only_one(tmp_path):
        pass
