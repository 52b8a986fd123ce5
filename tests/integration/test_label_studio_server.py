"""The whole way through a real Label Studio server: import, correct through its API, export, learn from it.

Label Studio pins other versions of NumPy and OpenCV than weakspot takes, so it lives in an environment of its own::

    python3 -m venv label-studio && label-studio/bin/pip install label-studio
    LABEL_STUDIO=label-studio/bin/label-studio python -m pytest tests/integration/test_label_studio_server.py -n 0
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from helpers.runs import ALL_ANOMALY, FEW_STEPS, metrics_of, train
from PIL import Image

from weakspot.data.annotations import LABELSTUDIO_CLASS, read_annotations
from weakspot.data.splits import read_split
from weakspot.export.boxes import write_boxes
from weakspot.export.source import read_source
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.runs.folder import RunFolder

SERVER = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("tiny"),
    pytest.mark.skipif(SERVER is None, reason="label-studio is not installed; LABEL_STUDIO=FILE names its program"),
]

USER, PASSWORD = "inspector@example.com", "correct-horse-battery"
HEADS = ("experiment=recommended", *ALL_ANOMALY, *FEW_STEPS, "refine.correction_steps=4", "boxes.threshold=-4")
PATIENCE_S = 180


@pytest.fixture
def server(tmp_path: Path) -> Iterator[httpx.Client]:
    """A server with one user, who is logged in; its local files are those below ``annotations``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(tmp_path / "annotations"),
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
    }
    command = [str(SERVER), "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(tmp_path / "data"), "--username", USER, "--password", PASSWORD]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | settings, stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, follow_redirects=True) as client:
                _log_in(client, process)
                yield client
        finally:
            process.terminate()
            process.wait(30)


def _log_in(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """As the page does, once the server answers."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.get("/user/login/").raise_for_status()
            break
        except httpx.HTTPError:
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < end, "the server does not answer"
            time.sleep(1)
    client.headers["Referer"] = str(client.base_url)
    form = {"email": USER, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    client.post("/user/login/", data=form).raise_for_status()
    client.headers["X-CSRFToken"] = client.cookies["csrftoken"]


def asked(answer: httpx.Response) -> Any:
    """What the server says, or why it does not."""
    assert answer.is_success, f"{answer.status_code}: {answer.text[:2000]}"
    return answer.json()


@pytest.fixture
def run(fabric: Path, here: Path) -> RunFolder:
    return train(fabric, *HEADS, "output=first")


def exported(run: RunFolder, fabric: Path, folder: Path) -> list[Path]:
    """Predict the defective training pictures and write them for Label Studio, as the page on correcting says."""
    samples, subsets = read_split(run.split, fabric)
    chosen = [s.path for s, subset in zip(samples, subsets, strict=True) if subset == "train" and not s.is_good][:4]
    write_predictions(folder / "predicted", Localizer.load(run.path, device="cpu").predict(chosen))
    write_boxes(read_source(folder / "predicted"), "labelstudio", folder / "annotations", "copy")
    return chosen


def rectangle(box: tuple[int, int, int, int], size: tuple[int, int]) -> dict[str, Any]:
    """A rectangle as Label Studio's editor sends it: percent of the picture."""
    (x0, y0, x1, y1), (height, width) = box, size
    value = {"x": 100 * x0 / width, "y": 100 * y0 / height, "rotation": 0, "rectanglelabels": ["anomaly"]}
    value |= {"width": 100 * (x1 - x0) / width, "height": 100 * (y1 - y0) / height}
    about = {"original_width": width, "original_height": height, "image_rotation": 0, "value": value}
    return about | {"id": "drawn", "type": "rectanglelabels", "from_name": "label", "to_name": "image"}


def test_what_is_corrected_in_the_real_server_is_learnt_from(
    server: httpx.Client, run: RunFolder, fabric: Path, tmp_path: Path
) -> None:
    chosen = exported(run, fabric, tmp_path)
    config = (tmp_path / "annotations" / "label_config.xml").read_text()
    project = asked(server.post("/api/projects/", json={"title": "photos", "label_config": config}))["id"]
    storage = {"project": project, "path": str(tmp_path / "annotations" / "images"), "use_blob_urls": True}
    asked(server.post("/api/storages/localfiles", json=storage))
    tasks = json.loads((tmp_path / "annotations" / "tasks.json").read_text())
    imported = asked(server.post(f"/api/projects/{project}/import", json=tasks))
    assert (imported["task_count"], imported["prediction_count"]) == (len(chosen), len(chosen))

    listed = asked(server.get("/api/tasks/", params={"project": project, "fields": "all"}))["tasks"]
    by_name = {task["data"]["file"]: task for task in listed}
    picture = server.get(listed[0]["data"]["image"])
    with Image.open(chosen[0]) as image:
        width, height = image.size
    assert picture.headers["content-type"].startswith("image/")
    assert len(picture.content) in [path.stat().st_size for path in chosen]

    names = sorted(by_name)
    drawn = {names[0]: (3, 5, 21, 29), names[1]: (10, 12, 40, 30)}
    for name, box in drawn.items():
        answer = {"result": [rectangle(box, (height, width))]}
        asked(server.post(f"/api/tasks/{by_name[name]['id']}/annotations/", json=answer))
    good = {"id": "c", "type": "choices", "from_name": LABELSTUDIO_CLASS, "to_name": "image"}
    good |= {"value": {"choices": ["good"]}}
    asked(server.post(f"/api/tasks/{by_name[names[2]]['id']}/annotations/", json={"result": [good]}))

    export = asked(server.get(f"/api/projects/{project}/export", params={"exportType": "JSON"}))
    (tmp_path / "export.json").write_text(json.dumps(export))
    read = {one.name: one for one in read_annotations(tmp_path / "export.json")}
    assert {name: one.boxes for name, one in read.items() if one.boxes} == {name: [box] for name, box in drawn.items()}
    assert read[names[2]].label == "good"
    assert names[3] not in read  # its predictions are nobody's opinion

    again = train(fabric, *HEADS, f"data.annotations={tmp_path / 'export.json'}", "output=second")
    learnt = metrics_of(again)["data"]["learnt_from"]
    assert (learnt["boxes"], learnt["pictures"], learnt["corrected_labels"]) == (len(drawn), len(drawn), 1)
