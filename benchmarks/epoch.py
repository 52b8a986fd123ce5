"""What does one training epoch cost? Ours with and without the feature cache, and the plain loop of a tutorial.

Ours is `weakspot train` for a single epoch, by the clock in its own metrics.json, with Lightning's start and the
checkpoint. The plain loop (plain.py) decodes every picture with Pillow and torchvision's transforms and runs every
layer; the first ones have requires_grad=False, nothing more. All train the same layers with the same loss, optimiser
and batch size.

    python benchmarks/epoch.py                                           # generated pictures
    python benchmarks/epoch.py DATA --weights FILE --images 120 --rounds 3
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
import typer
from common import (
    DataArgument,
    ImagesOption,
    OutputOption,
    RoundsOption,
    Spread,
    WeightsOption,
    choose,
    copy_samples,
    described,
    in_rounds,
    number,
    ratios,
    read_metrics,
    report,
    seconds_of,
    table,
    take_turns,
    training_config,
    workplace,
)
from PIL import Image
from plain import PlainDataset, PlainNet, PlainTraining
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import transforms

from weakspot.commands.train import train as train_command
from weakspot.config.schema import with_values
from weakspot.data.preprocess import PreprocessMode
from weakspot.data.splits import read_split
from weakspot.models.weights import load_weights
from weakspot.runs.folder import RunFolder

BATCH_SIZE = 10
CACHED, UNCACHED, PLAIN = "weakspot, cached features", "weakspot, cache.enabled=false", "plain loop"
MEAN_STD = {
    "torchvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "caffe": ((123 / 255, 117 / 255, 104 / 255), (1 / 255, 1 / 255, 1 / 255)),
}


class Ours:
    """Trains for one epoch, each time anew, and reads from the run's metrics how long it took.

    Args:
        folder: data in MVTec AD layout.
        weights: as ``model.weights``.
        scratch: for run folders and the cache.

    Attributes:
        alone: seconds of each epoch itself, with the cache and without, the first ones included.
        runs: number of runs so far.
    """

    def __init__(self, folder: Path, weights: str, scratch: Path) -> None:
        self.folder, self.weights, self.scratch = folder, weights, scratch
        self.alone: dict[bool, list[float]] = {True: [], False: []}
        self.runs = 0

    def epoch(self, *, cached: bool) -> float:
        """Seconds of Lightning's start, an epoch and its checkpoint."""
        self.runs += 1
        config = training_config(self.folder, self.weights, "trainer.max_epochs=1", "trainer.stop_at_accuracy=null")
        own = {"cache.enabled": cached, "cache.dir": str(self.scratch / "cache"), "reuse": False}
        config = with_values(config, {**own, "output": str(self.scratch / f"run-{self.runs}")})
        train = read_metrics(train_command(config))["train"]
        self.alone[cached].append(train["history"][0]["seconds"])
        return float(train["seconds"])

    def train_subset(self) -> tuple[list[Path], list[int]]:
        """Files and classes (0 Good, 1 Anomaly) that the last run trained on."""
        samples, subsets = read_split(RunFolder(self.scratch / f"run-{self.runs}").split, self.folder)
        chosen = [sample for sample, subset in zip(samples, subsets, strict=True) if subset == "train"]
        return [sample.path for sample in chosen], [int(not sample.is_good) for sample in chosen]


def plain_training(paths: list[Path], targets: list[int], weights: str) -> PlainTraining:
    """The plain loop over the same files, with torchvision's transforms."""
    loaded = load_weights(weights)
    torch.manual_seed(0)
    data = PlainDataset(paths, targets, partial(read_plainly, transform=transform(loaded.preprocess)))
    return PlainTraining(PlainNet(loaded.state), DataLoader(data, BATCH_SIZE, shuffle=True))


def transform(mode: PreprocessMode) -> transforms.Compose:
    """What the weights expect, in torchvision's words."""
    mean, std = MEAN_STD[mode]
    return transforms.Compose([transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize(mean, std)])


def read_plainly(path: Path, transform: transforms.Compose) -> Tensor:
    """An image file as the network's input."""
    with Image.open(path) as image:
        pixels: Tensor = transform(image.convert("RGB"))
    return pixels


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 120,
    rounds: RoundsOption = 3,
    output: OutputOption = None,
) -> None:
    """Compare one epoch of training three ways."""
    with workplace(data, images) as (scratch, folder):
        ours = Ours(copy_samples(choose(folder, images), folder, scratch / "sample"), weights, scratch)
        empty, filled = (seconds_of(partial(ours.epoch, cached=True)) for _ in range(2))
        paths, targets = ours.train_subset()
        plain = plain_training(paths, targets, weights)
        seconds = take_turns(
            {
                CACHED: partial(ours.epoch, cached=True),
                UNCACHED: partial(ours.epoch, cached=False),
                PLAIN: partial(seconds_of, plain.epoch),
            },
            rounds,
        )
    shown = {
        CACHED: seconds[CACHED],
        f"{CACHED}, the epoch alone": ours.alone[True][-rounds:],
        UNCACHED: seconds[UNCACHED],
        f"{UNCACHED}, the epoch alone": ours.alone[False][-rounds:],
        PLAIN: seconds[PLAIN],
    }
    rows = [(name, Spread.of(taken), ratios(seconds[PLAIN], taken)) for name, taken in shown.items()]
    intro = (
        f"One epoch over the {len(paths)} training images out of {described(data, images)}, at 224 × 224, in batches "
        f"of {BATCH_SIZE}. {in_rounds(rounds)} Ours counts Lightning's start and its checkpoint, where the row does "
        f"not say otherwise. Filling the cache took about {number(empty - filled)} s for all {images} pictures, once."
    )
    report("One training epoch", [intro, table(("", "s", "times as fast as the plain loop"), rows)], output)


if __name__ == "__main__":
    typer.run(main)
