"""Very many pictures, one in twenty of them broken, through ``weakspot predict`` and ``weakspot serve``.

``make soak`` does it with 20,000: every good picture is answered once, every broken one reported once, and memory and
open files do not grow. What is measured is the process that does the work, on a network of two layers with an input of
32 pixels: the pictures are the load here, not the arithmetic.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs this file by itself

import httpx
import numpy as np
import torch
from helpers.backbones import tiny_backbone
from PIL import Image
from robustness.faults import Tally, fork, table

from weakspot.config.rules import BoxRule
from weakspot.data.preprocess import Preprocess
from weakspot.models import backbones
from weakspot.models.bundle import save_bundle
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.model import Model
from weakspot.models.network import CamNet

BROKEN = 0.05
DISTINCT = 200
ENOUGH = 2000
"""Pictures of which a tenth suffices for all that is made once; memory is judged from here on."""

GROWTH_MB = 25.0
"""How much memory may grow after the first tenth; the names of 20,000 files alone take some of it."""

AT_ONCE = 8
"""Pictures in a request, and clients."""


@dataclass(frozen=True)
class Load:
    """Pictures to be answered.

    Attributes:
        folder: that they are in.
        good: number of each good one's content, by name.
        broken: kind of each broken one, by name.
    """

    folder: Path
    good: dict[str, int]
    broken: dict[str, str]

    @property
    def names(self) -> list[str]:
        """All, sorted as ``predict`` takes them."""
        return sorted({**self.good, **self.broken})


def broken_pictures() -> dict[str, bytes]:
    """A content of every kind that cannot be answered."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    files = {}
    for kind in ("png", "jpeg"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind)
        files[kind] = buffer.getvalue()
    floats = io.BytesIO()
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(floats, "tiff")
    png = files["png"]
    return {
        "empty": b"",
        "text": b"not a picture",
        "random": np.random.default_rng(1).bytes(500),
        "half a png": png[: len(png) // 2],
        "half a jpeg": files["jpeg"][:300],
        "no pixels": png[:16] + bytes(8) + png[24:],
        "a bomb": png[:16] + (100_000).to_bytes(4, "big") * 2 + png[24:],
        "floating point": floats.getvalue(),
    }


def make_load(folder: Path, images: int) -> Load:
    """Write that many pictures, most of them links to a few hundred."""
    kept = folder.with_name(f"{folder.name}-kept")
    kept.mkdir(parents=True)
    folder.mkdir()
    distinct, kinds = min(DISTINCT, images), broken_pictures()
    for i in range(distinct):
        rng = np.random.default_rng(i)
        pixels = np.full((int(rng.integers(40, 90)), int(rng.integers(40, 90)), 3), rng.integers(0, 255, 3), np.uint8)
        pixels[5:30, 10:30] = rng.integers(0, 255, (25, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(kept / f"{i}.png")
    for kind, content in kinds.items():
        (kept / kind).write_bytes(content)
    rng, load = random.Random(0), Load(folder, {}, {})  # noqa: S311 - not for secrets
    for i in range(images):
        name = f"{i:06d}.png"
        if rng.random() < BROKEN:
            load.broken[name] = list(kinds)[len(load.broken) % len(kinds)]
            source = kept / load.broken[name]
        else:
            load.good[name] = i % distinct
            source = kept / f"{i % distinct}.png"
        os.link(source, folder / name)
    return load


def make_model(folder: Path) -> None:
    """A bundle of the tiny network, random but always the same, that calls about everything defective."""
    backbones.BACKBONES["tiny"] = tiny_backbone
    torch.manual_seed(0)
    meta = BundleMeta(
        classes=["good", "anomaly"], preprocess=Preprocess((32, 32), "torchvision"), backbone="tiny", outputs=2,
        boxes=BoxRule(), thresholds={"decision": {"value": None}}, weights={"origin": "none", "sha256": "random"},
        split_hash="s", data_hash="d",
    )  # fmt: skip
    save_bundle(folder, Model(CamNet("tiny").eval()), meta)


class Watch:
    """Memory and open files of a process, looked at now and then (Linux)."""

    def __init__(self, process: int, images: int) -> None:
        self.process, self.images = process, images
        self.seen: list[tuple[float, float, int]] = []

    def look(self, done: float) -> None:
        """Look, with the share of the work that is done."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process}/status").read_text())
        if found:  # it has not ended this very moment
            self.seen.append((done, int(found[1]) * 1024 / 1e6, len(list(Path(f"/proc/{self.process}/fd").iterdir()))))

    def grown(self) -> tuple[float, float, int, int]:
        """Highest memory (MB) up to a tenth of the work and of all, and likewise open files."""
        early = [one for one in self.seen if 0 < one[0] <= 0.1] or self.seen[:1]
        return (
            max(one[1] for one in early), max(one[1] for one in self.seen),
            max(one[2] for one in early), max(one[2] for one in self.seen),
        )  # fmt: skip

    def check(self, what: str, tally: Tally) -> None:
        """Note what grew."""
        before, after, files_before, files_after = self.grown()
        text = f"{what}: memory {before:.0f} MB after a tenth, {after:.0f} MB at most; open files {files_before}, "
        print(f"{text}{files_after} at most", file=sys.stderr)
        grown = after - before > GROWTH_MB and self.images >= ENOUGH
        if grown or files_after > files_before + 10:
            tally.note("crashes", f"{text}{files_after} at most")


def check_answers(what: str, load: Load, records: Sequence[dict[str, Any]], tally: Tally) -> None:
    """Every picture is answered once, a broken one with an error, and the same content always alike."""
    seen = Counter(Path(record["path"]).name for record in records)
    for name in load.names:
        if seen[name] != 1:
            tally.note("lost" if not seen[name] else "wrong", f"{what}: {name} was answered {seen[name]} times")
    first: dict[int, dict[str, Any]] = {}
    for record in records:
        name = Path(record["path"]).name
        if (record["status"] == "ok") != (name in load.good):
            tally.note("wrong", f"{what}: {name} ({load.broken.get(name, 'good')}) is {record['status']}")
        elif name in load.good:
            known = first.setdefault(load.good[name], record)
            alike = all(record[key] == known[key] for key in ("label", "height", "width")) and len(
                record["boxes"]
            ) == len(known["boxes"])
            if not alike or abs(record["probability"] - known["probability"]) > 1e-5:
                tally.note("wrong", f"{what}: {name} is not answered as {known['path']}")


def soak_predict(scratch: Path, load: Load, tally: Tally) -> None:
    """All of them from files to files."""
    output, log = scratch / "results", scratch / "said"
    process = fork(["predict", "model", str(load.folder), "--output", str(output)], scratch, log)
    watch = Watch(process, len(load.names))
    while os.waitpid(process, os.WNOHANG) == (0, 0):
        time.sleep(0.1)
        written = next(output.glob(".*.jsonl"), None)
        try:
            watch.look(0.0 if written is None else written.stat().st_size / (400 * len(load.names)))
        except OSError:
            continue
    said = log.read_text()
    tally.faults += len(load.broken)
    if "Traceback" in said or not (output / "predictions.jsonl").is_file():
        return tally.note("crashes", f"predict: {said[-2000:]}")
    check_answers(
        "predict", load, [json.loads(line) for line in (output / "predictions.jsonl").open(encoding="utf-8")], tally
    )
    reported = Counter(re.findall(r"^error: .*?(\d{6}\.png)", said, flags=re.MULTILINE))
    if reported != Counter(load.broken.keys()):
        tally.note("lost", f"predict: {reported.total()} reports of {len(load.broken)} broken pictures")
    overlays = {path.stem for path in (output / "overlays").iterdir()}
    if overlays != {Path(name).stem for name in load.good}:
        tally.note("lost", f"predict: {len(overlays)} overlays of {len(load.good)} good pictures")
    watch.check("predict", tally)
    return None


def soak_service(scratch: Path, load: Load, tally: Tally) -> None:
    """All of them by HTTP, several in a request, several requests at a time."""
    log = scratch / "served"
    process = fork(["serve", "model", "--port", "0"], scratch, log)
    watch, names, records = Watch(process, len(load.names)), load.names, list[dict[str, Any]]()
    address = None
    while address is None:
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            return tally.note("crashes", f"serve: {log.read_text()}")
        time.sleep(0.05)
        address = re.search(r"http://[\d.]+:\d+", log.read_text() if log.is_file() else "")
    with httpx.Client(base_url=address[0], timeout=120) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        while True:
            try:
                client.get("/health")
                break
            except httpx.HTTPError:
                time.sleep(0.05)

        def ask(some: Sequence[str]) -> list[dict[str, Any]]:
            files = [("images", (name, (load.folder / name).read_bytes())) for name in some]
            answer = client.post("/predict", files=files)
            if answer.status_code not in (200, 422):
                raise RuntimeError(answer.text)
            return list(answer.json()["predictions"])

        requests = [names[i : i + AT_ONCE] for i in range(0, len(names), AT_ONCE)]
        for done, found in enumerate(pool.map(ask, requests), start=1):
            records += found
            if done % max(1, len(requests) // 100) == 0:
                watch.look(done / len(requests))
    os.kill(process, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    tally.faults += len(load.broken)
    if status or "Traceback" in log.read_text():
        tally.note("crashes", f"serve ended with {status}: {log.read_text()[-2000:]}")
    check_answers("serve", load, records, tally)
    watch.check("serve", tally)
    return None


def soak(scratch: Path, images: int) -> dict[str, Tally]:
    """Both, a row of the table each."""
    load = make_load(scratch / "pictures", images)
    make_model(scratch / "model")
    tallies = {"predict": Tally(), "serve": Tally()}
    for name, work in (("predict", soak_predict), ("serve", soak_service)):
        begin = time.monotonic()
        work(scratch, load, tallies[name])
        took = time.monotonic() - begin
        print(f"{name}: {images} pictures in {took:.0f} s, {images / took:.0f} a second", file=sys.stderr)
    return tallies


def main() -> None:
    """Soak, and print a table; exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        tallies = soak(Path(scratch), options.images)
    print(f"{options.images} pictures each way; faults are broken pictures")
    print(table(tallies))
    findings = [finding for tally in tallies.values() for finding in tally.findings]
    print("\n".join(findings[:50]))
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
