"""The table of experiments as frozen, typed objects; NaN stands for what is undefined."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from weakspot.metrics.intervals import Estimate
from weakspot.metrics.paired import SIGNIFICANT, Difference

MEASURES = ("balanced_accuracy", "auroc", "max_box_acc_v2", "box_precision_30")
TESTED = ("balanced_accuracy", "max_box_acc_v2")
"""Means over pictures: what each picture adds to a difference is known, so that it can be swapped."""


@dataclass(frozen=True)
class Compared:
    """An experiment and the reference on the same pictures.

    Attributes:
        difference: the experiment minus the reference, and the p-value of this comparison alone.
        adjusted: the p-value by Holm, for all comparisons of the table.
    """

    difference: Difference
    adjusted: float = math.nan

    @property
    def mark(self) -> str:
        """``↑`` for significantly better, ``↓`` for significantly worse, else nothing."""
        if math.isnan(self.adjusted) or self.adjusted > SIGNIFICANT:
            return ""
        return "↑" if self.difference.difference.value > 0 else "↓"


@dataclass(frozen=True)
class Cell:
    """One experiment on one subset, or on all of them.

    Attributes:
        estimates: by measure, 0…1; NaN where it was not measured. Of several trainings the means of values and of ends.
        trainings: how many; 0 for the macro mean.
        compared: by measure of :data:`TESTED`; nothing for the reference, or where there is nothing to compare with.
    """

    estimates: dict[str, Estimate]
    trainings: int = 0
    compared: dict[str, Compared] = field(default_factory=dict)

    def mark(self, measure: str) -> str:
        """As :attr:`Compared.mark`; nothing where it was not compared."""
        return self.compared[measure].mark if measure in self.compared else ""


@dataclass(frozen=True)
class Kind:
    """What all cells of a row have in common.

    Attributes:
        subset: its name.
        data: hash over pictures, labels and masks.
        folds: number of folds; None where part of the pictures was held out.
    """

    subset: str
    data: str
    folds: int | None

    @property
    def order(self) -> tuple[str, int, str]:
        """Key to sort rows by."""
        return self.subset, self.folds or 0, self.data


@dataclass(frozen=True)
class Row:
    """The same pictures, with the same labels and masks, tested in the same way.

    Attributes:
        label: unlike that of any other row.
        kind: what they have in common.
        cells: by experiment; one that was not run is missing.
    """

    label: str
    kind: Kind
    cells: dict[str, Cell]


@dataclass(frozen=True)
class ExperimentTable:
    """The table.

    Attributes:
        experiments: its columns, the reference first.
        reference: what the others are compared with; None for a single experiment.
        rows: sorted by subset.
        macro: mean over subsets by experiment; empty where no two subsets were run with every experiment.
        macro_rows: labels of the rows that it is over, by measure.
        comparisons: number of tests that Holm's correction is for.
        notes: what is not in the table, or not compared, and why.
    """

    experiments: list[str]
    reference: str | None
    rows: list[Row]
    macro: dict[str, Cell]
    macro_rows: dict[str, list[str]]
    comparisons: int
    notes: list[str]
