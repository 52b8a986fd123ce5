"""Files appear whole or not at all, under any name, and what is left of the dead goes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from weakspot.errors import as_weakspot_error
from weakspot.utils import files
from weakspot.utils.files import atomic_path, is_temporary, write_json, write_text


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.npz"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".npz"
        temporary.write_bytes(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"

    def interrupted() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.name for entry in path.parent.iterdir()] == ["a.npz"]
    assert path.read_bytes() == b"first"


def test_long_names_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 250 + ".txt")
    write_text(path, "a\r\nb\né")
    assert path.read_bytes() == "a\r\nb\né".encode()
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_json_holds_no_nan(tmp_path: Path) -> None:
    data = {
        "nan": float("nan"),
        "inf": np.float32("inf"),
        "array": np.array([[1.5, np.nan]]),
        "int": np.int64(7),
        "flag": np.bool_(True),
        "path": Path("a/é.png"),
        "odd": os.fsdecode(b"\xff"),
        3: ("t", None),
    }
    write_json(tmp_path / "a.json", data)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "é" in text
    assert json.loads(text) == {
        "nan": None,
        "inf": None,
        "array": [[1.5, None]],
        "int": 7,
        "flag": True,
        "path": "a/é.png",
        "odd": "\udcff",
        "3": ["t", None],
    }
    with pytest.raises(TypeError, match="set"):
        write_json(tmp_path / "b.json", {"x": {1, 2}})
    assert not (tmp_path / "b.json").exists()


def test_an_array_that_does_not_fit_on_the_disk_names_its_file(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.npy"):
            raise OSError("16368 requested and 3056 written")  # what NumPy's tofile says, without number or name

    with pytest.raises(OSError, match=r"No space left on device: .*a\.npy"):
        write()


def test_a_link_to_what_is_there_already_leaves_nothing_behind(tmp_path: Path) -> None:
    """Renaming one of two links to a file to the other does nothing: a run that is taken over for the second time."""
    donor, path = tmp_path / "donor", tmp_path / "taken"
    donor.write_text("model")
    for _ in range(2):
        with atomic_path(path) as temporary:
            os.link(donor, temporary)
    assert path.samefile(donor)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["donor", "taken"]


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_temporary_files_of_the_dead_go_and_those_of_the_living_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = os.fork()
    if not dead:
        os._exit(0)
    os.waitpid(dead, 0)
    machine = files._machine()
    names = [f".{machine}-{who}-0123abcd{suffix}" for who in (dead, os.getpid()) for suffix in (".json", "")]
    names += [f".{'0' * 8}-{dead}-0123abcd.json", ".hidden", "seen.json"]
    for name in names:
        (tmp_path / name).mkdir() if name.endswith("abcd") else (tmp_path / name).touch()
    monkeypatch.setattr(files, "_tidied", set())
    write_text(tmp_path / "a.txt", "")
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:], "a.txt"}
    assert all(is_temporary(tmp_path / name) for name in names[:5])


def write_into(path: Path, cause: OSError | None) -> None:
    with atomic_path(path) as temporary:
        if cause:
            raise cause
        (temporary / "below").touch()


def test_an_error_while_writing_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_into(tmp_path / "a.txt", OSError(errno.ENOSPC, "No space left on device"))
    assert str(as_weakspot_error(caught.value)) == (
        f"No space left on device: {tmp_path / 'a.txt'}; make room and start the same command again"
    )
    with pytest.raises(FileNotFoundError, match="below"):  # another file is named as it is
        write_into(tmp_path / "a.txt", None)
    assert list(tmp_path.iterdir()) == []
