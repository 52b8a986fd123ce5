"""The table of a sweep: means, the threshold chosen on the other folds, and the files it is written to."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from helpers.leaderboards import WORKED, Page, Row, make_row, make_rows
from helpers.measurements import classification, localisation, measurement
from helpers.runs import train_config
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from weakspot.config.schema import write_config
from weakspot.errors import WeakspotError
from weakspot.evaluation.records import DataRecord, MetricsRecord, SplitRecord
from weakspot.metrics import Estimate
from weakspot.report.crossfit import best_thresholds, cross_fit
from weakspot.report.leaderboard import (
    COLUMNS,
    aggregate,
    best_threshold_lines,
    leaderboard_table,
    read_rows,
    write_leaderboard,
)
from weakspot.report.summary_page import heat_map_tables
from weakspot.runs.folder import RunFolder

# --- means --------------------------------------------------------------------------------------------------------


def test_a_cell_is_the_mean_and_deviation_over_folds_and_seeds() -> None:
    rows = [
        make_row(fold=0, seed=1, max_box_acc_v2=0.1, n=20, n_masks=8),
        make_row(fold=0, seed=2, max_box_acc_v2=0.3, n=20, n_masks=8),
        make_row(fold=1, seed=1, max_box_acc_v2=0.8, n=19, n_masks=7, auroc=None),
        make_row(threshold=0.7, max_box_acc_v2=0.6),
    ]
    first, second = aggregate(rows)
    assert (first["threshold"], first["runs"], first["max_box_acc_v2"]) == (0.7, 1, 0.6)
    assert first["max_box_acc_v2_sd"] is None
    assert (second["threshold"], second["runs"]) == (0.5, 3)
    assert second["max_box_acc_v2"] == pytest.approx(0.4)
    assert second["max_box_acc_v2_sd"] == pytest.approx(math.sqrt(0.13))
    assert (second["n_low"], second["n_high"], second["n_masks_low"], second["n_masks_high"]) == (19, 20, 7, 8)
    assert (second["auroc"], second["auroc_sd"]) == (0.95, 0.0)


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_without_masks_there_is_no_v2_and_no_best_threshold(nothing: float | None, tmp_path: Path) -> None:
    rows = make_rows({0.3: (nothing, nothing), 0.5: (nothing, nothing)}, box_accuracy_30=nothing, n_masks=0)
    for cell in aggregate(rows):
        assert (cell["max_box_acc_v2"], cell["max_box_acc_v2_sd"], cell["runs"]) == (None, None, 2)
    assert best_thresholds(rows) == []
    assert heat_map_tables(aggregate(rows), []) == []
    write_leaderboard(tmp_path, rows)
    assert json.loads((tmp_path / "summary.json").read_text())["runs"][0]["max_box_acc_v2"] is None
    assert "nan" not in (tmp_path / "summary.html").read_text()


def test_other_data_or_another_recipe_is_another_cell() -> None:
    rows = [make_row(), make_row(recipe="other"), make_row(data="other")]
    assert [cell["runs"] for cell in aggregate(rows)] == [1, 1, 1]


# --- the threshold chosen on the other folds ----------------------------------------------------------------------


def test_each_fold_is_scored_at_the_threshold_that_is_best_on_the_others() -> None:
    (entry,) = best_thresholds(make_rows(WORKED))
    (split,) = entry["splits"]
    # Without fold 0: 0.2, 0.3, 0.45. Without fold 1: 0.55, 0.3, 0.2. Without fold 2: 0.45, 0.3, 0.25.
    assert split["folds"] == [
        {"fold": 0, "threshold": 0.7, "max_box_acc_v2": 0.0},
        {"fold": 1, "threshold": 0.3, "max_box_acc_v2": 0.1},
        {"fold": 2, "threshold": 0.3, "max_box_acc_v2": 0.3},
    ]
    assert entry["honest_threshold_max_box_acc_v2"] == pytest.approx(0.4 / 3)
    assert entry["honest_threshold_max_box_acc_v2_sd"] == pytest.approx(math.sqrt(0.07 / 3))
    low_most_high = [entry[key] for key in ("honest_threshold_low", "honest_threshold", "honest_threshold_high")]
    assert low_most_high == [0.3, 0.3, 0.7]
    assert entry["oracle_threshold"] == 0.3
    assert entry["oracle_threshold_max_box_acc_v2"] == pytest.approx(0.4)
    assert entry["oracle_threshold_max_box_acc_v2_sd"] == pytest.approx(math.sqrt(0.13))
    assert (entry["n_splits"], entry["n_folds"], entry["note"]) == (1, 3, None)


def test_training_seeds_are_averaged_before_anything_is_chosen() -> None:
    shifted = {threshold: tuple(v2 + 0.2 for v2 in folds) for threshold, folds in WORKED.items()}
    lowered = {threshold: tuple(v2 - 0.2 for v2 in folds) for threshold, folds in WORKED.items()}
    (entry,) = best_thresholds([*make_rows(shifted, seed=1), *make_rows(lowered, seed=2)])
    assert [choice["threshold"] for choice in entry["splits"][0]["folds"]] == [0.7, 0.3, 0.3]
    assert entry["honest_threshold_max_box_acc_v2"] == pytest.approx(0.4 / 3)
    assert entry["honest_threshold_max_box_acc_v2_sd"] == pytest.approx(math.sqrt(0.07 / 3))


@pytest.mark.parametrize(
    "tied",
    [
        {0.7: (0.2, 0.2), 0.5: (0.2, 0.2), 0.9: (0.1, 0.1)},
        {0.7: (0.1 + 0.2, 0.1 + 0.2), 0.5: (0.3, 0.3)},  # 0.30000000000000004 is not better than 0.3
    ],
)
def test_of_equally_good_thresholds_the_lowest_is_taken(tied: dict[float, tuple[float, ...]]) -> None:
    (entry,) = best_thresholds(make_rows(tied))
    assert [choice["threshold"] for choice in entry["splits"][0]["folds"]] == [0.5, 0.5]
    assert entry["oracle_threshold"] == 0.5


def test_a_threshold_missing_in_one_fold_is_not_compared() -> None:
    rows = [*make_rows(WORKED), make_row(threshold=0.9, fold=1, max_box_acc_v2=1.0)]
    (entry,) = best_thresholds(rows)
    assert entry["splits"][0]["thresholds"] == [0.3, 0.5, 0.7]
    assert entry["honest_threshold_max_box_acc_v2"] == pytest.approx(0.4 / 3)
    assert entry["oracle_threshold"] == 0.3


@pytest.mark.parametrize("measured", [{0.3: {0: 0.2, 1: 0.2}, 0.5: {0: 0.4}}, {0.3: {0: 0.2}, 0.5: {1: 0.4}}])
def test_an_unfinished_sweep_says_so(measured: dict[float, dict[int, float]]) -> None:
    rows = [
        make_row(threshold=t, fold=fold, max_box_acc_v2=v2)
        for t, folds in measured.items()
        for fold, v2 in folds.items()
    ]
    (entry,) = best_thresholds(rows)
    assert "finish the sweep" in entry["note"]
    assert entry["honest_threshold"] is None
    (line,) = best_threshold_lines(rows)
    assert "finish the sweep" in line


@pytest.mark.parametrize("fold", [0, None])
def test_one_fold_allows_no_honest_choice(fold: int | None, tmp_path: Path) -> None:
    rows = [make_row(threshold=t, fold=fold, max_box_acc_v2=v2) for t, v2 in ((0.5, 0.2), (0.3, 0.6))]
    (entry,) = best_thresholds(rows)
    assert (entry["honest_threshold"], entry["honest_threshold_max_box_acc_v2"], entry["n_folds"]) == (None, None, 0)
    assert (entry["oracle_threshold"], entry["oracle_threshold_max_box_acc_v2"]) == (0.3, 0.6)
    assert entry["oracle_threshold_max_box_acc_v2_sd"] is None
    advice = "needs at least two folds: add split.folds=5 split.fold=0,1,2,3,4"
    assert advice in entry["note"]
    assert advice in best_threshold_lines(rows)[0]
    write_leaderboard(tmp_path, rows)
    assert advice in (tmp_path / "summary.html").read_text()
    assert json.loads((tmp_path / "summary.json").read_text())["best_threshold"] == [entry]


def test_several_splits_are_fitted_one_by_one_and_averaged() -> None:
    other = {0.3: (0.1, 0.1), 0.5: (0.4, 0.6), 0.7: (0.2, 0.2)}
    alone = {0.3: (0.0,), 0.5: (0.0,), 0.7: (1.0,)}  # one fold only: left out
    rows = [*make_rows(WORKED), *make_rows(other, split_seed=7), *make_rows(alone, split_seed=8)]
    (entry,) = best_thresholds(rows)
    assert entry["honest_threshold_max_box_acc_v2"] == pytest.approx((0.4 / 3 + 0.5) / 2)
    assert entry["honest_threshold_max_box_acc_v2_sd"] == pytest.approx((math.sqrt(0.07 / 3) + math.sqrt(0.02)) / 2)
    assert entry["oracle_threshold_max_box_acc_v2"] == pytest.approx((0.4 + 0.5) / 2)
    assert (entry["n_splits"], entry["n_folds"]) == (2, 5)
    assert (entry["honest_threshold"], entry["honest_threshold_low"], entry["honest_threshold_high"]) == (0.3, 0.3, 0.7)


def test_one_threshold_leaves_nothing_to_choose() -> None:
    assert best_thresholds(make_rows({0.5: (0.1, 0.2, 0.3)})) == []
    rows = [*make_rows(WORKED), *make_rows(WORKED, subset="gear", recipe="g")]
    assert [entry["subset"] for entry in best_thresholds(rows)] == ["gear", "nut"]


tables = st.integers(2, 5).flatmap(
    lambda folds: st.dictionaries(
        st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9]),
        st.fixed_dictionaries({fold: st.integers(0, 30).map(lambda v: v / 30) for fold in range(folds)}),
        min_size=2,
    )
)


@given(tables, st.integers(0, 1), st.floats(0, 1))
def test_a_fold_has_no_say_in_its_own_threshold(
    scores: dict[float, dict[int | None, float]], fold: int, value: float
) -> None:
    changed = {threshold: {**folds, fold: value * threshold} for threshold, folds in scores.items()}
    before, after = (cross_fit(table)["folds"][fold]["threshold"] for table in (scores, changed))
    assert before == after


@given(tables)
def test_the_oracle_is_never_worse_than_the_honest_choice(scores: dict[float, dict[int | None, float]]) -> None:
    result = cross_fit(scores)
    assert result["honest_threshold_max_box_acc_v2"] <= result["oracle_threshold_max_box_acc_v2"] + 1e-9


def test_the_terminal_names_both_thresholds() -> None:
    (line,) = best_threshold_lines(make_rows(WORKED, differs="refine=none"))
    assert line == (
        "best threshold, default/nut, single, relative (refine=none): V2 0.133 ± 0.153 at 0.3 (0.3 to 0.7 in 3 folds, "
        "each chosen on the other folds); oracle V2 0.400 ± 0.361 at 0.3"
    )


# --- files --------------------------------------------------------------------------------------------------------


def test_csv_has_a_row_a_run_with_numbers_as_numbers_and_no_formulas(tmp_path: Path) -> None:
    names = ["=1+1", "+a", "-b", "@c", "\td", "plain"]
    write_leaderboard(tmp_path, [make_row(subset=name, max_box_acc_v2=-0.25, fold=None) for name in names])
    with (tmp_path / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["subset"] for row in rows] == ["'=1+1", "'+a", "'-b", "'@c", "'\td", "plain"]
    assert [(float(row["max_box_acc_v2"]), row["fold"]) for row in rows] == [(-0.25, "")] * 6


def test_when_every_cell_failed_the_files_say_so(tmp_path: Path) -> None:
    failures = [{"overrides": ["data.subset=nut", "seed=1"], "error": "nut is <empty>"}]
    write_leaderboard(tmp_path / "new", [], failures)
    assert (tmp_path / "new" / "summary.csv").read_text().splitlines() == [",".join(COLUMNS)]
    content = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert content == {"runs": [], "cells": [], "best_threshold": [], "failed": failures, "table": None}
    page = Page.read(tmp_path / "new" / "summary.html")
    assert "0 finished runs in 0 cells" in page.text
    assert "1 run of the sweep failed" in page.text
    assert "data.subset=nut seed=1" in page.text
    assert "nut is <empty>" in page.text
    assert "no finished run" in shown([])
    assert best_threshold_lines([]) == []


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    names = ["summary.csv", "summary.html", "summary.json"]
    contents = []
    for _ in range(2):
        write_leaderboard(tmp_path, make_rows(WORKED))
        contents.append([(tmp_path / name).read_bytes() for name in names])
    assert contents[0] == contents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_the_terminal_shows_names_as_they_are() -> None:
    text = shown([make_row(subset="[bold]nut[/x]", differs="refine=[a]")])
    assert "[bold]nut[/x]" in text
    assert "refine=[a]" in text


def test_columns_without_a_value_are_left_out_and_the_best_balanced_accuracy_comes_first() -> None:
    no_masks = {"max_box_acc_v2": None, "box_accuracy_30": None, "oracle_single_max_box_acc_v2": None, "n_masks": 0}
    text = shown([make_row(threshold=t, balanced_accuracy=t, **no_masks) for t in (0.3, 0.7)])
    assert "V2" not in text
    assert "oracle" not in text
    assert text.index("0.700") < text.index("0.300")
    assert "V2" in shown([make_row()])


@pytest.mark.parametrize("subset", ["nut", "photographs/left_and_right"])
def test_at_80_columns_no_word_of_heads_and_experiments_is_split(subset: str) -> None:
    rows = [
        make_row(name="recommended", subset=subset, seed=seed, threshold_kind="calibrated", method="components")
        for seed in (1, 2)
    ]
    text = shown(rows, width=80)
    for word in ("experiment ", "recommended", "accuracy", "threshold", "0.900", "± 0.000", "components, calibrated"):
        assert word in text, text
    assert "…" not in text


def shown(rows: list[Row], width: int = 200) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(leaderboard_table(rows))
    return capture.get()


# --- reading runs -------------------------------------------------------------------------------------------------


def make_run(path: Path, *overrides: str, data: str = "images", truth: str = "masks") -> RunFolder:
    """A run folder with what a leaderboard reads of it."""
    run = RunFolder(path)
    config = train_config(f"data.root={path.parent}", "data.subset=nut", *overrides)
    write_config(run.config, config)
    run.update_identity(run=path.name, truth=truth)
    estimate = Estimate(0.5, 7, 0, 1)
    of_boxes = localisation(n=3, max_box_acc_v2=estimate, box_accuracy_30=estimate, oracle_single_max_box_acc_v2=0.6)
    record = MetricsRecord(
        config.name,
        DataRecord("mvtec", str(path.parent), "nut", "binary", ["good", "anomaly"], hash=data),
        SplitRecord(seed=42, fold=config.split.fold),
        measurement(classification(accuracy=estimate, balanced_accuracy=estimate, auroc=estimate), of_boxes),
        settings=f"{config.boxes.threshold}",
        run=path.name,
        seed=config.seed,
        boxes={"method": "single", "threshold_kind": "relative", "threshold": config.boxes.threshold},
    )
    record.write(run.metrics)
    return run


def test_runs_that_differ_in_threshold_fold_and_seed_share_a_recipe(tmp_path: Path) -> None:
    folds = ["split.folds=2", "split.fold=0"]
    rows = read_rows(
        [
            make_run(tmp_path / "a", *folds, "boxes.threshold=0.3"),
            make_run(tmp_path / "b", *folds, "boxes.threshold=0.5", "seed=7"),
            make_run(tmp_path / "c", *folds, "split.fold=1"),
            make_run(tmp_path / "d", *folds, "model.outputs=1"),
            make_run(tmp_path / "a", *folds, "boxes.threshold=0.3"),  # the same run counts once
        ]
    )
    assert [tuple(row) for row in rows] == [COLUMNS] * 4
    recipes = [row["recipe"] for row in rows]
    assert recipes[0] == recipes[1] == recipes[2] != recipes[3]
    assert [row["differs"] for row in rows] == ["model.outputs=2"] * 3 + ["model.outputs=1"]
    assert [(row["n"], row["n_masks"], row["box_accuracy_30"]) for row in rows] == [(7, 3, 0.5)] * 4


def test_runs_on_other_images_or_masks_are_kept_apart_and_told_apart(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", truth="better"), make_run(tmp_path / "c", data="more")]
    rows = read_rows(runs)
    assert len({row["data"] for row in rows}) == 3
    assert [row["differs"] for row in rows] == [f"data {row['data']}" for row in rows]


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    run.config.write_text("nonsense: 1\n")
    with pytest.raises(WeakspotError, match=r"a/config\.yaml was not written by this version .*config key nonsense"):
        read_rows([run])
