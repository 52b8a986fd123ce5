"""What better thresholds could still bring: the best box that any threshold of any map gives, chosen by the mask.

For every test image with a mask, every connected region of every map at 60 thresholds is a proposal, whatever class the
image was given and whatever the region scores. The best of them by IoU with a true box is an upper bound for any rule
that thresholds these maps; ``oracle`` says that it is chosen on test masks. The worst images of each defect type can be
written as a picture.

    python benchmarks/upper_bound.py outputs/recommended/SUBSET/cv3-HASH --picture failures.jpg
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import numpy.typing as npt
import typer
from common import OutputOption, report, table
from PIL import Image

from weakspot.data.images import read_image
from weakspot.data.preprocess import fit_within
from weakspot.evaluation.pooled import Pooled, runs_of
from weakspot.evaluation.truth import Truth
from weakspot.metrics import IOU_LEVELS, box_iou
from weakspot.ops.maps import margin_map
from weakspot.ops.regions import label_regions
from weakspot.ops.resize import upsample
from weakspot.postprocess.drawing import evidence_grid
from weakspot.report.overlays import draw
from weakspot.types import ModelOutput, Size
from weakspot.utils import console

THRESHOLDS = 60
SIDE = 240
SHOWN = 6

Boxes = npt.NDArray[np.float64]


def maps_of(output: ModelOutput, size: Size) -> dict[str, npt.NDArray[np.float32]]:
    """Everything that boxes could be drawn round, at the image's resolution, up to 512 pixels a side."""
    height, width = evidence_grid(size)
    scale = min(1.0, 512 / max(height, width))
    grid = max(1, round(height * scale)), max(1, round(width * scale))
    planes = {"class map": margin_map(output.maps, output.likeliest_defect)}
    if output.mask_logits is not None and output.location_logits is not None:
        planes |= {
            "location logits": output.location_logits.astype(np.float32),
            "mask logits": output.mask_logits.astype(np.float32),
        }
    return {name: upsample(plane, grid) for name, plane in planes.items()}


def proposals(plane: npt.NDArray[np.float32], size: Size) -> Boxes:
    """Boxes ``(n, 4)`` of every region at every threshold, in pixels of the original image."""
    low, high = float(plane.min()), float(plane.max())
    scale = np.array([size[1] / plane.shape[1], size[0] / plane.shape[0]] * 2)
    levels = np.unique(
        np.concatenate([np.linspace(low, high, 32)[1:-1], np.quantile(plane, np.linspace(0.5, 0.999, 30))])
    )
    found = [label_regions(plane >= level)[0] * scale for level in levels]
    return np.concatenate(found) if found else np.zeros((0, 4))


def best_of(boxes: Boxes, truth: npt.NDArray[np.int64]) -> float:
    """Highest IoU of any of `boxes` with any true box; 0 where there is none."""
    return float(box_iou(boxes, truth.astype(np.float64)).max(initial=0.0))


def measure(pooled: Pooled, truth: Truth) -> dict[str, npt.NDArray[np.float64]]:
    """Best IoU of each image with a mask, ``(n,)``, by map; ``all maps`` takes the best of them."""
    said = list(_outputs(pooled))
    found: dict[str, list[float]] = {}
    with console.progress_bar("proposals") as progress:
        for done, i in enumerate(truth.with_boxes, start=1):
            size = pooled.predictions[i].size
            best = {
                name: best_of(proposals(plane, size), truth.boxes[i]) for name, plane in maps_of(said[i], size).items()
            }
            for name, iou in (best | {"all maps": max(best.values())}).items():
                found.setdefault(name, []).append(iou)
            progress(done, len(truth.with_boxes))
    return {name: np.array(ious) for name, ious in found.items()}


def _outputs(pooled: Pooled) -> Iterator[ModelOutput]:
    return (pooled.output(i) for i in range(len(pooled.samples)))


def share(ious: npt.NDArray[np.float64]) -> list[str]:
    """Box accuracies at the three levels, and their mean."""
    reached = [float((ious >= level).mean()) for level in IOU_LEVELS]
    return [*(f"{value:.2f}" for value in reached), f"**{np.mean(reached):.3f}**"]


def failures(pooled: Pooled, truth: Truth, drawn: Sequence[float]) -> Image.Image:
    """The worst images of each type, a row a type: true outline green, boxes cyan."""
    rows = []
    for defect in sorted({truth.samples[i].defect for i in truth.with_boxes}):
        of_type = [n for n, i in enumerate(truth.with_boxes) if truth.samples[i].defect == defect]
        worst = sorted(of_type, key=lambda n: drawn[n])[:SHOWN]
        tiles = [_tile(pooled, truth, truth.with_boxes[n], f"{defect}, IoU {drawn[n]:.2f}") for n in worst]
        rows.append(np.concatenate([*tiles, *[np.full_like(tiles[0], 255)] * (SHOWN - len(tiles))], axis=1))
    return Image.fromarray(np.concatenate(rows))


def _tile(pooled: Pooled, truth: Truth, index: int, text: str) -> npt.NDArray[np.uint8]:
    prediction = pooled.predictions[index]
    small = fit_within(read_image(prediction.path), SIDE)
    picture = draw(small, prediction.boxes, prediction.size, truth.mask(index), scores=False)
    tile = np.full((SIDE + 22, SIDE + 6, 3), 255, np.uint8)
    tile[22 : 22 + picture.shape[0], : picture.shape[1]] = picture
    cv2.putText(tile, text, (2, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return tile


def main(
    run: Annotated[Path, typer.Argument(help="A finished run, or the folder of a cross-validation.")],
    picture: Annotated[Path | None, typer.Option(help="Write the worst images of each type there.")] = None,
    output: OutputOption = None,
) -> None:
    """Measure what the boxes reach and what any threshold could."""
    pooled = Pooled.read(runs_of(run))
    truth = pooled.truth
    boxes = [np.array([box.xyxy for box in p.boxes[:3]], np.float64).reshape(-1, 4) for p in pooled.predictions]
    drawn = np.array([best_of(boxes[i], truth.boxes[i]) for i in truth.with_boxes])
    found = {"boxes as drawn": drawn, **{f"oracle: {name}": ious for name, ious in measure(pooled, truth).items()}}
    defects = np.array([truth.samples[i].defect for i in truth.with_boxes])
    names = sorted(set(defects.tolist()))
    header = ("", "IoU ≥ 0.3", "≥ 0.5", "≥ 0.7", "V2", *(f"V2 of {d} (n = {(defects == d).sum()})" for d in names))
    rows = [
        [name, *share(ious), *(share(ious[defects == defect])[-1].strip("*") for defect in names)]
        for name, ious in found.items()
    ]
    if picture is not None:
        failures(pooled, truth, drawn.tolist()).save(picture, quality=85)
    intro = (
        f"{len(truth.with_boxes)} test pictures with a mask. The first line is what the rule draws; the others take, "
        f"for each picture, the best box of any region at any of {THRESHOLDS} thresholds of a map, chosen by its mask."
    )
    report("What any threshold could reach", [intro, table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)
