"""A few hundred damaged files, always the same; ``make fuzz`` tries others for minutes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import fuzz
import pytest

from weakspot.errors import WeakspotError


@pytest.mark.usefixtures("tiny")
def test_damaged_files_are_read_or_refused_with_one_line(tmp_path: Path) -> None:
    with ExitStack() as kept_open:
        targets = fuzz.all_targets(tmp_path / "kept", kept_open)
        for target in targets.values():
            for content in target.sound:
                fuzz.attempt(target, content, tmp_path)
        unread = {name: target.findings for name, target in targets.items() if target.read_well < target.tried}
        assert not unread
        fuzz.run(targets, tmp_path, seed=9, seconds=8.0, most=40)
    findings = [(name, what) for name, target in targets.items() for _, what in target.findings]
    assert not findings
    assert sum(target.tried - target.read_well for target in targets.values()) > 50  # they were damaged


def test_a_crash_a_second_line_and_a_slow_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(_: Path) -> None:
        raise WeakspotError("a\nb")

    monkeypatch.setattr(fuzz, "SLOWEST", -1.0)
    for read, wanted in ((lines, "more than one line"), (lambda _: 1 / 0, "ZeroDivisionError"), (len, "TypeError")):
        target = fuzz.Target("x", [b"x"], read)  # type: ignore[arg-type]
        fuzz.attempt(target, b"x", tmp_path)
        assert target.findings[0][1].startswith(wanted)
        assert target.findings[1][1].startswith("took")
