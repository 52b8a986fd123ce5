"""``report.html``: how good a run is, where it fails, why, which threshold to take and what to do next, in one file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from weakspot._version import __version__
from weakspot.config.rules import BoxRule
from weakspot.config.schema import TrainConfig, read_config
from weakspot.config.values import quoted
from weakspot.data.annotated_truth import DrawnBoxes
from weakspot.errors import WeakspotError
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Alarm
from weakspot.evaluation.serialise import to_json
from weakspot.evaluation.subsets import EvaluatedImage, EvaluatedSubset
from weakspot.evaluation.truth import Truth
from weakspot.evaluation.wrong_labels import wrong_labels
from weakspot.models.bundle import BundleMeta, find_bundle, read_meta
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.report.advice import Here, advice
from weakspot.report.contents import Tested, common, records, write_page
from weakspot.report.lab import Lab, make_lab
from weakspot.report.pictures import figure_url
from weakspot.report.verdict import threshold_advice
from weakspot.runs.folder import RunFolder, own_test_subset
from weakspot.utils import console
from weakspot.utils.files import shown


@dataclass(frozen=True)
class Evaluated:
    """What a report is made from.

    Attributes:
        folder: where it goes, with ``figures/`` and the training log beside it.
        config: settings of the run.
        record: content of ``metrics.json``.
        subset: the images, and the model's description with the rule and decision in use.
        drawn: what a person drew, by path; None takes the masks.
    """

    folder: RunFolder
    config: TrainConfig
    record: MetricsRecord
    subset: EvaluatedSubset
    drawn: Mapping[Path, DrawnBoxes] | None = None


def read_evaluated(path: Path) -> Evaluated:
    """Read a finished run, or an evaluation of its own test subset in a folder below it.

    Raises:
        WeakspotError: when the folder is neither.
    """
    folder = RunFolder(path)
    record = MetricsRecord.read(folder.metrics)
    run = RunFolder((RunFolder(path.resolve()).evaluated() or (path, []))[0])
    if not run.maps.is_file() or record.split.hash is None or record.data.truth:
        raise WeakspotError(
            f"{shown(path)} is neither a finished run nor an evaluation of its own test subset; "
            "'weakspot evaluate' writes the report of other images, or of another truth"
        )
    store, samples = own_test_subset(run)
    meta = read_meta(find_bundle(run.path))
    if run is not folder:
        rule, score = record.boxes, record.thresholds.get("min_score")
        if score is not None and rule["min_score"] is None:  # JSON knows no infinity
            rule = {**rule, "min_score": float("inf")}
        decision = Decision(**record.thresholds["decision"]["decision"])
        trust = record.thresholds.get("trust", {}).get("calibration")
        calibration = None if trust is None else TrustCalibration.from_dict(trust)
        meta = replace(meta, boxes=BoxRule(**rule), decision=decision, trust=calibration, thresholds=record.thresholds)
    predictions = read_predictions(folder.predictions)
    if len(predictions) != len(samples):
        raise WeakspotError(f"{folder.predictions} and {run.maps} do not belong together; run 'weakspot evaluate'")
    return Evaluated(folder, read_config(folder.config), record, EvaluatedSubset(samples, store, predictions, meta))


def write_report(evaluated: Evaluated) -> Path:
    """Write ``report.html`` and, for many pictures, ``report_files/`` beside it.

    Returns:
        Path of the page.
    """
    page, subset = evaluated.folder.report, evaluated.subset
    truth = Truth.read(subset.samples, subset.store.sizes, evaluated.drawn)
    with console.status("boxes at every threshold"):
        lab = make_lab(subset.store, subset.predictions, truth, subset.meta)
    tested = [Tested(EvaluatedImage(subset, i), lab.images[i]) for i in range(len(subset.samples))]
    found = records(tested, truth, page, Path(evaluated.config.data.root or "."))
    shown = common(evaluated.record, tested, found, lab.in_use)
    worth = sorted((i for i, each in enumerate(found) if each["doubt"]), key=lambda i: -found[i]["doubt"][0])
    doubtful = [subset.samples[i].path for i in worth]
    content = _content(evaluated, shown, lab, doubtful)
    return write_page(page, "report.html", found, [sample.path for sample in subset.samples], content)


def _content(evaluated: Evaluated, shown: dict[str, Any], lab: Lab, doubtful: Sequence[Path]) -> dict[str, Any]:
    """What the template shows beyond what it has in common with that of a cross-validation."""
    record, folder = evaluated.record, evaluated.folder
    localisation = record.measurement.test.localisation
    data = shown["data"]
    masks = evaluated.record.measurement.test.localisation is not None
    data["lab"] = {"key": lab.key, "steps": lab.steps, "inUse": lab.in_use, "curve": lab.curve, "masks": masks}
    data["curves"] |= {
        "box": to_json(record.measurement.curve),
        "boxInUse": record.boxes["threshold"],
        "boxOracle": localisation and localisation.oracle_single_threshold,
        "training": (record.train or {}).get("history") or [],
    }
    return {
        **shown,
        "title": f"{record.data.title}: {record.name}",
        "advice": advice(record, len(doubtful), _here(evaluated, doubtful)),
        "threshold": threshold_advice(record, lab.key),
        "lab_key": lab.key,
        "made": datetime.now().strftime("%Y-%m-%d %H:%M"),
        "version": __version__,
        "run": folder.path,
        "frozen": _frozen(evaluated.subset.meta),
        "command": _command(evaluated),
        "config": folder.config.read_text(encoding="utf-8"),
        "duplicates": figure_url(folder.figures / "near_duplicates.png"),
        "alarm_pictures": [_alarm_picture(folder, alarm) for alarm in record.measurement.alarms],
        "wrong_labels": wrong_labels(folder),
        "fitted_by": folder.read_identity().get("fitted_by"),
    }


def _here(evaluated: Evaluated, doubtful: Sequence[Path]) -> Here:
    """What the page's commands begin from: the run itself, also on the page of one of its evaluations."""
    folder = evaluated.folder
    run = (folder.evaluated() or (folder.path, []))[0]
    return Here(run, run, evaluated.config, doubtful=doubtful[0] if doubtful else None)


def _frozen(meta: BundleMeta) -> str:
    """Which layers were trained, in words."""
    trained = "its last stage and the dense layer were trained on the labels, all before that was frozen"
    heads = (
        ""
        if meta.evidence is None
        else "; two evidence heads on frozen features give the location and the mask of a defect"
    )
    return f"{meta.backbone}: {trained}{heads}."


def _command(evaluated: Evaluated) -> str:
    """What makes the run, or the evaluation, again."""
    folder = evaluated.folder
    if (evaluation := folder.evaluated()) is not None:
        run, changes = evaluation
        return shlex.join(["weakspot", "evaluate", f"run={quoted(str(run))}", *changes])
    path = shlex.quote(str(folder.path.absolute()))
    return f"weakspot train --config-path={path} --config-name=config output=null reuse=false"


def _alarm_picture(folder: RunFolder, alarm: Alarm) -> str | None:
    """What an alarm looks like; an evaluation takes the picture of its run."""
    name = alarm.details.get("picture")
    if not name:
        return None
    file = Path(str(name)).name  # whatever else metrics.json says
    run = (folder.evaluated() or (folder.path, []))[0]
    own, of_run = folder.figures / file, RunFolder(run).figures / file
    return figure_url(own if own.is_file() else of_run)
