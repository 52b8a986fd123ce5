"""What does prediction cost as the network's input grows, and as the number of pictures grows?

Milliseconds a picture of `weakspot.commands.predict.predict`, from files to JSONL, CSV and overlays, for several input
sizes and numbers of pictures; for each input size also what the frozen and the trained part of the network cost by
themselves on a tensor in memory.

    python benchmarks/scaling.py                                         # generated pictures
    python benchmarks/scaling.py DATA --weights FILE --images 24 --count 50 --count 100 --count 200 --rounds 3
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from common import (
    INPUT_SIZE,
    DataArgument,
    ImagesOption,
    OutputOption,
    RoundsOption,
    WeightsOption,
    alternate,
    choose_files,
    described,
    in_rounds,
    milliseconds,
    predict_files,
    preprocessed,
    ratios,
    report,
    save_model,
    table,
    workplace,
)
from torch import Tensor

from weakspot.inference.localizer import Localizer
from weakspot.models.network import CamNet

SIDES = (128, 224, 320, 448)
COUNTS = (50, 100, 200)
REFERENCE = INPUT_SIZE[0]

SizeRuns = dict[tuple[int, str], Callable[[], object]]
"""By side and part: ``predict``, ``stem`` or ``tail``."""


def with_side(localizer: Localizer, side: int) -> Localizer:
    """The same model with a square input of another size."""
    preprocess = replace(localizer.meta.preprocess, image_size=(side, side))
    return Localizer(localizer.model, replace(localizer.meta, preprocess=preprocess))


def in_inference(part: Callable[[Tensor], object], inputs: Tensor) -> None:
    """Run a part of the network on each image of `inputs` by itself."""
    with torch.inference_mode():
        for each in torch.split(inputs, 1):
            part(each)


def size_runs(
    localizer: Localizer, paths: Sequence[Path], scratch: Path
) -> dict[tuple[int, str], Callable[[], object]]:
    """For each input size: whole prediction, stem alone, tail alone."""
    runs: SizeRuns = {}
    network: CamNet = localizer.model.network
    for side in SIDES:
        other = with_side(localizer, side)
        pixels = preprocessed(paths, other.meta.preprocess).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            features = torch.cat([network.forward_stem(each) for each in torch.split(pixels, 1)])
            features = features.contiguous(memory_format=torch.channels_last)
        runs[side, "predict"] = partial(predict_files, other, paths, scratch / f"side-{side}")
        runs[side, "stem"] = partial(in_inference, network.forward_stem, pixels)
        runs[side, "tail"] = partial(in_inference, network.forward_tail, features)
    return runs


def size_table(seconds: Mapping[tuple[int, str], Sequence[float]], images: int) -> str:
    """Milliseconds a picture for each input size."""
    rows = []
    for side in SIDES:
        whole, stem, tail = (seconds[side, part] for part in ("predict", "stem", "tail"))
        rest = [a - b - c for a, b, c in zip(whole, stem, tail, strict=True)]
        rows.append(
            (f"{side} × {side}", *(milliseconds(part, images) for part in (whole, stem, tail, rest)),
             ratios(whole, seconds[REFERENCE, "predict"]), f"{(side / REFERENCE) ** 2:.2f}")
        )  # fmt: skip
    header = (
        "network input",
        "predict, ms",
        "stem, ms",
        "tail, ms",
        "the rest, ms",
        f"× that at {REFERENCE}",
        "pixels, ×",
    )
    return table(header, rows)


def count_table(seconds: Mapping[int, Sequence[float]]) -> str:
    """Milliseconds a picture for each number of pictures."""
    first = min(seconds)
    rows = [
        (count, milliseconds(taken, count), ratios([s / count for s in taken], [s / first for s in seconds[first]]))
        for count, taken in seconds.items()
    ]
    return table(("pictures", "predict, ms a picture", f"× that of {first}"), rows)


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 24,
    count: Annotated[list[int] | None, typer.Option(min=1, help="Pictures; repeatable, default 50, 100, 200.")] = None,
    rounds: RoundsOption = 3,
    output: OutputOption = None,
) -> None:
    """Measure what prediction costs for each input size and number of pictures."""
    counts = sorted(count or COUNTS)
    with workplace(data, max(counts)) as (scratch, folder):
        localizer = Localizer.load(save_model(scratch / "model", weights))
        by_size = alternate(size_runs(localizer, choose_files(folder, images), scratch), rounds)
        paths = choose_files(folder, max(counts))
        by_count = alternate(
            {n: partial(predict_files, localizer, paths[:n], scratch / f"count-{n}") for n in counts}, rounds
        )
    intro = (
        f"{described(data, images)} for each input size. {in_rounds(rounds)} Milliseconds a picture, overlays "
        "included. Stem (conv1_1 to conv4_3) and tail (conv5 and the dense layer) run by themselves on tensors in "
        "memory, one image at a time; the rest is decoding, resizing, boxes and files, less what of it happens while "
        "the network runs."
    )
    blocks = [intro, size_table(by_size, images), "The same input size, more pictures:", count_table(by_count)]
    report("Cost of prediction as inputs grow", blocks, output)


if __name__ == "__main__":
    typer.run(main)
