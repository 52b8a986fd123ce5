"""One row of the table of experiments: each experiment measured and compared, the pictures read once and let go."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.data.classes import target_of
from weakspot.data.splits import group_numbers, portable
from weakspot.errors import WeakspotError
from weakspot.evaluation.comparison import SetUp, pair
from weakspot.evaluation.experiments.found import Result, newest
from weakspot.evaluation.experiments.schema import MEASURES, TESTED, Cell, Compared, Kind
from weakspot.evaluation.pooled import Pooled
from weakspot.evaluation.records import MetricsRecord
from weakspot.metrics.classification import ranker
from weakspot.metrics.intervals import N_RESAMPLES, Estimate, undefined
from weakspot.metrics.macro import Paired, draw_within
from weakspot.metrics.paired import paired_difference, stratum_means
from weakspot.runs.identity import short_hash
from weakspot.types import FloatArray


@dataclass
class Measured:
    """A cell, and what the macro mean needs of its pictures.

    Attributes:
        cell: the cell, not yet adjusted for the number of comparisons.
        resamples: by measure, ``(1000,)``; NaN where the pictures cannot be read any more.
        paired: scores beside those of the reference, by measure; empty where they are not compared.
    """

    cell: Cell
    resamples: dict[str, FloatArray]
    paired: dict[str, Paired] = field(default_factory=dict)


@dataclass(frozen=True)
class _Tested:
    """An experiment on the pictures of a row, and the folds that each of its trainings was tested on."""

    set_up: SetUp
    folds: set[str]
    results: Sequence[Result]

    @classmethod
    def read(cls, results: Sequence[Result]) -> _Tested:
        trainings = [Pooled.read(result.runs) for result in results]
        folds = {_folds_tested(one, result) for one, result in zip(trainings, results, strict=True)}
        return cls(SetUp.of(trainings), folds, results)


def _folds_tested(training: Pooled, result: Result) -> str:
    """A hash over which pictures were tested together, wherever the data set lies."""
    return short_hash(sorted(sorted(portable(s.path, result.root) for s in one.samples) for one in training.subsets))


def measure_row(
    label: str, kind: Kind, of_kind: Mapping[str, Sequence[Result]], reference: str | None
) -> tuple[dict[str, Measured], list[str]]:
    """Measure every experiment of a row, and compare it with the reference.

    Args:
        label: of the row, for notes.
        kind: what its results have in common.
        of_kind: results by experiment; trainings with other seeds are averaged.
        reference: experiment that the others are compared with.

    Returns:
        By experiment what was measured, and notes on what was not compared and why.
    """
    cells, notes, tested = dict[str, Measured](), list[str](), dict[str, _Tested]()
    seed = zlib.crc32(f"{kind.subset} {kind.data}".encode("utf-8", "surrogateescape"))
    for name, results in sorted(of_kind.items()):
        kept, older = newest(results)
        if older:
            notes.append(f"{name} on {label}: older results of the same settings and seeds left out ({older})")
        cells[name] = Measured(Cell(estimates_of([one.record for one in kept]), len(kept)), _unknown())
        try:
            tested[name] = _Tested.read(kept)
            cells[name].resamples = resampled_measures(tested[name].set_up, seed)
        except WeakspotError as error:
            tested.pop(name, None)
            notes.append(f"{name} on {label} is compared with nothing, and no interval of the macro mean: {error}")
    for name in sorted(tested.keys() - {reference}):
        if reference not in tested:
            continue
        why = _why_not(tested[reference], tested[name])
        found = None if why else pair(tested[reference].set_up, tested[name].set_up)
        if found is None:
            why = why or "their pictures lie in other folders"
            notes.append(f"{name} on {label} is not compared with {reference}: {why}")
            continue
        cells[name].paired = {measure: found.scores[measure] for measure in TESTED if measure in found.scores}
        compared = {measure: _compare(one) for measure, one in cells[name].paired.items()}
        cells[name].cell = replace(cells[name].cell, compared=compared)
    return cells, notes


def _compare(one: Paired) -> Compared:
    return Compared(paired_difference(one.first, one.second, one.groups.tolist(), one.strata))


def _why_not(first: _Tested, second: _Tested) -> str | None:
    """Why two experiments on the same pictures cannot be compared; None where they can."""
    if first.set_up.classes != second.set_up.classes:
        return f"it tells {len(second.set_up.classes)} classes apart, and the other {len(first.set_up.classes)}"
    if first.folds == second.folds:
        return None
    policies = [each.results[0].config.split.near_duplicates for each in (first, second)]
    if policies[0] != policies[1]:
        return (
            f"other pictures were tested together (split.near_duplicates={policies[1]} here and {policies[0]} there); "
            "run both with the same"
        )
    return "other pictures were tested together; run both with the same keys split.*"


def estimates_of(records: Sequence[MetricsRecord]) -> dict[str, Estimate]:
    """Every measure; of several trainings the mean of the values, and of either end of their intervals.

    The mean of trainings varies less than one of them, so such an interval is wider than 95 %.

    Args:
        records: of the trainings, at least one.
    """
    found = [_estimates(record) for record in records]
    return {measure: _mean([each[measure] for each in found]) for measure in MEASURES}


def _estimates(record: MetricsRecord) -> dict[str, Estimate]:
    test = record.measurement.test
    boxes = test.localisation
    return {
        "balanced_accuracy": test.classification.balanced_accuracy,
        "auroc": test.classification.auroc,
        "max_box_acc_v2": boxes.max_box_acc_v2 if boxes else undefined(0),
        "box_precision_30": boxes.detection.precision_30 if boxes else undefined(0),
    }


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    value, low, high = np.mean([(each.value, each.low, each.high) for each in estimates], axis=0)
    return Estimate(float(value), round(float(np.mean([each.n for each in estimates]))), float(low), float(high))


def _unknown() -> dict[str, FloatArray]:
    return {measure: np.full(N_RESAMPLES, np.nan) for measure in MEASURES}


def resampled_measures(tested: SetUp, seed: int) -> dict[str, FloatArray]:
    """Every measure in resamples of the tested pictures, mean over the trainings.

    Groups are drawn among those of the same classes. Set-ups that were tested on the same pictures, in the same groups,
    get the same draws.

    Args:
        tested: the set-up.
        seed: of the draws.

    Returns:
        ``(1000,)`` by measure; NaN where a resample does not define it.
    """
    targets = np.array([target_of(sample, tested.classes) for sample in tested.samples], dtype=np.int64)
    times = draw_within(group_numbers(tested.samples), targets, seed)
    found = [_resampled(one, times[:, at]) for one, at in zip(tested.trainings, tested.positions(), strict=True)]
    return {measure: np.mean([each[measure] for each in found], axis=0) for measure in MEASURES}


def _resampled(training: Pooled, times: npt.NDArray[np.intp]) -> dict[str, FloatArray]:
    targets, known = training.targets(), np.array(training.truth.with_boxes, dtype=np.intp)
    found: dict[str, Any] = _unknown()
    found["balanced_accuracy"] = stratum_means(times, training.right(), targets)
    if (targets == 0).any() and (targets != 0).any():
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample without one side: NaN
            found["auroc"] = ranker(targets != 0, 1.0 - training.probabilities()[:, 0])(times)["auroc"]
    if len(known):
        found["max_box_acc_v2"] = stratum_means(times[:, known], training.max_box_acc_v2[known], np.zeros(len(known)))
        hits, boxes = training.box_hits.T
        with np.errstate(invalid="ignore"):
            found["box_precision_30"] = (times @ hits) / (times @ boxes)
    return found
