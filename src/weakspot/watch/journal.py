"""The journal: which pictures were answered, with what, and who was told. SQLite, so that a kill does no harm.

The journal is the truth. What else lies in the folder (prediction files, overlays) is made to agree with it at every
start. It is written ahead (WAL) without waiting for the disk: a process that is killed loses nothing; a machine that
loses power may lose the last moments, whose pictures are then answered again, under the same keys.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from weakspot.errors import WeakspotError
from weakspot.utils.files import shown
from weakspot.watch.address import without_password

FORMAT = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS pictures(
  id INTEGER PRIMARY KEY, name BLOB NOT NULL, digest TEXT NOT NULL, changed INTEGER NOT NULL, size INTEGER NOT NULL,
  verdict TEXT NOT NULL, seen REAL NOT NULL, answered REAL NOT NULL, day TEXT NOT NULL, end INTEGER NOT NULL, line TEXT,
  UNIQUE(name, digest));
CREATE INDEX IF NOT EXISTS days_of_pictures ON pictures(day, id);
CREATE TABLE IF NOT EXISTS days(day TEXT PRIMARY KEY, removed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS facts(name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sinks(name TEXT PRIMARY KEY, told INTEGER NOT NULL, refused INTEGER NOT NULL DEFAULT 0);
"""


@dataclass(frozen=True)
class Entry:
    """A verdict in the journal.

    Attributes:
        id: 1, 2, 3 and so on, without gaps, in the order of the pictures.
        name, digest: what the picture and its content are known by; together they are unique.
        stamp: time of change (ns) and bytes of the file when it was read.
        verdict: ``good``, ``defective`` or ``unreadable``.
        seen, answered: when the picture was there and when it was answered, in seconds since 1970.
        day: ``YYYY-MM-DD`` whose file the line is in.
        end: byte in that file at which the line ends.
        line: of ``predictions-DAY.jsonl``, without its end; None where the day was removed to make room.
    """

    id: int
    name: str
    digest: str
    stamp: tuple[int, int]
    verdict: str
    seen: float
    answered: float
    day: str
    end: int
    line: str | None

    @property
    def key(self) -> str:
        """32 hexadecimal digits, the same for the same content under the same name, whoever answers it and when."""
        return hashlib.blake2b(os.fsencode(self.name) + b"\0" + self.digest.encode(), digest_size=16).hexdigest()


COLUMNS = "id, name, digest, changed, size, verdict, seen, answered, day, end, line"


