"""What the benchmarks share: pictures, a model, alternating rounds, and the Markdown section that each one writes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
from torch import Tensor

from weakspot.commands.predict import predict as predict_command
from weakspot.config import hydra_app
from weakspot.config.rules import BoxRule
from weakspot.config.schema import TrainConfig, typed, with_values
from weakspot.data import synthetic
from weakspot.data.images import read_image
from weakspot.data.preprocess import Preprocess
from weakspot.data.readers import read_samples
from weakspot.data.splits import split_samples
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle import BundleMeta, save_bundle
from weakspot.models.model import Model
from weakspot.models.network import CamNet
from weakspot.models.weights import load_weights
from weakspot.runs.folder import RunFolder
from weakspot.types import ANOMALY, GOOD, Sample, Size
from weakspot.utils import console
from weakspot.utils.files import write_text

# Everything runs on the processor, the compared tools too; torch looks at this when it first looks for a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

Key = TypeVar("Key", bound=Hashable)

INPUT_SIZE: Size = (224, 224)
LIBRARIES = ("weakspot", "torch", "torchvision", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow")

DataArgument = Annotated[
    Path | None, typer.Argument(metavar="DATA", help="Folder in MVTec AD layout; generated pictures when left out.")
]
WeightsOption = Annotated[str, typer.Option(help="As model.weights: auto, imagenet, none, or a file.")]
ImagesOption = Annotated[int, typer.Option(min=4, help="Number of pictures.")]
RoundsOption = Annotated[int, typer.Option(min=1, help="Rounds that count; one more comes first, to warm up.")]
OutputOption = Annotated[Path | None, typer.Option(help="Write the Markdown section here as well.")]


# --- pictures -----------------------------------------------------------------------------------------------------


@contextmanager
def workplace(data: Path | None, images: int) -> Iterator[tuple[Path, Path]]:
    """Yield a scratch folder and the data folder; about `images` pictures are generated where `data` is None."""
    with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as name:
        scratch = Path(name)
        yield scratch, generate(scratch / "data", images) if data is None else data.resolve()


def generate(root: Path, images: int) -> Path:
    """Generate at least `images` pictures, about a third of them with a defect, and return their folder."""
    kinds = len(synthetic.PRODUCTS[synthetic.DEMO_PRODUCT].defects)
    defect = max(2, round(images * 0.3 / kinds))
    return synthetic.ensure(root, synthetic.DEMO_PRODUCT, good=max(4, images - defect * kinds), defect=defect)


def choose(folder: Path, images: int) -> list[Sample]:
    """Choose `images` samples of a data set, stratified by defect and always the same; all where it has no more."""
    samples = read_samples("mvtec", folder)
    if images >= len(samples):
        return samples
    # Half an image less, since the share is rounded up.
    subsets = split_samples(samples, test_size=(images - 0.5) / len(samples), seed=42)
    return [sample for sample, subset in zip(samples, subsets, strict=True) if subset == "test"]


def choose_files(folder: Path, images: int) -> list[Path]:
    """As :func:`choose`, files alone, and over again where the data set has too few."""
    return list(islice(cycle([sample.path for sample in choose(folder, images)]), images))


def copy_samples(samples: Iterable[Sample], folder: Path, target: Path) -> Path:
    """Make a data set of some samples of the one in `folder`: links where the system allows them, else copies."""
    for sample in samples:
        for path in (sample.path, sample.mask):
            if path:
                link(path, target / path.relative_to(folder))
    return target


def link(source: Path, target: Path) -> None:
    """Link a file, or copy it where links are not allowed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def preprocessed(paths: Iterable[Path], preprocess: Preprocess) -> Tensor:
    """The network's input ``(n, 3, H, W)`` for image files."""
    return torch.from_numpy(np.stack([preprocess(read_image(path)) for path in paths]))


def predict_files(localizer: Localizer, paths: Sequence[Path], folder: Path, *, overlays: bool = True) -> None:
    """Predict from files to files."""
    for prediction in predict_command(localizer, paths, folder, overlays=overlays):
        if prediction.status != "ok":
            raise RuntimeError(prediction.message)


# --- a model ------------------------------------------------------------------------------------------------------


