"""What an older weakspot has written is read for ever; what a newer one has written is refused with one line."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.keep_bundle import kept_backbone
from helpers.paths import BUNDLES
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.config.rules import BoxRule
from weakspot.config.schema import read_config
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.serialise import to_json
from weakspot.inference.localizer import Localizer
from weakspot.models.backbones import BACKBONES
from weakspot.models.bundle_meta import FORMAT, META_FILE, read_meta
from weakspot.models.network import CamNet
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.postprocess.trust import REASONS
from weakspot.report.view import RunView
from weakspot.runs.folder import RunFolder
from weakspot.types import SUBSETS, Prediction

RUN = BUNDLES.parent / "runs" / "0.1.0"
MADE_IN = "/tmp/old01"  # noqa: S108 - where version 0.1.0 made the run; its paths stand in the files
KEPT = sorted(BUNDLES.iterdir(), key=lambda path: int(path.name))


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "kept", kept_backbone)


def same(found: Prediction, expected: Prediction) -> None:
    """Equal but for what another processor or a newer library rounds in another way."""
    assert (found.status, found.label, found.size) == ("ok", expected.label, expected.size)
    assert found.probability == pytest.approx(expected.probability, abs=1e-3)
    assert [one.name for one in found.classes] == [one.name for one in expected.classes]
    assert len(found.boxes) == len(expected.boxes)
    for box, known in zip(found.boxes, expected.boxes, strict=True):
        assert box.xyxy == pytest.approx(known.xyxy, abs=1)
        assert (box.score, box.trust) == pytest.approx((known.score, known.trust), abs=0.02)
        assert (box.label, bool(box.outlines)) == (known.label, bool(known.outlines))


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: f"format {path.name}")
def test_a_bundle_of_every_format_there_was_says_what_it_said_then(folder: Path) -> None:
    assert json.loads((folder / "bundle" / META_FILE).read_text())["format"] == int(folder.name)
    (expected,) = read_predictions(folder / "predictions.jsonl")
    assert expected.boxes
    (found,) = Localizer.load(folder / "bundle").predict(folder / "picture.png")
    same(found, expected)


def test_this_format_is_kept() -> None:
    assert [int(path.name) for path in KEPT] == list(range(1, FORMAT + 1))


def test_a_description_from_before_later_keys_means_what_there_was_then(tmp_path: Path) -> None:
    """The first bundles knew neither calibration, evidence, nor boxes with a smallest score."""
    shutil.copytree(BUNDLES / "1" / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / META_FILE
    values = json.loads(path.read_text())
    for later in ("decision", "evidence", "heatmap"):
        del values[later]
    first = ("method", "threshold_kind", "threshold", "min_area", "max_boxes")
    values["boxes"] = {key: values["boxes"][key] for key in first}
    path.write_text(json.dumps(values))
    meta = read_meta(tmp_path / "bundle")
    assert (meta.decision, meta.evidence, meta.heatmap) == (Decision(), None, "cam")
    assert meta.boxes == BoxRule(**values["boxes"])
    (found,) = Localizer.load(tmp_path).predict(BUNDLES / "1" / "picture.png")
    assert found.status == "ok"


def test_predictions_from_before_trust_and_outlines_are_read(tmp_path: Path) -> None:
    (tmp_path / "predictions.jsonl").write_text(
        '{"path": "a.png", "status": "ok", "message": "", "height": 4, "width": 5, "target": null, "label": "anomaly", '
        '"classes": [{"name": "anomaly", "confidence": 0.9}], "probability": 0.9, '
        '"boxes": [{"x0": 0, "y0": 1, "x1": 2, "y1": 3, "score": 1.5, "label": "anomaly"}]}\n'
    )
    (found,) = read_predictions(tmp_path / "predictions.jsonl")
    assert (found.boxes[0].xyxy, found.boxes[0].score, found.boxes[0].outlines) == ((0, 1, 2, 3), 1.5, ())


def test_a_newer_bundle_says_to_upgrade(tmp_path: Path) -> None:
    shutil.copytree(BUNDLES / "1" / "bundle", tmp_path / "bundle")
    path = tmp_path / "bundle" / META_FILE
    newer = json.loads(path.read_text()) | {"format": FORMAT + 1, "boxes": "of another kind", "more": 1}
    path.write_text(json.dumps(newer))
    with pytest.raises(WeakspotError) as caught:
        Localizer.load(tmp_path)
    said = str(caught.value)
    assert said.startswith(f"{path} cannot be used: it is of format {FORMAT + 1}, and this weakspot (")
    assert said.endswith(f"knows formats up to {FORMAT}; upgrade weakspot: pip install --upgrade weakspot")
    for none in (None, True, "1", 0):
        path.write_text(json.dumps(newer | {"format": none}))
        with pytest.raises(WeakspotError, match="no format number"):
            Localizer.load(tmp_path)


def shape_of_everything(backbone: str) -> str:
    """Hash of the names and shapes of a network's tensors."""
    with torch.device("meta"):
        state = CamNet(backbone).state_dict()
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(state.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {"kept"}))
def test_tensors_keep_the_names_that_bundles_have_them_under(backbone: str) -> None:
    """A network built in another way would refuse every bundle there is; those that are kept are too small to tell."""
    known: dict[str, Any] = {}
    for path in BUNDLES.glob("*/networks.json"):
        known |= json.loads(path.read_text())
    assert shape_of_everything(backbone) == known[backbone], "bundles of this backbone are no longer read"


