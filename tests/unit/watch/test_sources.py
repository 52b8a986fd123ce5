"""Folders and videos as sources: whole files, each once, in order, in bounded memory."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.watching import picture, until

from weakspot.errors import WeakspotError
from weakspot.watch import folder as folders
from weakspot.watch import notices
from weakspot.watch.address import is_stream
from weakspot.watch.folder import FolderSource, Pace
from weakspot.watch.journal import Entry, Journal
from weakspot.watch.notices import on_network_drive
from weakspot.watch.pictures import Picture, Source
from weakspot.watch.video import VideoSource


class Taking:
    """Takes what a source gives, in a thread, and enters it into the journal."""

    def __init__(self, source: Source, journal: Journal) -> None:
        self.source, self.journal = source, journal
        self.names: list[str] = []
        self.pictures: list[Picture] = []
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for one in self.source.pictures(self.stop):
            digest = str(self.journal.last) if one.image is None else "frame"
            entry = Entry(self.journal.last + 1, one.name, digest, one.stamp, "good", one.seen, one.seen, "d", 1, "{}")
            self.journal.add([entry])
            self.source.taken(one)
            self.names.append(one.name)
            self.pictures.append(one)

    def end(self) -> list[str]:
        self.stop.set()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        return self.names

    def wait(self) -> list[str]:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
        return self.names


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "out" / "journal.sqlite")
    yield made
    made.close()


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    (tmp_path / "camera").mkdir()
    return tmp_path / "camera"


LISTENING, POLLING = Pace(settle=0.1), Pace(poll=0.1, settle=0.15)


@pytest.mark.parametrize("pace", [LISTENING, POLLING], ids=["listening", "polling"])
def test_files_come_once_in_order_also_those_that_were_there_and_those_in_new_folders(
    camera: Path, journal: Journal, pace: Pace
) -> None:
    for number in (3, 1, 2):
        os.utime(picture(camera / f"old-{number}.png", number), (number, number))
    taking = Taking(FolderSource(camera, journal, pace), journal)
    until(lambda: len(taking.names) == 3)
    for number in range(3):
        picture(camera / f"new-{number}.png", number)
    (camera / "notes.txt").write_text("no picture")
    picture(camera / ".hidden.png", 1)
    until(lambda: len(taking.names) == 6)
    shutil.copy(camera / "old-1.png", camera / "copied.png")
    picture(camera / "below" / "deep.png", 5)
    if pace is LISTENING:
        os.link(camera / "old-2.png", camera / "linked.png")
    wanted = 9 if pace is LISTENING else 8
    until(lambda: len(taking.names) == wanted)
    time.sleep(0.4)
    names = taking.end()
    assert names[:6] == ["old-1.png", "old-2.png", "old-3.png", "new-0.png", "new-1.png", "new-2.png"]
    assert {"copied.png", "below/deep.png"} <= set(names[6:])
    assert len(names) == wanted


@pytest.mark.parametrize("pace", [LISTENING, Pace(poll=0.1, settle=2.0)], ids=["listening", "polling"])
def test_a_file_counts_when_it_is_whole(camera: Path, journal: Journal, pace: Pace) -> None:
    content = picture(camera / ".source.png", 1).read_bytes()
    taking = Taking(FolderSource(camera, journal, pace), journal)
    time.sleep(0.3)
    with (camera / "slow.png").open("wb") as file:
        for start in range(0, len(content), len(content) // 8):
            file.write(content[start : start + len(content) // 8])
            file.flush()
            time.sleep(0.15 if pace is LISTENING else 0.05)
            assert taking.names == []
    until(lambda: taking.names == ["slow.png"])
    assert taking.pictures[0].stamp[1] == len(content)
    assert taking.end() == ["slow.png"]


def test_what_was_answered_does_not_come_again_and_what_was_written_anew_does(camera: Path, journal: Journal) -> None:
    picture(camera / "a.png", 1)
    picture(camera / "b.png", 2)
    once = Pace(settle=0.05, once=True)
    assert sorted(Taking(FolderSource(camera, journal, once), journal).wait()) == ["a.png", "b.png"]
    assert Taking(FolderSource(camera, journal, once), journal).wait() == []
    picture(camera / "b.png", 3, (50, 70))
    assert Taking(FolderSource(camera, journal, once), journal).wait() == ["b.png"]


def test_more_files_than_names_fit_in_memory_all_come_oldest_first(
    camera: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST_NAMES", 7)
    for number in range(25):
        path = camera / f"{(number * 7) % 25:02d}.png"
        path.write_bytes(b"x")
        os.utime(path, (1000 + (number * 7) % 25,) * 2)
    names = Taking(FolderSource(camera, journal, Pace(settle=0.02, once=True)), journal).wait()
    assert names == [f"{number:02d}.png" for number in range(25)]


def test_more_is_told_than_fits_and_nothing_is_lost(
    camera: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "MOST_NAMES", 5)
    source = FolderSource(camera, journal, LISTENING)
    stop = threading.Event()
    pictures = source.pictures(stop)
    (camera / "first.png").write_bytes(b"x")
    first = next(pictures)
    for number in range(30):
        (camera / f"{number}.png").write_bytes(b"x")
    time.sleep(0.3)
    assert source.waiting <= 20
    journal.add([Entry(1, first.name, "d", first.stamp, "good", 1, 1, "d", 1, "{}")])
    source.taken(first)
    names = []
    for number, one in enumerate(pictures, start=2):
        journal.add([Entry(number, one.name, "d", one.stamp, "good", 1, 1, "d", 1, "{}")])
        source.taken(one)
        names.append(one.name)
        if len(names) == 30:
            break
    stop.set()
    pictures.close()
    assert sorted(names) == sorted(f"{number}.png" for number in range(30))


def test_files_keep_their_order_while_the_model_is_late(camera: Path, journal: Journal) -> None:
    source, stop = FolderSource(camera, journal, LISTENING), threading.Event()
    pictures = source.pictures(stop)
    picture(camera / "first.png", 1)
    assert next(pictures).name == "first.png"
    names = [f"{number}.png" for number in range(8)]
    for number, name in enumerate(names):
        if number % 2:  # renamed
            picture(camera / name, number)
        else:  # created, written and closed
            (camera / name).write_bytes(b"x")
    time.sleep(0.5)
    found = [next(pictures).name for _ in names[:4]]
    time.sleep(0.3)
    found += [next(pictures).name for _ in names[4:]]
    stop.set()
    pictures.close()
    assert found == names


@pytest.mark.skipif(sys.platform != "linux", reason="inotify's")
def test_files_that_are_moved_in_and_out_are_told_without_a_wait(
    camera: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for grouper in notices._groupers():  # it is half a second, which a busy machine may take, too
        monkeypatch.setattr(grouper, "delay", 8.0)
    elsewhere = camera.with_name("elsewhere")
    for number in range(6):
        picture(elsewhere / f"{number}.png", number)
    source = FolderSource(camera, journal, Pace(settle=5))
    taking, waits = Taking(source, journal), []
    until(lambda: source._next_look > 0)  # it listens, and has looked at what is there
    for number in range(6):
        began = time.monotonic()
        (elsewhere / f"{number}.png").rename(camera / f"{number}.png")
        until(lambda wanted=number + 1: len(taking.names) == wanted)
        waits.append(time.monotonic() - began)
        (camera / f"{number}.png").rename(elsewhere / f"{number}.png")
    assert max(waits) < 4  # else 5 or 8
    (elsewhere / "whole").mkdir()
    picture(elsewhere / "whole" / "deep.png", 100)
    (elsewhere / "whole").rename(camera / "whole")
    picture(camera / "whole" / "later.png", 101)
    until(lambda: len(taking.names) == 8)
    names = taking.end()
    assert names[:6] == [f"{number}.png" for number in range(6)]
    assert set(names[6:]) == {"whole/deep.png", "whole/later.png"}


def test_a_folder_that_goes_and_comes_is_watched_again(camera: Path, journal: Journal) -> None:
    source = FolderSource(camera, journal, Pace(poll=0.05, settle=0.05))
    taking = Taking(source, journal)
    camera.rename(camera.with_name("gone"))
    until(lambda: not source.reachable)
    camera.mkdir()
    picture(camera / "a.png", 1)
    until(lambda: taking.names == ["a.png"])
    assert source.reachable
    taking.end()


def test_network_drives_are_looked_at_again_and_again(tmp_path: Path, camera: Path, journal: Journal) -> None:
    mounts = tmp_path / "mountinfo"
    place = str(tmp_path.resolve())
    mounts.write_text(
        f"1 0 0:1 / / rw shared:1 - ext4 /dev/sda rw\n2 1 0:2 / {place} rw - nfs4 server:/x rw\n"
        f"3 1 0:3 / {place}/local rw - ext4 /dev/sdb rw\n4 1 0:4 / {place}/sshfs rw - fuse.sshfs x rw\n"
    )
    (tmp_path / "local").mkdir()
    (tmp_path / "sshfs").mkdir()
    assert on_network_drive(camera, mounts)
    assert on_network_drive(tmp_path / "sshfs", mounts)
    assert not on_network_drive(tmp_path / "local", mounts)
    assert not on_network_drive(camera, tmp_path / "missing")
    assert FolderSource(camera, journal, Pace(poll=2)).polling
    with pytest.raises(WeakspotError, match="is no folder"):
        FolderSource(tmp_path / "missing", journal)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), (0, 0, 12 * number), np.uint8))  # blue, green, red
    writer.release()
    return path


def test_frames_of_a_video_come_by_stride_and_go_on_where_it_was(video: Path, journal: Journal) -> None:
    source = VideoSource(str(video), journal, stride=3)
    stop = threading.Event()
    for number, one in enumerate(source.pictures(stop), start=1):
        journal.add([Entry(number, one.name, "frame", (0, 0), "good", 1, 1, "d", 1, "{}")])
        if number == 3:
            break
    rest = Taking(VideoSource(str(video), journal, stride=3), journal)
    numbers = [int(name.rsplit("-", 1)[1]) for name in rest.wait()]
    assert numbers == [9, 12, 15, 18]
    first = rest.pictures[0]
    assert first.path == video.with_name("line-000000009")
    assert first.image is not None
    assert np.abs(first.image.mean((0, 1)) - [108, 0, 0]).max() < 12  # RGB
    assert Taking(VideoSource(str(video), journal, stride=3), journal).wait() == []


@pytest.mark.parametrize("frames", ["all", "newest"])
def test_what_breaks_while_frames_are_read_is_told(
    video: Path, journal: Journal, frames: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(stop: threading.Event) -> Iterator[object]:
        raise MemoryError("a frame of 2 TB")
        yield

    source = VideoSource(str(video), journal, frames=frames)
    monkeypatch.setattr(source, "_frames", broken)
    with pytest.raises(MemoryError, match="2 TB"):
        list(source.pictures(threading.Event()))


def test_the_newest_frame_wins_and_what_is_dropped_is_counted(video: Path, journal: Journal) -> None:
    source = VideoSource(str(video), journal, frames="newest")
    numbers = []
    for one in source.pictures(threading.Event()):
        numbers.append(int(one.name.rsplit("-", 1)[1]))
        time.sleep(0.1)
    assert numbers[-1] == 19
    assert numbers == sorted(numbers)
    assert source.dropped == 20 - len(numbers) > 0


def test_cameras_and_addresses_are_known_and_a_password_is_not_shown(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [is_stream(one) for one in ("0", "rtsp://a/b", "camera", "film.mp4")] == [True, True, False, False]
    (tmp_path / "20260105").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not is_stream("20260105")  # a day's folder
    source = VideoSource("rtsp://user:secret@127.0.0.1:1/stream", journal)
    assert "secret" not in str(vars(source)["_shown"]) + str(vars(source)["_prefix"])
    assert not source.repeats
    (tmp_path / "no.mp4").write_text("no video")
    with pytest.raises(WeakspotError, match="cannot be opened as a video"):
        VideoSource(str(tmp_path / "no.mp4"), journal)
