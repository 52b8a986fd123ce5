"""A training started from the page: a process of its own, followed, called off, and found again."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin

import pytest
from helpers.reviews import make_session
from starlette.testclient import TestClient

from weakspot.errors import WeakspotError
from weakspot.report.picture_records import link
from weakspot.serve import review_training
from weakspot.serve.review_app import make_review_app
from weakspot.serve.review_training import Trainings, TrainingStatus, retrain_command

QUICK = """
import json, pathlib, sys
annotations, folder = map(pathlib.Path, sys.argv[1:])
assert json.loads(annotations.read_text())["images"]
print("maps: 4 of 16 (25 %), about 1 min left", flush=True)
(folder / "compare.html").write_text("<h1>compared</h1>")
(folder / "done.json").write_text(json.dumps({"after": "new", "images": 9, "differences": {}}))
"""
SLOW = """
import sys, time
print("epochs: 1 of 4 (25 %), about 3 min left", flush=True)
time.sleep(60)
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SLOW
FAILS = "import sys\nprint('error: no room; make some')\nsys.exit(1)"


def running(code: str) -> Callable[[Path, Path], list[str]]:
    return lambda annotations, folder: [sys.executable, "-S", "-c", code, str(annotations), str(folder)]


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Callable[[str], Trainings]]:
    made = list[Trainings]()

    def make(code: str) -> Trainings:
        made.append(Trainings(tmp_path / "trainings", running(code)))
        return made[-1]

    yield make
    for each in made:
        if each._process is not None and each._process.poll() is None:
            os.killpg(each._process.pid, signal.SIGKILL)
            each._process.wait()


def until(trainings: Trainings, fits: Callable[[TrainingStatus], bool]) -> TrainingStatus:
    end = time.monotonic() + 60
    while not fits(status := trainings.status()):
        assert time.monotonic() < end, status
        time.sleep(0.02)
    return status


CONTENT = b'{"images": [1]}'


def test_it_runs_ends_and_shows_its_comparison(trainings: Callable[[str], Trainings]) -> None:
    quick = trainings(QUICK)
    assert quick.status() == TrainingStatus()
    name = quick.start(CONTENT).name
    done = until(quick, lambda status: status.state != "running")
    assert (done.state, done.result["images"], done.name) == ("done", 9, name)
    assert done.page.endswith(f"/trainings/{name}/compare.html")
    page = quick.file(done.page)
    assert page is not None
    assert page.read_text() == "<h1>compared</h1>"
    for other in ("job.json", "../../annotations.json", "compare_files/../done.json", "compare_files/0.jpg"):
        assert quick.file(done.page.replace("compare.html", other)) is None
    assert quick.file(done.page.replace(name, "..")) is None


def test_a_comparison_shows_the_test_pictures_and_no_other_file(tmp_path: Path) -> None:
    """Its links are relative, as on disk; a browser resolves them against its address."""
    (tmp_path / "photos").mkdir()
    names = [os.fsencode("Bild ü #1?.png"), b"latin \xfc.png", b"own.png"]
    tested, latin, own = (tmp_path / "photos" / os.fsdecode(name) for name in names)
    for path in (tested, latin, own):
        path.write_bytes(path.name.encode(errors="surrogateescape"))
    session = make_session(tmp_path, ["a.png"])
    trainings = Trainings(tmp_path / "run ü" / "trainings", running(QUICK), [tested, latin])
    with TestClient(make_review_app(replace(session, trainings=trainings))) as client:
        trainings.start(CONTENT)
        address = f"/files/{until(trainings, lambda status: status.state != 'running').page}"
        page = trainings.folder / trainings.status().name / "compare.html"
        assert client.get(address).text == "<h1>compared</h1>"
        for path, status in ((tested, 200), (latin, 200), (own, 404)):
            answer = client.get(urljoin(address, link(page, path)))
            assert answer.status_code == status
            assert status == 404 or answer.content == path.read_bytes()


