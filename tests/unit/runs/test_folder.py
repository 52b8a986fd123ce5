"""Run folders."""

from __future__ import annotations

from pathlib import Path

from weakspot.runs.folder import holds_something
from weakspot.utils.files import atomic_path


def test_a_folder_with_nothing_but_a_dead_process_s_beginnings_is_taken(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "run.json") as temporary:
        temporary.touch()
        assert not holds_something(tmp_path)
    assert holds_something(tmp_path)
