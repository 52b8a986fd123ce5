"""How many cores and GPUs do so many pictures a day take? From what decoding, network, boxes and writing cost here.

Each stage runs by itself over the same pictures on one thread, the whole way (`predict`) beside it; what counts is the
processor time that it took, which other programs on the machine do not change much. With
`--gpu-rate` (images a second of the forward pass alone, measured on your GPU) the plan has a line for GPUs, each fed by
as many cores as decoding and boxes need.

    python benchmarks/plan.py                                                # generated pictures, random weights
    python benchmarks/plan.py DATA --run RUN --images 48 --per-day 10000000 --gpu-rate 2000
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from common import (
    DataArgument,
    ImagesOption,
    OutputOption,
    RoundsOption,
    Spread,
    choose_files,
    described,
    in_rounds,
    milliseconds,
    report,
    save_model,
    table,
    take_turns,
    workplace,
)

from weakspot.commands.predict import predict as predict_command
from weakspot.data.images import read_image
from weakspot.inference.localizer import Localizer
from weakspot.inference.shards.files import FORMATS
from weakspot.postprocess.prediction_files import to_record
from weakspot.postprocess.predictions import make_prediction
from weakspot.types import ModelOutput, Prediction
from weakspot.utils.files import jsonable

STAGES = ("read and decode", "resize and normalise", "network", "decision and boxes", "write JSON lines")
FEEDING = ("read and decode", "resize and normalise", "decision and boxes", "write JSON lines")
"""What the cores do where a GPU runs the network."""

BUSY = 0.7
"""Share of a day that machines are planned to work; the rest is for peaks, restarts and stragglers."""

DAY = 86_400


def stages(localizer: Localizer, paths: Sequence[Path], scratch: Path) -> dict[str, Callable[[], object]]:
    """A contender for each stage, each starting from what the one before it made, and one for all of them."""
    meta = localizer.meta
    images = [read_image(path) for path in paths]
    pixels = [meta.preprocess(image) for image in images]
    said = [localizer.model.ask([one])[0] for one in pixels]

    def decide(one: ModelOutput, number: int) -> Prediction:
        size = images[number].shape[:2]
        return make_prediction(
            paths[number], size, one, meta.classes, meta.preprocess, localizer.rule, meta.decision
        )  # fmt: skip

    predictions = [decide(one, number) for number, one in enumerate(said)]

    def write(name: str) -> None:
        records = [jsonable(to_record(prediction)) for prediction in predictions]
        (scratch / f"part.{name}").write_bytes(FORMATS[name].write(records))

    def whole() -> None:
        for _ in predict_command(localizer, paths, scratch / "whole", overlays=False):
            pass

    return {
        "read and decode": lambda: [read_image(path) for path in paths],
        "resize and normalise": lambda: [meta.preprocess(image) for image in images],
        "network": lambda: [localizer.model.ask([one]) for one in pixels],
        "decision and boxes": lambda: [decide(one, number) for number, one in enumerate(said)],
        "write JSON lines": partial(write, "jsonl"),
        "write Parquet": partial(write, "parquet"),
        "predict, all of it": whole,
    }


def core_seconds(run: Callable[[], object]) -> float:
    """Processor time that a call takes, all its threads together."""
    start = time.process_time()
    run()
    return time.process_time() - start


def machines(cost: dict[str, float], per_day: int, gpu_rate: float | None) -> list[str]:
    """The plan in words: cores, GPUs, and what holds each back.

    Args:
        cost: milliseconds an image of each stage, one core.
        per_day: images.
        gpu_rate: images a second of the network on one GPU; None where nobody has measured it.
    """
    rate = per_day / DAY
    on_cores = sum(cost[stage] for stage in STAGES)
    bottleneck = max(STAGES, key=lambda stage: cost[stage])
    feeding = sum(cost[stage] for stage in FEEDING)
    share = 100 * cost[bottleneck] / on_cores
    lines = [
        f"{per_day:,} pictures a day are {rate:.0f} a second on average, {rate / BUSY:.0f} where machines are to be "
        f"busy {BUSY:.0%} of the time.",
        f"**On processors**: {on_cores:.0f} ms an image, {math.ceil(rate / BUSY * on_cores / 1000)} cores. The "
        f"bottleneck is **{bottleneck}**, {share:.0f} % of it.",
        f"**On GPUs**: the cores that feed them have {feeding:.1f} ms an image to do, "
        f"{math.ceil(rate / BUSY * feeding / 1000)} cores in all, whatever the GPU. With g images a second of the "
        f"network on one GPU, {rate / BUSY:.0f} / g GPUs (at least 1) and g × {feeding / 1000:.4f} s cores beside "
        "each, before cores are the bottleneck.",
    ]
    if gpu_rate is not None:
        gpus = math.ceil(rate / BUSY / gpu_rate)
        beside = math.ceil(gpu_rate * feeding / 1000)
        lines.append(f"With g = {gpu_rate:g}, as given: {gpus} GPUs, {beside} cores beside each at full speed.")
    return lines


def main(
    data: DataArgument = None,
    run: Annotated[Path | None, typer.Option(help="A run or bundle; default VGG16 at 224×224, random weights.")] = None,
    images: ImagesOption = 24,
    rounds: RoundsOption = 3,
    per_day: Annotated[int, typer.Option(min=1, help="Pictures a day to plan for.")] = 10_000_000,
    gpu_rate: Annotated[float | None, typer.Option(min=0.1, help="Images/s of the network on your GPU.")] = None,
    output: OutputOption = None,
) -> None:
    """Measure the stages and plan."""
    torch.set_num_threads(1)
    with workplace(data, images) as (scratch, folder):
        localizer = Localizer.load(run or save_model(scratch / "model", "none"), "cpu")
        paths = choose_files(folder, images)
        bytes_an_image = sum(path.stat().st_size for path in paths) / len(paths)
        seconds = take_turns(
            {name: partial(core_seconds, run) for name, run in stages(localizer, paths, scratch).items()}, rounds
        )
        row = (scratch / "part.jsonl").stat().st_size / len(paths)
        packed = (scratch / "part.parquet").stat().st_size / len(paths)
    cost = {stage: Spread.of([1000 * s / len(paths) for s in values]).median for stage, values in seconds.items()}
    traffic = (
        f"A picture is {bytes_an_image / 1024:.0f} KiB to read, a row {row:.0f} bytes of JSON lines or {packed:.0f} of "
        f"Parquet: {per_day / DAY * bytes_an_image / 2**20:.1f} MiB/s in, {per_day * row / 2**30:.1f} GiB a day out."
    )
    height, width = localizer.meta.preprocess.image_size
    intro = (
        f"{described(data, len(paths))}, {localizer.meta.backbone} at {height}×{width}"
        f"{'' if localizer.meta.evidence is None else ' with refinement'}, one thread. {in_rounds(rounds)}"
    )
    rows = [(stage, milliseconds(values, len(paths))) for stage, values in seconds.items()]
    plan = machines(cost, per_day, gpu_rate)
    report("Planning", [intro, table(("", "ms an image, one core"), rows), *plan, traffic], output)


if __name__ == "__main__":
    typer.run(main)
