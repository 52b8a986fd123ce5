"""Rows of a leaderboard to test with, and a reader of its page."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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
