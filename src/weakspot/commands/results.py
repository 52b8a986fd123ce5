"""A run measured and written down: predictions, figures, report and, last, ``metrics.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weakspot.config.schema import TrainConfig
from weakspot.data.annotations import Corrected
from weakspot.data.splits import portable
from weakspot.evaluation.erasure import measure_erasure
from weakspot.evaluation.measure import Evaluation, evaluate_maps, measure_some
from weakspot.models.bundle import BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.postprocess.review import ReviewQueue
from weakspot.report.figures import write_figures
from weakspot.report.run_report import Evaluated, write_report
from weakspot.runs.folder import RunFolder
from weakspot.runs.identity import settings_identity
from weakspot.types import SUBSETS, Sample, Subset
from weakspot.utils import console
from weakspot.utils.files import jsonable, write_json


@dataclass(frozen=True)
class Measured:
    """What a model said of labelled images, and what is known of both.

    Attributes:
        config: settings of the run, for the record.
        store: what it said.
        samples: the same images' labels.
        meta: classes, preprocessing, box rule and thresholds.
        identity: content of the run's ``run.json``.
        parts: part of every image of the run's data set; None where other images are measured.
        truth: what a person marked; None takes the masks that the data has.
    """

    config: TrainConfig
    store: OutputStore
    samples: Sequence[Sample]
    meta: BundleMeta
    identity: dict[str, Any]
    subsets: Sequence[Subset] | None
    truth: Corrected | None = None


def write_results(
    target: RunFolder, measured: Measured, settle: Callable[[], None] = lambda: None, *, with_erasure: bool = False
) -> Evaluation:
    """Evaluate saved maps and write predictions, figures, the report and last the metrics into `target`.

    Nothing is written before everything is measured. While files are replaced there are no metrics, so that what is cut
    off then is not taken for whole.

    Args:
        target: folder to write to.
        measured: what is measured.
        settle: called when all is measured, before the first file is written.
        with_erasure: also erase boxes and run the network again (:mod:`weakspot.evaluation.erasure`); `target`
            holds the model then.
    """
    config, meta, samples = measured.config, measured.meta, measured.samples
    evaluation, alarms = _measure(target, measured, with_erasure=with_erasure)
    target.unfinish()
    settle()
    write_predictions(target.path, evaluation.predictions)
    review = ReviewQueue(meta.decision)
    for prediction in evaluation.predictions:
        review.add(prediction)
    review.write(target.path / "review.csv")
    history = (measured.identity.get("train") or {}).get("history") or [] if measured.subsets is not None else []
    with console.status("drawing figures"):
        write_figures(target.figures, evaluation, samples, meta.boxes, history)
    metrics = jsonable(_metrics(measured, evaluation, alarms))
    drawn = None if measured.truth is None else measured.truth.boxes
    write_report(Evaluated(target, config, meta, metrics, measured.store, samples, evaluation.predictions, drawn))
    write_json(target.metrics, metrics)
    return evaluation


def _measure(target: RunFolder, measured: Measured, *, with_erasure: bool) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Every number, and all alarms, which are shown."""
    store, samples, meta = measured.store, measured.samples, measured.meta
    drawn = None if measured.truth is None else measured.truth.boxes
    with console.status("measuring"):
        evaluation = evaluate_maps(store, samples, meta.classes, meta.preprocess, meta.boxes, meta.decision, drawn)
    leak = measured.identity.get("leakage")
    if leak and leak["held_out_of_trained_parts"]:
        twins = set(leak["held_out_of_trained_parts"])
        root = Path(measured.config.data.root or ".")
        kept = [i for i, sample in enumerate(samples) if portable(sample.path, root) not in twins]
        evaluation.test["other_parts"] = measure_some(
            evaluation.predictions, samples, store.sizes, meta.classes, kept, drawn
        )
    if "localisation" in evaluation.test:
        _warn_of_small_defects(evaluation.test["localisation"]["resolution"])
    alarms = [*(measured.identity.get("alarms") or []), *evaluation.alarms]
    erased = measure_erasure(target, samples, evaluation.predictions) if with_erasure else None
    if erased is not None:
        evaluation.controls["erased"] = erased.to_dict()
        alarms += [erased.alarm] if erased.alarm else []
    for alarm in alarms:
        console.alarm(alarm)
    return evaluation, alarms


def _metrics(measured: Measured, evaluation: Evaluation, alarms: list[dict[str, Any]]) -> dict[str, Any]:
    """Content of ``metrics.json``."""
    config, meta, identity = measured.config, measured.meta, measured.identity
    return {
        "name": config.name,
        "settings": settings_identity(config),
        "run": identity.get("run"),
        "seed": config.seed,
        "data": {
            **{key: getattr(config.data, key) for key in ("layout", "root", "subset", "task")},
            "hash": meta.data_hash if measured.subsets is not None else None,
            "classes": meta.classes,
            "truth": None if measured.truth is None else measured.truth.described,
            "n_test_per_defect": dict(sorted(Counter(sample.defect for sample in measured.samples).items())),
        },
        "split": _split(measured),
        "test": evaluation.test,
        "controls": evaluation.controls,
        "alarms": alarms,
        "curve": evaluation.curve,
        "heatmap": config.heatmap,
        "flip_tta": config.flip_tta,
        "boxes": asdict(meta.boxes),
        "thresholds": meta.thresholds,
        "train": identity.get("train"),
        "model": {"weights": meta.weights, "backbone": meta.backbone, "versions": meta.versions},
    }


def _split(measured: Measured) -> dict[str, Any]:
    leak = _leak_summary(measured.identity.get("leakage"))
    if measured.subsets is None:
        return {
            "note": "other images than the run's own; none is byte for byte one that was trained on",
            "leakage": leak,
        }
    return {
        **asdict(measured.config.split),
        "hash": measured.meta.split_hash,
        **{f"n_{subset}": measured.subsets.count(subset) for subset in SUBSETS},
        "identical_across_subsets": measured.identity.get("identical_across_subsets"),
        "leakage": leak,
    }


def _leak_summary(leak: dict[str, Any] | None) -> dict[str, Any] | None:
    """What ``run.json`` says of near-duplicates, with a number in place of the paths."""
    return leak and {**leak, "held_out_of_trained_parts": len(leak["held_out_of_trained_parts"])}


def _warn_of_small_defects(resolution: dict[str, Any]) -> None:
    """Say so where a quarter of the true boxes are too small for the set-up."""
    smaller = resolution["smaller"]
    if smaller["value"] > 0.25:
        console.err.print(
            f"warning: {smaller['value']:.0%} of the {smaller['n']} true boxes have a side under "
            f"{resolution['smallest']:.0f} px, which is as small as this set-up can localise (raise data.image_size, "
            "set data.resize=tile, or refine=segment)",
            style="yellow",
        )
