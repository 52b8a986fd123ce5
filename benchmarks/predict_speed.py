"""How much does `weakspot predict` cost beyond the network? Images a second against the bare VGG16 convolutions.

The bare network gets preprocessed tensors that lie in memory, in both memory formats and four batch sizes; the best of
the eight is the reference. `weakspot.commands.predict.predict` starts from files, as the command does: decode, resize,
network, maps, boxes, JSONL and CSV, without and with overlay pictures.

    python benchmarks/predict_speed.py                                   # generated pictures
    python benchmarks/predict_speed.py DATA --weights FILE --images 48 --rounds 5
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import typer
from common import (
    DataArgument,
    ImagesOption,
    OutputOption,
    RoundsOption,
    WeightsOption,
    alternate,
    choose_files,
    described,
    fastest,
    in_rounds,
    preprocessed,
    rates,
    ratios,
    report,
    save_model,
    table,
    workplace,
)
from plain import vgg16_features
from torch import Tensor, nn

from weakspot.commands.predict import predict as predict_command
from weakspot.inference.localizer import Localizer
from weakspot.models.weight_files import StateDict
from weakspot.models.weights import load_weights

BATCH_SIZES = (1, 2, 4, 8)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}

Runs = dict[str, Callable[[], object]]


def bare_runs(pixels: Tensor, state: StateDict) -> Runs:
    """The bare convolutions over `pixels` ``(n, 3, H, W)``: a contender for each memory format and batch size."""
    runs: Runs = {}
    for layout, memory_format in LAYOUTS.items():
        net = vgg16_features(state).eval().to(memory_format=memory_format)
        for size in BATCH_SIZES:
            batches = [batch.contiguous(memory_format=memory_format) for batch in torch.split(pixels, size)]
            runs[f"bare network, {layout}, batch {size}"] = partial(forward, net, batches)
    return runs


def forward(net: nn.Module, batches: Sequence[Tensor]) -> None:
    """Run a network over batches and keep nothing."""
    with torch.inference_mode():
        for batch in batches:
            net(batch)


def our_runs(localizer: Localizer, paths: Sequence[Path], scratch: Path) -> Runs:
    """The product from files to files, without and with overlay pictures."""

    def predict(folder: str, *, overlays: bool) -> None:
        for prediction in predict_command(localizer, paths, scratch / folder, overlays=overlays):
            if not prediction.boxes:
                raise RuntimeError(f"{prediction.path.name} got no box: {prediction.message}")

    return {
        "weakspot predict, no overlays": partial(predict, "without", overlays=False),
        "weakspot predict, overlays": partial(predict, "with", overlays=True),
    }


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 48,
    rounds: RoundsOption = 5,
    output: OutputOption = None,
) -> None:
    """Compare whole prediction with the bare network."""
    with workplace(data, images) as (scratch, folder):
        localizer = Localizer.load(save_model(scratch / "model", weights))
        paths = choose_files(folder, images)
        bare = bare_runs(preprocessed(paths, localizer.meta.preprocess), load_weights(weights).state)
        seconds = alternate(bare | our_runs(localizer, paths, scratch), rounds)
    best = fastest({name: seconds[name] for name in bare})
    rows = [(name, rates(s, images), ratios(seconds[best], s)) for name, s in seconds.items()]
    intro = (
        f"{described(data, images)}. {in_rounds(rounds)} The reference is the fastest of the bare networks ({best}): "
        "preprocessed tensors in memory in, nothing out. `predict` starts from files and draws a box on every picture."
    )
    report(
        "Prediction against the bare network",
        [intro, table(("", "images/s", "of the best bare network"), rows)],
        output,
    )


if __name__ == "__main__":
    typer.run(main)
