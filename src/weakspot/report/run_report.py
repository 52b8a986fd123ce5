"""``report.html``: how good a run is, where it fails, why, which threshold to take and what to do next, in one file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import precision_recall_curve, roc_curve

from weakspot import __version__, ui
from weakspot.boxes import BoxRule
from weakspot.config import TrainConfig, read_config
from weakspot.data.images import read_image
from weakspot.data.preprocess import fit_within
from weakspot.data.splits import portable
from weakspot.decision import Decision
from weakspot.errors import WeakspotError
from weakspot.files import shown, write_text
from weakspot.maps import MapStore
from weakspot.metrics import size_class
from weakspot.model.bundle import BundleMeta, find_bundle, read_meta
from weakspot.predictions import read_predictions
from weakspot.report.lab import Lab, make_lab
from weakspot.report.page import render
from weakspot.report.pictures import Album, colour_maps, data_url, jpeg, small_map, thumbnail_side
from weakspot.report.records import MISTAKES, add_thumbnails, box_record, image_record, link, shown_evidence
from weakspot.report.verdict import FITS, Case, advice, failures, headline, threshold_advice
from weakspot.review import doubts
from weakspot.runs import RunFolder, own_test_part
from weakspot.truth import Truth
from weakspot.types import GOOD, FloatArray, Prediction, Sample

CURVE_POINTS = 200


@dataclass(frozen=True)
class Evaluated:
    """What a report is made of.

    Attributes:
        folder: where it goes, with ``figures/`` and the training log beside it.
        config: settings of the run.
        meta: of the model, with the rule and decision in use.
        metrics: content of ``metrics.json``.
        store, samples, predictions: the images, in one order.
        drawn: true boxes that a person drew, by path; None takes the masks.
    """

    folder: RunFolder
    config: TrainConfig
    meta: BundleMeta
    metrics: dict[str, Any]
    store: MapStore
    samples: Sequence[Sample]
    predictions: Sequence[Prediction]
    drawn: Mapping[Path, npt.NDArray[np.int64]] | None = None


def read_evaluated(path: Path) -> Evaluated:
    """A finished run, or an evaluation of its own test part below it.

    Raises:
        WeakspotError: when it is neither.
    """
    folder = RunFolder(path)
    metrics = folder.read_metrics()
    run = folder if folder.maps.is_file() else RunFolder(path.resolve().parent.parent)
    if not run.maps.is_file() or "hash" not in metrics.get("split", {}) or metrics["data"].get("truth"):
        raise WeakspotError(
            f"{shown(path)} is neither a finished run nor an evaluation of its own test part; "
            "'weakspot evaluate' writes the report of other images, or of another truth"
        )
    store, samples = own_test_part(run)
    meta = read_meta(find_bundle(run.path))
    if run is not folder:
        rule, score = metrics["boxes"], metrics["thresholds"].get("min_score")
        if score is not None and rule["min_score"] is None:  # JSON knows no infinity
            rule = {**rule, "min_score": float("inf")}
        decision = Decision(**metrics["thresholds"]["decision"]["decision"])
        meta = replace(meta, boxes=BoxRule(**rule), decision=decision, thresholds=metrics["thresholds"])
    predictions = read_predictions(folder.predictions)
    if len(predictions) != len(samples):
        raise WeakspotError(f"{folder.predictions} and {run.maps} do not belong together; run 'weakspot evaluate'")
    return Evaluated(folder, read_config(folder.config), meta, metrics, store, samples, predictions)


def write_report(evaluated: Evaluated) -> Path:
    """Write ``report.html`` and, for many pictures, ``report_files/`` beside it.

    Returns:
        Path of the page.
    """
    page = evaluated.folder.report
    truth = Truth.read(evaluated.samples, evaluated.store.sizes, evaluated.drawn)
    with ui.status("boxes at every threshold"):
        lab = make_lab(evaluated.store, evaluated.predictions, truth, evaluated.meta)
    records = _records(evaluated, truth, lab, page)
    with Album(page) as album:
        order = sorted(range(len(records)), key=lambda i: _interest(records[i]))
        beside = add_thumbnails(records, [sample.path for sample in evaluated.samples], order, album)
        text = render("report.html", beside=beside, **_content(evaluated, truth, lab, records))
        write_text(page, text, errors="backslashreplace")
    return page


# --- the pictures -------------------------------------------------------------------------------------------------


def _records(evaluated: Evaluated, truth: Truth, lab: Lab, page: Path) -> list[dict[str, Any]]:
    """One an image, for the page's script."""
    root, decision = Path(evaluated.config.data.root or "."), evaluated.meta.decision
    side = thumbnail_side(len(evaluated.samples))
    records = []
    for i, (sample, prediction) in enumerate(zip(evaluated.samples, evaluated.predictions, strict=True)):
        image, doubt = lab.images[i], doubts(prediction, decision)
        small = small_map(shown_evidence(evaluated.store, i, prediction, evaluated.meta))
        records.append(
            {
                "name": portable(sample.path, root),
                "href": link(page, sample.path),
                **image_record(prediction, sample, truth, i, side),
                "map": [small.url, small.low, small.high],
                "doubt": list(doubt) if doubt else None,
                "boxes": [box_record(box) for box in image.boxes],
                "at": image.at,
                "size": size_class(truth.shares[i]) if len(truth.boxes[i]) else "",
            }
        )
    return records


