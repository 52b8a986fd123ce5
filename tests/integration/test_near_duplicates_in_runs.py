"""Runs on photographs of the same part."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers.parts import exposed, part_of, parts_config
from helpers.runs import evaluate_config

from weakspot.commands.evaluate import evaluate
from weakspot.commands.train import train
from weakspot.data import synthetic
from weakspot.data.images import list_images
from weakspot.evaluation.records import MetricsRecord
from weakspot.training.dataset import index_and_split

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("tiny")
def test_a_run_that_only_reports_says_what_leaks_and_measures_without_it(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(parts_config(parts, "split.near_duplicates=report", "split.test_size=0.4"))
    metrics = json.loads(run.metrics.read_text())
    with run.split.open(newline="") as file:
        rows = list(csv.DictReader(file))
    trained = {part_of(row["path"]) for row in rows if row["subset"] == "train"}
    tested = [part_of(row["path"]) for row in rows if row["subset"] == "test"]
    twins = sum(part in trained for part in tested)
    assert twins > 0
    leakage = metrics["split"]["leakage"]
    assert leakage["held_out_of_trained_groups"] == twins
    assert metrics["split"]["near_duplicates"] == "report"
    assert metrics["test"]["other_groups"]["classification"]["accuracy"]["n"] == len(tested) - twins
    assert f"{twins} of {len(tested)} held-out images show a part that" in " ".join(capsys.readouterr().err.split())
    assert (run.figures / "near_duplicates.png").stat().st_size > 0

    together = train(parts_config(parts, "split.test_size=0.4"))
    assert json.loads(together.metrics.read_text())["split"]["leakage"]["held_out_of_trained_groups"] == 0
    assert "other_groups" not in json.loads(together.metrics.read_text())["test"]

    config = parts_config(parts, "split.near_duplicates=ignore", "split.test_size=0.4")
    ignored = index_and_split(config.data, config.split)
    assert ignored.near_duplicates is None
    assert ignored.leakage() is None


@pytest.mark.usefixtures("tiny")
def test_other_images_of_parts_that_were_trained_on_are_noticed(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(parts / "metal", "data/metal")
    run = train(parts_config(Path("data"), "split.test_size=0.4"))
    fresh = synthetic.generate(Path("fresh"), "brushed_metal", seed=8, good=9, defect=2, size=(128, 128))
    for path in list_images(fresh):
        folder = Path("other", "OK" if path.parent.name == "good" else "NG")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{path.parent.parent.name}_{path.parent.name}_{path.name}")
    with run.split.open(newline="") as file:
        trained = [row["path"] for row in csv.DictReader(file) if row["subset"] == "train" and "good" in row["path"]]
    for n in range(2):
        exposed(Path("data", trained[n]), Path(f"other/OK/again{n}.jpg"), 5)
    command = [f"run={run.path}", "data=folder", "data.root=other", "data.good_class=OK"]
    metrics = evaluate(evaluate_config(*command)).read_metrics()
    assert metrics["split"]["leakage"]["held_out_of_trained_groups"] == 2
    n_test = sum(metrics["data"]["n_test_per_defect"].values())
    assert metrics["test"]["other_groups"]["classification"]["accuracy"]["n"] == n_test - 2
    assert "2 of" in (said := " ".join(capsys.readouterr().err.split()))
    assert "again0.jpg for one; the numbers will flatter" in said
    Path("data", trained[0]).unlink()
    evaluated = evaluate(evaluate_config(*command, "boxes.threshold=0.6"))
    assert MetricsRecord.read(evaluated.metrics).split.leakage is None
    assert "whether these show the same parts was not looked at" in " ".join(capsys.readouterr().err.split())
