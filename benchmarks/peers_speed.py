"""How fast are trained models and their exports, beside anomalib's PatchCore and the bare VGG16? Files to boxes.

``fast`` and ``recommended`` are trained as ``benchmarks/peers.py`` trains them (and taken over from there), and
exported; PatchCore is trained at the input size of ``recommended`` on the same split, and anomalib exports it. All take
turns in one process on the same pictures of the test subset. What the 8-bit export costs in classes and boxes comes
from its certificate.

    pip install 'weakspot[peers]'
    python benchmarks/peers_speed.py                                     # generated pictures
    python benchmarks/peers_speed.py DIR/magnetic_tile --weights FILE
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import chdir
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import peers
import typer
from common import (
    INPUT_SIZE,
    DataArgument,
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
from peer_tools.anomalib_models import TRAINED, Anomalib
from peer_tools.cells import DataSet, Fold, open_fold, timed_pictures
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
    """PatchCore at the input size of ``recommended``, in PyTorch and as anomalib exports it; none without anomalib."""
    if find_spec("anomalib") is None:
        return {}
    size = input_size(fold, "recommended")
    peer = Anomalib("patchcore", size=size)
    folder = fold.folder / f"patchcore-{size[1]}x{size[0]}"
    if not (folder / TRAINED).is_file():
        folder.mkdir(exist_ok=True)
        say(f"training PatchCore at {size[1]} × {size[0]}")
        peer.train(fold, folder)
    exported = peer.load_openvino(peer.export_openvino(folder, scratch))
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


def trained(data: Path | None, results: Path, weights: str, *, quick: bool) -> Fold:
    """The first fold with both experiments trained on it; what is there already is not trained again.

    Raises:
        typer.Exit: when one cannot be trained.
    """
    one = next(
        each for each in peers.all_data(data, peers.folder_of_data(results, quick=quick)) if is_first(each, data)
    )
    plan = peers.Plan([one], EXPERIMENTS, results, weights, hours=6.0, jobs=1, images=1, rounds=0, quick=quick)
    peers.generate(plan.data, quick)
    peers.run_cells(plan)
    for cell in plan.cells:
        if not peers.finished(cell, results):
            say(f"{cell} could not be trained")
            raise typer.Exit(1)
    return open_fold(one, results)


def is_first(one: DataSet, data: Path | None) -> bool:
    """Whether a data set is the one to time on: that in the folder, or the first generated one."""
    return one.name == (peers.GENERATED[0] if data is None else data.resolve().name)


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: ImagesOption = 24,
    rounds: RoundsOption = 5,
    output: OutputOption = None,
    folder: Annotated[Path, typer.Option(help="Where trained models are kept.")] = Path("outputs/peers"),
    quick: Annotated[bool, typer.Option("--quick", help="Tiny settings, to see that everything works.")] = False,
) -> None:
    """Train, export, and time all of them in turn."""
    fold = trained(data, (folder / "quick" if quick else folder).resolve(), weights, quick=quick)
    paths = timed_pictures(fold, images)
    with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as name, chdir(name):
        scratch = Path(name)
        ours, losses = our_runs(fold, paths, scratch)
        others = peer_runs(fold, paths, scratch)
        loaded = load_weights(weights)
        bare = bare_runs(preprocessed(paths, Preprocess(INPUT_SIZE, loaded.preprocess)), loaded.state)
        seconds = alternate(ours | others | bare, rounds)
        work = roofline(fold, paths, seconds)
    best = fastest({each: seconds[each] for each in bare})
    references = [PEER, best] if PEER in others else [best]
    rows = [
        (each, rates(seconds[each], images), *(ratios(seconds[one], seconds[each]) for one in references))
        for each in [*ours, *others, best]
    ]
    height, width = input_size(fold, "recommended")
    intro = (
        f"{images} pictures of {fold.root.name} ({fold.folder.name}). {in_rounds(rounds)} Files to boxes in memory; "
        f"`recommended` and PatchCore see {width} × {height} pixels, the bare VGG16 ({best}) 224 × 224 of tensors that "
        "lie in memory. PatchCore has EfficientNet-Lite0 and at most 4,000 patches."
    )
    blocks = [
        intro if others else f"{intro} PatchCore is left out: anomalib is not installed (`weakspot[peers]`).",
        table(("", "images/s", *(f"times as fast as {one}" for one in references)), rows),
        "What 8 bits cost, on the certificate's pictures of the test subset:",
        table(("", "same class", "same boxes", "balanced accuracy", "V2"), losses),
        "How much there is to compute, by PyTorch, one picture at a time for the network alone:",
        table(("", "GFLOP an image", "GFLOP/s in the network", "ms in the network", "of the time outside it"), work),
    ]
    report("Trained models and their exports beside PatchCore", blocks, output)


if __name__ == "__main__":
    typer.run(main)
