"""The documented sweep, cell by cell a cross-validation: its table, what failed, and what grows later."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from helpers.runs import FEW_STEPS, tiny_run

from weakspot.cli import main as cli
from weakspot.data import synthetic

TINY = tiny_run(epochs=1, size="[32,48]")


def weakspot(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["weakspot", *arguments])
    try:
        cli.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "here")
def test_a_sweep_over_cross_validations_ends_in_the_table_and_grows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("fabric", "gear")):
        synthetic.generate(Path("mvtec"), name, seed=seed, good=8, defect=2, size=(64, 96))
    common = ("data.root=mvtec", "cv=2", "split.near_duplicates=together", *TINY)
    both = ("experiment=plain_cam,recommended", *(f"++{setting}" for setting in FEW_STEPS))
    assert weakspot(monkeypatch, "train", "-m", "data.subset=fabric,geer", *both, *common) == 1
    shown = capsys.readouterr()
    assert "experiments by subset" in shown.out
    assert "2 of 4 cells of the sweep failed" in shown.err
    assert "did you mean 'gear'" in shown.err
    (sweep,) = Path("outputs/sweeps").iterdir()
    content = json.loads((sweep / "summary.json").read_text())
    table = content["table"]
    assert (table["experiments"], table["reference"]) == (["plain_cam", "recommended"], "plain_cam")
    (row,) = table["rows"]
    assert (row["label"], row["folds"], table["macro"]) == ("fabric", 2, {})
    pooled = json.loads(next(Path("outputs/plain_cam/fabric").glob("cv2-*/metrics.json")).read_text())
    cell = row["experiments"]["plain_cam"]["balanced_accuracy"]
    assert {key: cell[key] for key in ("value", "n", "low", "high")} == (
        pooled["test"]["classification"]["balanced_accuracy"]
    )
    compared = row["experiments"]["recommended"]["balanced_accuracy"]
    assert 0 < compared["p_value"] <= compared["p_holm"] <= 1
    assert "Failed" in (sweep / "summary.html").read_text()

    # Later and elsewhere: another subset. What is finished is not run again, and the table has both.
    assert weakspot(monkeypatch, "train", "-m", "data.subset=fabric,gear", *both, *common) == 0
    assert capsys.readouterr().err.count("nothing to do") == 4
    assert weakspot(monkeypatch, "summarize", "outputs", "--markdown") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("**Balanced accuracy**")
    assert "| gear | " in printed
    assert "macro mean of 2" in printed
    grown = json.loads(Path("outputs/summary.json").read_text())["table"]
    assert [each["label"] for each in grown["rows"]] == ["fabric", "gear"]
    assert grown["rows"][0]["experiments"]["plain_cam"] == row["experiments"]["plain_cam"]
    assert grown["notes"] == []
    assert weakspot(monkeypatch, "summarize", "outputs", "--latex") == 0
    assert capsys.readouterr().out.rstrip().endswith("\\end{table}")
    assert weakspot(monkeypatch, "summarize", "outputs", "--latex", "--markdown") == 1
    assert "give one of them" in capsys.readouterr().err
    assert weakspot(monkeypatch, "summarize", "outputs", "--reference", "recomended") == 1
    assert "did you mean 'recommended'" in capsys.readouterr().err
