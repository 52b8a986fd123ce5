"""How long does a sweep over 5 folds and 9 box thresholds take, and are the numbers the same as without any tricks?

Ours is the real command in a fresh process, with an empty cache of its own, from start to end. The plain way trains the
plain loop (plain.py) anew for each fold *and* threshold, then computes maps, boxes and scores; it runs on a few cells
and the total is that of their mean. It trains on the same split (read from our runs), from the same first weights, in
the same order of images, with the same stop rule, so that where both ran their scores can be compared.

    python benchmarks/sweep.py                                           # generated pictures
    python benchmarks/sweep.py DATA --weights FILE --images 200 --cells 2
    python benchmarks/sweep.py --images 40 --folds 2 --thresholds 2 --max-epochs 1 --cells 1   # a quick try
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
import typer
from common import (
    INPUT_SIZE,
    DataArgument,
    ImagesOption,
    OutputOption,
    WeightsOption,
    choose,
    copy_samples,
    described,
    number,
    read_metrics,
    report,
    say,
    table,
    workplace,
)
from plain import PlainDataset, PlainNet, PlainTraining, logits_and_maps, plain_copy
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from weakspot.data.images import read_image, read_mask
from weakspot.data.preprocess import Preprocess
from weakspot.data.splits import read_split
from weakspot.metrics.localisation import IOU_LEVELS, best_iou, mask_boxes
from weakspot.models.network import CamNet
from weakspot.models.weights import load_weights
from weakspot.report.leaderboard import runs_below
from weakspot.runs.folder import RunFolder
from weakspot.training.datamodule import EpochShuffle
from weakspot.types import Sample

SEED = 42
BATCH_SIZE = 10
STOP_AT = 0.98
MAX_EPOCHS = 10
PRECISION = "float32"
"""Training is chaotic: after some epochs float16's rounding of the features can tip an image or two."""


@dataclass(frozen=True)
class Scores:
    """What a cell of the sweep comes to.

    Attributes:
        epochs: that it trained for.
        balanced_accuracy, v2: of the fold's test subset; NaN where it has no masks.
    """

    epochs: int
    balanced_accuracy: float
    v2: float


@dataclass(frozen=True)
class Cell:
    """A fold and a threshold, with what both ways made of it.

    Attributes:
        fold, threshold: which cell.
        ours, plain: the scores.
        seconds: that the plain way took.
        one_image: by how much one image of the test subset can move balanced accuracy and V2.
    """

    fold: int
    threshold: float
    ours: Scores
    plain: Scores
    seconds: float
    one_image: tuple[float, float]

    def agrees(self, images: int) -> bool:
        """True for equal epochs and scores that differ by at most what `images` images can make."""
        pairs = ((self.ours.balanced_accuracy, self.plain.balanced_accuracy), (self.ours.v2, self.plain.v2))
        close = [abs(a - b) <= images * step + 1e-9 for (a, b), step in zip(pairs, self.one_image, strict=True)]
        return self.ours.epochs == self.plain.epochs and all(close)


# --- ours ---------------------------------------------------------------------------------------------------------


def our_arguments(data: str, weights: str, folds: int, thresholds: Sequence[float], extra: Sequence[str]) -> list[str]:
    """Arguments of the sweep's command."""
    return [
        "train",
        "-m",
        f'data.root="{data}"',
        f'model.weights="{weights}"',
        f"split.folds={folds}",
        "split.fold=" + ",".join(map(str, range(folds))),
        "boxes.threshold=" + ",".join(map(str, thresholds)),
        *extra,
    ]


def run_ours(arguments: Sequence[str], folder: Path) -> float:
    """Run the command in `folder` with an empty cache; returns seconds."""
    folder.mkdir()
    # torch keeps downloaded weights where XDG_CACHE_HOME points, unless it is told where they are.
    weights_cache = str(Path(torch.hub.get_dir()).parent)
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "TORCH_HOME": weights_cache}
    log = folder / "sweep.log"
    start = time.perf_counter()
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "weakspot", *arguments],
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=out,
            check=False,
        )
    seconds = time.perf_counter() - start
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        errors = [line for line in lines if line.startswith("error:")]
        raise RuntimeError(f"the sweep failed, {(errors or lines[-1:])[0]}")
    return seconds


def our_scores(run: RunFolder) -> Scores:
    """What a run's metrics.json says."""
    metrics = read_metrics(run)
    test = metrics["test"]
    return Scores(
        metrics["train"]["epochs"],
        test["classification"]["balanced_accuracy"]["value"],
        test["localisation"]["max_box_acc_v2"]["value"] if "localisation" in test else math.nan,
    )


