"""The command: from files to verdicts in the journal, in files and at sinks; kills, limits, numbers and logs."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from helpers.tiny_onnx import tiny_onnx
from helpers.watching import picture, receiving, until

from weakspot.commands.predict import predict
from weakspot.commands.watch import Orders, Sinks, watch
from weakspot.data.loading import Loaded
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.types import Prediction
from weakspot.utils.logs import JsonLines
from weakspot.watch.folder import Pace
from weakspot.watch.journal import Journal
from weakspot.watch.results import Results
from weakspot.watch.telemetry import Telemetry

ONCE = Pace(settle=0.05, once=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_onnx(tmp_path_factory.mktemp("watched") / "model.onnx")


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """Busy and plain pictures in turns, and one that is broken."""
    folder = tmp_path / "camera"
    for number in range(8):
        path = picture(folder / f"{number}.png", number, busy=number % 2 == 0)
        os.utime(path, (number, number))
    (folder / "broken.png").write_bytes(b"no picture")
    os.utime(folder / "broken.png", (100, 100))
    return folder


def lines_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(output.glob("*.jsonl")) for line in path.open()]


def test_results_are_those_of_predict_in_order_and_once(model: Path, camera: Path, tmp_path: Path) -> None:
    localizer, output = Localizer.load(model), tmp_path / "line"
    counts = watch(localizer, "m", Orders(str(camera), output, ONCE), threading.Event())
    names = [*(f"{number}.png" for number in range(len(list(camera.iterdir())) - 1)), "broken.png"]
    list(predict(localizer, [camera / name for name in names], tmp_path / "predicted"))
    assert lines_of(output) == [json.loads(line) for line in (tmp_path / "predicted" / "predictions.jsonl").open()]
    (day,) = output.glob("predictions-*.jsonl")
    found = read_predictions(day)
    alarms = [one for one in found if one.status == "ok" and one.label != "good"]
    assert len(alarms) > 0
    assert counts == {"defective": len(alarms), "good": len(found) - 1 - len(alarms), "unreadable": 1}
    overlays = sorted(path.name for path in (output / "overlays").rglob("*.jpg"))
    numbers = {one.path.name: number for number, one in enumerate(found, start=1)}
    assert overlays == [f"{numbers[one.path.name]:09d}-{one.path.stem}.jpg" for one in alarms]
    assert watch(localizer, "m", Orders(str(camera), output, ONCE), threading.Event()) == counts
    assert len(lines_of(output)) == len(names)
    os.utime(camera / "1.png")  # touched: still the same picture
    assert watch(localizer, "m", Orders(str(camera), output, ONCE), threading.Event()) == counts


class Eyes:
    """An observer."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.pictures = 0

    def see(self, prediction: Prediction, loaded: Loaded) -> Sequence[Mapping[str, str]]:
        self.seen.append(prediction.path.name)
        self.pictures += loaded.image is not None
        return [{"seen": "it is dark", "why": "nobody sees", "do": "Light."}] if len(self.seen) == 2 else []

    def gauges(self) -> Mapping[str, float]:
        return {"familiarity": 0.25}


