"""The page of a review killed twenty times, between saves and in the middle of them: nothing confirmed is lost."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.reviews import make_session, serve_fork

from weakspot.serve import review_store
from weakspot.serve.review_store import ReviewStore

NAMES = [f"p{i}.png" for i in range(6)]
KILLS = 20

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")


def dying(root: Path, port_file: Path, at: str, count: int) -> None:
    """The page, in a fork; it kills itself at the count-th call of a step of saving, or is killed from outside."""
    calls = 0

    def deadly(what: Any) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == count:
                os.kill(os.getpid(), signal.SIGKILL)
            return what(*arguments, **options)

        return watched

    if at == "sync":
        review_store.os.fsync = deadly(os.fsync)  # type: ignore[attr-defined]
    if at == "rename":
        Path.replace = deadly(Path.replace)  # type: ignore[method-assign]
    if at == "text":
        ReviewStore._text = deadly(ReviewStore._text)  # type: ignore[method-assign]
    serve_fork(make_session(root, NAMES), port_file)


def started(root: Path, port_file: Path, at: str, count: int) -> tuple[Any, httpx.Client]:
    port_file.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(target=dying, args=(root, port_file, at, count), daemon=True)
    process.start()
    end = time.monotonic() + 60
    while not port_file.exists():
        assert process.is_alive()
        assert time.monotonic() < end
        time.sleep(0.01)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port_file.read_text()}", timeout=30)
    client.headers["x-weakspot-token"] = client.get("/api/session").json()["token"]
    return process, client


def work(client: httpx.Client, rng: random.Random, confirmed: dict[int, Any]) -> None:
    """Correct pictures until nobody answers any more; what was answered stands in `confirmed`."""
    while True:
        index = rng.randrange(len(NAMES))
        x, y = rng.randrange(60), rng.randrange(50)
        body = {
            "version": client.get(f"/api/pictures/{index}").json()["version"],
            "state": rng.choice(["draft", "reviewed", "skipped"]),
            "label": "anomaly",
            "boxes": [{"x0": x, "y0": y, "x1": x + 9, "y1": y + 7, "label": "anomaly"}],
        }
        saved = client.put(f"/api/pictures/{index}", json=body)
        assert saved.status_code == 200
        confirmed[index] = saved.json()


def test_nothing_confirmed_is_lost_whenever_the_page_is_killed(tmp_path: Path) -> None:
    rng, confirmed = random.Random(3), dict[int, Any]()  # noqa: S311 - the same kills each time
    for kill in range(KILLS):
        at = ("time", "sync", "rename", "text")[kill % 4]
        process, client = started(tmp_path, tmp_path / "port", at, rng.randrange(3, 12))
        if at == "time":
            signal.signal(signal.SIGALRM, lambda *_, pid=process.pid: os.kill(pid, signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.02, 0.25))
        with contextlib.closing(client), contextlib.suppress(httpx.TransportError):
            work(client, rng, confirmed)
        process.join(timeout=30)
        assert process.exitcode == -signal.SIGKILL
        file = tmp_path / "review" / "annotations.json"
        if confirmed:
            json.loads(file.read_text())  # whole
        store = make_session(tmp_path, NAMES).store
        for index, saved in confirmed.items():
            found = store.review(index)
            assert found.version >= saved["version"]  # a save may be written and its answer not heard
            if found.version == saved["version"]:
                assert (found.state, found.label) == (saved["state"], saved["label"])
                assert [list(box.xyxy) for box in found.boxes] == [
                    [box[name] for name in ("x0", "y0", "x1", "y1")] for box in saved["boxes"]
                ]
    assert len(confirmed) == len(NAMES)
    store = make_session(tmp_path, NAMES).store
    store.save(0, store.review(0), based_on=store.review(0).version)
    left = {path.name for path in (tmp_path / "review").iterdir()}
    assert left == {"annotations.json"}  # what the killed ones left half-written is gone
