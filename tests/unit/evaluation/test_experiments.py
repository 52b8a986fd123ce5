"""The table of experiments from hand-made cross-validations: exact values, what is compared, what is said."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import reports
from helpers.reports import Made, make_data, make_finished, make_folds, with_maps
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weakspot.commands.results import MeasuredRun, metrics_record
from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.evaluation.comparison import compare
from weakspot.evaluation.experiments.found import result_folders
from weakspot.evaluation.experiments.schema import MEASURES, ExperimentTable
from weakspot.evaluation.experiments.table import experiment_table
from weakspot.postprocess.prediction_files import write_predictions
from weakspot.report.experiment_files import as_json
from weakspot.runs.folder import RunFolder

pytestmark = pytest.mark.slow

RULE = BoxRule("components", threshold_kind="absolute", threshold=1.0)
DEFECTS = range(1, 32, 2)


def cross_validated(folder: Path, made: Made, root: Path, name: str, *, folds: int = 2, **values: object) -> Path:
    settings = {"name": name, "data.subset": root.name} | {key.replace("__", "."): v for key, v in values.items()}
    return make_folds(
        folder / name / root.name / "-".join(map(str, values.values())), made, RULE, root, folds, settings
    )


def rotated(made: Made, by: int) -> Made:
    """The same pictures from another one on, so that others are in a fold together."""
    order, store = [*range(by, len(made.samples)), *range(by)], made.store
    turned = replace(
        store,
        paths=[store.paths[i] for i in order],
        sizes=store.sizes[order],
        logits=store.logits[order],
        maps=store.maps[order],
    )
    return Made([made.samples[i] for i in order], turned, made.classes)


def written(target: RunFolder, run: MeasuredRun) -> None:
    """What a table reads of a run, without figures and a report."""
    write_predictions(target.path, run.subset.predictions)
    metrics_record(run).write(target.metrics)


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Runs without figures and reports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "write_results", written)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Made]]:
    """Two subsets of 32 pictures."""
    root = tmp_path_factory.mktemp("data")
    return {name: (root / name, make_data(root / name, 32)) for name in ("gear", "nut")}


@pytest.fixture(scope="module")
def finished(data: dict[str, tuple[Path, Made]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both subsets cross-validated by two experiments; plain_cam sees no defect of gear and two of nut."""
    folder = tmp_path_factory.mktemp("outputs")
    for name, (root, made) in data.items():
        unseen = DEFECTS if name == "gear" else DEFECTS[:14]
        cross_validated(folder, with_maps(made, unseen, 0.0), root, "plain_cam")
        cross_validated(folder, made, root, "better")
    return folder


@pytest.fixture
def outputs(finished: Path, tmp_path: Path) -> Path:
    """A copy to spoil. Runs are named by where they lie, so it is a copy of the cross-validations alone."""
    for folder in finished.rglob("cv"):
        shutil.copytree(folder, tmp_path / "outputs" / folder.relative_to(finished))
    return tmp_path / "outputs"


def table_of(folder: Path, **wanted: object) -> ExperimentTable:
    return experiment_table(result_folders(folder), **wanted)  # type: ignore[arg-type]


def own_numbers(folder: Path) -> dict[str, dict[str, float]]:
    """What a cross-validation says itself."""
    test = json.loads((folder / "metrics.json").read_text())["test"]
    boxes = test["localisation"]
    found = [test["classification"]["balanced_accuracy"], test["classification"]["auroc"]]
    found += [boxes["max_box_acc_v2"], boxes["detection"]["precision_30"]]
    known = [{key: math.nan if value is None else value for key, value in each.items()} for each in found]
    return dict(zip(MEASURES, known, strict=True))


def test_every_cell_is_what_its_cross_validation_says(finished: Path) -> None:
    table = table_of(finished)
    assert (table.experiments, table.reference, table.notes) == (["plain_cam", "better"], "plain_cam", [])
    assert [row.label for row in table.rows] == ["gear", "nut"]
    for row in table.rows:
        for name, cell in row.cells.items():
            (folder,) = (finished / name / row.label).rglob("cv")
            assert {m: one.as_dict() for m, one in cell.estimates.items()} == {
                m: pytest.approx(value, nan_ok=True) for m, value in own_numbers(folder).items()
            }
            assert cell.trainings == 1


