"""``metrics.json`` is read as it was written, by whichever version of weakspot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.measurements import UNKNOWN, border, erasure
from helpers.reports import make_data, make_meta
from helpers.runs import train_config

from weakspot.commands.results import MeasuredRun, metrics_record
from weakspot.config.rules import BoxRule
from weakspot.errors import WeakspotError
from weakspot.evaluation.measure import measure
from weakspot.evaluation.records import FoldRecord, Leakage, MetricsRecord, SplitRecord
from weakspot.evaluation.schema import Alarm, PartialResult
from weakspot.evaluation.serialise import with_new_names
from weakspot.evaluation.subsets import EvaluatedSubset

RULE = BoxRule("components", threshold_kind="absolute", threshold=2.0)

OLD_NAMES = {
    "max_box_acc_v2": "v2",
    "max_box_acc_v2_by_defect": "v2_by_defect",
    "max_box_acc_v2_by_size": "v2_by_size",
    "oracle_max_box_acc_v2": "oracle_v2",
    "oracle_single_max_box_acc_v2": "oracle_single_v2",
    "groups": "parts",
    "other_groups": "other_parts",
    "held_out_of_trained_groups": "held_out_of_trained_parts",
    "identical_across_subsets": "identical_across_parts",
    "flip_tta": "second_look",
}
"""What version 0.1 called today's keys; written down here, so that nothing in the package can be renamed unseen."""

LATER = {"longest_side"}
"""Keys that version 0.1 did not write."""

LATER_OF_FOLDS = {
    "oracle_n", "oracle_box_accuracy_30", "oracle_box_accuracy_50", "oracle_box_accuracy_70", "oracle_threshold_30",
    "oracle_threshold_50", "oracle_threshold_70", "oracle_max_box_acc_v2", "oracle_single_max_box_acc_v2",
    "oracle_single_threshold", "pointing_game", "false_boxes_per_100_good", "resolution", "curve",
}  # fmt: skip
"""Keys that version 0.1 wrote for a run and not for a cross-validation."""


def measured_in(root: Path, classes: tuple[str, ...]) -> MetricsRecord:
    """Of a run on made pictures; nothing but `root/data` is written."""
    made = make_data(root / "data", 16, classes=classes)
    config = train_config("data=folder", f"data.root={root / 'data'}", "name=test")
    subset = EvaluatedSubset.predict(made.samples, made.store, make_meta(made.classes, RULE))
    return metrics_record(MeasuredRun(config, subset, {"run": "0"}, ["test"] * 16, measurement=measure([subset])))


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> MetricsRecord:
    """Of a run, with everything in it that a record can hold, some of it undefined."""
    found = measured_in(tmp_path_factory.mktemp("record"), ("hole", "cut"))
    measured = found.measurement
    test, controls = measured.test, measured.controls
    assert test.localisation is not None
    assert test.good_or_not is not None
    test = replace(
        test,
        localisation=replace(test.localisation, pointing_game=UNKNOWN),
        other_groups=PartialResult(replace(test.classification, auroc=UNKNOWN), None),
    )
    controls = replace(controls, border=border(0.3), erased=erasure(0.1, 0.4, 0.5, 20))
    alarms = [*measured.alarms, Alarm("the light", "it differs", "look", {"measure": "brightness", "p_value": 0.001})]
    return replace(
        found,
        measurement=replace(measured, test=test, controls=controls, alarms=alarms),
        split=replace(found.split, leakage=Leakage(24, 9, 4, 0.85, 0.45, 7), identical_across_subsets=3),
        flip_tta=True,
    )


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> MetricsRecord:
    """Of a cross-validation."""
    found = measured_in(tmp_path_factory.mktemp("pooled"), ("hole",))
    test = found.measurement.test
    assert test.localisation is not None
    with_masks = FoldRecord(
        "a", test.classification.balanced_accuracy, test.localisation.max_box_acc_v2, found.thresholds
    )
    split = SplitRecord(seed=42, folds=2, near_duplicates="together")
    folds = [with_masks, replace(with_masks, run="b", max_box_acc_v2=None)]
    return MetricsRecord(found.name, found.data, split, found.measurement, folds=folds)


def same(one: MetricsRecord, other: MetricsRecord) -> bool:
    """Equal to the last bit and of the same types; NaN equals NaN."""
    return repr(one) == repr(other)


def as_version_0_1(value: Any, later: set[str] = LATER) -> Any:
    """JSON as version 0.1 wrote it."""
    if isinstance(value, dict):
        return {
            OLD_NAMES.get(key, key): as_version_0_1(inner, later) for key, inner in value.items() if key not in later
        }
    return [as_version_0_1(inner, later) for inner in value] if isinstance(value, list) else value


def test_what_was_written_is_read_back(record: MetricsRecord, pooled: MetricsRecord, tmp_path: Path) -> None:
    for name, one in (("run", record), ("pooled", pooled)):
        one.write(tmp_path / f"{name}.json")
        assert same(MetricsRecord.read(tmp_path / f"{name}.json"), one), name
    assert "nan" in repr(record)
    assert "NaN" not in (tmp_path / "run.json").read_text()
    assert len(pooled.folds) == 2


