"""The run that was made last is found wherever it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from weakspot.errors import WeakspotError
from weakspot.runs import latest
from weakspot.runs.folder import RunFolder
from weakspot.runs.latest import latest_run, note_latest


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(latest.VARIABLE, raising=False)


def made(path: Path) -> RunFolder:
    """A folder that looks like a finished run."""
    run = RunFolder(path)
    for file in (run.maps, run.bundle / "model.json", run.metrics):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    return run


def test_a_run_with_a_name_of_its_own_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(here / "outputs" / "demo" / "gear" / "20260101")
    note_latest(made(here / "elsewhere" / "photos"))
    assert latest_run() == Path("elsewhere/photos")
    (here / "notebooks").mkdir()
    monkeypatch.chdir(here / "notebooks")
    assert latest_run() == Path("../elsewhere/photos")


def test_without_a_note_the_newest_below_outputs_is_taken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(here / "outputs" / "photos")
    assert latest_run() == Path("outputs/photos")
    (here / "notebooks").mkdir()
    monkeypatch.chdir(here / "notebooks")
    assert latest_run() == Path("../outputs/photos")


def test_what_is_named_comes_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note_latest(made(here / "outputs" / "photos"))
    monkeypatch.setenv(latest.VARIABLE, "other")
    assert latest_run() == Path("other")
    assert latest_run("mine") == Path("mine")


@pytest.mark.usefixtures("here")
def test_without_any_run_the_way_to_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeakspotError, match="weakspot train photos"):
        latest_run()
    (tmp_path / "cache").write_text("a file where the cache should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    note_latest(made(tmp_path / "run"))
    assert not (tmp_path / "cache").is_dir()
