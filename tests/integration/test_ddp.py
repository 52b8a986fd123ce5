"""Several training processes do what one does: the same weights, the same numbers, every file once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.runs import tiny_run, train_config
from safetensors.numpy import load_file
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from weakspot.commands.train import train
from weakspot.config.schema import TrainConfig
from weakspot.errors import WeakspotError
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.runs.folder import RunFolder
from weakspot.training.lightning_fit import _of_process

pytestmark = pytest.mark.slow


TINY = tiny_run(epochs=2)


def settings(*overrides: str) -> TrainConfig:
    return train_config(*TINY, *overrides)


# --- two processes, for real --------------------------------------------------------------------------------------


def content(run: RunFolder) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(run.metrics.read_text())
    return loaded


def test_two_processes_train_the_model_that_one_trains(
    fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None
) -> None:
    monkeypatch.chdir(tmp_path)
    # 33 images: the last batch of 8 holds one, so that one process has an empty share; validation is odd too.
    common = (f"data.root={fabric}", "data.subset=fabric", "split.val_size=0.25", "trainer.batch_size=8", "reuse=false")
    lines = ("cache.precision=float32", "model.optimizer.lr=0.01", "trainer.schedule=cosine")
    one, two = (
        train(settings(*common, *lines, f"output={name}", *more))
        for name, more in (("one", ()), ("two", ("trainer=ddp",)))
    )
    first, second = content(one), content(two)
    assert first["split"] == second["split"]
    assert one.split.read_bytes() == two.split.read_bytes()
    assert one.split.read_text().count(",train") % 8 == 1
    assert first["train"]["epochs"] == second["train"]["epochs"] == 2
    for mine, theirs in zip(first["train"]["history"], second["train"]["history"], strict=True):
        assert set(mine) == set(theirs)
        for name in set(mine) - {"seconds"}:
            assert theirs[name] == pytest.approx(mine[name], rel=1e-4), name
    weights, others = (load_file(run.bundle / "model.safetensors") for run in (one, two))
    trained = [name for name in weights if not name.startswith("stem")]
    assert trained
    for name in trained:
        np.testing.assert_allclose(others[name], weights[name], rtol=1e-3, atol=1e-5, err_msg=name)
    for mine, theirs in zip(read_predictions(one.predictions), read_predictions(two.predictions), strict=True):
        assert (theirs.path, theirs.label) == (mine.path, mine.label)
        assert theirs.probability == pytest.approx(mine.probability, abs=1e-3)
    assert first["test"]["classification"]["balanced_accuracy"] == second["test"]["classification"]["balanced_accuracy"]
    # Each file once, by one process.
    names = [sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if p.is_file()) for run in (one, two)]
    plain = [[name for name in each if "events.out" not in name] for each in names]
    assert plain[0] == plain[1]
    assert sum("events.out" in name for name in names[1]) == 1
    rows = (two.path / "logs" / "csv" / "metrics.csv").read_text().splitlines()
    assert len(rows) == len((one.path / "logs" / "csv" / "metrics.csv").read_text().splitlines())
    assert (two.path / "run.log").read_text().count(": epoch ") == 2
    assert fit_of(one) == fit_of(two)  # so that one adopts what the other has fitted


def fit_of(run: RunFolder) -> object:
    return run.read_identity()["fit"]


def test_what_goes_wrong_in_a_process_is_told_as_if_it_had_happened_here() -> None:
    trace = "\n\n-- Process 1 terminated with the following error:\nTraceback (most recent call last):\n  File ...\n"
    line = "training diverged: the loss is nan in epoch 1, batch 2; lower model.optimizer.lr"
    found = _of_process(ProcessRaisedException(f"{trace}weakspot.errors.WeakspotError: {line}\n", 1, 4711))
    assert isinstance(found, WeakspotError)
    assert str(found) == line
    ours = ProcessRaisedException(f"{trace}KeyError: 'x'\n", 1, 4711)
    assert _of_process(ours) is ours  # a mistake of ours keeps its traceback
    died = ProcessExitedException("process 1 terminated with signal SIGKILL", 1, 4711, -9, "SIGKILL")
    assert "a training process died (process 1 terminated with signal SIGKILL)" in str(_of_process(died))


# --- settings -----------------------------------------------------------------------------------------------------


def test_half_precision_trains(fabric: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: None) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (f"data.root={fabric}", "data.subset=fabric", "model.optimizer.lr=0.01")
    exact, half = (
        content(train(settings(*arguments, f"trainer.precision={precision}")))["train"]["history"]
        for precision in ("32-true", "bf16-mixed")
    )
    assert half != exact
    assert half[-1]["train/loss"] == pytest.approx(exact[-1]["train/loss"], rel=0.05)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.devices=2", r"trainer\.devices=2 needs trainer\.strategy=ddp_spawn; trainer=ddp sets it"),
        ("trainer.devices=0", r"trainer\.devices=0 must be at least 1"),
        ("trainer.strategy=ddp", r"trainer\.strategy=ddp is unknown \(did you mean 'ddp_spawn'\?\)"),
        ("trainer.precision=16", r"trainer\.precision=16 is unknown"),
        ("trainer.precision=16-mixed", r"16-mixed needs a GPU"),
        ("trainer.batch_size=1 trainer=ddp", r"trainer\.batch_size=1 is shared out among trainer\.devices=2"),
    ],
)
def test_impossible_devices_are_refused(fabric: Path, override: str, message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        train(settings(f"data.root={fabric}", "data.subset=fabric", *override.split()))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_gpu_settings_say_so(fabric: Path) -> None:
    overrides = [*TINY[:-2], "trainer=gpu", f"data.root={fabric}", "data.subset=fabric"]
    with pytest.raises(WeakspotError, match=r"trainer\.accelerator=gpu: torch sees no GPU here"):
        train(train_config(*overrides))