def test_the_macro_mean_is_over_the_subsets_and_lies_in_its_interval(finished: Path) -> None:
    table = table_of(finished)
    for name in table.experiments:
        for measure in ("balanced_accuracy", "auroc", "max_box_acc_v2"):
            values = [row.cells[name].estimates[measure].value for row in table.rows]
            macro = table.macro[name].estimates[measure]
            assert macro.value == pytest.approx(sum(values) / 2)
            assert macro.low <= macro.value <= macro.high
            assert macro.low < macro.high
    assert table.macro_rows["balanced_accuracy"] == ["gear", "nut"]
    assert table.macro_rows["box_precision_30"] == ["nut"]  # plain_cam draws no box on gear


def test_comparisons_are_those_of_compare_adjusted_for_all_of_them(finished: Path) -> None:
    table = table_of(finished)
    assert table.comparisons == 6  # two measures of two subsets and of their mean
    for row in table.rows:
        first, second = (next((finished / name / row.label).rglob("cv")) for name in table.experiments)
        expected = compare(first, second).differences
        compared = row.cells["better"].compared
        assert {measure: one.difference for measure, one in compared.items()} == expected
        assert all(one.adjusted >= one.difference.p_value for one in compared.values())
        assert row.cells["plain_cam"].compared == {}
    assert [row.cells["better"].mark("balanced_accuracy") for row in table.rows] == ["↑", "↑"]
    assert table.macro["better"].mark("balanced_accuracy") == "↑"
    turned = table_of(finished, reference="better")
    assert turned.experiments == ["better", "plain_cam"]
    assert turned.rows[0].cells["plain_cam"].mark("balanced_accuracy") == "↓"


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_results_does_not_matter(finished: Path, chance: random.Random) -> None:
    folders = result_folders(finished)
    shuffled = [*folders, folders[0]]
    chance.shuffle(shuffled)
    assert as_json(experiment_table(shuffled)) == as_json(experiment_table(folders))


def test_the_table_grows_and_old_cells_stay(outputs: Path, data: dict[str, tuple[Path, Made]]) -> None:
    before = table_of(outputs)
    root, made = data["nut"]
    cross_validated(outputs, with_maps(made, DEFECTS[:2], 0.0), root, "third")
    grown = table_of(outputs)
    assert grown.experiments == ["plain_cam", "better", "third"]
    for old, new in zip(before.rows, grown.rows, strict=True):
        for name, cell in old.cells.items():
            assert str(new.cells[name].estimates) == str(cell.estimates)
    assert "third" not in grown.rows[0].cells
    assert grown.macro == {}
    assert "no two subsets were run with each of these 3 experiments" in " ".join(grown.notes)
    assert table_of(outputs, experiments=["plain_cam", "better"]).macro == before.macro


def test_other_folds_are_shown_but_not_compared(outputs: Path, data: dict[str, tuple[Path, Made]]) -> None:
    root, made = data["nut"]
    cross_validated(outputs, rotated(made, 5), root, "turned", split__near_duplicates="ignore")
    table = table_of(outputs)
    (row,) = (row for row in table.rows if row.label == "nut")
    assert row.cells["turned"].compared == {}
    assert row.cells["better"].compared
    (note,) = (note for note in table.notes if "is not compared with" in note)
    assert note.startswith("turned on nut is not compared with plain_cam: other pictures were tested together")
    assert "split.near_duplicates=ignore here and together there" in note


def test_other_pictures_labels_or_another_split_make_rows_of_their_own(
    outputs: Path, data: dict[str, tuple[Path, Made]]
) -> None:
    root, made = data["nut"]
    cross_validated(outputs, made, root, "better", folds=4)
    changed = cross_validated(outputs, made, root, "later")
    content = json.loads((changed / "metrics.json").read_text())
    content["data"]["hash"] = "other"
    (changed / "metrics.json").write_text(json.dumps(content))
    table = table_of(outputs)
    labels = [row.label for row in table.rows]
    assert labels[0] == "gear, 2 folds"
    assert labels[-1] == "nut, 4 folds"
    assert all(label.startswith("nut, 2 folds, data ") for label in labels[1:3])
    assert "nut has 3 rows, which are not compared with each other: other pictures, labels or masks, another split" in (
        table.notes
    )
    assert table.rows[-1].cells["better"].compared == {}


