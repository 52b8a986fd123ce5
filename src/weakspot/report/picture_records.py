"""What a page's script gets to know about an image: class, truth, boxes, thumbnail, map; ready for JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from weakspot.config.rules import BoxRule
from weakspot.evaluation.subsets import EvaluatedImage
from weakspot.evaluation.truth import Truth
from weakspot.ops.maps import Maps, comparable_map, shown_map
from weakspot.postprocess.trust import level
from weakspot.report.pictures import Album, outlines, thumbnail_side, thumbnails
from weakspot.types import GOOD, Box, ModelOutput, Prediction, Sample
from weakspot.utils import console

MISTAKES = ("missed", "false alarm", "wrong type")


def image_record(prediction: Prediction, sample: Sample, truth: Truth, index: int, side: int) -> dict[str, Any]:
    """Describe an image apart from its boxes: label, class and truth, in pixels of the original image.

    Args:
        prediction: of the image.
        sample: its label.
        truth: true boxes and masks of all images.
        index: the image's position in `truth`.
        side: longest side of its thumbnail, which limits how fine an outline can be.
    """
    return {
        "defect": sample.defect,
        "target": prediction.target,
        "label": prediction.label,
        "probability": prediction.probability,
        "classes": [[c.name, c.confidence] for c in prediction.classes],
        "h": prediction.height,
        "w": prediction.width,
        "outcome": outcome(prediction, sample),
        "truth": truth.boxes[index].tolist(),
        "outlines": outlines(truth.mask(index), side) if len(truth.boxes[index]) else [],
    }


def outcome(prediction: Prediction, sample: Sample) -> str:
    """Compare a prediction with the truth.

    Args:
        prediction: of the image, with its ``target``.
        sample: the image's label.

    Returns:
        ``good``, ``false alarm``, ``missed``, ``found``, or ``wrong type`` for another defect than the true one.
    """
    if sample.is_good:
        return "good" if prediction.label == GOOD else "false alarm"
    if prediction.label == GOOD:
        return "missed"
    return "found" if prediction.label == prediction.target else "wrong type"


def box_record(box: Box) -> list[Any]:
    """Write a box as ``[x0, y0, x1, y1, score, trust, colour, doubt]``; trust and its colour are None where unknown."""
    colour = level(box)
    return [*box.xyxy, round(box.score, 4), round(box.trust, 4) if colour else None, colour, box.doubt]


def shown_evidence(image: EvaluatedImage) -> Maps:
    """The map that pages show: with evidence heads their combined map, else the map that boxes are drawn on.

    Args:
        image: with its model's outputs.
    """
    return map_of_pages(image.subset.output(image.row), image.subset.meta.boxes)


def map_of_pages(output: ModelOutput, rule: BoxRule) -> Maps:
    """As :func:`shown_evidence`, of a model's output.

    Args:
        output: of the model for an image.
        rule: that boxes are drawn by.
    """
    relative = rule.threshold_kind == "relative"
    return shown_map(output) if output.mask_logits is not None or relative else comparable_map(output)


def map_scale(ranges: npt.ArrayLike) -> tuple[float, float]:
    """Ends of a scale that all maps are shown on: what is ordinary is dark, and one picture in ten is at its end.

    Args:
        ranges: ``(n, 2)``, lowest and highest value of each map.
    """
    lows, highs = np.asarray(ranges, np.float64).T
    return float(np.median(lows)), float(np.quantile(highs, 0.9))


def add_thumbnails(records: Sequence[dict[str, Any]], paths: Sequence[Path], order: Sequence[int], album: Album) -> int:
    """Give every record the URL of its thumbnail as ``src``, None for an image that cannot be read.

    Args:
        records: one for each image; changed in place.
        paths: the image files, in the same order.
        order: positions, the most important first: those are put into the page itself.
        album: stores the thumbnails.

    Returns:
        Number of thumbnails that are not in the page.
    """
    beside = 0
    with console.progress_bar("pictures of the report", len(order)) as progress:
        files = thumbnails([paths[i] for i in order], thumbnail_side(len(order)), progress, len(order))
        for i, thumbnail in zip(order, files, strict=True):
            records[i]["src"] = src = album.add(i, thumbnail)
            beside += src is not None and not src.startswith("data:")
    return beside


def link(page: Path, file: Path) -> str:
    """Write the path of a file as a relative URL, as seen from a page.

    Args:
        page: the HTML file that the link stands in.
        file: what it leads to.
    """
    # Links are left unresolved, as a browser takes ".." by name; bytes, as a file name need not be valid UTF-8.
    return quote(os.fsencode(Path(os.path.relpath(file.absolute(), page.absolute().parent)).as_posix()))