# --- the plain way ------------------------------------------------------------------------------------------------


def run_plain(
    train: Sequence[Sample], test: Sequence[Sample], threshold: float, weights: str, max_epochs: int
) -> Scores:
    """Train, draw boxes and measure one cell from nothing."""
    net, preprocess = first_network(weights)
    order = EpochShuffle(len(train), SEED)
    epochs = PlainTraining(net, batches(train, preprocess, order)).until(STOP_AT, max_epochs, order.set_epoch)
    logits, maps = logits_and_maps(net, batches(test, preprocess))
    decided = logits.argmax(dim=1).numpy()
    ious = []
    for sample, anomaly, map_ in zip(test, decided, maps[:, 1], strict=True):
        truth = true_boxes(sample)
        if len(truth):
            found = plain_boxes(map_, sample.path, threshold) if anomaly else np.empty((0, 4))
            ious.append(best_iou(found, truth))
    v2 = np.mean([np.mean(np.array(ious) >= level) for level in IOU_LEVELS]) if ious else math.nan
    return Scores(epochs, float(balanced_accuracy_score(targets(test), decided)), float(v2))


def first_network(weights: str) -> tuple[PlainNet, Preprocess]:
    """A plain network that starts from the same weights as weakspot's, dense layer included, and its preprocessing."""
    pl.seed_everything(SEED, verbose=False)
    loaded = load_weights(weights)
    network = CamNet()
    if loaded.state:
        network.load_pretrained(loaded.state)
    return plain_copy(network), Preprocess(INPUT_SIZE, loaded.preprocess)


def batches(
    samples: Sequence[Sample], preprocess: Preprocess, order: EpochShuffle | None = None
) -> DataLoader[tuple[Tensor, int]]:
    """Batches of images with their classes, 0 Good and 1 Anomaly."""

    def read(path: Path) -> Tensor:
        return torch.from_numpy(preprocess(read_image(path)))

    return DataLoader(PlainDataset([s.path for s in samples], targets(samples), read), BATCH_SIZE, sampler=order)


def targets(samples: Sequence[Sample]) -> list[int]:
    """0 for Good, 1 for a defect."""
    return [int(not sample.is_good) for sample in samples]


def true_boxes(sample: Sample) -> npt.NDArray[np.int64]:
    """A box ``[x0, y0, x1, y1]`` for each region of the mask, shape ``(k, 4)``; none for Good and without a mask."""
    if sample.mask is None:
        return np.empty((0, 4), dtype=np.int64)
    height, width = read_image(sample.path).shape[:2]
    return mask_boxes(read_mask(sample.mask, (height, width)))


def plain_boxes(map_: Tensor, path: Path, threshold: float) -> npt.NDArray[np.int64]:
    """The box round what reaches the threshold of a map ``(h, w)``, in pixels of the image; shape ``(1, 4)``."""
    large = functional.interpolate(map_[None, None], INPUT_SIZE, mode="bilinear", align_corners=False)[0, 0].double()
    hot = ((large - large.min()) / (large.max() - large.min()) >= threshold).numpy()
    rows, columns = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    height, width = read_image(path).shape[:2]
    across, down = width / INPUT_SIZE[1], height / INPUT_SIZE[0]
    corners = (columns[0] * across, rows[0] * down, (columns[-1] + 1) * across, (rows[-1] + 1) * down)
    return np.array([[*np.floor(corners[:2]), *np.ceil(corners[2:])]], dtype=np.int64)


# --- the comparison -----------------------------------------------------------------------------------------------


def compare_cell(run: RunFolder, root: Path, weights: str, max_epochs: int) -> Cell:
    """Do one of our runs again in the plain way."""
    metrics = read_metrics(run)
    fold, threshold = metrics["split"]["fold"], metrics["boxes"]["threshold"]
    samples, subsets = read_split(run.split, root)
    train, test = ([s for s, p in zip(samples, subsets, strict=True) if p == subset] for subset in ("train", "test"))
    start = time.perf_counter()
    plain = run_plain(train, test, threshold, weights, max_epochs)
    seconds = time.perf_counter() - start
    say(f"plain way, fold {fold}, threshold {threshold}: {seconds:.1f} s")
    classes = np.bincount(targets(test), minlength=2)
    masks = sum(sample.mask is not None for sample in test)
    return Cell(fold, threshold, our_scores(run), plain, seconds, (0.5 / classes.min(), 1 / max(1, masks)))


