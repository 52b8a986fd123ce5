"""Set-ups that were trained several times, compared: a sweep over seeds counts as one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.reports import make_data, make_folds, with_maps
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.config.rules import BoxRule
from weakspot.config.sweep import CELLS
from weakspot.errors import WeakspotError
from weakspot.evaluation.comparison import SetUp, compare
from weakspot.evaluation.pooled import Pooled, runs_of
from weakspot.report.compare_page import write_comparison

RULE = BoxRule("components", threshold_kind="absolute", threshold=1.0)
MEASURES = ("balanced_accuracy", "max_box_acc_v2")


def as_sweep(folder: Path, cells: list[Path]) -> Path:
    """What a sweep leaves of cells with these folders."""
    (folder / CELLS).mkdir(parents=True)
    for number, cell in enumerate(cells):
        record = {"overrides": [], "folder": str(cell), "score": None}
        (folder / CELLS / f"{number:06d}.json").write_text(json.dumps(record))
    return folder


def headline(folder: Path) -> list[float]:
    """Balanced accuracy and V2 of a cross-validation, as it says itself."""
    test = json.loads((folder / "metrics.json").read_text())["test"]
    return [test["classification"]["balanced_accuracy"]["value"], test["localisation"]["max_box_acc_v2"]["value"]]


@pytest.mark.slow
def test_what_was_said_of_an_image_is_averaged_over_the_trainings(tmp_path: Path) -> None:
    root = tmp_path / "data"
    made = make_data(root, 16)
    made.samples = [replace(sample, group=f"part {i // 2}") for i, sample in enumerate(made.samples)]
    one = make_folds(tmp_path / "one", made, RULE, root)
    two = make_folds(tmp_path / "two", with_maps(made, (1, 7, 9), 0.0), RULE, root)  # does not see three defects
    other_folds = make_folds(tmp_path / "other", with_maps(made, (1, 15), 0.0), RULE, root, folds=3)
    sweep = as_sweep(tmp_path / "sweep", [one, two])
    found = compare(sweep, one)
    assert (found.first_times, found.second_times) == (2, 1)
    assert (found.images, found.differences["balanced_accuracy"].groups) == (16, 8)
    assert headline(one) != headline(two)
    # Balanced accuracy and V2 are means over images, so the sweep comes to their means over trainings.
    mean = np.mean([headline(one), headline(two)], axis=0)
    assert [found.differences[name].first for name in MEASURES] == pytest.approx(mean.tolist())
    assert [found.differences[name].second for name in MEASURES] == pytest.approx(headline(one))
    a, b = (dict(zip([s.path for s in p.samples], p.right(), strict=True)) for p in map(pooled, (one, two)))
    assert found.first_right == sum(b[path] > a[path] for path in a)
    assert found.second_right == sum(b[path] < a[path] for path in a)
    # With other folds other parts are tested together, and every image still counts once.
    both = as_sweep(tmp_path / "both", [two, other_folds])
    found = compare(sweep, both)
    assert found.images == 16
    expected = np.mean([headline(two), headline(other_folds)], axis=0)
    assert [found.differences[name].second for name in MEASURES] == pytest.approx(expected.tolist())
    result = CliRunner().invoke(app, ["compare", str(sweep), str(both), "--page", str(tmp_path / "c.html")])
    assert result.exit_code == 0, result.output
    assert "means of up to 2 and 2 trainings" in " ".join(result.output.split())
    assert "Means of up to 2 and 2 trainings" in (tmp_path / "c.html").read_text(encoding="utf-8")
    # Folds as cells of their own are no repetition.
    folds = as_sweep(tmp_path / "folds", [run.path for run in runs_of(one)])
    assert set(SetUp.read(folds).times) == {1}
    assert {compare(folds, one).differences[name].difference.value for name in MEASURES} == {0}
    second = runs_of(one)[1].path  # the sweep's first cell has no image of it
    found = compare(folds, second)
    page = write_comparison(tmp_path / "second.html", folds, second, found).read_text(encoding="utf-8")
    assert found.images == page.count('"sides"') == 8


def pooled(folder: Path) -> Pooled:
    return Pooled.read(runs_of(folder))


def test_sweeps_that_are_no_finished_set_up(tmp_path: Path) -> None:
    sweep = as_sweep(tmp_path / "sweep", [tmp_path / "gone"])
    with pytest.raises(WeakspotError, match="neither a finished run nor"):
        compare(sweep, sweep)
    cell = sweep / CELLS / "000000.json"
    cell.write_text(json.dumps({"overrides": ["seed=1"], "error": "no space"}))
    with pytest.raises(WeakspotError, match="is not finished; run it again"):
        compare(sweep, sweep)
    for damage in ("{", "1", '{"error": "no overrides"}'):
        cell.write_text(damage)
        with pytest.raises(WeakspotError, match="is damaged"):
            compare(sweep, sweep)