def save_model(folder: Path, weights: str) -> Path:
    """Save a model that calls every picture an anomaly, so that every picture gets a box: the dear case.

    The convolutions are those of `weights`, the dense layer is random. Anomaly's row of it is made positive, so that
    something is left of the map after the ReLU that other libraries apply.

    Args:
        folder: where the bundle goes.
        weights: as ``model.weights``.

    Returns:
        `folder`.
    """
    loaded = load_weights(weights)
    torch.manual_seed(0)
    network = CamNet()
    if loaded.state:
        network.load_pretrained(loaded.state)
    with torch.no_grad():
        network.head.weight[1].abs_()
        network.head.bias.copy_(torch.tensor([-1000.0, 1000.0]))
    meta = BundleMeta(
        classes=[GOOD, ANOMALY],
        preprocess=Preprocess(INPUT_SIZE, loaded.preprocess),
        backbone="vgg16",
        outputs=2,
        boxes=BoxRule(),
        thresholds={},
        weights={"origin": loaded.origin, "sha256": loaded.sha256},
        split_hash="",
        data_hash="",
    )
    save_bundle(folder, Model(network), meta)
    return folder


def training_config(folder: Path, weights: str, *overrides: str) -> TrainConfig:
    """The configuration of ``weakspot train`` on a data set in MVTec AD layout, with ``key=value`` overrides."""
    config = typed(hydra_app.compose("train", overrides), TrainConfig)
    return with_values(config, {"data.root": str(folder), "model.weights": weights})


def read_metrics(run: RunFolder) -> dict[str, Any]:
    """A finished run's ``metrics.json``."""
    content: dict[str, Any] = json.loads(run.metrics.read_text(encoding="utf-8"))
    return content


# --- rounds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a round."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{number(self.median)} ({number(self.low)} – {number(self.high)})"


def seconds_of(run: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def alternate(contenders: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, list[float]]:
    """Time every contender once a round, in turn; as :func:`take_turns`, with the clock round the whole call."""
    return take_turns({name: partial(seconds_of, run) for name, run in contenders.items()}, rounds)


def take_turns(contenders: Mapping[Key, Callable[[], float]], rounds: int) -> dict[Key, list[float]]:
    """Run every contender once a round, in turn: A, B, C, then A, B, C again.

    Args:
        contenders: each returns the seconds that it took.
        rounds: rounds that count. One more comes first and is thrown away, since it pays for warming up.

    Returns:
        Seconds of every round that counts.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in contenders}
    for count in range(rounds + 1):
        for name, run in contenders.items():
            seconds[name].append(run())
            shown = ", ".join(map(str, name)) if isinstance(name, tuple) else name
            say(f"{f'round {count} of {rounds}' if count else 'warm-up'}: {shown}: {seconds[name][-1]:.2f} s")
    return {name: values[1:] for name, values in seconds.items()}


def ratios(values: Sequence[float], reference: Sequence[float]) -> Spread:
    """`values` over `reference`, round by round."""
    return Spread.of([value / other for value, other in zip(values, reference, strict=True)])


def rates(seconds: Sequence[float], images: int) -> Spread:
    """Images a second."""
    return Spread.of([images / value for value in seconds])


def milliseconds(seconds: Sequence[float], images: int) -> Spread:
    """Milliseconds an image."""
    return Spread.of([1000 * value / images for value in seconds])


def fastest(seconds: Mapping[Key, Sequence[float]]) -> Key:
    """Who has the lowest median."""
    return min(seconds, key=lambda name: statistics.median(seconds[name]))


# --- the report ---------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Show progress on standard error."""
    console.err.print(text, style="dim", markup=False, highlight=False, soft_wrap=True)


def number(value: float) -> str:
    """Three significant digits, never in scientific notation."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; all columns but the first are right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def report(title: str, blocks: Iterable[str], output: Path | None, failure: str = "") -> None:
    """Print a section and write it.

    Args:
        title: its heading.
        blocks: paragraphs and tables.
        output: file for the section, where one is wanted.
        failure: what did not come out as it must; ends the program with status 1.
    """
    failed = [f"**Failed**: {failure}"] if failure else []
    text = "\n\n".join([f"## {title}", *blocks, *failed, measured_on()]) + "\n"
    console.out.print(text, markup=False, highlight=False, soft_wrap=True)
    if output:
        write_text(output, text)
    if failure:
        console.error(failure)
        raise typer.Exit(1)


def measured_on() -> str:
    """When and on what: date, processor, threads, versions."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return (
        f"*{datetime.now().astimezone():%Y-%m-%d %H:%M}, {processor()}, {torch.get_num_threads()} torch threads; "
        f"Python {platform.python_version()}, {versions}.*"
    )


def processor() -> str:
    """Model and number of cores of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def described(data: Path | None, images: int) -> str:
    """Which pictures were used, in words, without the place where they lie."""
    return f"{images} pictures " + (f"of {data.resolve().name}" if data else "generated by `weakspot.data.synthetic`")


def in_rounds(rounds: int) -> str:
    """How the numbers came about, in words."""
    counted = "1 round" if rounds == 1 else f"{rounds} rounds"
    return f"One process, {counted} in turn after one to warm up; median (lowest – highest)."
