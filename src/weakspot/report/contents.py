"""What the pages of a run and of a cross-validation have in common: pictures, failures, types, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from weakspot.data.corrections import learnt_from_words
from weakspot.data.splits import portable
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Measurement
from weakspot.evaluation.subsets import EvaluatedImage
from weakspot.evaluation.truth import Truth
from weakspot.metrics import size_class
from weakspot.ops.iou import box_iou
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.review import doubts, is_close_call
from weakspot.report.checks import baseline, checks
from weakspot.report.first_screen import bars, strip
from weakspot.report.lab import LabImage
from weakspot.report.page import render
from weakspot.report.picture_records import (
    MISTAKES,
    add_thumbnails,
    box_record,
    image_record,
    link,
    map_scale,
    shown_evidence,
)
from weakspot.report.pictures import Album, colour_maps, small_map, thumbnail_side
from weakspot.report.verdict import FITS, Case, closest, failures, larger_sample
from weakspot.types import GOOD, FloatArray, Prediction
from weakspot.utils.files import write_text
from weakspot.utils.spread import spread_indices

CURVE_POINTS = 200


@dataclass(frozen=True)
class Tested:
    """One test image.

    Attributes:
        image: label, outputs and prediction.
        drawn: its boxes at the steps of the page's threshold.
    """

    image: EvaluatedImage
    drawn: LabImage


def records(tested: Sequence[Tested], truth: Truth, page: Path, root: Path) -> list[dict[str, Any]]:
    """Make a record of each image for the page's script; its ``src``, the thumbnail, is added later.

    Args:
        tested: the images.
        truth: their true boxes, in the same order.
        page: where the page will lie.
        root: folder of the data set; names are relative to it.
    """
    side, found = thumbnail_side(len(tested)), []
    for i, one in enumerate(tested):
        doubt = doubts(one.image.prediction, one.image.subset.meta.decision)
        small = small_map(shown_evidence(one.image))
        found.append(
            {
                "name": portable(one.image.sample.path, root),
                "href": link(page, one.image.sample.path),
                **image_record(one.image.prediction, one.image.sample, truth, i, side),
                "map": [small.url, small.low, small.high],
                "doubt": list(doubt) if doubt else None,
                "boxes": [box_record(box) for box in one.drawn.boxes],
                "at": one.drawn.at,
                "size": size_class(truth.shares[i]) if len(truth.boxes[i]) else "",
            }
        )
    return found


def interest(record: Mapping[str, Any]) -> tuple[bool, bool, float]:
    """Key to sort images by: mistakes first, then defects, then what a person should check."""
    return record["outcome"] not in MISTAKES, record["outcome"] == "good", -(record["doubt"] or [0.0])[0]


def common(
    metrics: MetricsRecord, tested: Sequence[Tested], records: list[dict[str, Any]], step: int
) -> dict[str, Any]:
    """Values that both templates show, with ``data`` for the script; ``lab`` and some curves are still missing there.

    Args:
        metrics: content of ``metrics.json``.
        tested: the images.
        records: from :func:`records`.
        step: position of the threshold that is in use.
    """
    ious = [0.0 if record["outcome"] in ("good", "missed") else one.drawn.at_step(step)[1]
            for record, one in zip(records, tested, strict=True)]  # fmt: skip
    cases = [_case(*each, step) for each in zip(records, ious, tested, strict=True)]
    found = failures(cases)
    measurement = metrics.measurement
    return {
        "metrics": metrics,
        "learnt_from": learnt_from_words(metrics.data.learnt_from) if metrics.data.learnt_from else "",
        "controls": measurement.controls,
        "alarms": measurement.alarms,
        "alarm_pictures": [None] * len(measurement.alarms),
        "notes": measurement.notes,
        "test": measurement.test,
        "classes": measurement.test.classification,
        "boxes": measurement.test.localisation,
        "bars": bars(measurement, larger_sample(metrics)),
        "strip": strip(metrics),
        "failures": found,
        "closest": [] if found else closest(cases),
        "types": _types(records, ious, measurement),
        "extremes": _extremes(records, ious),
        "baseline": baseline(measurement),
        "checks": checks(measurement),
        "data": {
            "images": records,
            "colours": colour_maps(),
            "scale": _scale(records, from_zero=any(one.image.subset.store.mask_logits is not None for one in tested)),
            "heads": any(one.image.subset.store.mask_logits is not None for one in tested),
            "relative": any(one.image.subset.meta.boxes.threshold_kind == "relative" for one in tested),
            "curves": _curves(measurement, tested),
            "failures": [asdict(failure) for failure in found],
        },
    }


def _scale(records: Sequence[dict[str, Any]], *, from_zero: bool) -> tuple[float, float]:
    """As :func:`map_scale`; `from_zero` where a value of 0 means as likely as not."""
    low, high = map_scale([record["map"][1:] for record in records])
    return 0.0 if from_zero else low, high


def _case(record: dict[str, Any], iou: float | None, one: Tested, step: int) -> Case:
    prediction = one.image.prediction
    masked = bool(record["truth"])
    close = is_close_call(prediction, one.image.subset.meta.decision)
    off = _off(prediction, record["truth"], iou or 0.0) if record["outcome"] == "found" and masked else ""
    bare = _bare(boxes_array(one.drawn.at_step(step)[0]), np.array(record["truth"], dtype=float))
    known = iou if masked else None
    return Case(record["defect"], record["outcome"], known, close, off, prediction.probability, bare)


def _bare(boxes: npt.NDArray[np.number[Any]], truth: npt.NDArray[np.number[Any]]) -> float | None:
    """Share of the true boxes that no predicted one touches; None for fewer than two true boxes."""
    if len(truth) < 2:
        return None
    return 1.0 - float((box_iou(truth, boxes) > 0).any(axis=1).mean())


def _off(prediction: Prediction, truth: Sequence[Sequence[int]], iou: float) -> str:
    """How the boxes of an image miss; empty where one fits."""
    if iou >= FITS:
        return ""
    if not prediction.boxes:
        return "without a box"
    if iou == 0:
        return "elsewhere"
    drawn = max(box.area for box in prediction.boxes)
    return "too large" if drawn > max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in truth) else "too small"


def _types(
    records: Sequence[dict[str, Any]], ious: Sequence[float | None], measurement: Measurement
) -> list[dict[str, Any]]:
    """A row a defect type, Good first: how many, how many were called defective, and how well the boxes fit."""
    recalls, localisation = measurement.test.classification.recall_per_defect, measurement.test.localisation
    boxes = {} if localisation is None else localisation.per_defect
    rows = []
    for name in sorted({record["defect"] for record in records}, key=lambda name: (name != GOOD, name)):
        own = [i for i, record in enumerate(records) if record["defect"] == name]
        called = sum(records[i]["label"] != GOOD for i in own)
        fitting = sum((ious[i] or 0.0) >= FITS for i in own if records[i]["truth"])
        masked = sum(bool(records[i]["truth"]) for i in own)
        rows.append(
            {"name": name, "n": len(own), "called": called, "recall": recalls.get(name), "fitting": fitting,
             "masked": masked, "v2": boxes[name].max_box_acc_v2 if name in boxes else None}
        )  # fmt: skip
    return rows


def _extremes(records: Sequence[dict[str, Any]], ious: Sequence[float | None]) -> dict[str, dict[str, Any]]:
    """The smallest true boxes that were found and missed, by the longer side of an image's largest one."""
    sides = {
        i: max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in record["truth"])
        for i, record in enumerate(records)
        if record["truth"]
    }
    missed = [i for i in sides if records[i]["outcome"] == "missed"]
    groups: dict[str, tuple[Any, list[int]]] = {
        "smallest box that fits": (min, [i for i in sides if (ious[i] or 0.0) >= FITS]),
        "largest defect called Good": (max, missed),
        "smallest defect called Good": (min, missed),
    }
    chosen = {name: pick(members, key=lambda i: sides[i]) for name, (pick, members) in groups.items() if members}
    return {name: {"image": i, "side": sides[i], "name": records[i]["name"]} for name, i in chosen.items()}