def _scale(records: Sequence[dict[str, Any]], *, from_zero: bool) -> tuple[float, float]:
    """Ends of a scale that all maps are shown on: what is ordinary is dark, and one picture in ten is at its end."""
    lows, highs = zip(*(record["map"][1:] for record in records), strict=True)
    return 0.0 if from_zero else float(np.median(lows)), float(np.quantile(highs, 0.9))


def _interest(record: dict[str, Any]) -> tuple[bool, bool, float]:
    """Mistakes first, then defects, then what a person should look at."""
    return record["outcome"] not in MISTAKES, record["outcome"] == "good", -(record["doubt"] or [0.0])[0]


# --- everything else ----------------------------------------------------------------------------------------------


def _content(evaluated: Evaluated, truth: Truth, lab: Lab, records: list[dict[str, Any]]) -> dict[str, Any]:
    """What the template shows, but for the pictures."""
    metrics, folder = evaluated.metrics, evaluated.folder
    ious = [0.0 if r["outcome"] in ("good", "missed") else image.at_step(lab.in_use)[1]
            for r, image in zip(records, lab.images, strict=True)]  # fmt: skip
    found = failures([_case(*each) for each in zip(records, ious, evaluated.predictions, strict=True)])
    return {
        "title": f"{metrics['data']['subset'] or Path(metrics['data']['root'] or 'data').name}: {metrics['name']}",
        "metrics": metrics,
        "headline": headline(metrics),
        "failures": found,
        "advice": advice(metrics, sum(record["doubt"] is not None for record in records)),
        "threshold": threshold_advice(metrics, lab.key),
        "types": _types(records, ious, metrics),
        "extremes": _extremes(records, ious),
        "made": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "version": __version__,
        "run": folder.path,
        "controls": ", ".join(
            f"{name.replace('_', ' ')} {control['v2']['value']:.3f}"
            for name, control in metrics["controls"].items()
            if "v2" in control
        ),
        "frozen": _frozen(evaluated.meta),
        "command": _command(evaluated),
        "config": folder.config.read_text(encoding="utf-8"),
        "duplicates": _picture(folder.figures / "near_duplicates.png"),
        "fitted_by": folder.read_identity().get("fitted_by"),
        "data": {
            "images": records,
            "colours": colour_maps(),
            "scale": _scale(records, from_zero=evaluated.store.extent is not None),
            "relative": evaluated.meta.boxes.threshold_kind == "relative",
            "lab": {"key": lab.key, "steps": lab.steps, "inUse": lab.in_use, "curve": lab.curve},
            "curves": _curves(evaluated),
            "failures": [asdict(failure) for failure in found],
        },
    }


