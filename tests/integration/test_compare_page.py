"""Two set-ups side by side, in a browser: the same pictures, where they disagree first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browsing import Watched, needs_chromium
from helpers.reports import HOSTILE_CLASSES, HOSTILE_FILES, Made, make_data, make_finished, make_folds, with_maps

from weakspot.config.rules import BoxRule
from weakspot.evaluation.comparison import compare
from weakspot.evaluation.pooled import runs_of
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.report.compare_page import write_comparison

if TYPE_CHECKING:
    from playwright.sync_api import Browser

RULE = BoxRule("components", threshold_kind="absolute", threshold=1.0)
BLIND = (1, 7, 9)
"""Defects that the second set-up does not see."""

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Made, Made]:
    root = tmp_path_factory.mktemp("pair")
    made = make_data(root / "data", 16, classes=HOSTILE_CLASSES, names=HOSTILE_FILES)
    return root, made, with_maps(made, BLIND, 0.0)


@pytest.fixture(scope="module", params=["runs", "folds"])
def sides(pair: tuple[Path, Made, Made], request: pytest.FixtureRequest) -> list[Path]:
    """Two runs, or two cross-validations, on the same images."""
    root, *both = pair
    if request.param == "folds":
        return [make_folds(root / f"folds {k}", made, RULE, root / "data") for k, made in enumerate(both)]
    return [make_finished(root / f"run {k}", made, RULE, root / "data").path for k, made in enumerate(both)]


def said(folder: Path) -> dict[str, Any]:
    """What a side says, by file name."""
    return {p.path.name: p for run in runs_of(folder) for p in read_predictions(run.predictions)}


def names_of(open_: Watched) -> list[str]:
    return open_.page.locator("#gallery .name a").all_text_contents()


def test_the_same_pictures_side_by_side_where_they_disagree_first(
    browser: Browser, sides: list[Path], pair: tuple[Path, Made, Made], tmp_path: Path
) -> None:
    found = compare(*sides)
    page = write_comparison(tmp_path / "compare.html", *sides, found)
    first, second = (said(folder) for folder in sides)
    with Watched(browser, page) as open_:
        rows = open_.page.locator("#gallery li")
        assert rows.count() == found.images == len(pair[1].samples)
        names = names_of(open_)
        assert sorted(names) == sorted(first)
        apart = {name for name in names if first[name].label != second[name].label}
        assert apart == {pair[1].samples[i].path.name for i in BLIND}
        assert set(names[: len(apart)]) == apart
        assert f"only the first is right on {found.first_right}" in open_.page.locator(".verdict").inner_text()
        for i in range(rows.count()):
            halves = rows.nth(i).locator(".pair > div")
            pictures = halves.locator("img")
            assert pictures.nth(0).get_attribute("src") == pictures.nth(1).get_attribute("src")
            for half, side in zip((halves.nth(0), halves.nth(1)), (first, second), strict=True):
                assert half.locator("rect.box").count() == len(side[names[i]].boxes)
                assert f"called {side[names[i]].label}" in half.inner_text()
        open_.page.locator("#kind").select_option("first")
        assert set(names_of(open_)) == apart
        open_.page.locator("#kind").select_option("second")
        assert names_of(open_) == []


def test_hostile_names_are_text(browser: Browser, sides: list[Path], tmp_path: Path) -> None:
    page = write_comparison(tmp_path / "compare.html", *sides, compare(*sides))
    with Watched(browser, page, viewport={"width": 390, "height": 800}) as open_:
        shown = " ".join(open_.page.locator("#gallery .name").all_text_contents())
        assert all(name in shown for name in HOSTILE_FILES)
        options = open_.page.locator("#defect option").all_text_contents()
        assert set(HOSTILE_CLASSES) < set(options)
        open_.page.locator("#defect").select_option(HOSTILE_CLASSES[1])
        assert open_.page.locator("#gallery li").count() == 4
        assert open_.page.evaluate("window.hacked") is None
        assert open_.page.evaluate("document.documentElement.scrollWidth") <= 390
