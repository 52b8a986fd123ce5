"""Runs that calibrate their decisions on the validation subset."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.runs import evaluate_config, tiny_run, train_config

from weakspot.commands.evaluate import evaluate
from weakspot.commands.train import train
from weakspot.config.hydra_app import compose
from weakspot.config.schema import TrainConfig, typed
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.evaluation.records import MetricsRecord
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.decision import (
    fit_scaling,
    read_validation,
)
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.report.tables import metrics_table

pytestmark = [pytest.mark.slow, pytest.mark.figures]


TINY = ("data.subset=fabric", *tiny_run(epochs=2))


@pytest.mark.usefixtures("tiny")
def test_a_run_calibrates_on_its_validation_part_and_evaluate_can_wish_again(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings_ = compose("train", [f"data.root={fabric}", *TINY, "split.val_size=0.4", "split.test_size=0.3"])
    run = train(typed(settings_, TrainConfig))
    metrics = run.read_metrics()
    decision = metrics["thresholds"]["decision"]
    kept = json.loads(run.validation.read_text())
    assert decision["n_good"] + decision["n_defect"] == len(kept["targets"]) == metrics["split"]["n_val"]
    assert decision["held_out"]["recall"]["n"] == decision["n_defect"]
    dearer = [decision["if_a_miss_costs"][miss]["recall"]["value"] for miss in ("2", "5")]
    assert decision["held_out"]["recall"]["value"] <= dearer[0] <= dearer[1]
    rows = list(metrics_table(MetricsRecord.read(run.metrics), "run").columns[0].cells)
    assert "validation pictures: defects found" in rows
    assert "validation pictures: Good images called defective" in rows
    expected = fit_scaling(np.array(kept["logits"]), np.array(kept["targets"]))
    assert [decision["decision"][key] for key in ("temperature", "bias")] == pytest.approx(expected)
    predictions = read_predictions(run.predictions)
    again = list(Localizer.load(run.path).predict([p.path for p in predictions]))
    assert [p.probability for p in again] == pytest.approx([p.probability for p in predictions], abs=1e-3)
    assert (run.path / "review.csv").is_file()
    assert (run.figures / "reliability.png").is_file()

    careful = evaluate_config(f"run={run.path}", "decision.miss=1000")
    folder = evaluate(careful)
    with pytest.raises(WeakspotError, match=r"is an evaluation and holds no model; .* output="):
        Localizer.load(folder.path)
    found = folder.read_metrics()
    mix = decision["n_defect"] / decision["n_good"]
    threshold = found["thresholds"]["decision"]["value"]
    assert threshold == pytest.approx(mix / (mix + 1000))
    assert "a miss costs 1000" in found["thresholds"]["decision"]["origin"]
    recall = {key: value["test"]["classification"]["recall"]["value"] for key, value in (("a", metrics), ("b", found))}
    assert recall["b"] >= recall["a"]
    calls = [p.label == "anomaly" for p in read_predictions(folder.predictions)]
    assert calls == [p.probability >= threshold for p in predictions]
    assert read_validation(run.validation, 2).groups.tolist() == list(range(len(kept["targets"])))
    for groups in ([0], ["a"] * len(kept["targets"]), {}, 3):
        with pytest.raises(WeakspotError, match=r"validation\.json is damaged"):
            read_validation(run.validation, 2, groups)
    run.validation.write_text("{}")
    with pytest.raises(WeakspotError, match=r"validation\.json is damaged"):
        read_validation(run.validation, 2)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("near", ["together", "report"])
def test_a_run_knows_the_parts_of_its_validation_images(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, near: str
) -> None:
    monkeypatch.chdir(tmp_path)
    grouped = [r"data.group='(\d)\.png'", "split.val_size=0.4", "split.test_size=0.3", f"split.near_duplicates={near}"]
    run = train(train_config(f"data.root={fabric}", *TINY, *grouped))
    samples, parts = read_split(run.split, fabric)
    val = [sample for sample, part in zip(samples, parts, strict=True) if part == "val"]
    groups = [sample.group for sample in sorted(val, key=lambda sample: not sample.is_good)]
    clusters = run.read_identity()["validation_groups"]
    assert len(set(zip(groups, clusters, strict=True))) == len(set(groups)) == len(set(clusters)) < len(clusters)
    held_out_ = run.read_metrics()["thresholds"]["decision"]["held_out"]["recall"]
    assert held_out_["groups"] == len({sample.group for sample in val if not sample.is_good}) < held_out_["n"]