def test_progress_is_what_its_last_line_says(trainings: Callable[[str], Trainings]) -> None:
    slow = trainings(SLOW)
    slow.start(CONTENT)
    status = until(slow, lambda status: status.total > 0)
    assert (status.state, status.what, status.done, status.total, status.left) == (
        "running",
        "epochs",
        1,
        4,
        "3 min left",
    )
    with pytest.raises(WeakspotError, match="a training runs already"):
        slow.start(b"other")


@pytest.mark.parametrize("code", [SLOW, STUBBORN])
def test_it_is_called_off(trainings: Callable[[str], Trainings], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_training, "PATIENCE", 1.0)
    slow = trainings(code)
    slow.start(CONTENT)
    until(slow, lambda status: status.total > 0)
    assert slow.cancel().state == "cancelled"
    assert slow.cancel().state == "cancelled"  # twice does no harm


def test_a_failure_is_its_own_line(trainings: Callable[[str], Trainings]) -> None:
    fails = trainings(FAILS)
    fails.start(CONTENT)
    status = until(fails, lambda status: status.state != "running")
    assert (status.state, status.what) == ("failed", "error: no room; make some")


def test_another_page_finds_a_training_and_calls_it_off(trainings: Callable[[str], Trainings]) -> None:
    """As after the page's own process was killed."""
    first = trainings(SLOW)
    first.start(CONTENT)
    second = trainings(SLOW)
    assert until(second, lambda status: status.total > 0).state == "running"
    with pytest.raises(WeakspotError, match="a training runs already"):
        second.start(b"other")
    assert second.cancel().state == "cancelled"
    assert first.status().state == "cancelled"


def test_one_that_was_killed_starts_again_in_the_same_folder(trainings: Callable[[str], Trainings]) -> None:
    slow = trainings(SLOW)
    name = slow.start(CONTENT).name
    until(slow, lambda status: status.total > 0)
    assert slow._process is not None
    os.killpg(slow._process.pid, signal.SIGKILL)
    assert until(slow, lambda status: status.state != "running").state == "failed"
    quick = trainings(QUICK)
    assert quick.start(CONTENT).name == name
    assert until(quick, lambda status: status.state != "running").state == "done"


def test_the_page_learns_from_a_copy(tmp_path: Path) -> None:
    session = make_session(tmp_path, ["a.png", "b.png"], command=running(QUICK))
    with TestClient(make_review_app(session)) as client:
        client.headers["x-weakspot-token"] = client.get("/api/session").json()["token"]
        refused = client.post("/api/training")
        assert (refused.status_code, "nothing is confirmed yet" in refused.json()["detail"]) == (422, True)
        body = {"version": 0, "state": "reviewed", "label": "good", "boxes": []}
        assert client.put("/api/pictures/0", json=body).status_code == 200
        name = client.post("/api/training").json()["name"]
        assert client.put("/api/pictures/1", json=body).status_code == 200
        assert session.trainings is not None
        until(session.trainings, lambda status: status.state == "done")
        learnt = json.loads((session.trainings.folder / name / "annotations.json").read_text())
        assert [image["file_name"] for image in learnt["images"]] == ["photos/a.png"]
        address = f"/files/{client.get('/api/training').json()['page']}"
        page = client.get(address)
        assert page.text == "<h1>compared</h1>"
        assert "connect-src" not in page.headers["content-security-policy"]
        assert client.get(address.replace("compare.html", "job.json")).status_code == 404
        assert client.delete("/api/training").json()["state"] == "done"


def test_nothing_is_trained_where_nothing_may_be_learnt(tmp_path: Path) -> None:
    with TestClient(make_review_app(make_session(tmp_path, ["a.png"]))) as client:
        client.headers["x-weakspot-token"] = client.get("/api/session").json()["token"]
        body = {"version": 0, "state": "reviewed", "label": "good", "boxes": []}
        client.put("/api/pictures/0", json=body)
        assert client.post("/api/training").json()["detail"] == "nothing can be trained in this test"
        assert client.get("/api/training").json() == {"state": "none"}


def test_the_command_is_the_verb_itself(tmp_path: Path) -> None:
    words = retrain_command(Path("outputs/photos"))(tmp_path / "a.json", tmp_path)
    assert list(words[1:5]) == ["-m", "weakspot", "review", "outputs/photos"]
    assert words[-1] == str(tmp_path)
