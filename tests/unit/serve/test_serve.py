"""The service over real HTTP on loopback, serving a tiny exported model."""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest
from helpers.backbones import tiny_backbone
from helpers.exports import make_run, quiet
from helpers.paths import ROOT
from PIL import Image
from starlette.testclient import TestClient

from weakspot.cli import main as cli
from weakspot.data.images import list_images
from weakspot.data.loading import Loaded
from weakspot.export.model import Order, export_model
from weakspot.inference.batcher import Batcher
from weakspot.inference.localizer import Localizer
from weakspot.models import backbones
from weakspot.postprocess.prediction_files import to_record
from weakspot.serve.app import Limits, make_app
from weakspot.serve.schema import Answer, PredictionRecord
from weakspot.types import ImageArray, Prediction
from weakspot.utils.files import jsonable

LIMITS = ["--megabytes", "0.5", "--megapixels", "0.02", "--images", "6", "--at-once", "2"]


@pytest.fixture(scope="module")
def model(fabric: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)
        run = make_run(tmp_path_factory.mktemp("served"), fabric, refined=False)
        export_model(Order(run, count=2), quiet)
    return run / "exports" / "model.onnx"


def start(model: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "weakspot", "serve", str(model), "--port", "0", *LIMITS]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "400"}
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    address = re.search(r"at (http://127\.0\.0\.1:\d+) ", line)
    assert address, line or process.communicate()
    return process, address[1]


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[httpx.Client]:
    process, address = start(model)
    with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
        yield client
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert "Traceback" not in out


def files(paths: list[Path]) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (path.name, path.read_bytes())) for path in paths]


def wanted(model: Path, paths: list[Path]) -> list[dict[str, Any]]:
    """What ``predict`` writes of the same pictures, under the names that were sent."""
    return [
        jsonable(to_record(replace(prediction, path=Path(prediction.path.name))))
        for prediction in Localizer.load(model).predict(paths)
    ]


def test_predictions_are_those_of_predict(service: httpx.Client, model: Path, fabric: Path) -> None:
    paths = list_images(fabric)[::15][:5]
    answer = service.post("/predict", files=files(paths))
    assert answer.status_code == 200
    found = answer.json()["predictions"]
    assert found == wanted(model, paths)
    assert any(record["boxes"] for record in found)
    Answer.model_validate(answer.json(), extra="forbid")
    assert set(found[0]) == set(PredictionRecord.model_fields) - {"map", "remark"}


def test_a_picture_of_another_size_comes_with_a_remark(service: httpx.Client, fabric: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (60, 120), (90, 90, 90)).save(stream, format="PNG")
    usual = list_images(fabric)[0]
    answer = service.post("/predict", files=[*files([usual]), ("images", ("tall.png", stream.getvalue()))])
    first, second = answer.json()["predictions"]
    assert "remark" not in first
    assert second["status"] == "ok"
    assert second["remark"] == (
        "another size or shape than in training: 120×60 pixels, height × width, in place of 96×128"
    )
    Answer.model_validate(answer.json(), extra="forbid")


def test_one_bad_picture_does_not_spoil_the_others(service: httpx.Client, fabric: Path) -> None:
    good, large = list_images(fabric)[0], ROOT / "docs" / "demo.jpg"
    answer = service.post("/predict", files=[*files([good]), ("images", ("no.png", b"no")), *files([large])])
    records = answer.json()["predictions"]
    assert [record["status"] for record in records] == ["ok", "error", "error"]
    assert answer.status_code == 200
    assert records[1]["message"].startswith("no.png: not an image")
    assert "more than 0.02 million pixels" in records[2]["message"]
    assert service.post("/predict", files={"images": ("no.png", b"no")}).status_code == 422


def test_a_map_comes_with_defects_only_if_wanted(service: httpx.Client, fabric: Path) -> None:
    found = service.post("/predict?map=true", files=files(list_images(fabric)[::12][:6])).json()["predictions"]
    assert {record["label"] for record in found} >= {"anomaly"}
    for record in found:
        is_png = (record["map"] or "").startswith("data:image/png;base64,iVBOR")
        assert is_png == (record["label"] != "good")


