"""One method in a process of its own, for ``benchmarks/peers.py``: trains and tests a cell, or times a trained one.

python benchmarks/peers_worker.py train RESULTS/fabric-grouped padim DATA --weights auto
python benchmarks/peers_worker.py speed RESULTS/fabric-grouped padim DATA --images 24
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from peer_tools.cells import Cost, Fold, LeftOutError, Tool, save_found, timed_pictures, write_cost

from weakspot.utils import console

app = typer.Typer(add_completion=False)


def _ours(kind: str, /, **settings: object) -> Callable[[str, bool], Tool]:
    def make(weights: str, quick: bool) -> Tool:
        from peer_tools import ours

        if kind != "Experiment":
            tool: Tool = getattr(ours, kind)(**settings)
            return tool
        return ours.Experiment(str(settings["name"]), weights, QUICK[str(settings["name"])] if quick else ())

    return make


def _anomalib(model: str, own: str | None = None) -> Callable[[str, bool], Tool]:
    def make(weights: str, quick: bool) -> Tool:
        from peer_tools.anomalib_models import Anomalib

        return Anomalib(model, own)

    return make


TOOLS: dict[str, Callable[[str, bool], Tool]] = {
    "mean_image": _ours("MeanImage"),
    "plain_cam": _ours("Experiment", name="plain_cam"),
    "grad_cam": _ours("CamLibrary", tool="grad_cam"),
    "torch_cam": _ours("CamLibrary", tool="torch_cam"),
    "fast": _ours("Experiment", name="fast"),
    "recommended": _ours("Experiment", name="recommended"),
    "padim": _anomalib("padim"),
    "patchcore": _anomalib("patchcore"),
    "dfm": _anomalib("dfm"),
    "stfpm": _anomalib("stfpm"),
    "supersimplenet": _anomalib("supersimplenet"),
    "patchcore_own": _anomalib("patchcore", own="wide_resnet50_2"),
}
"""Every method, in the order that they run: ``grad_cam`` and ``torch_cam`` need the network of ``plain_cam``."""

_SMALL = ("data.image_size=64", "trainer.max_epochs=1", "trainer.stop_at_accuracy=null")
_FEW = ("refine.imitations=8", "refine.location_steps=4", "refine.mask_steps=4", "refine.location_refit_steps=2")
QUICK = {"plain_cam": _SMALL, "fast": (*_SMALL, *_FEW), "recommended": (*_SMALL, *_FEW)}


def peak_mb() -> float:
    """The highest memory that this process has used so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def processor_seconds() -> float:
    """Time that this process and those it started and that ended have used so far, of all cores together."""
    return sum(os.times()[:4])


FolderArgument = Annotated[Path, typer.Argument(metavar="FOLD", help="Folder of the fold.")]
MethodArgument = Annotated[str, typer.Argument(metavar="METHOD", help=f"One of: {', '.join(TOOLS)}.")]
RootArgument = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the data set.")]
WeightsOption = Annotated[str, typer.Option(help="As model.weights, for VGG16.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="Tiny settings, to see that everything works.")]


@app.command()
def train(
    fold_folder: FolderArgument,
    method: MethodArgument,
    root: RootArgument,
    weights: WeightsOption = "auto",
    quick: QuickOption = False,
) -> None:
    """Train and test a method; what it leaves behind ends with cell.json."""
    console.hide_bars()
    warnings.simplefilter("ignore")
    fold, folder = Fold(fold_folder, root), fold_folder / method
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tool, test = TOOLS[method](weights, quick), fold.subset("test")
    try:
        start, busy = time.perf_counter(), processor_seconds()
        note = tool.train(fold, folder)
        minutes, processor = (time.perf_counter() - start) / 60, (processor_seconds() - busy) / 60
        n = save_found(folder, test, root, tool.load(folder)([sample.path for sample in test]))
    except LeftOutError as error:
        write_cost(folder, Cost("left out", str(error)))
        return
    write_cost(folder, Cost("ok", note, minutes, processor, peak_mb(), len(fold.subset("train", "val")), n))


@app.command()
def speed(
    fold_folder: FolderArgument,
    method: MethodArgument,
    root: RootArgument,
    images: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 24,
    weights: WeightsOption = "auto",
    quick: QuickOption = False,
) -> None:
    """Time a trained method from files to boxes, after one pass over a few files to warm up; prints JSON."""
    warnings.simplefilter("ignore")
    fold = Fold(fold_folder, root)
    paths = timed_pictures(fold, images)
    predict = TOOLS[method](weights, quick).load(fold_folder / method)
    list(predict(paths[:8]))
    start = time.perf_counter()
    found = len(list(predict(paths)))
    seconds = time.perf_counter() - start
    print("\n" + json.dumps({"seconds": seconds, "images": found, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    app()