class Journal:
    """Reads and writes the journal; any thread may.

    Args:
        path: the SQLite file; made when it is missing.

    Raises:
        WeakspotError: when it cannot be opened, is damaged, or was made by a newer weakspot.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock, self._sinks = path, threading.RLock(), set[str]()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._spoken():
            self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            self._sql.execute("PRAGMA journal_mode=WAL")
            self._sql.execute("PRAGMA synchronous=NORMAL")
            found = self._sql.execute("PRAGMA user_version").fetchone()[0]
            if found > FORMAT:
                raise WeakspotError(f"{shown(path)} is of format {found}, made by a newer weakspot; upgrade weakspot")
            self._sql.executescript(SCHEMA)
            self._sql.execute(f"PRAGMA user_version={FORMAT}")
            row = self._sql.execute("SELECT COALESCE(MAX(id), 0) FROM pictures").fetchone()
        self.last = int(row[0])

    def claim(self, source: str) -> None:
        """Make the journal that of a source.

        Args:
            source: path, or address without a password.

        Raises:
            WeakspotError: when it is another's; the same names would mean other pictures.
        """
        source = os.fsencode(source).decode("utf-8", "backslashreplace")  # a folder's name may be no UTF-8
        with self._transaction() as sql:
            sql.execute("INSERT OR IGNORE INTO facts VALUES ('source', ?)", (source,))
            (owner,) = sql.execute("SELECT value FROM facts WHERE name='source'").fetchone()
            owner = without_password(owner)  # older journals have it
            sql.execute("UPDATE facts SET value=? WHERE name='source'", (owner,))
        if owner != source:
            raise WeakspotError(f"{shown(self.path)} is the journal of {owner}; choose another --output for {source}")

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise WeakspotError(
                    f"{shown(self.path)} cannot be used ({error}); make room, or choose another --output"
                ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._spoken():
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                yield self._sql
                self._sql.execute("COMMIT")
            except BaseException:
                if self._sql.in_transaction:  # where the disk is full, SQLite has rolled back already
                    self._sql.execute("ROLLBACK")
                raise

    def stamp_of(self, name: str) -> tuple[int, int] | None:
        """The file's time of change and size when it was answered last; None for one that never was."""
        with self._spoken():
            row = self._sql.execute(
                "SELECT changed, size FROM pictures WHERE name=? ORDER BY id DESC LIMIT 1", (os.fsencode(name),)
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def knows(self, name: str, digest: str) -> bool:
        """Whether this content was answered under this name."""
        with self._spoken():
            row = self._sql.execute(
                "SELECT 1 FROM pictures WHERE name=? AND digest=?", (os.fsencode(name), digest)
            ).fetchone()
        return row is not None

    def last_name(self, prefix: str) -> str | None:
        """The last answered name that begins so; None where there is none."""
        with self._spoken():
            row = self._sql.execute(
                "SELECT name FROM pictures WHERE substr(name, 1, ?)=? ORDER BY id DESC LIMIT 1",
                (len(os.fsencode(prefix)), os.fsencode(prefix)),
            ).fetchone()
        return None if row is None else os.fsdecode(row[0])

    def add(self, entries: Sequence[Entry], stamps: Sequence[tuple[str, tuple[int, int]]] = ()) -> None:
        """Enter verdicts, all of them or none.

        Args:
            entries: their ids follow :attr:`last`.
            stamps: files whose content was answered before and that only look changed, with their stamps of now.
        """
        with self._transaction() as sql:
            for name, stamp in stamps:
                sql.execute("UPDATE pictures SET changed=?, size=? WHERE name=?", (*stamp, os.fsencode(name)))
            sql.executemany(
                f"INSERT INTO pictures({COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?)",  # noqa: S608 - a constant
                [
                    (e.id, os.fsencode(e.name), e.digest, *e.stamp, e.verdict, e.seen, e.answered, e.day, e.end, e.line)
                    for e in entries
                ],
            )
            sql.executemany("INSERT OR IGNORE INTO days(day) VALUES (?)", {(e.day,) for e in entries})
        if entries:
            self.last = entries[-1].id

    def after(self, number: int, most: int) -> list[Entry]:
        """Verdicts with ids above `number`, in order, `most` of them at most."""
        return self._entries("id > ? ORDER BY id LIMIT ?", number, most)

    def of_day(self, day: str, end: int = 0, most: int = -1) -> list[Entry]:
        """Verdicts of a day whose lines end after byte `end` of its file, in order."""
        return self._entries("day = ? AND end > ? ORDER BY id LIMIT ?", day, end, most)

    def last_of_day(self, day: str, end: int | None = None) -> Entry | None:
        """The last verdict of a day, or the last whose line ends at byte `end` of its file or before."""
        found = self._entries("day = ? AND end <= ? ORDER BY id DESC LIMIT 1", day, 2**62 if end is None else end)
        return found[0] if found else None

    def _entries(self, condition: str, *values: object) -> list[Entry]:
        with self._spoken():
            rows = self._sql.execute(f"SELECT {COLUMNS} FROM pictures WHERE {condition}", values).fetchall()  # noqa: S608
        return [Entry(row[0], os.fsdecode(row[1]), row[2], (row[3], row[4]), *row[5:]) for row in rows]

    def counts(self) -> dict[str, int]:
        """Number of pictures by verdict."""
        with self._spoken():
            rows = self._sql.execute("SELECT verdict, COUNT(*) FROM pictures GROUP BY verdict").fetchall()
        return dict(rows)

    def days(self, *, removed: bool = False) -> list[str]:
        """Days whose results are kept, or those that were removed but have verdicts still, oldest first."""
        with self._spoken():
            rows = self._sql.execute("SELECT day FROM days WHERE removed=? ORDER BY day", (removed,)).fetchall()
        return [row[0] for row in rows]

    def forget(self, day: str, there: Callable[[str], bool]) -> None:
        """Let go of a day's lines, but for those that a sink still waits for; and of pictures that are gone.

        Sinks that nobody has asked :meth:`told` of since the start keep nothing back: they may be gone for good.

        Args:
            day: not the newest.
            there: whether a picture of this name may come again.
        """
        with self._spoken():
            sinks = dict(self._sql.execute("SELECT name, told FROM sinks").fetchall())
            told = min((sinks[name] for name in self._sinks), default=1 << 62)
            rows = self._sql.execute("SELECT id, name FROM pictures WHERE day=? AND id<=?", (day, told)).fetchall()
        gone = [(number,) for number, name in rows if not there(os.fsdecode(name))]  # others may write meanwhile
        with self._transaction() as sql:
            sql.execute("UPDATE days SET removed=1 WHERE day=?", (day,))
            sql.execute("UPDATE pictures SET line=NULL WHERE day=? AND id<=?", (day, told))
            (last,) = sql.execute("SELECT COALESCE(MAX(id), 0) FROM pictures WHERE day=?", (day,)).fetchone()
            others = [(min(told, last), name) for name in sinks if name not in self._sinks]
            sql.executemany("UPDATE sinks SET told=MAX(told, ?) WHERE name=?", others)
            sql.executemany("DELETE FROM pictures WHERE id=?", gone)
            if sql.execute("SELECT 1 FROM pictures WHERE day=? LIMIT 1", (day,)).fetchone() is None:
                sql.execute("DELETE FROM days WHERE day=?", (day,))

    def told(self, sink: str) -> int:
        """The id up to which a sink was told; a new sink is told from now on.

        One that is named with its query now goes on from where the address alone was told up to, as it was called once.
        """
        with self._transaction() as sql:
            before = sql.execute("SELECT told FROM sinks WHERE name=?", (sink.partition("?")[0],)).fetchone()
            told = before[0] if before else self.last
            sql.execute("INSERT OR IGNORE INTO sinks(name, told) VALUES (?, ?)", (sink, told))
            self._sinks.add(sink)
            return int(sql.execute("SELECT told FROM sinks WHERE name=?", (sink,)).fetchone()[0])

    def tell(self, sink: str, number: int, refused: int = 0) -> None:
        """Note that a sink was told up to an id, and how many of these it refused."""
        with self._transaction() as sql:
            sql.execute("UPDATE sinks SET told=?, refused=refused+? WHERE name=?", (number, refused, sink))

    def close(self) -> None:
        """Write all of it into one file."""
        with self._spoken():
            self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._sql.close()
