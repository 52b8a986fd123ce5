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
from weakspot.data.splits import write_split
from weakspot.dataset import index_and_split
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
    first = index_and_split(settings(f"data.root={fabric}", "data.subset=fabric", "split.val_size=0.2"))
    names, rows = Path("names"), ["path,label,part,mask"]
    for number, (sample, part) in enumerate(zip(first.samples, first.parts, strict=True)):
        name, mask = Path("pictures", f"{sample.defect}_{number:03d}.png"), f"masks/{number}.png" if sample.mask else ""
        for source, target in ((sample.path, name), (sample.mask, Path(mask))):
            if source:
                (names / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, names / target)
        rows.append(f"{name},{sample.defect},{part},{mask}")
    (names / "manifest.csv").write_text("\n".join(rows))
    second = index_and_split(settings("data=manifest", "data.root=names"))
    assert first.classes == second.classes == types(fabric)
    assert (second.parts, second.targets) == (first.parts, first.targets)
    assert (second.data_hash, second.truth_hash) == (first.data_hash, first.truth_hash)
    write_split(Path("split.csv"), second.samples, second.parts, second.root)
    by_name = ("data=filename", "data.root=names", "data.subset=pictures")
    third = index_and_split(settings(*by_name, "split.file=split.csv", "split.val_size=0.4"))
    assert (third.split_hash, third.data_hash, third.targets) == (second.split_hash, first.data_hash, first.targets)
    with pytest.raises(WeakspotError, match="cannot cut data whose parts are given"):
        index_and_split(settings("data=manifest", "data.root=names", "split.folds=2", "split.fold=0"))
    write_split(Path("other.csv"), first.samples, first.parts, first.root)
    with pytest.raises(WeakspotError, match=r"other\.csv line 2: .* is no image of this data set"):
        index_and_split(settings(*by_name, "split.file=other.csv"))


def test_a_type_without_a_training_image_gets_a_warning(
    fabric: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = index_and_split(settings(f"data.root={fabric}", "data.subset=fabric"))
    hole = [i for i, sample in enumerate(data.samples) if sample.defect == "hole"]
    parts = ["test" if i in hole else part for i, part in enumerate(data.parts)]
    write_split(Path("split.csv"), data.samples, parts, data.root)
    assert "warning" not in capsys.readouterr().err
    index_and_split(settings(f"data.root={fabric}", "data.subset=fabric", "split.file=split.csv"))
    assert "no training image is of class 'hole'" in " ".join(capsys.readouterr().err.split())


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