def _curves(measurement: Measurement, tested: Sequence[Tested]) -> dict[str, Any]:
    """How well the pictures are told apart, and how well trust goes with a better box."""
    is_defect = np.array([not one.image.sample.is_good for one in tested])
    probabilities = np.array([one.image.prediction.probability for one in tested])
    rankings: dict[str, Any] = {}
    if is_defect.any() and not is_defect.all():
        false, true, _ = roc_curve(is_defect, probabilities)
        precision, recall, _ = precision_recall_curve(is_defect, probabilities)
        called = np.array([one.image.prediction.label != GOOD for one in tested])
        hits = int((called & is_defect).sum())
        rankings = {
            "roc": _thin(false, true),
            "pr": _thin(recall, precision),
            "working": {
                "false": float((called & ~is_defect).sum() / (~is_defect).sum()),
                "recall": hits / int(is_defect.sum()),
                "precision": hits / int(called.sum()) if called.any() else None,
            },
        }
    localisation = measurement.test.localisation
    return {
        **rankings,
        "trust": [] if localisation is None else localisation.trust.boxes,
        "reliability": measurement.test.calibration.reliability,
    }


def _thin(x: FloatArray, y: FloatArray) -> list[list[float]]:
    """Points of a curve, no more than can be seen."""
    return [[round(float(x[i]), 5), round(float(y[i]), 5)] for i in spread_indices(len(x), CURVE_POINTS)]


def write_page(
    page: Path, template: str, records: list[dict[str, Any]], paths: Sequence[Path], content: dict[str, Any]
) -> Path:
    """Write a page and, for many pictures, a folder of them beside it.

    Args:
        page: the file to write.
        template: name of the template.
        records: one for each image; their thumbnails are added to them.
        paths: the image files, in the same order.
        content: values that the template shows.

    Returns:
        `page`.
    """
    with Album(page) as album:
        order = sorted(range(len(records)), key=lambda i: interest(records[i]))
        beside = add_thumbnails(records, paths, order, album)
        text = render(template, beside=beside, **content)
        write_text(page, text, errors="backslashreplace")
    return page
