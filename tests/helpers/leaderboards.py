"""Rows of a leaderboard to test with, and a reader of its page."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from weakspot.evaluation.experiments.schema import Cell, Compared, ExperimentTable, Kind
from weakspot.evaluation.experiments.schema import Row as TableRow
from weakspot.metrics.intervals import Estimate, undefined
from weakspot.metrics.paired import Difference
from weakspot.report.leaderboard import COLUMNS

Row = dict[str, Any]

# V2 of three folds at three thresholds. Fold 0 alone makes 0.3 look best; without it 0.7 is.
WORKED = {0.3: (0.8, 0.1, 0.3), 0.5: (0.3, 0.3, 0.3), 0.7: (0.0, 0.5, 0.4)}


def make_row(**values: Any) -> Row:
    row = {
        "name": "default", "subset": "nut", "method": "single", "threshold_kind": "relative", "recipe": "r",
        "data": "d", "differs": "", "threshold": 0.5, "settings": "s", "split_seed": 42, "fold": 0, "seed": 1,
        "n": 20, "n_masks": 8, "balanced_accuracy": 0.9, "auroc": 0.95, "max_box_acc_v2": 0.3, "box_accuracy_30": 0.5,
        "oracle_single_max_box_acc_v2": 0.4, "run": "outputs/default/nut/a",
    }  # fmt: skip
    assert tuple(row) == COLUMNS
    assert not set(values) - set(row)
    return row | {"settings": f"s{values.get('threshold', 0.5)}"} | values


def make_rows(table: dict[float, tuple[float, ...]], **values: Any) -> list[Row]:
    """A row for every fold and threshold of a table like `WORKED`."""
    return [
        make_row(threshold=threshold, fold=fold, max_box_acc_v2=v2, **values)
        for threshold, folds in table.items()
        for fold, v2 in enumerate(folds)
    ]


def make_experiments(subset: str = "gear", experiment: str = "recommended") -> ExperimentTable:
    """Two experiments on two subsets; the second was not run on the second one, and no picture has a mask."""

    def compared(difference: float, adjusted: float) -> dict[str, Compared]:
        estimate = Estimate(difference, 20, difference - 0.1, difference + 0.1)
        return {"balanced_accuracy": Compared(Difference(0.7, 0.7 + difference, estimate, 20, 0.01), adjusted)}

    def cell(low: int, value: int, high: int, n: int, boxes: int, **more: Any) -> Cell:
        one = Estimate(value / 10, n, low / 10, high / 10)
        of_boxes = Estimate(value / 10, boxes, *((math.nan, math.nan) if boxes == 9 else (low / 10, high / 10)))
        measures = {
            "balanced_accuracy": one,
            "auroc": one,
            "max_box_acc_v2": undefined(0),
            "box_precision_30": of_boxes,
        }
        return Cell(measures, **more)

    def macro(value: float, **more: Any) -> Cell:
        one = Estimate(value, 50, value - 0.1, value + 0.1)
        others = dict.fromkeys(("auroc", "max_box_acc_v2", "box_precision_30"), undefined(0))
        return Cell({"balanced_accuracy": one, **others}, **more)

    both = {
        "plain_cam": cell(6, 7, 8, 20, 7, trainings=1),
        experiment: cell(8, 9, 10, 20, 9, trainings=1, compared=compared(0.2, 0.03)),
    }
    rows = [
        TableRow(subset, Kind(subset, "d", 3), both),
        TableRow("nut", Kind("nut", "d", 3), {"plain_cam": cell(7, 8, 9, 30, 30, trainings=1)}),
    ]
    means = {"plain_cam": macro(0.75), experiment: macro(0.6, compared=compared(-0.15, 0.01))}
    over = {"balanced_accuracy": [subset, "nut"], "auroc": [], "max_box_acc_v2": [], "box_precision_30": []}
    return ExperimentTable(["plain_cam", experiment], "plain_cam", rows, means, over, 4, ["nut was | left out"])


class Page(HTMLParser):
    """Reads a page and fails where an element is not closed in its turn."""

    VOID = ("meta", "br", "img", "link", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        page.close()
        assert page.open == []
        page.text = " ".join(page.text.split())
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str, name: str) -> list[str | None]:
        return [attributes[name] for found, attributes in self.tags if found == tag and name in attributes]
