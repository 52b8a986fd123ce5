"""One run from pictures to predictions, looked at from all sides; short enough for make test-fast."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.runs import ALL_ANOMALY, evaluate_config, metrics_of, train
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from weakspot.commands.evaluate import evaluate
from weakspot.commands.predict import predict
from weakspot.data.images import list_images
from weakspot.inference.localizer import Localizer
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.prediction_files import read_predictions

pytestmark = [pytest.mark.figures, pytest.mark.usefixtures("tiny")]


def test_a_run_folder_holds_what_the_design_says(fabric: Path, here: Path) -> None:
    run = train(fabric, "split.val_size=0.2")
    assert run.path.is_relative_to("outputs/default/fabric")
    for name in (
        "config.yaml", "split.csv", "checkpoints/last.ckpt", "bundle/model.safetensors", "bundle/model.json",
        "maps.npz", "predictions.jsonl", "predictions.csv", "metrics.json", "run.log", "figures/gallery.png",
        "figures/confusion_matrix.png", "figures/threshold.png", "logs/csv/metrics.csv",
    ):  # fmt: skip
        assert (run.path / name).stat().st_size > 0, name
    assert list((run.path / "logs" / "tensorboard").glob("events*"))
    assert not list(run.path.rglob(".*"))  # no temporary file is left
    predictions = read_predictions(run.predictions)
    with run.split.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [p.path for p in predictions] == [fabric / row["path"] for row in rows if row["subset"] == "test"]
    content = metrics_of(run)
    labels = ["good", "anomaly"]
    truth, decided = [p.target for p in predictions], [p.label for p in predictions]
    classification = content["test"]["classification"]
    assert classification["balanced_accuracy"]["value"] == pytest.approx(balanced_accuracy_score(truth, decided))
    assert classification["confusion_matrix"]["counts"] == confusion_matrix(truth, decided, labels=labels).tolist()
    assert content["test"]["localisation"]["n"] == sum(p.target == "anomaly" for p in predictions)
    assert set(content["controls"]) == {
        "whole_image",
        "centre_box",
        "random_box",
        "shuffled_boxes",
        "shuffled_labels",
        "told_apart",
    }
    assert content["test"]["localisation"]["detection"]["n_true"] >= content["test"]["localisation"]["n"]
    assert 0 <= content["test"]["localisation"]["pixel"]["aupro"] <= 1
    assert content["thresholds"]["boxes"] == {"value": 0.7, "kind": "relative", "origin": "configuration"}
    assert "val/balanced_accuracy" in content["train"]["history"][0]
    for prediction in predictions:
        assert not (prediction.label == "good" and prediction.boxes)
        for box in prediction.boxes:
            assert box.x1 <= prediction.width
            assert box.y1 <= prediction.height
            assert box.label == prediction.label


def test_saved_maps_add_up_to_the_logits(fabric: Path, here: Path) -> None:
    store = OutputStore.load(train(fabric).maps)
    assert np.allclose(store.maps.mean((2, 3)) + store.bias, store.logits, rtol=1e-5, atol=1e-5)


def test_evaluate_moves_the_threshold_without_the_network(
    fabric: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(fabric, *ALL_ANOMALY)
    before = run.metrics.read_text()
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *args: pytest.fail("the network ran"))
    config = evaluate_config(f"run={run.path}", "boxes.threshold=0.9")
    again = evaluate(config)
    assert again.path.parent == run.path / "evaluations"
    assert metrics_of(again)["thresholds"]["boxes"]["value"] == 0.9
    assert metrics_of(again)["test"]["classification"] == metrics_of(run)["test"]["classification"]
    assert run.metrics.read_text() == before
    areas = [sum(b.area for p in read_predictions(r.predictions) for b in p.boxes) for r in (run, again)]
    assert areas[1] < areas[0]


def test_predict_agrees_with_the_run_s_own_predictions(fabric: Path, here: Path) -> None:
    run = train(fabric, "cache.precision=float32")
    own = read_predictions(run.predictions)
    for mine, theirs in zip(Localizer.load(run.path).predict([p.path for p in own]), own, strict=True):
        assert mine.label == theirs.label
        assert mine.probability == pytest.approx(theirs.probability, abs=1e-5)
        assert [b.xyxy for b in mine.boxes] == [b.xyxy for b in theirs.boxes]


def test_predict_goes_on_after_bad_files_and_bad_arrays(fabric: Path, here: Path) -> None:
    localizer = Localizer.load(train(fabric).path)
    good = list_images(fabric / "fabric" / "train")[0]
    Path("empty.png").touch()
    sources = [good, Path("empty.png"), np.zeros((2, 2)), Path("missing.png"), np.zeros((1, 1, 3), np.uint8)]
    results = list(predict(localizer, sources, Path("results")))
    assert [p.status for p in results] == ["ok", "error", "error", "error", "ok"]
    assert [p.path.name for p in read_predictions(Path("results/predictions.jsonl"))] == [
        good.name, "empty.png", "array-2", "missing.png", "array-4",
    ]  # fmt: skip
    assert sorted(p.name for p in Path("results/overlays").iterdir()) == sorted(["array-4.jpg", f"{good.stem}.jpg"])
