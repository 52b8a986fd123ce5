"""The journal: each picture once, whatever happens, and what a sink was told."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from weakspot.errors import WeakspotError
from weakspot.watch.journal import Entry, Journal
from weakspot.watch.results import Results, line_bytes


def entry(number: int, day: str = "2026-01-01", end: int | None = None) -> Entry:
    line = f'{{"path": "{number}"}}'
    last = len(line_bytes(line)) * number if end is None else end
    return Entry(number, f"{number}.png", "d", (number, 1), "good", 1.0, 2.0, day, last, line)


def test_what_was_entered_is_known_after_opening_it_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    odd = replace(entry(2), name=os.fsdecode(b"\xff.png"))
    journal.add([entry(1), odd])
    journal.close()
    again = Journal(tmp_path / "j.sqlite")
    assert again.last == 2
    assert (again.stamp_of("1.png"), again.stamp_of("3.png")) == ((1, 1), None)
    assert (again.knows(odd.name, "d"), again.knows(odd.name, "e")) == (True, False)
    assert again.after(1, 10) == [odd]
    assert again.counts() == {"good": 2}
    assert entry(1).key == replace(entry(9), name="1.png").key != entry(2).key


def test_the_same_content_under_the_same_name_cannot_be_entered_twice(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.add([entry(1)])
    with pytest.raises(WeakspotError, match="UNIQUE"):
        journal.add([entry(2), replace(entry(3), name="1.png")])
    assert (journal.last, journal.counts()) == (1, {"good": 1})
    journal.add([], [("1.png", (7, 1))])
    assert journal.stamp_of("1.png") == (7, 1)


def test_another_source_a_newer_format_and_rubbish_are_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.claim("/data/a")
    journal.claim("/data/a")
    with pytest.raises(WeakspotError, match="is the journal of /data/a; choose another --output for /data/b"):
        journal.claim("/data/b")
    journal.close()
    with sqlite3.connect(tmp_path / "j.sqlite") as raw:
        raw.execute("PRAGMA user_version=99")
    with pytest.raises(WeakspotError, match="made by a newer weakspot"):
        Journal(tmp_path / "j.sqlite")
    (tmp_path / "k.sqlite").write_bytes(b"no data base" * 100)
    with pytest.raises(WeakspotError, match="cannot be used"):
        Journal(tmp_path / "k.sqlite")


def test_a_new_sink_is_told_from_now_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.add([entry(1), entry(2)])
    assert journal.told("a") == 2
    journal.add([entry(3)])
    assert (journal.told("a"), journal.told("b")) == (2, 3)
    journal.tell("a", 3, 1)
    assert journal.told("a") == 3


@pytest.mark.parametrize("damage", [b"", b'{"path": "1"}\n{"pa', b'{"path": "1"}\n' * 2 + b"half", b"x" * 500])
def test_the_file_of_a_day_is_made_to_agree_with_the_journal(tmp_path: Path, damage: bytes) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.add([entry(number) for number in range(1, 8)])
    path = tmp_path / "predictions-2026-01-01.jsonl"
    path.write_bytes(
        damage if damage != b"x" * 500 else b"".join(line_bytes(entry(n).line or "") for n in range(1, 20))
    )
    overlays = tmp_path / "overlays" / "2026-01-01"
    overlays.mkdir(parents=True)
    for number in (7, 8):
        (overlays / f"{number:09d}-a.jpg").write_bytes(b"x")
    Results(tmp_path, journal)
    if damage.startswith(
        b'{"path": "1"}\n{"path": "1"}'
    ):  # a whole line that is another's cannot be told by its length
        assert path.stat().st_size == entry(7).end
    else:
        assert path.read_bytes() == b"".join(line_bytes(entry(n).line or "") for n in range(1, 8))
    assert [one.name for one in overlays.iterdir()] == ["000000007-a.jpg"]


def test_the_oldest_make_room_but_for_the_day_itself_and_what_a_sink_waits_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.told("slow")
    results = Results(tmp_path, journal, 300, lambda name: name == "1.png")
    for number, day in ((1, "2026-01-01"), (2, "2026-01-01"), (3, "2026-01-02"), (4, "2026-01-03")):
        one = replace(entry(number, day, results.end(day) + 14))
        journal.add([one])
        results.write([one])
        if number == 1:
            journal.tell("slow", 1)
    results.keep_overlay(3, "2026-01-02", "a/b.png", b"x" * 90)
    results.keep_overlay(4, "2026-01-03", "c.png", b"x" * 400)
    results.make_room()
    assert not list((tmp_path / "overlays").rglob("*.jpg"))
    assert [path.name for path in sorted(tmp_path.glob("*.jsonl"))] == ["predictions-2026-01-03.jsonl"]
    assert journal.days() == ["2026-01-03"]
    lines = {one.id: one.line for one in journal.after(0, 10)}
    assert lines[1] is None  # told, and its file is still there: known, without its line
    assert lines[2] == entry(2).line  # the sink waits for it
    assert journal.knows("1.png", "d")
    Results(tmp_path, journal)
    assert [path.name for path in sorted(tmp_path.glob("*.jsonl"))] == ["predictions-2026-01-03.jsonl"]
    assert journal.days(removed=True) == ["2026-01-01", "2026-01-02"]
    journal.tell("slow", 4)  # all were told, and the last picture has gone meanwhile
    for day in journal.days(removed=True):
        journal.forget(day, lambda name: False)
    assert [one.id for one in journal.after(0, 10)] == [4]
    assert journal.days(removed=True) == []


def test_making_room_lets_go_of_what_was_kept_of_days_before(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.told("slow")
    results = Results(tmp_path, journal, 30, lambda name: False)
    for number, day in ((1, "2026-01-01"), (2, "2026-01-02"), (3, "2026-01-03"), (4, "2026-01-04")):
        one = replace(entry(number, day, results.end(day) + 14))
        journal.add([one])
        results.write([one])
        journal.tell("slow", number - 1)
    assert [one.id for one in journal.after(0, 10)] == [3, 4]


def test_a_sink_that_was_named_without_its_query_goes_on_where_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    assert journal.told("webhook http://a/b") == 0
    journal.add([entry(1), entry(2)])
    assert journal.told("webhook http://a/b?0123abcd") == 0
    assert journal.told("webhook http://c?0123abcd") == 2


def test_a_folder_whose_name_is_no_utf8_has_a_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    odd = os.fsdecode(b"/data/\xff")
    journal.claim(odd)
    journal.claim(odd)
    with pytest.raises(WeakspotError, match=r"is the journal of /data/.xff"):
        journal.claim("/data/b")


def test_a_full_disk_is_named_and_leaves_the_journal_usable(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    journal.add([entry(1)])
    pages = journal._sql.execute("PRAGMA page_count").fetchone()[0]
    journal._sql.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(WeakspotError, match=r"full.*make room"):
        journal.add([replace(entry(2), line="x" * 100_000)])
    journal._sql.execute("PRAGMA max_page_count=100000")
    journal.add([entry(2)])
    assert journal.counts() == {"good": 2}


def test_a_sink_that_is_told_no_more_keeps_nothing_back(tmp_path: Path) -> None:
    before = Journal(tmp_path / "j.sqlite")
    assert (before.told("gone"), before.told("here")) == (0, 0)
    before.add([entry(1), entry(2), entry(3, "2026-01-02")])
    before.close()
    journal = Journal(tmp_path / "j.sqlite")
    journal.told("here")
    journal.tell("here", 1)
    journal.forget("2026-01-01", lambda name: True)
    assert [one.line is None for one in journal.after(0, 10)] == [True, False, False]
    assert journal.told("gone") == 1  # if it comes back, it goes on after what was let go


def test_a_password_is_not_kept_and_a_new_one_claims_the_same_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with journal._transaction() as sql:
        sql.execute("INSERT INTO facts VALUES ('source', 'rtsp://user:old@camera/1')")
    journal.claim("rtsp://camera/1")
    assert journal._sql.execute("SELECT value FROM facts").fetchall() == [("rtsp://camera/1",)]
    with pytest.raises(WeakspotError, match="is the journal of rtsp://camera/1"):
        journal.claim("rtsp://camera/2")
