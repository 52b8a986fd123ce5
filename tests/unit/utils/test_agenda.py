"""Time left until the end of a piece of work, by its pace."""

from __future__ import annotations

import re

import pytest

from weakspot.utils import console, progress_lines
from weakspot.utils.agenda import TRUSTED_FOR_S, Agenda, Planned
from weakspot.utils.progress_lines import ProgressLines


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_follows_the_pace_of_what_has_ended() -> None:
    clock = Clock()
    agenda = Agenda([Planned("fit", 100), Planned("maps", 50), Planned("report", 30)], clock)
    assert agenda.seconds == 180
    assert agenda.left_after() == 180  # nothing has begun
    agenda.begin("fit")
    assert agenda.left_after() == 80
    clock.now = 220.0  # more than twice as long as expected
    agenda.end("fit")
    agenda.begin("maps")
    assert agenda.left_after() == pytest.approx(30 * (220 + TRUSTED_FOR_S) / (100 + TRUSTED_FOR_S))


def test_skipped_and_unknown_stages_do_not_count() -> None:
    clock = Clock()
    agenda = Agenda([Planned("fit", 10), Planned("maps", 10), Planned("fit", 40), Planned("report", 5)], clock)
    agenda.begin("maps")  # the first fit was on disk
    agenda.begin("reading")
    agenda.end("reading")
    assert agenda.left_after() == 45
    clock.now = 10.0
    agenda.end("maps")
    agenda.begin("fit")
    assert agenda.left_after() == 5
    agenda.begin("fit")  # once more than was planned
    assert agenda.left_after() == 5


def test_a_line_says_what_is_left_of_everything() -> None:
    clock, lines = Clock(), list[str]()
    agenda = Agenda([Planned("fit", 60), Planned("maps", 120)], clock)
    progress = ProgressLines("fit", lines.append, clock, agenda)
    clock.now = 30.0
    progress.update(5, 10)
    assert lines == ["fit: 5 of 10 (50 %), about 30 s left; about 2 min until the report"]


def test_bars_follow_it_while_the_block_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_lines, "FIRST_S", 0.0)
    with (
        console.following(Agenda([Planned("maps", 1), Planned("report", 600)])),
        console.progress_bar("maps") as update,
    ):
        update(1, 2)
    assert re.search(r"maps: 1 of 2 \(50 %\), about 1 s left; about 10 min until the report", capsys.readouterr().err)
    with console.progress_bar("maps") as update:
        update(1, 2)
    assert "until the report" not in capsys.readouterr().err