def test_a_split_says_what_was_not_set(record: MetricsRecord) -> None:
    split = record.to_dict()["split"]
    assert (split["folds"], split["fold"], split["file"]) == (None, None, None)
    assert "note" not in split
    other = replace(record, split=SplitRecord(note="other images")).to_dict()["split"]
    assert other == {"note": "other images"}


def test_a_run_of_version_0_1_is_read(record: MetricsRecord, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(as_version_0_1(record.to_dict())))
    text = path.read_text()
    assert all(f'"{old}"' in text for old in OLD_NAMES.values())
    assert not any(f'"{new}"' in text for new in (*OLD_NAMES, *LATER))
    found = MetricsRecord.read(path)
    assert (found.flip_tta, found.split.identical_across_subsets) == (True, 3)
    assert found.split.leakage == record.split.leakage
    assert found.measurement.test.groups == record.measurement.test.groups == 16
    assert found.measurement.controls.erased == record.measurement.controls.erased
    assert repr(found.measurement.test.other_groups) == repr(record.measurement.test.other_groups)
    assert found.measurement.curve == record.measurement.curve
    read, written = found.measurement.test.localisation, record.measurement.test.localisation
    assert read is not None
    assert written is not None
    for key in ("max_box_acc_v2", "oracle_max_box_acc_v2", "oracle_single_max_box_acc_v2", "per_defect", "per_size"):
        assert getattr(read, key) == getattr(written, key), key
    # The side of the grid that pixels were measured on is all that is not known of it.
    pixel = replace(read.pixel, longest_side=written.pixel.longest_side)
    with_pixel = replace(found.measurement.test, localisation=replace(read, pixel=pixel))
    assert same(replace(found, measurement=replace(found.measurement, test=with_pixel)), record)


def test_a_cross_validation_of_version_0_1_is_read(pooled: MetricsRecord, tmp_path: Path) -> None:
    """It had no oracle, no pointing game and no resolution: unknown, not an error."""
    path = tmp_path / "metrics.json"
    content = as_version_0_1(pooled.to_dict(), LATER | LATER_OF_FOLDS)
    before = {"false_boxes_per_100_good": 12.5}  # two keys of one name: only that of the boxes that are drawn was later
    content["test"]["localisation"]["before_decision"] = before
    path.write_text(json.dumps(content))
    found = MetricsRecord.read(path)
    read, written = found.measurement.test.localisation, pooled.measurement.test.localisation
    assert read is not None
    assert written is not None
    assert read.max_box_acc_v2 == written.max_box_acc_v2
    assert read.detection == written.detection
    assert read.before_decision.false_boxes_per_100_good == 12.5
    assert repr(read.oracle_single_max_box_acc_v2) == repr(read.false_boxes_per_100_good) == "nan"
    assert repr(read.pointing_game.value) == repr(read.resolution.cell) == "nan"
    assert found.measurement.curve is None
    assert [fold.max_box_acc_v2 for fold in found.folds] == [fold.max_box_acc_v2 for fold in pooled.folds]


def test_a_class_may_be_called_as_a_key_once_was() -> None:
    found = {"n": 1, "v2": 0.5}
    old = {
        "per_defect": {"v2": found, "parts": found},
        "v2_by_defect": {"v2": [0.1]},
        "recall_per_defect": {"parts": 1},
    }
    today = {"n": 1, "max_box_acc_v2": 0.5}
    new = {
        "per_defect": {"v2": today, "parts": today},
        "max_box_acc_v2_by_defect": {"v2": [0.1]},
        "recall_per_defect": {"parts": 1},
    }
    assert with_new_names(old) == with_new_names(new) == new


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The same JSON with another value under a dotted key."""
    name, _, rest = key.partition(".")
    return {**content, name: changed(content[name], rest, value) if rest else value}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "3", '"text"', "{}", '{"name": "x"}', "[" * 600 + "]" * 600]
)
def test_what_is_no_record_is_one_line_that_names_the_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(content)
    with pytest.raises(WeakspotError, match=r"^[^\n]*metrics\.json is missing or damaged; give a finished run folder$"):
        MetricsRecord.read(path)


def test_a_file_that_is_not_there_is_one_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(WeakspotError, match=r"^[^\n]*gone\.json is missing or damaged; give a finished run folder$"):
        MetricsRecord.read(tmp_path / "gone.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", None), ("data.classes", 3), ("split", None), ("split.leakage", {"images": 3}), ("test", None),
        ("test.classification", {}), ("test.classification.accuracy", "high"),
        ("test.classification.accuracy.value", "high"), ("test.classification.accuracy.n", None),
        ("test.localisation", 3), ("test.calibration.reliability", [[1, 2]]), ("controls", [1]),
        ("controls.whole_image", 3), ("controls.told_apart", 3), ("notes", 3), ("controls.erased", {"erased": 3}),
        ("alarms", [{"seen": "x"}]),
        ("alarms", {"a": 1}), ("alarms", 3), ("curve", {"thresholds": []}), ("folds", 3), ("folds", [{}]),
    ],
)  # fmt: skip
def test_a_damaged_record_is_one_line_that_names_the_file(
    record: MetricsRecord, key: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(changed(record.to_dict(), key, value)))
    with pytest.raises(WeakspotError, match=r"^[^\n]*metrics\.json is missing or damaged; give a finished run folder$"):
        MetricsRecord.read(path)
