"""Folds pooled, and two set-ups compared on the same images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.runs import tiny_run, train_config
from sklearn.metrics import balanced_accuracy_score
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.commands.cross_validate import cross_validate
from weakspot.config.schema import TrainConfig
from weakspot.errors import WeakspotError
from weakspot.evaluation.comparison import compare
from weakspot.evaluation.pooled import MEMBERS, Pooled, runs_of
from weakspot.postprocess.prediction_files import read_predictions

pytestmark = pytest.mark.slow


TINY = ("data.subset=fabric", *tiny_run(epochs=2))


def config(fabric: Path, *overrides: str) -> TrainConfig:
    return train_config(f"data.root={fabric}", *TINY, *overrides)


@pytest.fixture
def folds(fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> Path:
    monkeypatch.chdir(tmp_path)
    return cross_validate(config(fabric, "cv=2"))


def test_every_image_is_tested_once_and_numbers_are_pooled(folds: Path, fabric: Path) -> None:
    metrics = json.loads((folds / "metrics.json").read_text())
    predictions = read_predictions(folds / "predictions.jsonl")
    pictures = [path for path in (fabric / "fabric").rglob("*.png") if "ground_truth" not in path.parts]
    assert sorted(p.path for p in predictions) == sorted(pictures)
    truth = ["good" if p.target == "good" else "anomaly" for p in predictions]
    classification = metrics["test"]["classification"]
    expected = balanced_accuracy_score(truth, [p.label for p in predictions])
    assert classification["balanced_accuracy"]["value"] == pytest.approx(expected)
    assert classification["balanced_accuracy"]["n"] == len(pictures)
    runs = runs_of(folds)
    assert len(runs) == len(metrics["folds"]) == 2
    pixels = [run.read_metrics()["test"]["localisation"]["n"] for run in runs]
    assert metrics["test"]["localisation"]["n"] == sum(pixels)
    assert metrics["test"]["groups"] == len(pictures)
    assert set(metrics["controls"]) >= {"centre_box", "whole_image", "shuffled_boxes", "shuffled_labels"}


def test_comparing_with_itself_and_with_another(folds: Path, fabric: Path, tmp_path: Path) -> None:
    itself = compare(folds, folds)
    assert (itself.first_right, itself.second_right, itself.only_first) == (0, 0, 0)
    assert itself.differences["max_box_acc_v2"].p_value == 1
    other = cross_validate(config(fabric, "cv=2", "boxes.threshold=0.2", "model.optimizer.lr=0.01"))
    a, b = (Pooled.read(runs_of(folder)) for folder in (folds, other))
    found = compare(folds, other)
    assert found.first_right == int(((a.right() == 1) & (b.right() == 0)).sum())
    assert found.second_right == int(((b.right() == 1) & (a.right() == 0)).sum())
    result = CliRunner().invoke(app, ["compare", str(folds), str(other), "--output", str(tmp_path / "c.json")])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "c.json").read_text())
    assert written["differences"]["balanced_accuracy"]["difference"]["n"] == found.images
    # A single run against all folds: on what both were tested on.
    (fold, _) = runs_of(folds)
    assert compare(folds, fold.path).images == len(Pooled.read([fold]).samples)
    assert compare(folds, fold.path).only_first > 0


def test_folds_of_different_splits_are_not_pooled(folds: Path) -> None:
    run = runs_of(folds)[0]
    with pytest.raises(WeakspotError, match="was tested in two of these runs"):
        Pooled.read([run, run])


def test_what_cannot_be_cross_validated_or_compared(
    folds: Path, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for overrides, message in (
        (["cv=1"], "cv=1: give at least 2 folds"),
        (["cv=3", "split.folds=3", "split.fold=0"], "leave split.folds and split.fold out"),
        (["cv=2", f"output={tmp_path / 'x'}"], "output= names one folder"),
    ):
        with pytest.raises(WeakspotError, match=message):
            cross_validate(config(fabric, *overrides))
    with pytest.raises(WeakspotError, match="neither a finished run nor"):
        compare(folds, tmp_path)
    first, second = runs_of(folds)
    with pytest.raises(WeakspotError, match="no image in common"):
        compare(first.path, second.path)
    (second.path / "metrics.json").unlink()
    with pytest.raises(WeakspotError, match=r"metrics\.json is missing or damaged"):
        compare(folds, folds)
    monkeypatch.undo()


def test_the_command_cross_validates_also_in_a_sweep(
    fabric: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [f"data.root={fabric}", *TINY, "cv=2", "trainer.max_epochs=1"]
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 0, result.output
    assert "2 folds together" in result.output
    assert "open this first" in result.output
    (folder,) = Path("outputs/default/fabric").glob("cv2-*")
    assert json.loads((folder / MEMBERS).read_text())
    assert "Fold by fold" in (folder / "report.html").read_text(encoding="utf-8")
    swept = CliRunner().invoke(app, ["train", "-m", *arguments, "boxes.threshold=0.5,0.7"])
    assert swept.exit_code == 0, swept.output
    (summary,) = Path("outputs/sweeps").glob("*/summary.csv")
    assert len(summary.read_text().splitlines()) == 1 + 4  # two folds at two thresholds
    with pytest.raises(WeakspotError, match="a sweep over more than seeds and folds"):
        compare(summary.parent, folder)
