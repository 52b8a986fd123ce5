"""Trust from training to prediction: fitted on held-out images, kept in the bundle, taken back where it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import ALL_ANOMALY, evaluate_config, train

from weakspot.commands.evaluate import evaluate
from weakspot.commands.thresholds import calibrate
from weakspot.config.rules import DecisionCosts
from weakspot.inference.localizer import OTHER_RULE, Localizer
from weakspot.models.bundle_meta import BundleMeta, read_meta
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.postprocess.trust import NOT_CALIBRATED
from weakspot.postprocess.trust_calibration import TrustCalibration
from weakspot.report.run_report import read_evaluated
from weakspot.runs.folder import RunFolder, find_fit
from weakspot.training.imitated import EACH

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def calibrated(run: RunFolder) -> BundleMeta:
    """The run's description with a calibration that makes every box green."""
    meta = read_meta(run.bundle)
    n = 6
    row, ones = (0.0,) * n, (1.0,) * n
    names = ("picture", "score", "contrast", "cover", "stability", "agreement")
    return replace(meta, trust=TrustCalibration(names, row, 3.0, row, ones, ones, green=0.9))


def test_without_held_out_images_nothing_is_green_and_it_is_said_why(fabric: Path, here: Path) -> None:
    run = train(fabric, *ALL_ANOMALY, "experiment=plain_cam")
    meta = read_meta(run.bundle)
    assert meta.trust is None
    assert meta.thresholds["trust"]["value"] is None
    assert "no held-out Good images (split.val_size=0.15 makes some)" in meta.thresholds["trust"]["origin"]
    boxes = [box for prediction in read_predictions(run.predictions) for box in prediction.boxes]
    assert boxes
    assert {box.level for box in boxes} <= {"amber", "red"}
    assert all(box.doubt == NOT_CALIBRATED for box in boxes if box.trust >= 0.75)
    assert "nothing is green, as trust is not calibrated" in run.report.read_text()


def test_with_held_out_images_trust_is_fitted_again_for_each_rule(fabric: Path, here: Path) -> None:
    run = train(fabric, *ALL_ANOMALY, "split.val_size=0.4")
    held_out, imitated = OutputStore.load(run.calibration), LocatedOutputs.load(run.imitations)
    assert set(imitated.outputs.paths) == set(held_out.paths)
    assert len(imitated) == EACH * len(held_out)
    origin = read_meta(run.bundle).thresholds["trust"]["origin"]
    assert "nothing is green" in origin  # so few can promise nothing
    assert "boxes on held-out images are right" in origin or "are too few" in origin
    other = evaluate(evaluate_config(f"run={run.path}", "boxes.threshold=0.3"))
    assert read_evaluated(other.path).subset.meta.boxes.threshold == 0.3
    assert find_fit(run.read_identity()["fit"], run) is not None
    run.imitations.unlink()  # as a run from before there were any
    assert find_fit(run.read_identity()["fit"], run) is None
    meta = calibrate(read_meta(run.bundle), read_meta(run.bundle).boxes, DecisionCosts(), run)
    assert "train again" in meta.thresholds["trust"]["origin"]


def test_a_changed_threshold_takes_the_promise_back(fabric: Path, here: Path) -> None:
    run = train(fabric, *ALL_ANOMALY)
    model, meta = Localizer.load(run.path).model, calibrated(run)
    localizer = Localizer(model, meta)
    pictures = sorted((fabric / "fabric" / "test" / "hole").glob("*.png"))

    def boxes(of: Localizer) -> list[tuple[str | None, str]]:
        return [(box.level, box.doubt) for found in of.predict(pictures) for box in found.boxes]

    assert set(boxes(localizer)) == {("green", "")}
    assert set(boxes(localizer.with_rule(threshold=0.6))) == {("amber", OTHER_RULE)}
    assert set(boxes(localizer.with_rule(min_score=-1000.0))) == {("green", "")}
    read = BundleMeta.from_dict(meta.to_dict())
    assert read.trust == meta.trust
    assert np.isfinite(read.trust.green if read.trust and read.trust.green else np.nan)