# --- a run folder of version 0.1.0 --------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run that version 0.1.0 has left, its pictures where its files say they are; their folder is the current."""
    here = shutil.copytree(RUN, tmp_path / "old")
    for name in ("config.yaml", "metrics.json", "predictions.jsonl", "predictions.csv"):
        path = here / "run" / name
        path.write_text(path.read_text().replace(MADE_IN, str(here)))
    monkeypatch.chdir(here)
    return RunFolder(Path("run"))


def weakspot(line: str) -> str:
    """Run the command; what it printed."""
    done = CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_metrics_of_0_1_are_read_with_every_number(old: RunFolder) -> None:
    then, record = json.loads(old.metrics.read_text()), MetricsRecord.read(old.metrics)
    test, was = record.measurement.test, then["test"]
    assert test.localisation is not None
    assert to_json(test.localisation.max_box_acc_v2) == was["localisation"]["v2"]
    assert test.localisation.oracle_max_box_acc_v2 == was["localisation"]["oracle_v2"]
    assert test.localisation.oracle_single_max_box_acc_v2 == was["localisation"]["oracle_single_v2"]
    assert (
        to_json(test.localisation.per_defect["hole"].max_box_acc_v2) == was["localisation"]["per_defect"]["hole"]["v2"]
    )
    assert to_json(test.classification.balanced_accuracy) == was["classification"]["balanced_accuracy"]
    assert test.other_groups is not None
    assert to_json(test.other_groups.classification.accuracy) == was["other_parts"]["classification"]["accuracy"]
    controls = record.measurement.controls
    assert controls.boxes.keys() == {"whole_image", "centre_box", "random_box", "shuffled_boxes"}
    assert to_json(controls.boxes["centre_box"].max_box_acc_v2) == then["controls"]["centre_box"]["v2"]
    assert controls.erased is not None
    assert controls.erased.erased.groups == then["controls"]["erased"]["erased"]["parts"]
    assert record.measurement.curve is not None
    assert record.measurement.curve.max_box_acc_v2_by_defect == then["curve"]["v2_by_defect"]
    assert record.measurement.curve.max_box_acc_v2_by_size == then["curve"]["v2_by_size"]
    assert record.split.leakage is not None
    leakage = then["split"]["leakage"]
    assert record.split.leakage.groups == leakage["parts"]
    assert record.split.leakage.held_out_of_trained_groups == leakage["held_out_of_trained_parts"] > 0
    assert record.split.identical_across_subsets == then["split"]["identical_across_parts"]
    assert record.flip_tta is then["second_look"] is True
    assert (record.name, record.seed, record.boxes) == (then["name"], then["seed"], then["boxes"])
    assert record.thresholds["min_score"] == then["thresholds"]["min_score"]
    assert MetricsRecord.from_dict(record.to_dict()).to_dict() == record.to_dict()


