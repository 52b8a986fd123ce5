"""Sweeps as users run them: each piece of work once, whatever kills them, on several processes, and as a search."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.paths import TESTS
from helpers.runs import tiny_run

from weakspot.config import hydra_app, sweep
from weakspot.data import synthetic
from weakspot.errors import WeakspotError

TINY = tiny_run(epochs=2, size="64")
SWEEP = (
    "train", "-m", "data.subset=fabric,gear", *TINY, "split.folds=2", "split.fold=0,1", "boxes.threshold=0.3,0.6",
    "model.class_weights=[1,1000]", "model.optimizer.lr=0.01",  # so that every image gets a box
)  # fmt: skip
FOUR = (
    "train", "-m", "data.subset=gear", "model.backbone=resnet18", "model.weights=none", "data.image_size=32",
    "trainer.max_epochs=1", "trainer.accelerator=cpu", "split.folds=2", "split.fold=0,1", "boxes.threshold=0.3,0.6",
)  # fmt: skip
DRIVER = TESTS / "helpers" / "sweep_driver.py"

needs_plugins = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins") is None, reason="the sweep extra is not installed"
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of two small generated data sets."""
    root = tmp_path_factory.mktemp("two")
    for name in ("fabric", "gear"):
        synthetic.generate(root, name, seed=2, good=10, defect=2, size=(64, 64))
    return root


def images(root: Path) -> int:
    return sum("ground_truth" not in path.parts for path in root.rglob("*.png"))


def start(folder: Path, *arguments: str, kill: str = "never:0") -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "COUNTS": str(folder / "counts"), "KILL": kill, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "150",
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "RAY_ADDRESS": "local",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def counts(folder: Path) -> Counter[str]:
    return Counter((folder / "counts").read_text().split())


def summary(folder: Path) -> dict[str, Any]:
    """The newest leaderboard, without what may differ: where the runs are."""
    newest = sorted((folder / "outputs" / "sweeps").iterdir())[-1]
    content: dict[str, Any] = json.loads((newest / "summary.json").read_text())
    for row in content["runs"]:
        del row["run"]
    return content


@pytest.fixture(scope="module")
def undisturbed(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(start(folder, *SWEEP, f"data.root={two}"))
    return folder


@pytest.mark.slow
def test_a_sweep_fits_once_a_subset_and_fold_and_sees_every_image_once(two: Path, undisturbed: Path) -> None:
    found = counts(undisturbed)
    assert found == {"stem": images(two), "store": images(two), "epoch": 8, "fit": 4, "results": 8}
    runs = summary(undisturbed)["runs"]
    assert len(runs) == 8
    assert len({run["max_box_acc_v2"] for run in runs}) > 1
    (sweep,) = (undisturbed / "outputs" / "sweeps").iterdir()
    for name in ("summary.csv", "summary.html"):
        assert (sweep / name).stat().st_size > 0


@pytest.mark.slow
def test_killed_at_every_stage_it_ends_with_the_same_summary(two: Path, undisturbed: Path, tmp_path: Path) -> None:
    for kill in ("store:7", "epoch:3", "fit:2", "results:2"):
        finish(start(tmp_path, *SWEEP, f"data.root={two}", kill=kill), code=-signal.SIGKILL)
    output = finish(start(tmp_path, *SWEEP, f"data.root={two}"))
    assert summary(tmp_path) == summary(undisturbed)
    assert output.count("nothing to do") == 6
    found = counts(tmp_path)
    # What a kill destroys is done again, nothing else: an image on its way to the disk, an epoch before its checkpoint.
    assert found["stem"] == images(two) + 1
    assert found["epoch"] == 8 + 1
    assert found["fit"] == 4 + 1  # the fit whose process died before its bundle was written comes from its checkpoint


@pytest.mark.slow
def test_two_processes_at_once_share_the_work(two: Path, tmp_path: Path) -> None:
    arguments = ("train", "data.subset=fabric", *TINY, f"data.root={two}")
    both = [start(tmp_path, *arguments, f"boxes.threshold={threshold}") for threshold in (0.3, 0.6)]
    for process in both:
        finish(process)
    assert counts(tmp_path)["fit"] == 1
    assert counts(tmp_path)["stem"] == images(two / "fabric")
    assert len(list((tmp_path / "outputs").rglob("metrics.json"))) == 2


@pytest.mark.parametrize("missing", ["no_such_package", "no_such_package.plugin", "weakspot.no_such_module"])
def test_a_plugin_that_is_not_installed_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sweep.PLUGINS, "hydra/launcher=joblib", missing)
    with pytest.raises(WeakspotError, match=r"hydra/launcher=joblib needs a plugin: pip install 'weakspot\[sweep\]'"):
        hydra_app.run("train", lambda config: pytest.fail("started"), ["-m", "seed=1,2", "hydra/launcher=joblib"])


