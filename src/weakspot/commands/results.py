"""Measure a run and write the results: predictions, figures, report and, last, ``metrics.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weakspot.commands.alarms import NOTHING_RAISED, RaisedAlarms
from weakspot.config.schema import TrainConfig
from weakspot.data.annotated_truth import Corrected
from weakspot.data.splits import portable
from weakspot.evaluation.erasure import measure_erasure
from weakspot.evaluation.measure import measure, measure_some
from weakspot.evaluation.records import DataRecord, Leakage, MetricsRecord, SplitRecord
from weakspot.evaluation.schema import Measurement
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.evaluation.wrong_labels import wrong_labels
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.postprocess.review import ReviewQueue
from weakspot.report.figures import write_figures
from weakspot.report.run_report import Evaluated, write_report
from weakspot.runs.folder import RunFolder
from weakspot.runs.identity import settings_identity
from weakspot.types import ANOMALY, GOOD, SUBSETS, Subset
from weakspot.utils import console


@dataclass(frozen=True)
class MeasuredRun:
    """A subset that a model was tested on, what is known about both, and the measurement.

    Attributes:
        config: settings of the run, for the record.
        subset: labels, outputs, predictions, and the model's description.
        identity: content of the run's ``run.json``.
        subsets: subset of every image of the run's data set; None where other images are measured.
        truth: boxes that a person drew; None takes the masks that the data set has.
        raised: alarms and notes from before anything was measured.
        measurement: None before :func:`measure_run`.
    """

    config: TrainConfig
    subset: EvaluatedSubset
    identity: Mapping[str, Any]
    subsets: Sequence[Subset] | None
    truth: Corrected | None = None
    raised: RaisedAlarms = NOTHING_RAISED
    measurement: Measurement | None = None


def measure_run(run: MeasuredRun, *, erasing: RunFolder | None = None) -> MeasuredRun:
    """Measure everything, and print all alarms. Nothing is written.

    Args:
        run: what to measure.
        erasing: folder whose model is run again on pictures with erased boxes; None leaves that out.

    Returns:
        The same run with its measurement.
    """
    drawn = None if run.truth is None else run.truth.drawn
    with console.status("measuring"):
        found = measure([run.subset], drawn)
    found = replace(found, test=replace(found.test, other_groups=_other_groups(run)))
    localisation = found.test.localisation
    if localisation is not None and localisation.resolution.smaller.value > 0.25:
        heads = "" if run.config.refine.method == "segment" else ", or refine=segment"
        console.remark(
            f"warning: {localisation.resolution.smaller.value:.0%} of the {localisation.resolution.smaller.n} true "
            f"boxes have a side under {localisation.resolution.smallest:.0f} px, which is as small as this set-up can "
            f"localise (raise data.image_size, set data.resize=tile{heads})"
        )
    alarms = [*run.raised.alarms, *found.alarms]
    erased = measure_erasure(erasing, run.subset.samples, run.subset.predictions) if erasing else None
    if erased is not None:
        found = replace(found, controls=replace(found.controls, erased=erased))
        alarms += [erased.alarm] if erased.alarm else []
    console.alarms([alarm.to_dict() for alarm in alarms])
    return replace(run, measurement=replace(found, alarms=alarms, notes=list(run.raised.notes)))


def _other_groups(run: MeasuredRun) -> Any:  # noqa: ANN401 - of the schema
    """The images whose group was not trained on, measured again; None where that is all of them."""
    leak = run.identity.get("leakage")
    if not leak or not leak["held_out_of_trained_groups"]:
        return None
    held_out, root = set(leak["held_out_of_trained_groups"]), Path(run.config.data.root or ".")
    samples = run.subset.samples
    kept = [i for i, sample in enumerate(samples) if portable(sample.path, root) not in held_out]
    drawn = None if run.truth is None else run.truth.drawn
    classes, sizes = run.subset.meta.classes, run.subset.store.sizes
    return measure_some(run.subset.predictions, samples, sizes, classes, kept, drawn)


def write_results(target: RunFolder, run: MeasuredRun, settle: Callable[[], None] = lambda: None) -> None:
    """Write predictions, figures, the report and last the metrics into a folder.

    While files are replaced there is no ``metrics.json``, so that an interrupted result is not taken for a finished
    one.

    Args:
        target: folder to write to.
        run: with its measurement.
        settle: called before the first file is written.
    """
    record, subset = metrics_record(run), run.subset
    target.unfinish()
    settle()
    write_predictions(target.path, subset.predictions)
    review = ReviewQueue(subset.meta.decision)
    for prediction in subset.predictions:
        review.add(prediction)
    _add_wrong_labels(review, target, run)
    review.write(target.path / "review.csv")
    history = (record.train or {}).get("history") or [] if run.subsets is not None else []
    with console.status("drawing figures"):
        write_figures(target.figures, subset, record.measurement, history)
    drawn = None if run.truth is None else run.truth.drawn
    write_report(Evaluated(target, run.config, record, subset, drawn))
    record.write(target.metrics)


def _add_wrong_labels(review: ReviewQueue, target: RunFolder, run: MeasuredRun) -> None:
    """Put training pictures whose label is probably wrong before all others; an evaluation has none."""
    found = wrong_labels(target)
    if not found:
        return
    root, classes = Path(run.config.data.root or "."), run.subset.meta.classes
    of_defect = classes[1] if len(classes) == 2 else ANOMALY  # which of several defects it is, nobody has asked
    for one in found:
        label = GOOD if one.defect != GOOD else of_defect
        review.add_first((root / one.path).as_posix(), label, one.probability, one.why)
    console.remark(f"training pictures whose label is worth checking: {len(found)}; they come first in review.csv")


def metrics_record(run: MeasuredRun) -> MetricsRecord:
    """Make the content of ``metrics.json``.

    Args:
        run: with its measurement.
    """
    config, meta, identity = run.config, run.subset.meta, run.identity
    assert run.measurement is not None  # noqa: S101 - for the type checker
    data = DataRecord(
        layout=config.data.layout,
        root=config.data.root,
        subset=config.data.subset,
        task=config.data.task,
        classes=meta.classes,
        hash=meta.data_hash if run.subsets is not None else None,
        truth=None if run.truth is None else run.truth.described,
        n_test_per_defect=dict(sorted(Counter(sample.defect for sample in run.subset.samples).items())),
        roi=config.data.roi,
        learnt_from=identity.get("learnt_from") or {},
    )
    return MetricsRecord(
        name=config.name,
        data=data,
        split=_split_record(run),
        measurement=run.measurement,
        settings=settings_identity(config),
        run=identity.get("run"),
        seed=config.seed,
        heatmap=config.heatmap,
        flip_tta=config.flip_tta,
        boxes=asdict(meta.boxes),
        thresholds=meta.thresholds,
        train=identity.get("train"),
        model={"weights": meta.weights, "backbone": meta.backbone, "versions": meta.versions},
    )


def _split_record(run: MeasuredRun) -> SplitRecord:
    leak = run.identity.get("leakage")
    leakage = leak and Leakage(**{**leak, "held_out_of_trained_groups": len(leak["held_out_of_trained_groups"])})
    if run.subsets is None:
        note = "other images than the run's own; none is byte for byte one that was trained on"
        return SplitRecord(note=note, leakage=leakage)
    n_train, n_val, n_test = (list(run.subsets).count(subset) for subset in SUBSETS)
    return SplitRecord(
        **asdict(run.config.split),
        hash=run.subset.meta.split_hash,
        n_train=n_train,
        n_val=n_val,
        n_test=n_test,
        identical_across_subsets=run.identity.get("identical_across_subsets"),
        leakage=leakage,
    )
