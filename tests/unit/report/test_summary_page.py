"""The page of a sweep."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from helpers.leaderboards import WORKED, Page, make_row, make_rows

from weakspot.report.crossfit import best_thresholds
from weakspot.report.leaderboard import aggregate, write_leaderboard
from weakspot.report.summary_page import folds, heat_map_tables, text_colour


def test_the_page_is_well_formed_and_needs_nothing_from_outside(tmp_path: Path) -> None:
    rows = [*make_rows(WORKED), *make_rows({0.5: (0.1, 0.2)}, subset="gear", recipe="g", differs="model.outputs=1")]
    write_leaderboard(tmp_path, rows, [{"overrides": ["seed=3"], "error": "no"}])
    page = Page.read(tmp_path / "summary.html")
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not page.attributes("script", "src")
    assert "://" not in (tmp_path / "summary.html").read_text()
    for text in ("11 finished runs in 4 cells", "0.400 ± 0.361", "0.133 ± 0.153", "not label-free", "model.outputs=1"):
        assert text in page.text, text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\"' onmouseover=alert(2) &amp;"
    rows = make_rows(WORKED, subset=hostile, name=hostile, differs=hostile, run=f"runs/{hostile}/x")
    write_leaderboard(tmp_path, rows, [{"overrides": [hostile], "error": hostile}])
    page = Page.read(tmp_path / "summary.html")
    assert [tag for tag, _ in page.tags].count("script") == 1  # ours, which sorts columns
    assert not page.attributes("td", "onmouseover")
    assert page.text.count(hostile) > 10


def test_links_lead_from_the_page_to_the_galleries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["100 % a&b?c#d", "a:b", 'quo"te', "gone"]
    for name in names[:3]:
        gallery = Path("outputs", name, "run 1", "figures", "gallery.png")
        gallery.parent.mkdir(parents=True)
        gallery.touch()
    folder = Path("outputs/sweeps/2026")
    write_leaderboard(folder, [make_row(run=f"outputs/{name}/run 1") for name in names])
    links = [link for link in Page.read(folder / "summary.html").attributes("a", "href") if link != "#failed"]
    assert len(links) == 3
    for name, link in zip(names, links, strict=False):
        assert link is not None
        assert not set(link) & set(' "?#:&')
        assert (folder / unquote(link)).samefile(f"outputs/{name}/run 1/figures/gallery.png")


def test_heat_maps_have_a_row_a_subset_a_column_a_threshold_and_mark_the_honest_one() -> None:
    rows = [*make_rows(WORKED), make_row(threshold=0.5, subset="gear", recipe="g", max_box_acc_v2=0.9, fold=None)]
    first, second = heat_map_tables(aggregate(rows), best_thresholds(rows))
    assert first["title"].startswith("V2")
    assert second["title"].startswith("Box accuracy at IoU ≥ 0.3")
    assert first["thresholds"] == [0.3, 0.5, 0.7]
    gear, nut = first["lines"]
    assert (gear["subset"], nut["subset"]) == ("gear", "nut")
    assert gear["squares"][0] is gear["squares"][2] is None
    assert [square["value"] for square in nut["squares"]] == pytest.approx([0.4, 0.3, 0.3])
    assert [square["marked"] for square in nut["squares"]] == [True, False, False]
    assert not gear["squares"][1]["marked"]
    assert (first["low"], first["high"]) == (pytest.approx(0.3), 0.9)
    assert gear["squares"][1]["background"] == first["scale"][-1]


def test_text_on_a_colour_can_be_read() -> None:
    assert text_colour((0, 0.13, 0.3)) == "#ffffff"
    assert text_colour((1, 0.9, 0.2)) == "#000000"


class Tables(HTMLParser):
    """Cells of every table under its heading."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, list[list[str]]]] = []
        self._words, self._heading = "", ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.found.append((self._heading, []))
        elif tag == "tr":
            self.found[-1][1].append([])
        if tag in ("th", "td", "h2", "h3"):
            self._words = ""

    def handle_data(self, data: str) -> None:
        self._words += data

    def handle_endtag(self, tag: str) -> None:
        words = " ".join(self._words.split())
        if tag in ("th", "td"):
            self.found[-1][1][-1].append(words)
        elif tag in ("h2", "h3"):
            self._heading = words


def test_the_table_of_folds_has_a_line_a_fold_a_column_a_threshold_and_means_over_seeds(tmp_path: Path) -> None:
    rows = [row for row in make_rows(WORKED) if (row["fold"], row["threshold"]) != (2, 0.7)]
    rows.append(make_row(threshold=0.5, fold=1, max_box_acc_v2=0.5, seed=2))  # the other seed's is 0.3
    rows.append(make_row(threshold=0.7, fold=0, max_box_acc_v2=0.25, split_seed=7))
    rows.append(make_row(threshold=0.5, fold=None, subset="gear"))  # a single split has no folds to show
    (table,) = folds(rows)
    assert table["thresholds"] == [0.3, 0.5, 0.7]
    assert [(line["split_seed"], line["fold"]) for line in table["lines"]] == [(7, 0), (42, 0), (42, 1), (42, 2)]
    write_leaderboard(tmp_path, rows)
    (cells,) = [
        cells for heading, cells in Tables(tmp_path / "summary.html").found if heading.startswith("default, nut")
    ]
    assert cells == [
        ["split seed", "fold", "0.3", "0.5", "0.7"],
        ["7", "0", "–", "–", "0.250"],
        ["42", "0", "0.800", "0.300", "0.000"],
        ["42", "1", "0.100", "0.400", "0.500"],
        ["42", "2", "0.300", "0.300", "–"],
    ]


def test_without_folds_there_is_no_table_of_them(tmp_path: Path) -> None:
    write_leaderboard(tmp_path, [make_row(fold=None), make_row(fold=None, threshold=0.7)])
    assert "Fold × threshold" not in (tmp_path / "summary.html").read_text(encoding="utf-8")


def test_columns_that_no_run_has_a_value_of_are_left_out(tmp_path: Path) -> None:
    no_masks = {"max_box_acc_v2": None, "box_accuracy_30": None, "oracle_single_max_box_acc_v2": None, "n_masks": 0}
    write_leaderboard(tmp_path / "without", [make_row(**no_masks)])
    write_leaderboard(tmp_path / "with", [make_row()])
    without, complete = (Page.read(tmp_path / name / "summary.html") for name in ("without", "with"))
    assert "Runs compared" in complete.text
    assert ("(oracle)" in complete.text, "(oracle)" in without.text) == (True, False)
    assert "box accuracy, IoU" not in without.text
    html = (tmp_path / "without" / "summary.html").read_text(encoding="utf-8")
    for table in re.findall(r'<table class="sortable">(.*?)</table>', html, re.DOTALL):
        assert table.count("<th") - table.count("<thead") == table.count("<td")
