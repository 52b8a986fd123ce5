"""Ray's engine against the local one: the same rows, whatever dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import deadly
from helpers.paths import TESTS
from PIL import Image

from weakspot.cli import main as cli
from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.data.roi import PairedRegions
from weakspot.inference.shards import ray_engine
from weakspot.models.bundle import BundleMeta, save_bundle
from weakspot.models.bundle_meta import read_meta, rewrite_meta
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.types import ANOMALY, GOOD

pytestmark = pytest.mark.slow


pytest.importorskip("ray", reason="the ray extra is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Address of a cluster of two cores on this machine, for all tests of this module."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), *sys.path]))
    ray = ray_engine.require_ray()
    hook = {"worker_process_setup_hook": deadly.setup}
    started = ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
        runtime_env=hook, object_store_memory=100 * 2**20,
    )  # fmt: skip
    yield started.address_info["gcs_address"]
    ray.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that a worker can load, with random weights that call about half of the pictures anomalies."""
    torch.manual_seed(1)
    network = CamNet("resnet18", 2, 2)
    meta = BundleMeta(
        classes=[GOOD, ANOMALY], preprocess=Preprocess((32, 32), "torchvision"), backbone="resnet18", outputs=2,
        boxes=BoxRule(), thresholds={}, weights={"origin": "random", "sha256": ""}, split_hash="", data_hash="",
    )  # fmt: skip
    network.eval()
    rng = np.random.default_rng(5)
    noise = [meta.preprocess(rng.integers(0, 256, (26, 33, 3), dtype=np.uint8)) for _ in range(16)]
    with torch.no_grad():
        logits = network(torch.from_numpy(np.stack(noise))).logits
        network.head.bias[0] += (logits[:, 1] - logits[:, 0]).median()
    folder = tmp_path_factory.mktemp("model") / "bundle"
    save_bundle(folder, Model(network), meta)
    return folder


def photos(folder: Path, names: list[str]) -> None:
    """Small pictures of different sizes and contents; ``broken…`` holds something else."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        if name.startswith("broken"):
            (folder / f"{name}.png").write_bytes(b"\x89PNG no picture")
        else:
            height, width = 24 + number % 5, 30 + number % 7
            Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(folder / f"{name}.png")


def weakspot(*arguments: str) -> int:
    saved, sys.argv = sys.argv, ["weakspot", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = saved
    return 0


def rows(folder: Path) -> bytes:
    """All parts, one after the other."""
    return b"".join(path.read_bytes() for path in sorted((folder / "parts").glob("part-*.jsonl")))


def test_rows_are_those_of_the_local_engine_though_a_worker_is_killed(
    cluster: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"a{number:02}" for number in range(56)] + ["kills", "broken", "zünd"]
    photos(tmp_path / "photos", names)
    assert weakspot("predict", str(model), "photos", "--output", "here", "--no-overlays") == 1
    local = capsys.readouterr()
    ray = ("--engine", "ray", "--output", "there", "--shard-size", "8")
    assert weakspot("predict", str(model), "photos", *ray) == 1
    remote = capsys.readouterr()
    assert (tmp_path / "photos" / ".killed").exists()
    written = Path("here/predictions.jsonl").read_bytes()
    assert len({json.loads(line)["label"] for line in written.splitlines()}) == 3  # good, anomaly, and unreadable
    assert rows(Path("there")) == written
    assert len(list(Path("there/parts").iterdir())) == 8
    assert not list(Path("there").rglob(".*"))  # no half-written part is left
    errors = [line for line in remote.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert errors == [line.replace("here", "there") for line in local.err.splitlines() if line.startswith("error: ")]
    assert local.out.splitlines()[0] in remote.out.splitlines()  # 59 images: 21 anomaly, 37 good
    summary = json.loads(Path("there/summary.json").read_text())
    assert (summary["images"], summary["unreadable"]) == (59, 1)


def test_masks_of_the_region_of_interest_reach_every_worker(
    cluster: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"a{number}" for number in range(8)]
    photos(tmp_path / "photos", [*names, "alone"])
    (tmp_path / "masks").mkdir()
    for name in names:
        with Image.open(tmp_path / "photos" / f"{name}.png") as picture:
            mask = np.zeros((picture.height, picture.width), np.uint8)
        mask[4:-4, 5:20] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
    shutil.copytree(model, tmp_path / "bundle")
    meta = read_meta(tmp_path / "bundle")
    roi = PairedRegions.at(tmp_path / "masks")
    everything = BoxRule(threshold_kind="absolute", threshold=-1e6)
    rewrite_meta(tmp_path / "bundle", replace(meta, preprocess=replace(meta.preprocess, roi=roi), boxes=everything))
    (tmp_path / "masks").rename(tmp_path / "moved")
    command = ("predict", "bundle", "photos", "--roi", "moved")
    assert weakspot(*command, "--output", "here", "--no-overlays") == 1
    assert weakspot(*command, "--output", "there", "--engine", "ray", "--shard-size", "3") == 1
    written = Path("here/predictions.jsonl").read_bytes()
    assert rows(Path("there")) == written
    by_name = {Path(record["path"]).stem: record for record in map(json.loads, written.splitlines())}
    assert [name for name, record in by_name.items() if record["status"] != "ok"] == ["alone"]
    assert "alone.png has no mask of its region of interest" in by_name["alone"]["message"]
    boxes = [box for record in by_name.values() for box in record["boxes"]]
    assert boxes
    assert all(box["x0"] >= 5 and box["x1"] <= 20 and box["y0"] >= 4 for box in boxes)


def test_after_the_driver_was_killed_the_same_command_does_the_rest(
    cluster: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    # The slow shard comes first: those after it must not wait behind it while the other worker is free.
    names = ["waits1", "waits2", *(f"x{number:02}" for number in range(12))]
    photos(tmp_path / "photos", names)
    command = ("predict", str(model), "photos", "--engine", "ray", "--output", "out", "--shard-size", "4")
    environment = os.environ | {"RAY_ADDRESS": cluster}
    driver = subprocess.Popen([sys.executable, str(TESTS / "helpers" / "deadly.py"), *command], env=environment)
    parts = [Path(f"out/parts/part-{number:06d}.jsonl") for number in range(4)]
    try:
        until(lambda: all(part.exists() for part in parts[1:]), driver)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert not parts[0].exists()
    Path("photos/.go").touch()
    # Its workers end when Ray notices; one that is quick may still finish its part, as whole as any.
    kept = {part: part.stat().st_mtime_ns for part in parts[1:]}
    assert weakspot(*command) == 0
    assert "done already" in capsys.readouterr().err
    assert {part: part.stat().st_mtime_ns for part in parts[1:]} == kept
    assert [Path(json.loads(line)["path"]).stem for line in rows(Path("out")).splitlines()] == names
    assert weakspot("predict", str(model), "photos", "--output", "here", "--no-overlays") == 0
    assert rows(Path("out")) == Path("here/predictions.jsonl").read_bytes()


def test_a_picture_that_kills_every_worker_ends_the_job_and_loses_nothing(
    cluster: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ray_engine, "TRIES", 2)
    photos(tmp_path / "photos", ["a1", "a2", "murders"])
    command = ("predict", str(model), "photos", "--engine", "ray", "--output", "out", "--shard-size", "2")
    assert weakspot(*command, "--actors", "1") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: a worker died 2 times on the same pictures (")
    assert (tmp_path / "photos" / ".murders").read_text() == "xx"
    assert [path.name for path in Path("out/parts").iterdir()] == ["part-000000.jsonl"]


def until(condition, process: subprocess.Popen[bytes], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the driver ended by itself"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