def test_trainings_are_averaged_and_of_the_same_seeds_the_newest_counts(
    outputs: Path, data: dict[str, tuple[Path, Made]]
) -> None:
    root, made = data["nut"]
    again = cross_validated(outputs, with_maps(made, DEFECTS[:4], 0.0), root, "better", seed=7)
    (first,) = (path for path in (outputs / "better" / "nut").rglob("cv") if path != again)
    (row,) = (row for row in table_of(outputs).rows if row.label == "nut")
    cell, numbers = row.cells["better"], [own_numbers(folder) for folder in (first, again)]
    assert cell.trainings == 2
    for measure, one in cell.estimates.items():
        for key in ("value", "low", "high"):
            expected = sum(each[measure][key] for each in numbers) / 2
            assert getattr(one, key) == pytest.approx(expected), (measure, key)
    shutil.copytree(again, outputs / "copy")
    os.utime(outputs / "copy" / "metrics.json", (10**10, 10**10))
    table = table_of(outputs)
    assert table.notes == ["better on nut: older results of the same settings and seeds left out (1)"]
    assert table.rows[1].cells["better"].trainings == 2


def test_two_settings_of_one_name_are_two_experiments(outputs: Path, data: dict[str, tuple[Path, Made]]) -> None:
    root, made = data["nut"]
    cross_validated(outputs, made, root, "better", model__outputs=1)
    table = table_of(outputs)
    assert table.experiments == ["plain_cam", "better (model.outputs=1)", "better (model.outputs=2)"]
    assert list(table.rows[0].cells) == ["plain_cam", "better (model.outputs=2)"]


def test_folds_alone_and_damaged_results_are_said(outputs: Path, data: dict[str, tuple[Path, Made]]) -> None:
    root, made = data["nut"]
    cv = cross_validated(outputs, made, root, "half")
    shutil.rmtree(cv)
    shutil.rmtree(cv.parent / "fold 1")
    (next((outputs / "better" / "gear").rglob("cv")) / "metrics.json").write_text("{")
    table = table_of(outputs)
    assert any("half on nut: 1 run of single folds (of 2) in no finished cross-validation" in n for n in table.notes)
    assert any("metrics.json is missing or damaged" in note for note in table.notes)
    assert "half" not in table.experiments
    assert list(table.rows[0].cells) == ["plain_cam"]


def test_without_the_masks_values_stay_and_nothing_is_compared(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    made = make_data(root, 16)
    cross_validated(tmp_path / "outputs", made, root, "plain_cam")
    cross_validated(tmp_path / "outputs", made, root, "better")
    shutil.rmtree(root)
    table = table_of(tmp_path / "outputs")
    assert table.comparisons == 0
    assert table.rows[0].cells["better"].estimates["balanced_accuracy"].n == 16
    assert any("better on nut is compared with nothing" in note for note in table.notes)


def test_a_hold_out_is_a_row_too(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    made = make_data(root, 16)
    values = {"name": "alone", "data.subset": "nut"}
    make_finished(tmp_path / "outputs" / "a", made, RULE, root, slice(0, 8), values)
    table = table_of(tmp_path / "outputs")
    assert (table.experiments, table.reference, table.comparisons) == (["alone"], None, 0)
    assert (table.rows[0].kind.folds, table.rows[0].cells["alone"].estimates["auroc"].n) == (None, 8)


def test_an_experiment_that_is_not_there_is_named(finished: Path) -> None:
    for wanted in ({"reference": "bettre"}, {"experiments": ["bettre"]}):
        with pytest.raises(WeakspotError, match=r"experiment bettre \(did you mean 'better'\?\)"):
            table_of(finished, **wanted)
