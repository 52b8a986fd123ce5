"""How fast are trained models and their exports, beside anomalib's PatchCore and the bare VGG16? Files to boxes.

It takes a fold that ``benchmarks/peers.py`` trained ``fast`` and ``recommended`` on, exports both, trains PatchCore at
the input size of ``recommended`` on the same split, and lets anomalib export it. All take turns in one process on the
same pictures of the test subset. What the 8-bit export costs in classes and boxes comes from its certificate.

    pip install 'weakspot[peers,openvino]' onnx onnxscript onnxruntime
    python benchmarks/peers.py --only fabric-random --methods fast --methods recommended
    python benchmarks/peers_speed.py outputs/peers/fabric-random outputs/peers/data/fabric --weights FILE
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from common import (
    INPUT_SIZE,
    ImagesOption,
    OutputOption,
    RoundsOption,
    WeightsOption,
    alternate,
    fastest,
    in_rounds,
    number,
    preprocessed,
    rates,
    ratios,
    report,
    say,
    table,
)
from peer_tools.anomalib_models import Anomalib
from peer_tools.cells import Fold
from peer_tools.ours import RUN
from predict_speed import bare_runs
from torch.utils.flop_counter import FlopCounterMode

from weakspot.data.images import read_image
from weakspot.data.preprocess import Preprocess
from weakspot.export.model import SUFFIX, Order, export_model
from weakspot.inference.localizer import Localizer
from weakspot.models.weights import load_weights

EXPERIMENTS = ("fast", "recommended")
EXPORTS = {"ONNX Runtime": ("onnx", "fp32"), "OpenVINO": ("openvino", "fp32"), "OpenVINO, int8": ("openvino", "int8")}
PEER = "PatchCore, anomalib's OpenVINOInferencer"
PEER_IN_TORCH = "PatchCore, PyTorch"

Runs = dict[str, Callable[[], object]]


def our_runs(fold: Fold, paths: Sequence[Path], scratch: Path) -> tuple[Runs, list[Sequence[str]]]:
    """What we run, and a line for each 8-bit export of what it costs in classes and boxes."""
    runs, losses = Runs(), list[Sequence[str]]()
    for name in EXPERIMENTS:
        run = fold.folder / name / RUN
        runs[f"{name}, PyTorch"] = partial(consume, Localizer.load(run, device="cpu").predict, paths)
        for title, (kind, precision) in EXPORTS.items():
            order = Order(run, kind, precision, output=scratch / f"{name}-{precision}{SUFFIX[kind]}")
            found = export_model(order, lambda done, total: None).to_dict()
            say(f"{name}: exported for {title}")
            runs[f"{name}, {title}"] = partial(consume, Localizer.load(order.target).predict, paths)
            if precision == "int8":
                losses.append(loss_of(name, found))
    return runs, losses


def loss_of(name: str, certificate: Mapping[str, Any]) -> Sequence[str]:
    """A line on what an 8-bit export does differently."""
    accuracy, n = certificate["accuracy"], certificate["images"]
    lines = [name, f"{certificate['same_class']} of {n}", f"{certificate['same_boxes']} of {n}"]
    for figure in ("balanced_accuracy", "max_box_acc_v2"):
        before, after = (accuracy[side].get(figure) for side in ("pytorch", "exported"))
        lines.append("–" if before is None else f"{value_of(before):.3f} → {value_of(after):.3f}")
    return lines


def value_of(figure: Any) -> float:  # noqa: ANN401 - as JSON has it
    """A figure's value, which stands alone or beside its interval."""
    return float(figure["value"] if isinstance(figure, dict) else figure)


def peer_runs(fold: Fold, paths: Sequence[Path], scratch: Path) -> Runs:
    """PatchCore at the input size of ``recommended``, trained here, in PyTorch and as anomalib exports it."""
    size = input_size(fold, "recommended")
    peer = Anomalib("patchcore", size=size)
    folder = scratch / "patchcore"
    folder.mkdir()
    say(f"training PatchCore at {size[1]} × {size[0]}: {peer.train(fold, folder)}")
    exported = peer.load_openvino(peer.export_openvino(folder))
    return {PEER_IN_TORCH: partial(consume, peer.load(folder), paths), PEER: partial(consume, exported, paths)}


