"""Which heat map to trust: time, localisation and faithfulness of every method on a run's test subset.

Localisation is measured on test images that have a mask, with the run's own rule for boxes, on the map of the true
class, so that a wrong decision does not count against a method. Faithfulness is ROAD. The images are drawn by lot and
are the same for all methods; ROAD, and methods that need hundreds of passes an image, get the first few of them.

    pip install 'weakspot[cams]'
    python benchmarks/heatmaps.py RUN --images 40 --few 4
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import OutputOption, report, say, table

from weakspot.data.classes import target_of
from weakspot.data.images import read_image
from weakspot.evaluation.truth import Truth, levels_reached
from weakspot.explain.subjects import subject_of_run
from weakspot.heatmaps.faithfulness import road
from weakspot.heatmaps.methods import METHODS, Maps
from weakspot.heatmaps.subject import Subject
from weakspot.inference.localizer import Localizer
from weakspot.metrics import pixel_metrics, pointing_hit
from weakspot.metrics.intervals import bootstrap
from weakspot.models.bundle import BundleMeta
from weakspot.ops.resize import upsample
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.drawing import Drawing
from weakspot.runs.folder import RunFolder, own_test_subset
from weakspot.types import ModelOutput

SLOW = ("score_cam", "occlusion")
HEADER = (
    "heatmap", "n", "time ÷ cam's", "V2 (95 % interval)", "pointing game", "mass inside the mask",
    "pixel average precision",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One method on one image.

    Attributes:
        over: the map over the picture, ``(H, W)``.
        seconds: that it took.
        v2: share of the IoU levels that the run's boxes on this map reach.
        pointed: whether its highest place lies on the defect.
        inside: share of its positive values that do.
        road: faithfulness; NaN where it was not asked for.
    """

    over: Maps
    seconds: float
    v2: float
    pointed: float
    inside: float
    road: float


def measure(subject: Subject, meta: BundleMeta, truth: Truth, index: int, method: str, *, faithful: bool) -> Measured:
    """Make the true class's map of one image and measure it; boxes are scored by the map itself."""
    sample, mask = truth.samples[index], truth.mask(index)
    image, target = read_image(sample.path), target_of(sample, meta.classes)
    pixels = subject.pixels([image])
    subject.layers(pixels)  # once, and not a part of the method
    start = time.perf_counter()
    map_ = subject.maps(pixels, [target], method)[0]
    seconds = time.perf_counter() - start
    over = subject.over_picture(map_, image)
    size = image.shape[:2]
    maps = np.zeros((len(meta.classes), *over.shape), dtype=np.float32)
    maps[target] = over
    said = ModelOutput(np.zeros(len(meta.classes), dtype=np.float32), maps)
    boxes = boxes_array(Drawing(said, target, size, size, meta.boxes).boxes(meta.classes[target]))
    positive = np.maximum(over, 0)
    return Measured(
        over,
        seconds,
        levels_reached(boxes, truth.boxes[index]),
        float(pointing_hit(over, mask)),
        float(positive[mask].sum() / positive.sum()) if positive.any() else 0.0,
        float(road(subject.module, pixels, map_[None], [target])[0]) if faithful else math.nan,
    )


def row(
    method: str, found: Sequence[Measured], cam: Sequence[Measured], truth: Truth, rows: Sequence[int]
) -> list[str]:
    """A line of the table."""
    v2, faithful = (bootstrap(np.mean, [np.array([getattr(m, key) for m in found])]) for key in ("v2", "road"))
    known = (
        [] if math.isnan(faithful.value) else [f"{faithful.value:+.3f} ({faithful.low:+.3f} – {faithful.high:+.3f})"]
    )
    pixels = pixel_metrics(
        ((upsample(m.over, truth.mask(i).shape), truth.mask(i)) for m, i in zip(found, rows, strict=True)),
        longest_side=256,
    )
    ratio = np.median([m.seconds / other.seconds for m, other in zip(found, cam, strict=True)])
    return [
        method,
        str(len(found)),
        f"{ratio:.1f}",
        f"{v2.value:.3f} ({v2.low:.3f} – {v2.high:.3f})",
        f"{np.mean([m.pointed for m in found]):.2f}",
        f"{np.mean([m.inside for m in found]):.3f}",
        f"{pixels.pixel_average_precision:.3f}",
        *known,
    ]


def rows_of(done: dict[str, list[Measured]], truth: Truth, chosen: Sequence[int], most: int) -> Iterable[list[str]]:
    """The table's lines for the first `most` images, of every method that was measured on as many."""
    for method, found in done.items():
        if len(found) >= most:
            yield row(method, found[:most], done["cam"][:most], truth, chosen[:most])


def main(
    run: Annotated[Path, typer.Argument(help="A finished run whose test subset has masks.")],
    images: Annotated[int, typer.Option(min=2, help="Test images with a mask, drawn by lot.")] = 40,
    few: Annotated[int, typer.Option(min=0, help=f"How many of them ROAD, {' and '.join(SLOW)} get.")] = 4,
    output: OutputOption = None,
) -> None:
    """Measure every method; nothing is chosen here, so that nothing is tuned on test images."""
    subject, meta = subject_of_run(run, "cpu"), Localizer.load(run, "cpu").meta
    store, samples = own_test_subset(RunFolder(run))
    truth = Truth.read(samples, store.sizes)
    chosen = [int(i) for i in np.random.default_rng(0).permutation(truth.with_boxes)[:images]]
    done: dict[str, list[Measured]] = {}
    for method in METHODS:
        wanted = chosen[: min(few, images)] if method in SLOW else chosen
        if wanted:
            done[method] = [measure(subject, meta, truth, i, method, faithful=n < few) for n, i in enumerate(wanted)]
            say(f"{method}: {np.median([m.seconds for m in done[method]]):.2f} s an image")
    rule = f"boxes.method={meta.boxes.method}, {meta.boxes.threshold_kind} threshold {meta.boxes.threshold}"
    blocks = [
        f"{len(chosen)} of {len(truth.with_boxes)} test images with a mask, the true class's map, {rule}, on the run's "
        "own split. Intervals: bootstrap over images. Time: median ratio, image by image.",
        table(HEADER, rows_of(done, truth, chosen, len(chosen))),
    ]
    if 0 < few < images:
        header = (*HEADER, "ROAD (95 % interval)")
        blocks += [f"The first {few} of them, slow methods too:", table(header, rows_of(done, truth, chosen, few))]
    report("Heat maps side by side", blocks, output)


if __name__ == "__main__":
    typer.run(main)