@pytest.mark.slow
@needs_plugins
def test_joblib_runs_cells_in_other_processes_to_one_leaderboard(two: Path, tmp_path: Path) -> None:
    sweep = ("train", "-m", f"data.root={two}", "data.subset=gear,geer", *TINY, "boxes.threshold=0.3,0.6")
    small = ("model.backbone=vgg16", "data.image_size=32", "trainer.max_epochs=1")  # workers know no tiny backbone
    output = finish(start(tmp_path, *sweep, *small, "hydra/launcher=joblib"), code=1)
    content = summary(tmp_path)
    assert sorted(row["threshold"] for row in content["runs"]) == [0.3, 0.6]
    assert len(content["failed"]) == 2
    assert "data.subset=geer" in content["failed"][0]["overrides"]
    assert "2 of 4 cells of the sweep failed" in output
    assert "validated against ConfigStore" not in output
    runs = [json.loads(path.read_text()) for path in (tmp_path / "outputs").rglob("run.json")]
    assert sum("fitted_by" in run for run in runs) == 1


@pytest.fixture(scope="module")
def four(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which :data:`FOUR` has run, one cell after the other."""
    folder = tmp_path_factory.mktemp("four")
    finish(start(folder, *FOUR, f"data.root={two}"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "package"),
    [("submitit_local", "submitit"), ("ray", "ray")],
)
def test_a_cluster_runs_cells_to_the_same_leaderboard_and_skips_finished_ones(
    two: Path, four: Path, tmp_path: Path, launcher: str, package: str
) -> None:
    pytest.importorskip(package, reason=f"the extra with {package} is not installed")
    kept, *removed = sorted((four / "outputs" / "default" / "gear").iterdir())
    shutil.copytree(kept, tmp_path / kept.relative_to(four))
    # Features of other batches are rounded otherwise, which shows in what an untrained network ranks by.
    shutil.copytree(four / "cache", tmp_path / "cache")
    output = finish(start(tmp_path, *FOUR, f"data.root={two}", f"hydra/launcher={launcher}"))
    assert summary(tmp_path) == summary(four)
    assert len(summary(tmp_path)["runs"]) == 4
    folder = tmp_path / "outputs" / "default" / "gear"
    assert (folder / kept.name).is_dir()  # and not made again under another time
    assert len(list(folder.iterdir())) == len(removed) + 1
    assert output.count("to look at:") == 1
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    assert len(list((sweep / "cells").iterdir())) == 4


def test_slurm_where_there_is_none_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit", reason="the slurm extra is not installed")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(WeakspotError, match=r"submitit_slurm: there is no sbatch here; .* hydra/launcher=submitit_loc"):
        hydra_app.run("train", lambda config: pytest.fail("started"), ["-m", "hydra/launcher=submitit_slurm"])


def test_slurms_settings_are_those_of_the_plugin() -> None:
    config = pytest.importorskip("hydra_plugins.hydra_submitit_launcher.config", reason="no slurm extra")
    for name, known in (("submitit_slurm", config.SlurmQueueConf), ("submitit_local", config.LocalQueueConf)):
        ours = yaml.safe_load((hydra_app.conf_dir() / "hydra" / "launcher" / f"{name}.yaml").read_text())
        assert set(ours) <= set(known.__dataclass_fields__)
        assert ours["_target_"] == known._target_


@pytest.mark.slow
@needs_plugins
def test_optuna_searches_by_the_validation_part(two: Path, tmp_path: Path) -> None:
    search = (
        "train", "-m", f"data.root={two}", "data.subset=gear", *TINY, "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=3", "trainer.batch_size=choice(5,10)",
    )  # fmt: skip
    assert "set split.val_size=0.2" in finish(start(tmp_path, *search), code=1)
    finish(start(tmp_path, *search, "split.val_size=0.3"))
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    best = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    cells = [json.loads(path.read_text()) for path in sorted((sweep / "cells").iterdir())]
    assert len(cells) == 3
    assert best["best_value"] == pytest.approx(min(cell["score"] for cell in cells))
    assert set(best["best_params"]) == {"model.optimizer.lr", "trainer.batch_size"}
    history = json.loads((tmp_path / cells[0]["folder"] / "metrics.json").read_text())["train"]["history"]
    assert cells[0]["score"] == pytest.approx(history[-1]["val/loss"])
    assert counts(tmp_path)["stem"] == images(two / "gear")
    again = finish(start(tmp_path, *search, "split.val_size=0.3"))  # the same seed asks for the same trials
    assert again.count("nothing to do") == 3


@pytest.mark.slow
@needs_plugins
def test_a_search_without_a_good_trial_says_why(two: Path, tmp_path: Path) -> None:
    search = ("train", "-m", f"data.root={two}", "data.subset=geer", *TINY, "hydra/sweeper=optuna")
    output = finish(start(tmp_path, *search, "split.val_size=0.3", "hydra.sweeper.n_trials=2"), code=1)
    assert "did you mean 'gear'" in output
    assert "2 of 2 cells of the sweep failed" in output
    (sweep,) = (tmp_path / "outputs" / "sweeps").iterdir()
    with (sweep / "summary.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == []
