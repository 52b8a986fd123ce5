"""weakspot check and a run say what but the defect tells the classes apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.commands.train import train
from weakspot.config.hydra_app import compose
from weakspot.config.schema import TrainConfig, typed
from weakspot.data import synthetic

pytestmark = pytest.mark.slow


def test_check_and_a_run_say_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic.generate(tmp_path / "data", "gear", seed=2, good=30, defect=6, size=(96, 96), bias="side_light")
    result = CliRunner().invoke(app, ["check", "data", "--output", "found.json"])
    assert result.exit_code == 0, result.output
    (found,) = json.loads(Path("found.json").read_text()).values()
    assert "alarm: " in " ".join(result.output.split())
    assert {"seen", "why", "do"} <= set(found["shortcuts"][0])

    settings_ = compose(
        "train",
        ["data.root=data", "data.subset=gear", "model.backbone=tiny", "model.weights=none", "trainer.max_epochs=1"],
    )
    capsys.readouterr()
    run = train(typed(settings_, TrainConfig))
    alarms = run.read_metrics()["alarms"]
    assert alarms[0]["goes_with"] == "label"
    assert "alarm: " in " ".join(capsys.readouterr().err.split())