def test_an_observer_sees_every_prediction_in_order_and_its_alarms_are_logged(
    model: Path, camera: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    eyes = Eyes()
    with caplog.at_level(logging.INFO):
        watch(Localizer.load(model), "m", Orders(str(camera), tmp_path / "o", ONCE), threading.Event(), observer=eyes)
    assert eyes.seen == [Path(line["path"]).name for line in lines_of(tmp_path / "o")]
    assert eyes.pictures == len(eyes.seen) - 1
    assert "alarm: it is dark; nobody sees. Light." in caplog.text
    assert caplog.text.count("broken.png: not an image") == 1


def start(model: Path, camera: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "weakspot", "watch", str(model), str(camera), "--output", str(output), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_where_results_cannot_be_written_the_line_ends_and_leaves_no_thread(
    model: Path, camera: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(results: Results, entries: object) -> None:
        raise WeakspotError("the disk is full")

    monkeypatch.setattr(Results, "write", full)
    monkeypatch.setattr("weakspot.watch.line.QUEUE", 1)
    localizer, before = Localizer.load(model), set(threading.enumerate())
    with pytest.raises(WeakspotError, match="the disk is full"):
        watch(localizer, "m", Orders(str(camera), tmp_path / "line", ONCE), threading.Event())
    assert set(threading.enumerate()) <= before


def test_a_process_tells_numbers_health_and_sinks_logs_as_json_and_stops_when_told(model: Path, tmp_path: Path) -> None:
    camera, output, flag = tmp_path / "camera", tmp_path / "line", tmp_path / "flag.txt"
    camera.mkdir()
    with receiving() as receiver:
        options = ["--webhook", receiver.url, "--flag", str(flag), "--metrics-port", "0", "--log-format", "json"]
        process = start(model, camera, output, *options)
        assert process.stderr is not None
        said = [json.loads(process.stderr.readline()) for _ in range(2)]
        address = said[0]["message"].split()[-1].removesuffix("/metrics")
        for number in range(6):
            picture(camera / f"{number}.png", number)
        (camera / "b.png").write_bytes(b"broken")
        until(lambda: len(receiver.got) == 7)
        numbers = httpx.get(f"{address}/metrics").text
        assert {httpx.get(f"{address}/{page}").status_code for page in ("live", "ready")} == {200}
        assert httpx.get(f"{address}/other").status_code == 404
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "1 unreadable" in out
    assert 'weakspot_pictures_total{verdict="unreadable"} 1.0' in numbers
    assert "weakspot_latency_seconds_count 7.0" in numbers
    assert 'weakspot_sink_backlog{sink="webhook' in numbers
    assert "weakspot_queue 0.0" in numbers
    said += [json.loads(line) for line in err.splitlines()]
    assert [one["picture"] for one in said if one["level"] == "error"] == ["b.png"]
    assert flag.read_text().split()[1] == "7"
    assert [body["id"] for body, _, _ in receiver.got] == list(range(1, 8))


@pytest.mark.slow
def test_no_torch_is_loaded_for_an_exported_model(model: Path, camera: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfor name in ('torch', 'torchvision', 'pytorch_lightning', 'hydra'): sys.modules[name] = None\n"
        "from weakspot.cli.main import main\n"
        f"sys.argv = ['weakspot', 'watch', {str(model)!r}, {str(camera)!r}, '--output', {str(tmp_path / 'o')!r}, "
        "'--once', '--settle', '0.05']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(lines_of(tmp_path / "o")) == len(list(camera.iterdir()))


@pytest.mark.slow
def test_killed_at_any_moment_each_picture_has_one_verdict(model: Path, tmp_path: Path) -> None:
    camera, output = tmp_path / "camera", tmp_path / "line"
    camera.mkdir()
    with receiving() as receiver:
        for round_ in range(3):
            process = start(model, camera, output, "--webhook", receiver.url, "--settle", "0.1")
            for number in range(15):
                picture(camera / f"{round_}-{number}.png", 100 * round_ + number)
            wanted_by_now = 15 * round_ + 4
            until(lambda least=wanted_by_now: len(receiver.once) >= least, 300)
            process.kill()
            process.communicate()
        watching = start(model, camera, output, "--webhook", receiver.url, "--settle", "0.1", "--once")
        assert watching.wait(timeout=300) == 0
        watching.communicate()
    wanted = {path.name for path in camera.iterdir()}
    journal = Journal(output / "journal.sqlite")
    entries = journal.after(0, 1000)
    assert [one.id for one in entries] == list(range(1, 46))
    assert {one.name for one in entries} == wanted
    assert [Path(line["path"]).name for line in lines_of(output)] == [one.name for one in entries]
    assert {Path(body["path"]).name for body in receiver.once.values()} == wanted
    assert {key: body["id"] for key, body in receiver.once.items()} == {one.key: one.id for one in entries}
    assert len(list((output / "overlays").rglob("*.jpg"))) == sum(one.verdict == "defective" for one in entries)


def test_memory_is_bounded_by_the_queue_when_the_model_is_slow(model: Path, tmp_path: Path) -> None:
    camera = tmp_path / "camera"
    for number in range(60):
        picture(camera / f"{number:02d}.png", number)
    localizer, busy, most = Localizer.load(model), 0, 0
    lock, read = threading.Lock(), Localizer.prepare

    class Slow(Localizer):
        def prepare(self, name: Path, image: Any) -> Loaded:
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
            return read(self, name, image)

        def predict_batch(self, batch: list[Loaded]) -> list[Prediction]:
            nonlocal busy
            time.sleep(0.005)
            with lock:
                busy -= len(batch)
            return super().predict_batch(batch)

    localizer.__class__ = Slow
    counts = watch(localizer, "m", Orders(str(camera), tmp_path / "o", ONCE), threading.Event())
    assert sum(counts.values()) == 60
    assert 1 <= most <= localizer.streams + 1


def test_mistakes_are_one_clear_line(model: Path, camera: Path, tmp_path: Path) -> None:
    localizer, stop = Localizer.load(model), threading.Event()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for orders, why in (
        (Orders(str(tmp_path / "no"), tmp_path / "o"), "no does not exist; give a folder"),
        (Orders(str(camera), camera / "o"), "lies in .*camera, which is watched"),
        (Orders(str(camera), tmp_path / "run"), "is a run folder"),
        (Orders(str(camera), tmp_path / "o", sinks=Sinks(brokers=["x"])), "--mqtt x: give mqtt://"),
        (Orders(str(camera), tmp_path / "o", sinks=Sinks(webhooks=["http://a?b=1"] * 2)), "is given twice"),
    ):
        with pytest.raises(WeakspotError, match=why):
            watch(localizer, "m", orders, stop)
    with pytest.raises(WeakspotError, match="--frames last is unknown; choose: all, newest"):
        Orders(str(camera), tmp_path / "o", frames="last")


def test_numbers_and_log_lines() -> None:
    telemetry = Telemetry("m")
    telemetry.note(Prediction(Path("a"), status="error", message="x"), 0.2)
    telemetry.gauge("weakspot_queue", "how many wait", lambda: 3.0)
    telemetry.ask_for_gauges(Eyes().gauges)
    telemetry.ask(lambda: [("weakspot_things_total", "things", "kind", {"a": 2.0})])
    text = telemetry.text().decode()
    for line in (
        'weakspot_pictures_total{verdict="unreadable"} 1.0', 'weakspot_pictures_total{verdict="good"} 0.0',
        "weakspot_queue 3.0", "weakspot_familiarity 0.25", 'weakspot_things_total{kind="a"} 2.0',
        'weakspot_latency_seconds_bucket{le="0.25"} 1.0', 'weakspot_latency_seconds_bucket{le="0.1"} 0.0',
    ):  # fmt: skip
        assert f"\n{line}\n" in text, line
    record = logging.LogRecord("weakspot.x", logging.ERROR, "f", 1, "%s\nbroke", ("it",), None)
    record.fields = {"picture": "a.png", "score": np.float32(0.5)}
    content = json.loads(JsonLines().format(record))
    assert (content["level"], content["message"], content["picture"]) == ("error", "it\nbroke", "a.png")