def pick(runs: Sequence[RunFolder], cells: int) -> list[RunFolder]:
    """Choose cells on different folds, as far as there are, and at thresholds spread over the range."""
    by_cell = {(m["split"]["fold"], m["boxes"]["threshold"]): run for run in runs for m in [read_metrics(run)]}
    folds, thresholds = (sorted({cell[axis] for cell in by_cell}) for axis in (0, 1))
    chosen = [(folds[i % len(folds)], thresholds[(i + 1) * len(thresholds) // (cells + 1)]) for i in range(cells)]
    return [by_cell[cell] for cell in chosen]


def fit_seconds(runs: Sequence[RunFolder]) -> float:
    """Seconds that our command spent on training itself; a fold is trained once."""
    return sum({m["split"]["fold"]: float(m["train"]["seconds"]) for m in map(read_metrics, runs)}.values())


def time_table(ours: float, cells: Sequence[Cell], total: int) -> str:
    """Seconds of both ways for the whole sweep."""
    taken = [cell.seconds for cell in cells]
    mean = float(np.mean(taken))
    rows = [
        ("weakspot, measured end to end", number(ours), number(ours / total), "1"),
        (f"plain way, {len(cells)} cells measured, times {total}", number(mean * total), number(mean),
         f"{number(mean * total / ours)} ({number(min(taken) * total / ours)} – {number(max(taken) * total / ours)})"),
    ]  # fmt: skip
    return table(("", f"s for {total} cells", "s a cell", "× ours"), rows)


def score_table(cells: Sequence[Cell]) -> str:
    """Scores of both ways, cell by cell."""
    rows = [
        (f"fold {cell.fold}, threshold {cell.threshold}, {name}", scores.epochs, f"{scores.balanced_accuracy:.4f}",
         f"{scores.v2:.4f}")
        for cell in cells for name, scores in (("weakspot", cell.ours), ("plain way", cell.plain))
    ]  # fmt: skip
    return table(("", "epochs", "balanced accuracy", "V2"), rows)


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 200,
    folds: Annotated[int, typer.Option(min=2, help="Folds.")] = 5,
    thresholds: Annotated[int, typer.Option(min=1, max=9, help="Box thresholds, 0.1 and up.")] = 9,
    cells: Annotated[int, typer.Option(min=1, help="Cells that the plain way runs on.")] = 2,
    max_epochs: Annotated[int, typer.Option(min=1, help="trainer.max_epochs")] = MAX_EPOCHS,
    precision: Annotated[str, typer.Option(help="cache.precision: float16 or float32.")] = PRECISION,
    tolerance: Annotated[int, typer.Option(min=0, help="By how many test images scores may differ.")] = 1,
    output: OutputOption = None,
) -> None:
    """Compare the whole sweep; exit with 1 when the scores differ by more than the tolerance."""
    extra = [f"cache.precision={precision}"]
    extra += [f"trainer.max_epochs={max_epochs}"] if max_epochs != MAX_EPOCHS else []
    weights = str(Path(weights).resolve()) if Path(weights).is_file() else weights
    levels = [round(0.1 * (i + 1), 1) for i in range(thresholds)]
    with workplace(data, images) as (scratch, folder):
        root = copy_samples(choose(folder, images), folder, scratch / "sample")
        seconds = run_ours(our_arguments(str(root), weights, folds, levels, extra), scratch / "ours")
        say(f"weakspot: {seconds:.1f} s")
        runs = runs_below(scratch / "ours" / "outputs")
        if len(runs) != folds * thresholds:
            raise RuntimeError(f"the sweep left {len(runs)} runs, not {folds * thresholds}")
        compared = [compare_cell(run, root, weights, max_epochs) for run in pick(runs, cells)]
        fitted = fit_seconds(runs)
    command = " ".join(["weakspot", *our_arguments("DATA", "FILE", folds, levels, extra)])
    intro = (
        f"{described(data, images)}. `{command}` in a fresh process with an empty cache; training itself was "
        f"{number(fitted)} s of it. The plain way trains again for each fold and threshold. It was run on "
        f"{len(compared)} of the {folds * thresholds} cells; its total is extrapolated from their mean (lowest – "
        "highest)."
    )
    scores = (
        "Where both ran, from the same split, first weights and order of images, scores may differ by what "
        f"{tolerance} of the fold's test images can make, and the number of epochs not at all:"
    )
    apart = [f"fold {cell.fold}, threshold {cell.threshold}" for cell in compared if not cell.agrees(tolerance)]
    blocks = [intro, time_table(seconds, compared, folds * thresholds), scores, score_table(compared)]
    failure = f"epochs or scores differ by more than that at {'; '.join(apart)}" if apart else ""
    report(f"A sweep over {folds} folds and {thresholds} thresholds", blocks, output, failure)


if __name__ == "__main__":
    typer.run(main)
