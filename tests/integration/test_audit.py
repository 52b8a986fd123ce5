"""weakspot audit: boxes of a run are erased, and its network is asked again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.runs import ALL_ANOMALY, TINY, train_config
from typer.testing import CliRunner

from weakspot.cli.main import app
from weakspot.commands.audit import audit
from weakspot.commands.train import train
from weakspot.errors import WeakspotError
from weakspot.runs.folder import RunFolder

pytestmark = pytest.mark.slow


def test_a_run_is_audited(fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    monkeypatch.chdir(tmp_path)
    command = [
        f"data.root={fabric}", "data.subset=fabric", *TINY, *ALL_ANOMALY, "boxes.method=components",
        "boxes.threshold=0.9",
    ]  # fmt: skip
    run = train(train_config(*command))
    result = CliRunner().invoke(app, ["audit", str(run.path)])
    assert result.exit_code == 0, result.output
    written = json.loads((run.path / "audit.json").read_text())
    assert written["images"] > 0
    assert written["images"] + written["skipped"] == sum(run.read_metrics()["data"]["n_test_per_defect"].values())
    assert audit(RunFolder(run.path)).erased.p_value == written["erased"]["p_value"]  # the same draws every time
    assert run.read_metrics()["controls"]["erased"] == written  # training asked already
    good_only = run.predictions.read_text().replace('"label": "anomaly"', '"label": "good"')
    run.predictions.write_text(good_only)
    with pytest.raises(WeakspotError, match="no test image was called defective"):
        audit(run)
