"""Run folders."""

from __future__ import annotations

from pathlib import Path

from weakspot.runs.folder import CORRECTED, RunFolder, adopt_stages, holds_something
from weakspot.utils.files import atomic_path


def test_a_folder_with_nothing_but_a_dead_process_s_beginnings_is_taken(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "run.json") as temporary:
        temporary.touch()
        assert not holds_something(tmp_path)
    assert holds_something(tmp_path)


def test_stages_are_taken_from_the_run_that_made_them(tmp_path: Path) -> None:
    """A run whose model was taken over has no checkpoints of its own."""
    made, taken, new = (RunFolder(tmp_path / name) for name in ("made", "taken", "new"))
    made.checkpoint.parent.mkdir(parents=True)
    for name in (made.checkpoint.name, "evidence-mask.safetensors", f"evidence-{CORRECTED}.safetensors", "other.txt"):
        (made.checkpoint.parent / name).write_text(name)
    for run in (taken, new):
        run.path.mkdir()
    assert not adopt_stages(new, taken)
    taken.update_identity(fitted_by=str(made.path))
    assert adopt_stages(new, taken)
    assert sorted(path.name for path in new.checkpoint.parent.iterdir()) == ["evidence-mask.safetensors", "last.ckpt"]
    assert not adopt_stages(new, taken)  # it keeps what it has
