"""Defect types as classes, from whatever tells them apart to the boxes: the whole workflow on small pictures."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from weakspot import pipeline
from weakspot.config import EvaluateConfig, TrainConfig, typed
from weakspot.errors import WeakspotError
from weakspot.hydra_app import compose
from weakspot.predictions import read_predictions
from weakspot.runs import RunFolder

pytestmark = pytest.mark.usefixtures("tiny")

TINY = (
    "model.backbone=tiny", "model.weights=none", "data.image_size=[64,96]", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "trainer.stop_at_accuracy=null", "data.task=multiclass", "model.class_weights=balanced",
)  # fmt: skip


def settings(*overrides: str) -> TrainConfig:
    return typed(compose("train", [*TINY, *overrides]), TrainConfig)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def types(fabric: Path) -> list[str]:
    return ["good", *sorted(p.name for p in (fabric / "fabric" / "ground_truth").iterdir())]


def metrics_of(run: RunFolder) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run.metrics.read_text())
    return content


def part_of(run: RunFolder) -> dict[str, str]:
    with run.split.open(newline="") as file:
        return {row["path"]: row["part"] for row in csv.DictReader(file)}


def test_labels_from_file_names_and_from_a_table_are_the_same(fabric: Path, here: Path) -> None:
    first = pipeline.train(settings(f"data.root={fabric}", "data.subset=fabric", "output=first", "split.val_size=0.2"))
    names, rows = Path("names"), ["path,label,part,mask"]
    names.mkdir()
    with first.split.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            name = f"{row['defect']}_{number:03d}.png"
            shutil.copy(fabric / row["path"], names / name)
            mask = f"{number}.png" if row["mask"] else ""
            if mask:
                shutil.copy(fabric / row["mask"], names / mask)
            rows.append(f"{name},{row['defect']},{row['part']},{mask}")
    (names / "manifest.csv").write_text("\n".join(rows))
    second = pipeline.train(settings("data=manifest", "data.root=names", "output=second"))
    one, two = (metrics_of(run) for run in (first, second))
    assert one["test"] == two["test"]  # the same images in the same parts and in the same order
    assert one["data"]["classes"] == two["data"]["classes"] == types(fabric)
    for mask in names.glob("[0-9]*.png"):
        mask.unlink()
    third = pipeline.train(settings("data=filename", "data.root=names", "output=third", "split.file=second/split.csv"))
    assert part_of(third) == part_of(second)
    assert metrics_of(third)["test"]["classification"] == one["test"]["classification"]
    assert third.read_identity()["fit"] == second.read_identity()["fit"]
    with pytest.raises(WeakspotError, match="cannot cut data whose parts are given"):
        pipeline.train(settings("data=manifest", "data.root=names", "split.folds=2", "split.fold=0"))
    with pytest.raises(WeakspotError, match=r"first/split\.csv line 2: .* is no image of this data set"):
        pipeline.train(settings("data=filename", "data.root=names", "split.file=first/split.csv"))


def test_other_labelled_images_from_a_table(fabric: Path, here: Path) -> None:
    run = pipeline.train(settings(f"data.root={fabric}", "data.subset=fabric", "output=run"))
    held_out = [sample for sample, part in part_of(run).items() if part == "test"]
    rows = [json.dumps({"path": str(fabric / name), "label": Path(name).parent.name}) for name in held_out]
    Path("more.jsonl").write_text("\n".join(rows))
    overrides = ["run=run", "data=manifest", "data.root=.", "data.options.file=more.jsonl"]
    with pytest.raises(WeakspotError, match=r"more\.jsonl line 1: .* lies outside"):
        pipeline.evaluate(typed(compose("evaluate", overrides), EvaluateConfig))
    other = pipeline.evaluate(typed(compose("evaluate", [*overrides, "data.options.outside=true"]), EvaluateConfig))
    own = {p.path.name: p.label for p in read_predictions(run.predictions)}
    assert {p.path.name: p.label for p in read_predictions(other.predictions)} == own
    assert (
        metrics_of(other)["test"]["classification"]["accuracy"] == metrics_of(run)["test"]["classification"]["accuracy"]
    )
