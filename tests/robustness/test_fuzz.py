"""A few hundred damaged files, always the same; ``make fuzz`` tries others for minutes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from robustness import fuzz, fuzz_service

from weakspot.errors import WeakspotError


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_who_stops_in_the_middle_of_a_request_does_not_keep_others_waiting(tmp_path: Path) -> None:
    list(fuzz.models(tmp_path))
    good = dict(fuzz.pictures())["png"].sound[0]
    half = fuzz_service.request([(b"a.png", good)])[:-40]
    with fuzz_service.running(tmp_path / "bundle", good) as service, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(service.ask, [half] * 6))  # three times as many as are read at once
        assert {status for status, _ in answers} == {408}
        assert b"nothing came for 0.5 s; send it again" in answers[0][1]
        service.send(fuzz_service.request([(b"a.png", good)]))
        service._known = {}
        with pytest.raises(ValueError, match="afterwards a good picture got another answer"):
            service.send(fuzz_service.request([(b"a.png", good)]))
        with pytest.raises(ValueError, match="good pictures were lost"):
            service.send_among_good(b"b.png", good)


def test_a_crash_a_second_line_and_a_slow_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(_: Path) -> None:
        raise WeakspotError("a\nb")

    monkeypatch.setattr(fuzz, "SLOWEST", -1.0)
    for read, wanted in ((lines, "more than one line"), (lambda _: 1 / 0, "ZeroDivisionError"), (len, "TypeError")):
        target = fuzz.Target("x", [b"x"], read)  # type: ignore[arg-type]
        fuzz.attempt(target, b"x", tmp_path)
        assert target.findings[0][1].startswith(wanted)
        assert target.findings[1][1].startswith("took")