def test_limits(service: httpx.Client, fabric: Path) -> None:
    image = list_images(fabric)[0]
    assert service.post("/predict").status_code == 422
    assert service.post("/predict", data={"images": "text"}).status_code in (400, 422)
    too_many = service.post("/predict", files=files([image] * 7))
    assert (too_many.status_code, "Too many files" in too_many.json()["detail"]) == (400, True)
    too_large = service.post("/predict", files={"images": ("a.png", b"x" * 600_000)})
    assert (too_large.status_code, "more than 0.5 MB" in too_large.json()["detail"]) == (413, True)

    def chunks() -> Iterator[bytes]:  # says nothing of its length
        yield b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
        for _ in range(20):
            yield b"x" * 50_000
        yield b"\r\n--b--\r\n"

    unsaid = service.post("/predict", content=chunks(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert unsaid.status_code == 413
    assert service.get("/health", headers={"host": "evil.example"}).status_code == 400


def test_odd_requests_get_one_line_or_an_answer(service: httpx.Client, fabric: Path) -> None:
    good = list_images(fabric)[0].read_bytes()

    def ask(name: str, kind: str) -> httpx.Response:
        body = f'--b\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode()
        header = {"content-type": f"multipart/form-data; boundary=b{kind}"}
        return service.post("/predict", content=body + good + b"\r\n--b--\r\n", headers=header)

    unknown = ask("a.png", "; charset=undefined")
    assert unknown.status_code == 400
    assert unknown.json()["detail"] == "names in the form are not in the charset that it gives; send UTF-8"
    half_a_pair = ask("+2AA-.png", "; charset=utf-7")
    assert (half_a_pair.status_code, half_a_pair.json()["predictions"][0]["path"]) == (200, "?.png")
    assert ask("", "").json()["predictions"][0]["path"] == "image-1"
    misspelt = service.post("/predict?map=perhaps", files={"images": ("a.png", good)})
    assert misspelt.status_code == 422
    assert misspelt.json()["detail"].startswith("map: Input should be a valid boolean")


def test_many_at_once_all_get_their_own_answer(service: httpx.Client, model: Path, fabric: Path) -> None:
    paths = list_images(fabric)[::5][:8]
    known = wanted(model, paths)
    before = service.get("/health").json()["answered"]

    def ask(n: int) -> bool:
        i = n % len(paths)
        answer = httpx.post(f"{service.base_url}/predict", files=files([paths[i]]), timeout=60)
        return bool(answer.json()["predictions"] == [known[i]])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(40)))
    health = service.get("/health").json()
    assert health["answered"] == before + 40
    assert (health["status"], health["model"], health["classes"]) == ("ok", "model.onnx", ["good", "anomaly"])


def test_numbers_for_prometheus_and_whether_requests_may_come(service: httpx.Client, fabric: Path) -> None:
    service.post("/predict", files=[*files(list_images(fabric)[:2]), ("images", ("no.png", b"no"))])
    numbers = service.get("/metrics")
    assert numbers.headers["content-type"].startswith("text/plain; version=0.0.4")
    counted = re.search(r'^weakspot_pictures_total{verdict="unreadable"} (\d+)', numbers.text, re.MULTILINE)
    assert counted
    assert int(counted[1]) >= 1
    for name in ("weakspot_latency_seconds_count", "weakspot_confidence_bucket", "weakspot_queue 0.0"):
        assert f"\n{name}" in numbers.text, name
    assert [service.get(page).text for page in ("/live", "/ready")] == ["ok\n", "ok\n"]


