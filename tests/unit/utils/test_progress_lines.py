"""Lines of progress: with the time left, seldom, none for short work, and in the log."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from weakspot.errors import WeakspotError
from weakspot.runs.log import logging_to
from weakspot.utils import console, progress_lines
from weakspot.utils.progress_lines import ProgressLines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def said(seconds: float, steps: int, total: int) -> list[str]:
    """What a piece of work of so many seconds says, in so many equal steps."""
    clock, lines = Clock(), list[str]()
    progress = ProgressLines("maps", lines.append, clock)
    for step in range(1, steps + 1):
        clock.now = seconds * step / steps
        progress.update(step, total)
    progress.end()
    return lines


def test_short_work_says_nothing() -> None:
    assert said(2, 100, 100) == []
    assert said(9.9, 1000, 1000) == []


def test_long_work_says_how_much_is_left_every_half_minute() -> None:
    lines = said(120, 1200, 1200)
    assert lines[0] == "maps: 100 of 1200 (8 %), about 2 min left"
    assert lines[1] == "maps: 400 of 1200 (33 %), about 80 s left"  # 1 min would be a quarter less
    assert lines[-1] == "maps: done in 2 min"
    assert len(lines) == 5


def test_work_of_unknown_length_counts() -> None:
    assert said(12, 12, 0)[0] == "maps: 10 done"


def test_they_reach_standard_error_and_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_lines, "FIRST_S", 0.0)
    with logging_to(tmp_path / "run.log"), console.progress_bar("frozen layers") as progress:
        progress(1, 4)
        progress(2, 4)  # within half a minute
    (line, end) = capsys.readouterr().err.splitlines()
    assert line.startswith("frozen layers: 1 of 4 (25 %), about ")
    assert line in (tmp_path / "run.log").read_text()
    assert end.startswith("frozen layers: done in ")


@pytest.mark.parametrize("error", [WeakspotError("the disk is full"), MemoryError("the disk is full")])
def test_whatever_ends_a_run_is_in_its_log(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), logging_to(tmp_path / "run.log"):
        raise error
    assert "the disk is full" in (tmp_path / "run.log").read_text()


def test_they_go_to_the_log_alone_where_several_processes_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress_lines, "FIRST_S", 0.0)
    monkeypatch.setattr(console, "_bars", False)
    with caplog.at_level(logging.INFO, "weakspot"), console.progress_bar("maps") as progress:
        progress(1, 4)
    assert capsys.readouterr().err == ""
    assert any("maps: 1 of 4" in record.message for record in caplog.records)


def test_a_page_hears_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_S", "EVERY_S"):
        monkeypatch.setattr(progress_lines, name, getattr(progress_lines, name))  # put back at the end
    progress_lines.set_pace(first_s=1.0, every_s=3.0)
    said, seconds = list[str](), iter([0.0, 0.5, 1.5, 2.0, 5.0])
    lines = progress_lines.ProgressLines("maps", said.append, clock=lambda: next(seconds))
    for done in (1, 2, 3, 4):
        lines.update(done, 8)
    assert [line.split(" (")[0] for line in said] == ["maps: 2 of 8", "maps: 4 of 8"]
