"""What other libraries make of weakspot: supervision, MLflow, type checkers, the API reference."""

from __future__ import annotations

import math
import re
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.runs import train

import weakspot
from weakspot.errors import WeakspotError
from weakspot.types import Box, ClassConfidence, Prediction


def test_boxes_are_detections_of_supervision() -> None:
    """The extra brings a video decoder of 100 MB, so CI does not install it."""
    sv = pytest.importorskip("supervision", reason="supervision is not installed")
    boxes = (Box(3, 4, 10, 20, 2.0, "spot", trust=0.7), Box(0, 0, 1, 1, -3.0, "crack"))
    classes = tuple(ClassConfidence(name, share) for name, share in (("spot", 0.6), ("good", 0.3), ("crack", 0.1)))
    found = Prediction(Path("a.png"), height=30, width=40, label="spot", classes=classes, boxes=boxes).to_supervision()
    assert isinstance(found, sv.Detections)
    np.testing.assert_array_equal(found.xyxy, [[3, 4, 10, 20], [0, 0, 1, 1]])
    np.testing.assert_allclose(found.confidence, [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(3))], rtol=1e-6)
    assert found.class_id.tolist() == [2, 1]
    assert found["class_name"].tolist() == ["spot", "crack"]
    np.testing.assert_array_equal(found["trust"], [0.7, np.nan])
    assert found[found.confidence > 0.5].area.tolist() == [112]
    annotated = sv.BoxAnnotator().annotate(np.zeros((30, 40, 3), np.uint8), found)
    assert annotated.any()
    empty = Prediction(Path("b.png"), height=30, width=40, label="good", classes=classes).to_supervision()
    assert len(empty) == 0
    assert len(sv.Detections.merge([found, empty])) == 2


@pytest.mark.parametrize(("score", "confidence"), [(0.0, 0.5), (math.log(3), 0.75), (-1000.0, 0.0), (1000.0, 1.0)])
def test_confidence_is_the_logistic_function_of_the_score(score: float, confidence: float) -> None:
    assert Box(0, 0, 1, 1, score).confidence == pytest.approx(confidence)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("logger", ["csv", "mlflow"])
def test_a_run_logs_where_it_is_told_to(
    logger: str, fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if logger == "mlflow":
        pytest.importorskip("mlflow", reason="the mlflow extra is not installed")
    monkeypatch.chdir(tmp_path)
    run = train(fabric, f"trainer.logger={logger}", "trainer.max_epochs=2")
    assert (run.path / "logs" / "csv" / "metrics.csv").is_file()
    assert not (run.path / "logs" / "tensorboard").exists()
    assert Path("outputs/mlflow.db").exists() == (logger == "mlflow")
    if logger == "mlflow":
        with sqlite3.connect("outputs/mlflow.db") as store:
            rows = store.execute("select key, count(*) from metrics group by key").fetchall()
            names = store.execute("select name from runs").fetchall()
        assert dict(rows)["train/accuracy"] == 2
        assert names == [(run.path.name,)]
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.usefixtures("tiny")
def test_an_unknown_or_missing_logger_is_one_clear_line(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeakspotError, match=r"trainer\.logger=mlflo is unknown \(did you mean 'mlflow'\?\)"):
        train(fabric, "trainer.logger=mlflo")
    from pytorch_lightning.loggers import mlflow

    monkeypatch.setattr(mlflow, "_MLFLOW_AVAILABLE", False)
    with pytest.raises(WeakspotError, match=r"pip install 'weakspot\[mlflow\]'"):
        train(fabric, "trainer.logger=mlflow")


def test_type_checkers_see_the_types() -> None:
    assert (Path(weakspot.__file__).parent / "py.typed").is_file()


def test_every_extra_of_the_documentation_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"].keys()
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {name for page in pages for name in re.findall(r"weakspot\[([\w,]+)\]", page.read_text("utf-8"))}
    assert {part for name in named for part in name.split(",")} <= extras


@pytest.mark.slow
def test_the_reference_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    page = (tmp_path / "site" / "reference" / "predict" / "index.html").read_text("utf-8")
    for name in ("Localizer", "Prediction", "Box", "with_rule"):
        assert name in page