def test_an_observer_sees_what_is_answered_and_its_alarm_is_logged(
    model: Path, fabric: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Eyes:
        seen: ClassVar[list[str]] = []

        def see(self, prediction: Prediction, loaded: Loaded) -> list[dict[str, str]]:
            self.seen.append(prediction.path.name)
            return [{"seen": "it is dark", "why": "nobody sees", "do": "Light."}]

        def gauges(self) -> dict[str, float]:
            return {"familiarity": 0.5}

    app = make_app(Localizer.load(model), "m", Limits(), observer=Eyes())
    with TestClient(app) as client, caplog.at_level(logging.WARNING):
        client.post("/predict", files=files(list_images(fabric)[:1])).raise_for_status()
        assert "\nweakspot_familiarity 0.5\n" in client.get("/metrics").text
    assert Eyes.seen == [list_images(fabric)[0].name]
    assert "alarm: it is dark; nobody sees. Light." in caplog.text


def test_an_observer_that_fails_costs_nobody_an_answer(
    model: Path, fabric: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Blind:
        def see(self, prediction: Prediction, loaded: Loaded) -> list[dict[str, str]]:
            raise RuntimeError("it is dark")

        def gauges(self) -> dict[str, float]:
            return {}

    with TestClient(make_app(Localizer.load(model), "m", Limits(), observer=Blind())) as client:
        answer = client.post("/predict", files=files(list_images(fabric)[:1]))
    assert answer.status_code == 200
    assert "an observer failed" in caplog.text


def test_pages_need_no_other_host(service: httpx.Client) -> None:
    page = service.get("/")
    assert "Drop pictures here" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    docs = service.get("/docs").text
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text + docs)
    assert len(assets) >= 4
    for asset in assets:
        assert asset.startswith("/"), asset
        assert service.get(asset).status_code == 200, asset
    described = service.get("/openapi.json").json()
    assert set(described["paths"]) == {"/predict", "/health", "/metrics", "/live", "/ready"}
    answer = described["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/Answer"}


def test_what_was_asked_before_the_end_is_answered(model: Path, fabric: Path) -> None:
    process, address = start(model)
    answers: list[httpx.Response] = []
    with httpx.Client(base_url=address, transport=httpx.HTTPTransport(retries=20), timeout=60) as client:
        client.get("/health")
        request = files(list_images(fabric)[:6])
        connected = threading.Semaphore(0)

        def trace(event: str, _: object) -> None:
            if event == "http11.send_request_headers.complete":
                connected.release()

        def ask() -> None:
            with httpx.Client(timeout=60) as asking:
                target = f"{address}/predict?map=true"
                answers.append(asking.post(target, files=request, extensions={"trace": trace}))

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for _ in threads:
            connected.acquire()
        for _ in range(3):  # who comes later is answered later: by then all six were seen
            httpx.get(f"{address}/health", timeout=60)
        while not client.get("/health").json()["answered"]:
            pass
    process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    _, err = process.communicate(timeout=30)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert (process.returncode, err) == (0, "")


def test_a_port_that_is_taken_is_one_clear_line(
    service: httpx.Client, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra, message in (
        (["--port", str(service.base_url.port)], "another --port may be free"),
        (["--device", "cuda"], "exported models run on the CPU"),
    ):
        monkeypatch.setattr(sys, "argv", ["weakspot", "serve", str(model), *extra])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == 1
        assert message in capsys.readouterr().err
    for name in [name for name in sys.modules if name.startswith("weakspot.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setattr(sys, "argv", ["weakspot", "serve", str(model)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "pip install 'weakspot[serve]'" in capsys.readouterr().err


class Slow:
    """Stands for a model on a device that likes four pictures at a time."""

    batch_size, streams = 4, 1

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()

    def predict_batch(self, batch: list[Loaded]) -> list[Prediction]:
        self.go.wait(10)
        self.sizes.append(len(batch))
        if any(loaded.name.name == "bad" for loaded in batch):
            raise RuntimeError("bad")
        return [Prediction(loaded.name) for loaded in batch]


def test_what_waits_is_predicted_together_in_order() -> None:
    slow = Slow()
    batcher = Batcher(slow)  # type: ignore[arg-type]
    names = ["first", *map(str, range(9)), "bad"]
    futures = [batcher.submit(Loaded(Path(name))) for name in names]
    slow.go.set()
    batcher.close()
    assert [future.result().path.name for future in futures[:-1]] == names[:-1]
    assert isinstance(futures[-1].exception(), RuntimeError)
    assert max(slow.sizes) == 4
    assert slow.sizes[0] <= 4


class Fussy(Slow):
    """Stands for a model that fails on some pictures."""

    meta = SimpleNamespace(classes=["good", "anomaly"], pictures=None, familiarity=None)

    def prepare(self, name: Path, image: ImageArray) -> Loaded:
        return Loaded(name, image.shape[:2], image)


def test_a_picture_that_the_model_fails_on_does_not_spoil_the_others(fabric: Path) -> None:
    fussy, good = Fussy(), list_images(fabric)[0].read_bytes()
    fussy.go.set()
    with TestClient(make_app(fussy, "fussy", Limits()), raise_server_exceptions=False) as client:  # type: ignore[arg-type]
        answer = client.post("/predict", files=[("images", (name, good)) for name in ("a", "bad", "b")])
        records = answer.json()["predictions"]
        assert [(record["path"], record["status"]) for record in records] == [
            ("a", "ok"),
            ("bad", "error"),
            ("b", "ok"),
        ]
        assert (answer.status_code, records[1]["message"]) == (200, "bad: not predicted (bad)")
        assert client.post("/predict", files={"images": ("bad", good)}).status_code == 500
        assert client.post("/predict", files={"images": ("a", good)}).status_code == 200
        for length, status in ((b"\xb2", 422), (b"9" * 5000, 413)):  # no server need pass on only what is a length
            answer = client.post("/predict", content=b"", headers=[(b"content-length", length)])
            assert (answer.status_code, type(answer.json()["detail"])) == (status, str)
