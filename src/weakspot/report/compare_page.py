"""``compare.html``: two set-ups on the same images, side by side, where they disagree first."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from weakspot import __version__, ui
from weakspot.boxes import boxes_array
from weakspot.comparison import Comparison, SetUp
from weakspot.crossval import Pooled
from weakspot.data.images import Progress
from weakspot.files import write_text
from weakspot.maps import MapStore
from weakspot.metrics import BEST_BOXES, best_iou
from weakspot.model.meta import BundleMeta
from weakspot.report.page import render
from weakspot.report.pictures import Album, colour_maps, small_map, thumbnail_side
from weakspot.report.records import MISTAKES, add_thumbnails, box_record, image_record, link, outcome, shown_evidence
from weakspot.truth import Truth


def write_comparison(page: Path, first: Path, second: Path, found: Comparison) -> Path:
    """Write the page, and a folder of pictures beside it where there are too many to be in it.

    Of a set-up that was trained several times the first training is looked at.

    Args:
        page: the file to write.
        first: folder of a run, of a cross-validation, or of a sweep over seeds or folds.
        second: of another one.
        found: what :func:`weakspot.comparison.compare` says of them.

    Raises:
        WeakspotError: when they are not finished.
    """
    a, b = (SetUp.read(path).trainings[0] for path in (first, second))
    pairs = _pairs(a, b)
    with ui.progress_bar("maps of both") as progress:
        records = _records(a, b, pairs, page, progress)
    order = sorted(range(len(records)), key=lambda i: -records[i]["apart"])
    records = [records[i] for i in order]
    paths = [a.samples[pairs[i][0]].path for i in order]
    with Album(page) as album:
        add_thumbnails(records, paths, range(len(records)), album)
        data = {
            "images": records,
            "colours": colour_maps(),
            "scales": [_scale(records, side) for side in (0, 1)],
            "defects": sorted({record["defect"] for record in records}),
        }
        text = render(
            "compare.html",
            first=first,
            second=second,
            found={name: asdict(difference) for name, difference in found.differences.items()},
            counts=found,
            version=__version__,
            defects=data["defects"],
            data=data,
        )
        write_text(page, text, errors="backslashreplace")
    return page


def _pairs(a: Pooled, b: Pooled) -> list[tuple[int, int]]:
    """Positions in both of the images that both were tested on."""
    in_b = {sample.path.resolve(): i for i, sample in enumerate(b.samples)}
    rows = ((i, in_b.get(sample.path.resolve())) for i, sample in enumerate(a.samples))
    return [(i, j) for i, j in rows if j is not None]


def _records(
    a: Pooled, b: Pooled, pairs: list[tuple[int, int]], page: Path, progress: Progress
) -> list[dict[str, Any]]:
    truth, side = a.truth(), thumbnail_side(len(pairs))
    stores = [a.where(), b.where()]
    records = []
    for done, (i, j) in enumerate(pairs, start=1):
        both = [_side(a, stores[0][i], truth, i, i), _side(b, stores[1][j], truth, i, j)]
        records.append(
            {
                "name": a.samples[i].path.name,
                "href": link(page, a.samples[i].path),
                **image_record(a.predictions[i], a.samples[i], truth, i, side),
                "sides": both,
                "apart": _apart(*both),
            }
        )
        progress(done, len(pairs))
    return records


def _side(
    pooled: Pooled, where: tuple[MapStore, int, BundleMeta], truth: Truth, position: int, index: int
) -> dict[str, Any]:
    """What one set-up says of an image."""
    prediction = pooled.predictions[index]
    store, row, meta = where
    small = small_map(shown_evidence(store, row, prediction, meta))
    iou = best_iou(boxes_array(prediction.boxes)[:BEST_BOXES], truth.boxes[position].astype(np.float64))
    return {
        "label": prediction.label,
        "outcome": outcome(prediction, pooled.samples[index]),
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


def _scale(records: list[dict[str, Any]], side: int) -> tuple[float, float]:
    lows, highs = zip(*(record["sides"][side]["map"][1:] for record in records), strict=True)
    return float(np.median(lows)), float(np.quantile(highs, 0.9))