def _case(record: dict[str, Any], iou: float | None, prediction: Prediction) -> Case:
    masked = bool(record["truth"])
    close = record["doubt"] is not None and "close call" in record["doubt"][1]
    off = _off(prediction, record["truth"], iou or 0.0) if record["outcome"] == "found" and masked else ""
    return Case(record["defect"], record["outcome"], iou if masked else None, close, off)


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
    records: Sequence[dict[str, Any]], ious: Sequence[float | None], metrics: dict[str, Any]
) -> list[dict[str, Any]]:
    """A row a defect type, Good first: how many, how many were called defective, and how well the boxes fit."""
    recalls = metrics["test"]["classification"]["recall_per_defect"]
    boxes = (metrics["test"].get("localisation") or {}).get("per_defect", {})
    rows = []
    for name in sorted({record["defect"] for record in records}, key=lambda name: (name != GOOD, name)):
        own = [i for i, record in enumerate(records) if record["defect"] == name]
        called = sum(records[i]["label"] != GOOD for i in own)
        fitting = sum((ious[i] or 0.0) >= FITS for i in own if records[i]["truth"])
        masked = sum(bool(records[i]["truth"]) for i in own)
        rows.append(
            {"name": name, "n": len(own), "called": called, "recall": recalls.get(name), "fitting": fitting,
             "masked": masked, "v2": boxes.get(name, {}).get("v2")}
        )  # fmt: skip
    return rows


def _extremes(records: Sequence[dict[str, Any]], ious: Sequence[float | None]) -> dict[str, dict[str, Any]]:
    """The smallest true boxes that were found and missed, by the longer side of an image's largest one."""
    sides = {
        i: max(max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in record["truth"])
        for i, record in enumerate(records)
        if record["truth"]
    }
    groups = {
        "smallest box that fits": [i for i in sides if (ious[i] or 0.0) >= FITS],
        "largest defect called Good": [i for i in sides if records[i]["outcome"] == "missed"],
        "smallest defect called Good": [i for i in sides if records[i]["outcome"] == "missed"],
    }
    pick = {name: max if name.startswith("largest") else min for name in groups}
    chosen = {name: pick[name](members, key=lambda i: sides[i]) for name, members in groups.items() if members}
    return {name: {"image": i, "side": sides[i], "name": records[i]["name"]} for name, i in chosen.items()}


def _curves(evaluated: Evaluated) -> dict[str, Any]:
    """Everything that is drawn as a line."""
    metrics, predictions = evaluated.metrics, evaluated.predictions
    localisation = metrics["test"].get("localisation") or {}
    is_defect = np.array([not sample.is_good for sample in evaluated.samples])
    said = np.array([prediction.probability for prediction in predictions])
    rankings: dict[str, Any] = {}
    if is_defect.any() and not is_defect.all():
        false, true, _ = roc_curve(is_defect, said)
        precision, recall, _ = precision_recall_curve(is_defect, said)
        called = np.array([prediction.label != GOOD for prediction in predictions])
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
    return {
        **rankings,
        "box": metrics.get("curve"),
        "boxInUse": metrics["boxes"]["threshold"],
        "boxOracle": localisation.get("oracle_single_threshold"),
        "training": (metrics.get("train") or {}).get("history") or [],
        "trust": localisation.get("trust", {}).get("boxes") or [],
        "reliability": metrics["test"]["calibration"]["reliability"],
    }


def _thin(x: FloatArray, y: FloatArray) -> list[list[float]]:
    """Points of a curve, no more than can be seen."""
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), CURVE_POINTS)).round().astype(int))
    return [[round(float(x[i]), 5), round(float(y[i]), 5)] for i in keep]


def _frozen(meta: BundleMeta) -> str:
    """Which layers were trained, in words."""
    trained = "its last stage and the dense layer were trained on the labels, all before that was frozen"
    heads = (
        ""
        if meta.evidence is None
        else "; two evidence heads on frozen features say where a defect is and how far it goes"
    )
    return f"{meta.backbone}: {trained}{heads}."


def _command(evaluated: Evaluated) -> str:
    """What makes the run, or the evaluation, again."""
    folder = evaluated.folder
    if not folder.identity.is_file():
        boxes = {key: value for key, value in evaluated.metrics["boxes"].items() if value is not None}
        keys = " ".join(f"boxes.{key}={str(value).lower()}" for key, value in boxes.items())
        return f"weakspot evaluate run={shlex.quote(str(folder.path.parent.parent))} {keys}"
    path = shlex.quote(str(folder.path.absolute()))
    return f"weakspot train --config-path={path} --config-name=config output=again reuse=false"


def _picture(path: Path) -> str | None:
    """A figure as a ``data:`` URL, no larger than a page needs; None where there is none."""
    if not path.is_file():
        return None
    return data_url(jpeg(fit_within(read_image(path), 1400)), "image/jpeg")