def input_size(fold: Fold, name: str) -> tuple[int, int]:
    """Height and width that an experiment's network sees."""
    return Localizer.load(fold.folder / name / RUN, device="cpu").meta.preprocess.image_size


def consume(predict: Callable[[Sequence[Path]], Iterable[object]], paths: Sequence[Path]) -> None:
    """Predict and keep nothing."""
    for _ in predict(paths):
        pass


def roofline(fold: Fold, paths: Sequence[Path], seconds: Mapping[str, Sequence[float]]) -> list[Sequence[str]]:
    """GFLOP an image of each experiment's network, and GFLOP/s that PyTorch attains from files to boxes and in it."""
    lines = list[Sequence[str]]()
    for name in EXPERIMENTS:
        localizer = Localizer.load(fold.folder / name / RUN, device="cpu")
        pixels = localizer.prepare(paths[0], read_image(paths[0])).pixels
        if pixels is None:
            raise RuntimeError(f"{paths[0]} is not for this model")
        network = partial(localizer.model.ask, [pixels])
        with FlopCounterMode(display=False) as counter:
            network()
        work, part = counter.get_total_flops() / 1e9, f"{name}, network alone"
        alone = statistics.median(alternate({part: network}, 5)[part])
        whole = statistics.median(seconds[f"{name}, PyTorch"]) / len(paths)
        share = max(0.0, 1 - alone / whole)
        lines.append((name, number(work), number(work / alone), number(1000 * alone), f"{100 * share:.0f} %"))
    return lines


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLD", help="Folder of a fold that peers.py left.")],
    root: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of its data set.")],
    weights: WeightsOption = "auto",
    images: ImagesOption = 24,
    rounds: RoundsOption = 5,
    output: OutputOption = None,
) -> None:
    """Export, train the peer, and time all of them in turn."""
    fold = Fold(folder.resolve(), root.resolve())
    paths = list(islice(cycle([sample.path for sample in fold.subset("test")]), images))
    with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as name, chdir(name):
        scratch = Path(name)
        ours, losses = our_runs(fold, paths, scratch)
        peers = peer_runs(fold, paths, scratch)
        loaded = load_weights(weights)
        bare = bare_runs(preprocessed(paths, Preprocess(INPUT_SIZE, loaded.preprocess)), loaded.state)
        seconds = alternate(ours | peers | bare, rounds)
        work = roofline(fold, paths, seconds)
    best = fastest({each: seconds[each] for each in bare})
    rows = [
        (each, rates(seconds[each], images), ratios(seconds[PEER], seconds[each]), ratios(seconds[best], seconds[each]))
        for each in [*ours, *peers, best]
    ]
    height, width = input_size(fold, "recommended")
    intro = (
        f"{images} pictures of {fold.root.name} ({fold.folder.name}). {in_rounds(rounds)} Files to boxes in memory; "
        f"`recommended` and PatchCore see {width} × {height} pixels, the bare VGG16 ({best}) 224 × 224 of tensors that "
        "lie in memory. PatchCore has EfficientNet-Lite0 and at most 4,000 patches."
    )
    blocks = [
        intro,
        table(("", "images/s", f"times as fast as {PEER}", "times as fast as the bare VGG16"), rows),
        "What 8 bits cost, on the certificate's pictures of the test subset:",
        table(("", "same class", "same boxes", "balanced accuracy", "V2"), losses),
        "How much there is to compute, by PyTorch, one picture at a time for the network alone:",
        table(("", "GFLOP an image", "GFLOP/s in the network", "ms in the network", "of the time outside it"), work),
    ]
    report("Trained models and their exports beside PatchCore", blocks, output)


if __name__ == "__main__":
    typer.run(main)
