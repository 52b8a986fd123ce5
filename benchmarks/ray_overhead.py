"""What does Ray cost? Time to start, and scheduling an image, with 1, 2 and 4 actors, against the local engine.

A small network (ResNet-18 on 32×32) and small pictures, so that the scheduler is not hidden behind the network. Workers
say how long they worked; what is left of the time between the first and the last finished shard, times the actors that
had a core, is scheduling. Every round's rows are compared with the local engine's.

    python benchmarks/ray_overhead.py                            # 2048 generated pictures, shards of 128
    python benchmarks/ray_overhead.py --images 512 --rounds 1
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from common import OutputOption, RoundsOption, Spread, report, say, table
from PIL import Image

from weakspot.commands.predict import predict as predict_command
from weakspot.config.rules import BoxRule
from weakspot.data.images import list_images
from weakspot.data.preprocess import Preprocess
from weakspot.inference.localizer import Localizer
from weakspot.inference.shards import jobs, ray_engine
from weakspot.inference.shards.files import Tally
from weakspot.models.bundle import BundleMeta, save_bundle
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.types import ANOMALY, GOOD

ACTORS = (1, 2, 4)


def small_model(folder: Path) -> Path:
    """Save a bundle with random weights; returns its folder."""
    torch.manual_seed(0)
    meta = BundleMeta(
        classes=[GOOD, ANOMALY],
        preprocess=Preprocess((32, 32), "torchvision"),
        backbone="resnet18",
        outputs=2,
        boxes=BoxRule(),
        thresholds={},
        weights={"origin": "random", "sha256": ""},
        split_hash="",
        data_hash="",
    )
    save_bundle(folder, Model(CamNet("resnet18", 2, 2)), meta)
    return folder


def pictures(folder: Path, count: int) -> Path:
    """Write noise of 64×64 as PNG; returns the folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{number:06d}.png")
    return folder


def local(model: Path, photos: Path, output: Path) -> tuple[float, bytes]:
    """Milliseconds an image of the local engine, model loaded, and its rows."""
    localizer = Localizer.load(model, "cpu")
    images = list_images(photos)
    start = time.perf_counter()
    for _ in predict_command(localizer, images, output, overlays=False):
        pass
    seconds = time.perf_counter() - start
    return 1000 * seconds / len(images), (output / "predictions.jsonl").read_bytes()


def on_ray(job: jobs.Job, actors: int) -> dict[str, float]:
    """One job: seconds to the first finished shard, and milliseconds an image after it."""
    plan = jobs.plan_shards(job)
    start, receipts, ends = time.perf_counter(), list[jobs.Receipt](), list[float]()
    for receipt in ray_engine.predict(plan, actors=actors):
        receipts.append(receipt)
        ends.append(time.perf_counter())
    jobs.finish(plan, Tally.total(receipt.tally for receipt in receipts))
    # From when every actor had finished a shard to when the first had none left, all were at work or being scheduled.
    first, last = actors - 1, len(receipts) - actors
    window = ends[last] - ends[first]
    done = receipts[first + 1 : last + 1]
    images = sum(receipt.tally.rows for receipt in done)
    worked = sum(receipt.seconds for receipt in done)
    return {
        "start": ends[0] - start - receipts[0].seconds,
        "wall": 1000 * window / images,
        "overhead": 1000 * (actors * window - worked) / images,
    }


def main(
    images: Annotated[int, typer.Option(min=64, help="Number of pictures.")] = 2048,
    shard_size: Annotated[int, typer.Option(min=1, help="Pictures in a shard.")] = 128,
    rounds: RoundsOption = 3,
    output: OutputOption = None,
) -> None:
    """Measure what Ray costs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    if images // shard_size < 4 * max(ACTORS):
        raise typer.BadParameter(f"{images} images in shards of {shard_size} are too few for {max(ACTORS)} actors")
    found: dict[int, list[dict[str, float]]] = {actors: [] for actors in ACTORS}
    alone: list[float] = []
    differing = 0
    with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as name:
        scratch = Path(name)
        model, photos = small_model(scratch / "model"), pictures(scratch / "photos", images)
        os.environ.setdefault("RAY_ADDRESS", "local")
        start = time.perf_counter()
        with ray_engine.connected():
            cluster = time.perf_counter() - start
            for count in range(rounds):
                rate, expected = local(model, photos, scratch / f"local-{count}")
                alone.append(rate)
                say(f"round {count + 1} of {rounds}: local: {rate:.2f} ms an image")
                for actors in ACTORS:
                    target = scratch / f"ray-{count}-{actors}"
                    job = jobs.Job(model, str(photos), str(target), shard_size=shard_size, device="cpu")
                    found[actors].append(on_ray(job, actors))
                    say(f"round {count + 1} of {rounds}: {actors} actors: {found[actors][-1]}")
                    rows = b"".join(path.read_bytes() for path in sorted((target / "parts").iterdir()))
                    differing += rows != expected
    report("What Ray costs", blocks(images, shard_size, cluster, alone, found), output, failure(differing))


def failure(differing: int) -> str:
    """What did not come out as it must."""
    return f"the rows of {differing} runs differ from the local engine's" if differing else ""


def blocks(
    images: int, shard_size: int, cluster: float, alone: Sequence[float], found: dict[int, list[dict[str, float]]]
) -> list[str]:
    """The section's text and table."""
    intro = (
        f"{images} pictures of 64×64, ResNet-18 at 32×32, shards of {shard_size}, one thread a worker. "
        f"{len(alone)} rounds in turn; median (lowest – highest). The cluster took {cluster:.1f} s to start. Every row "
        "of every run is the local engine's. *Scheduling* is the time in which an actor had no shard, an image, from "
        "the first to the last shard that all actors were at work on; more actors than cores share the cores."
    )
    rows: list[Sequence[object]] = [("local engine", "", Spread.of(alone), "", "1")]
    for actors, runs in found.items():
        walls = [run["wall"] for run in runs]
        rows.append(
            (
                f"Ray, {actors} actor{'s' * (actors > 1)}",
                Spread.of([run["start"] for run in runs]),
                Spread.of(walls),
                Spread.of([run["overhead"] for run in runs]),
                Spread.of([one / other for one, other in zip(alone, walls, strict=True)]),
            )
        )
    header = ("", "s to the first shard", "ms an image", "scheduling, ms an image", "× the local engine")
    return [intro, table(header, rows)]


if __name__ == "__main__":
    typer.run(main)