def test_settings_split_maps_and_identity_of_0_1_are_read(old: RunFolder) -> None:
    config = read_config(old.config)
    assert config.flip_tta
    steps = config.refine.location_steps, config.refine.mask_steps, config.refine.location_refit_steps
    assert steps == (200, 200, 20)
    samples, subsets = read_split(old.split, Path(str(config.data.root)))
    assert [subsets.count(name) for name in SUBSETS] == [12, 6, 10]
    assert all(sample.path.is_file() for sample in samples)
    store = OutputStore.load(old.maps)
    with np.load(old.maps) as then:
        for now, name in ((store.mask_logits, "extent"), (store.location_logits, "where"), (store.flipped, "again")):
            assert now is not None
            assert np.array_equal(now, then[name])
    then, identity = json.loads(old.identity.read_text()), old.read_identity()
    assert identity["validation_groups"] == then["validation_clusters"]
    assert identity["leakage"]["held_out_of_trained_groups"] == then["leakage"]["held_out_of_trained_parts"]


def agreeing(then: object, now: object) -> bool:
    """Whether all is as it was; an interval that had no width may have got one, since 0.2 is honest at the edge."""
    if isinstance(then, dict) and isinstance(now, dict):
        if {"value", "low", "high"} <= set(then) and then["low"] == then["high"] and then["value"] is not None:
            return then["value"] == now["value"] and now["low"] <= then["low"] <= now["high"]
        return set(then) == set(now) and all(agreeing(then[key], now[key]) for key in then)
    return then == now


@pytest.mark.slow
def test_a_run_of_0_1_is_predicted_with_measured_again_shown_and_compared(old: RunFolder) -> None:
    known, then = read_predictions(old.predictions), MetricsRecord.read(old.metrics)
    assert any(box.doubt == REASONS["flip test-time augmentation"] for prediction in known for box in prediction.boxes)
    for found, expected in zip(Localizer.load(old.path).predict([p.path for p in known]), known, strict=True):
        same(found, expected)
    weakspot("predict run/bundle pictures/kept/test --output results")
    assert {p.path.name: p.label for p in read_predictions(Path("results/predictions.jsonl"))}

    weakspot("evaluate run=run output=again")  # as it was: with the same rule, on the same maps
    for found, expected in zip(read_predictions(Path("again/predictions.jsonl")), known, strict=True):
        same(found, expected)
    now = MetricsRecord.read(Path("again/metrics.json"))
    first, second = (one.measurement.test for one in (then, now))
    assert agreeing(to_json(first.classification), to_json(second.classification))
    assert first.localisation is not None
    assert second.localisation is not None
    assert agreeing(to_json(first.localisation.max_box_acc_v2), to_json(second.localisation.max_box_acc_v2))
    assert to_json(first.localisation.detection) == to_json(second.localisation.detection)
    assert agreeing(to_json(first.other_groups), to_json(second.other_groups))
    weakspot("evaluate run=run output=smaller boxes.threshold=1")
    areas = [
        sum(box.area for p in read_predictions(Path(name, "predictions.jsonl")) for box in p.boxes)
        for name in ("again", "smaller")
    ]
    assert areas[1] < areas[0]

    weakspot("report run")
    assert "kept" in old.report.read_text(encoding="utf-8")
    assert "V2" in weakspot("compare run run")
    weakspot("export boxes run --format coco --output boxes")
    view = RunView.load(old.path)
    assert [p.label for p in view.predictions] == [p.label for p in known]
    assert all(np.isfinite(p.probability) for p in view.predictions)


@pytest.mark.slow
def test_a_run_of_0_1_can_be_given_another_rule_for_good(old: RunFolder) -> None:
    weakspot("evaluate output=run boxes.false_boxes=800")
    assert read_config(old.config).boxes.false_boxes == 800
    assert read_meta(old.bundle).boxes.false_boxes == 800
    assert json.loads((old.bundle / META_FILE).read_text())["format"] == FORMAT
    assert Localizer.load(old.path).meta.flip_tta
    record = MetricsRecord.read(old.metrics)
    assert record.run == old.read_identity()["run"]
    weakspot("report run")
