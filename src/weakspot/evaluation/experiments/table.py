"""Results in a table: a row for each subset, a column for each experiment, and how they compare.

One reference, and Holm's correction for the number of comparisons, after Demšar, "Statistical Comparisons of
Classifiers over Multiple Data Sets", JMLR 7, 2006.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.evaluation.experiments.cells import Measured, measure_row
from weakspot.evaluation.experiments.found import Result, experiment_names, read_results
from weakspot.evaluation.experiments.schema import MEASURES, TESTED, Cell, Compared, ExperimentTable, Kind, Row
from weakspot.metrics.intervals import Estimate, undefined
from weakspot.metrics.macro import Resampled, holm, macro_difference, macro_mean

PROTOCOL = "plain_cam"
"""What the others are compared with, where it is there and nothing else was named."""

Cells = Mapping[Kind, Mapping[str, Measured]]


def experiment_table(
    folders: Iterable[Path],
    *,
    reference: str | None = None,
    experiments: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExperimentTable:
    """Put results into a table; the order of the folders does not matter.

    Args:
        folders: of cross-validations and runs, from :func:`~weakspot.evaluation.experiments.found.result_folders`.
        reference: experiment that the others are compared with; None takes ``plain_cam``, else the first by name.
        experiments: names of those to show; nothing shows all.
        progress: called with how many rows are done, and how many there are.

    Raises:
        WeakspotError: for the name of an experiment that is not there.
    """
    results, notes = read_results(folders)
    results = _wanted(results, experiments)
    kinds: dict[Kind, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result, name in zip(results, experiment_names(results), strict=True):
        kinds[Kind(result.record.data.title, result.data, result.folds)][name].append(result)
    names = sorted({name for of_kind in kinds.values() for name in of_kind})
    first = _reference(names, reference)
    names.sort(key=lambda name: (name != first, name))
    ordered = sorted(kinds, key=lambda kind: kind.order)
    labels, measured = _labels(ordered), dict[Kind, dict[str, Measured]]()
    notes += _rows_apart(ordered)
    for done, kind in enumerate(ordered, start=1):
        measured[kind], said = measure_row(labels[kind], kind, kinds[kind], first)
        notes += said
        progress(done, len(ordered))
    macro, macro_rows, said = _macro(measured, labels, names, first)
    rows = [
        Row(labels[kind], kind, {name: cells[name].cell for name in names if name in cells})
        for kind, cells in measured.items()
    ]
    table = ExperimentTable(names, first if len(names) > 1 else None, rows, macro, macro_rows, 0, [*notes, *said])
    return _adjusted(table)


def _wanted(results: list[Result], experiments: Sequence[str]) -> list[Result]:
    known = sorted({result.record.name for result in results})
    for name in experiments:
        if name not in known:
            raise _not_there(name, known)
    return [result for result in results if not experiments or result.record.name in experiments]


def _not_there(name: str, known: Sequence[str]) -> WeakspotError:
    there = f"there are: {', '.join(known)}" if known else "train with cv=3 first"
    return WeakspotError(f"no finished result of an experiment {name}{did_you_mean(name, known)}; {there}")


def _reference(names: Sequence[str], wanted: str | None) -> str | None:
    """The column that is `wanted`, or the first with that name; by default that of the published protocol."""
    found = [name for name in names if (wanted or PROTOCOL) in (name, name.partition(" (")[0])]
    if wanted is not None and not found:
        raise _not_there(wanted, names)
    return next(iter([*found, *names]), None)


def _labels(kinds: Sequence[Kind]) -> dict[Kind, str]:
    """A name for each row: the subset, and what else tells it from other rows of the table."""
    several = len({kind.folds for kind in kinds}) > 1
    same = Counter((kind.subset, kind.folds) for kind in kinds)
    labels = {}
    for kind in kinds:
        words = [kind.subset]
        if several:
            words.append(f"{kind.folds} folds" if kind.folds else "held out")
        if same[kind.subset, kind.folds] > 1:
            words.append(f"data {kind.data}")
        labels[kind] = ", ".join(words)
    return labels


def _rows_apart(kinds: Sequence[Kind]) -> list[str]:
    """Notes on subsets with several rows."""
    notes = []
    for subset in dict.fromkeys(kind.subset for kind in kinds):
        own = [kind for kind in kinds if kind.subset == subset]
        why = [
            *(["other pictures, labels or masks"] if len({kind.data for kind in own}) > 1 else []),
            *(["another split"] if len({kind.folds for kind in own}) > 1 else []),
        ]
        if why:
            notes.append(f"{subset} has {len(own)} rows, which are not compared with each other: {', '.join(why)}")
    return notes


def _macro(
    measured: Cells, labels: Mapping[Kind, str], names: Sequence[str], reference: str | None
) -> tuple[dict[str, Cell], dict[str, list[str]], list[str]]:
    """The mean over subsets by experiment, the labels of its rows by measure, and notes."""
    over = {measure: _rows_of_all(measured, names, measure) for measure in MEASURES}
    subsets = {kind.subset for kind in measured}
    if all(len(rows) < 2 for rows in over.values()):
        several = f"no two subsets were run with each of these {len(names)} experiments; --experiment leaves others out"
        return {}, {}, [f"no macro mean: {several}"] if len(subsets) > 1 else []
    notes = []
    left_out = sorted(labels[kind] for kind in measured if kind not in over["balanced_accuracy"])
    if left_out:
        notes.append(
            f"the macro mean leaves out rows without every experiment, or of a subset it has: {'; '.join(left_out)}"
        )
    cells = {name: Cell({m: _macro_estimate(measured, over[m], name, m) for m in MEASURES}) for name in names}
    for name in names:
        if name != reference:
            compared, missing = _macro_compared(measured, over, name)
            cells[name] = replace(cells[name], compared=compared)
            if missing:
                notes.append(
                    f"the macro means of {name} and {reference} are not compared, as they are not on every row"
                )
    return cells, {measure: [labels[kind] for kind in rows] for measure, rows in over.items()}, notes


def _rows_of_all(measured: Cells, names: Sequence[str], measure: str) -> list[Kind]:
    """Rows in which every experiment has a value, one for each subset: of several the one with the most pictures."""
    found: dict[str, Kind] = {}
    for kind, cells in measured.items():
        estimates = [cells[name].cell.estimates[measure] for name in names if name in cells]
        if len(estimates) < len(names) or not np.isfinite([each.value for each in estimates]).all():
            continue
        other = found.get(kind.subset)
        if other is None or _pictures(cells) > _pictures(measured[other]):
            found[kind.subset] = kind
    return list(found.values())


def _pictures(cells: Mapping[str, Measured]) -> int:
    return max(each.cell.estimates["balanced_accuracy"].n for each in cells.values())


def _macro_estimate(measured: Cells, rows: Sequence[Kind], name: str, measure: str) -> Estimate:
    if len(rows) < 2:
        return undefined(0)
    cells = [measured[kind][name] for kind in rows]
    return macro_mean([Resampled(each.cell.estimates[measure], each.resamples[measure]) for each in cells])


def _macro_compared(measured: Cells, over: Mapping[str, Sequence[Kind]], name: str) -> tuple[dict[str, Compared], bool]:
    """Comparisons with the reference over all rows, and whether one could not be made."""
    compared, missing = dict[str, Compared](), False
    for measure in TESTED:
        paired = [measured[kind][name].paired.get(measure) for kind in over[measure]]
        known = [one for one in paired if one is not None]
        if len(known) == len(paired) > 1:
            compared[measure] = Compared(macro_difference(known))
        missing = missing or len(known) < len(paired)
    return compared, missing


def _adjusted(table: ExperimentTable) -> ExperimentTable:
    """The same table, every p-value adjusted for all that it holds."""
    cells = [*(cell for row in table.rows for cell in row.cells.values()), *table.macro.values()]
    adjusted = iter(holm([one.difference.p_value for cell in cells for one in cell.compared.values()]))

    def of(cell: Cell) -> Cell:
        return replace(cell, compared={m: replace(one, adjusted=next(adjusted)) for m, one in cell.compared.items()})

    rows = [replace(row, cells={name: of(cell) for name, cell in row.cells.items()}) for row in table.rows]
    macro = {name: of(cell) for name, cell in table.macro.items()}
    return replace(table, rows=rows, macro=macro, comparisons=sum(len(cell.compared) for cell in cells))
