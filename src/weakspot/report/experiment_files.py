"""The table of experiments for programs: ``summary_table.csv`` and its entry in ``summary.json``."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from weakspot.evaluation.experiments.schema import MEASURES, Cell, ExperimentTable
from weakspot.report.experiments import MACRO, caption
from weakspot.utils.files import jsonable
from weakspot.utils.spreadsheet import inert

CSV_COLUMNS = (
    "subset", "data", "folds", "experiment", "reference", "trainings", "measure", "value", "low", "high", "n",
    "difference", "difference_low", "difference_high", "p_value", "p_holm", "comparisons", "mark",
)  # fmt: skip


def as_csv(table: ExperimentTable) -> str:
    """A line for each subset, experiment and measure; the macro mean is the subset ``macro mean``.

    Args:
        table: may be empty.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS)
    writer.writeheader()
    for head, cells in _all_cells(table):
        for name, cell in cells.items():
            for measure in MEASURES:
                values = jsonable(_flat(cell, measure))
                line = {**head, "experiment": name, "reference": table.reference, "measure": measure, **values}
                if values.get("p_value") is not None:
                    line["comparisons"] = table.comparisons
                writer.writerow({key: inert(value) for key, value in line.items()})
    return text.getvalue()


def _all_cells(table: ExperimentTable) -> list[tuple[dict[str, Any], Mapping[str, Cell]]]:
    rows: list[tuple[dict[str, Any], Mapping[str, Cell]]] = [(asdict(row.kind), row.cells) for row in table.rows]
    return [*rows, ({"subset": MACRO, "data": None, "folds": None}, table.macro)]


def _flat(cell: Cell, measure: str) -> dict[str, Any]:
    values: dict[str, Any] = {"trainings": cell.trainings or None, **cell.estimates[measure].as_dict()}
    compared = cell.compared.get(measure)
    if compared is None:
        return values
    found = compared.difference.difference
    return {
        **values,
        "difference": found.value,
        "difference_low": found.low,
        "difference_high": found.high,
        "p_value": compared.difference.p_value,
        "p_holm": compared.adjusted,
        "mark": compared.mark,
    }


def as_json(table: ExperimentTable) -> dict[str, Any]:
    """Everything, ready for ``summary.json``.

    Args:
        table: may be empty.
    """

    def cells(of: Mapping[str, Cell]) -> dict[str, Any]:
        return {name: {measure: _flat(cell, measure) for measure in MEASURES} for name, cell in of.items()}

    found: dict[str, Any] = jsonable(
        {
            "experiments": table.experiments,
            "reference": table.reference,
            "rows": [{"label": row.label, **asdict(row.kind), "experiments": cells(row.cells)} for row in table.rows],
            "macro": cells(table.macro),
            "macro_rows": table.macro_rows,
            "comparisons": table.comparisons,
            "caption": caption(table) if table.rows else [],
            "notes": table.notes,
        }
    )
    return found
