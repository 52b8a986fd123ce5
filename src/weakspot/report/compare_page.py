"""``compare.html``: two set-ups on the same images, side by side; images on which they disagree come first."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from weakspot._version import __version__
from weakspot.data.images import Progress
from weakspot.evaluation.comparison import Comparison, SetUp
from weakspot.evaluation.pooled import Pooled
from weakspot.evaluation.subsets import EvaluatedImage
from weakspot.metrics import BEST_BOXES, best_iou
from weakspot.metrics.paired import BELIEVE_P, SIGNIFICANT
from weakspot.postprocess.boxes import boxes_array
from weakspot.report.page import render
from weakspot.report.picture_records import (
    MISTAKES,
    add_thumbnails,
    box_record,
    image_record,
    link,
    map_scale,
    outcome,
    shown_evidence,
)
from weakspot.report.pictures import Album, colour_maps, small_map, thumbnail_side
from weakspot.utils import console
from weakspot.utils.files import write_text


def write_comparison(page: Path, first: Path, second: Path, found: Comparison) -> Path:
    """Write the page and, for many pictures, a folder of them beside it.

    Of a set-up that was trained several times, the first training that was tested on an image is shown.

    Args:
        page: the file to write.
        first: folder of a run, of a cross-validation, or of a sweep over seeds or folds.
        second: folder of another one.
        found: result of :func:`weakspot.evaluation.comparison.compare` for them.

    Raises:
        WeakspotError: when they are not finished.
    """
    a, b = (SetUp.read(path) for path in (first, second))
    pairs = _pairs(a, b)
    with console.progress_bar("maps of both") as progress:
        records = _records(pairs, page, progress)
    order = sorted(range(len(records)), key=lambda i: -records[i]["apart"])
    records = [records[i] for i in order]
    paths = [pairs[i][0].image.sample.path for i in order]
    with Album(page) as album:
        add_thumbnails(records, paths, range(len(records)), album)
        data = {
            "images": records,
            "colours": colour_maps(),
            "scales": [map_scale([one["sides"][side]["map"][1:] for one in records]) for side in (0, 1)],
            "defects": sorted({record["defect"] for record in records}),
        }
        text = render(
            "compare.html",
            first=first,
            second=second,
            found=found.differences,
            counts=found,
            believe_p=BELIEVE_P,
            significant=SIGNIFICANT,
            version=__version__,
            defects=data["defects"],
            data=data,
        )
        write_text(page, text, errors="backslashreplace")
    return page


class _Side(NamedTuple):
    """An image of one set-up, the images that it was tested with, and its position among them."""

    image: EvaluatedImage
    tested: Pooled
    position: int


def _sides(set_up: SetUp) -> dict[Path, _Side]:
    """By path, as the first training that was tested on an image has it."""
    return {
        training.samples[i].path.resolve(): _Side(training.images[i], training, i)
        for training, i in set_up.first_tested()
    }


def _pairs(a: SetUp, b: SetUp) -> list[tuple[_Side, _Side]]:
    """Both sides of the images that both were tested on."""
    in_a, in_b = _sides(a), _sides(b)
    return [(side, in_b[path]) for path, side in in_a.items() if path in in_b]


def _records(pairs: list[tuple[_Side, _Side]], page: Path, progress: Progress) -> list[dict[str, Any]]:
    side = thumbnail_side(len(pairs))
    records = []
    for done, (first, second) in enumerate(pairs, start=1):
        both = [_record(first, first), _record(second, first)]
        path = first.image.sample.path
        records.append(
            {
                "name": path.name,
                "href": link(page, path),
                **image_record(first.image.prediction, first.image.sample, first.tested.truth, first.position, side),
                "sides": both,
                "apart": _apart(*both),
            }
        )
        progress(done, len(pairs))
    return records


def _record(one: _Side, true: _Side) -> dict[str, Any]:
    """An image as one set-up has it; its true boxes are those of the first."""
    small, prediction = small_map(shown_evidence(one.image)), one.image.prediction
    of_truth = true.tested.truth.boxes[true.position].astype(np.float64)
    iou = best_iou(boxes_array(prediction.boxes)[:BEST_BOXES], of_truth)
    return {
        "label": prediction.label,
        "outcome": outcome(prediction, one.image.sample),
        "probability": prediction.probability,
        "iou": None if np.isnan(iou) else iou,
        "boxes": [box_record(box) for box in prediction.boxes],
        "map": [small.url, small.low, small.high],
    }


def _apart(first: dict[str, Any], second: dict[str, Any]) -> float:
    """How much two set-ups disagree: another class counts most, then boxes, then probabilities."""
    wrong = [side["outcome"] in MISTAKES for side in (first, second)]
    boxes = abs((first["iou"] or 0.0) - (second["iou"] or 0.0))
    likely = 0.1 * abs(first["probability"] - second["probability"])
    return float(4.0 * (wrong[0] != wrong[1]) + 2.0 * (first["label"] != second["label"]) + boxes + likely)
