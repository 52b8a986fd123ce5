"""A few kills and mishaps of every kind; ``make faults`` does hundreds. And each fault that was found, by itself."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from helpers.backbones import tiny_backbone
from helpers.runs import evaluate_config, train_config
from robustness import mishaps
from robustness.faults import Bench, Tally

from weakspot.cli.main import main
from weakspot.commands import results
from weakspot.commands.audit import audit
from weakspot.commands.evaluate import evaluate as run_evaluate
from weakspot.commands.train import train
from weakspot.config.schema import read_config, with_values
from weakspot.errors import WeakspotError
from weakspot.models import backbones
from weakspot.runs.folder import RunFolder
from weakspot.training.prepare import PreparedRun
from weakspot.training.stages import FittedRun, fit_and_infer
from weakspot.utils import files
from weakspot.utils.files import new_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.figures,
    pytest.mark.skipif(os.name != "posix", reason="kills forks of itself"),
]

KILLS = {
    "train": 3, "evaluate in place": 3, "predict": 5, "export boxes": 4, "audit": 2, "report": 1, "check": 1,
    "split": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "tiny", tiny_backbone)  # gone again for the tests that follow
        yield Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, tiny: None) -> RunFolder:
    """A finished run, to do anything with."""
    bench.reset("trained")
    monkeypatch.chdir(bench.here)
    return RunFolder(Path("run"))


def train_again(run: RunFolder, *overrides: str) -> RunFolder:
    changes = {key: json.loads(value) for key, _, value in (override.partition("=") for override in overrides)}
    return train(with_values(read_config(run.config), {"output": str(run.path), **changes}))


def evaluate(*overrides: str) -> RunFolder:
    return run_evaluate(evaluate_config(*overrides))


@pytest.mark.parametrize("name", KILLS)
def test_killed_at_any_moment_it_ends_as_if_nothing_had_been(bench: Bench, name: str) -> None:
    tally, rng = Tally(), random.Random(name)  # noqa: S311 - not for secrets
    while tally.faults < KILLS[name]:
        bench.disturb(name, rng, KILLS[name] - tally.faults, tally)
    assert not tally.findings


@pytest.mark.parametrize("name", ["train", "predict"])
def test_ctrl_c_stops_within_two_seconds_and_nothing_is_lost(bench: Bench, name: str) -> None:
    tally = Tally()
    while not tally.faults:
        bench.interrupt(name, random.Random(5), tally)  # noqa: S311 - not for secrets
    assert not tally.findings


@pytest.mark.parametrize("name", ["predict", "export boxes"])
def test_a_full_disk_is_one_line_and_then_there_is_room_again(bench: Bench, name: str) -> None:
    tally, rng = Tally(), random.Random(2)  # noqa: S311 - not for secrets
    (mishaps.full_disk if mishaps.can_mount() else mishaps.short_files)(bench, name, rng, tally)
    assert not tally.findings


@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_a_folder_that_cannot_be_written_is_one_line(bench: Bench, name: str) -> None:
    if not mishaps.can_mount():
        pytest.skip("only root can mount a file system that cannot be written, and nothing else stops root")
    tally = Tally()
    mishaps.read_only(bench, name, tally)
    assert not tally.findings


def test_a_picture_that_goes_after_it_was_listed_is_named(bench: Bench) -> None:
    tally = Tally()
    mishaps.deleted_between(bench, tally)
    assert (tally.faults, tally.findings) == (3, [])


def test_two_at_once_in_one_folder(bench: Bench) -> None:
    tally = Tally()
    mishaps.two_at_once(bench, tally, ("another run", "predict"))
    assert (tally.faults, tally.findings) == (2, [])


# --- what was found -----------------------------------------------------------------------------------------------


def test_a_finished_run_without_its_report_gets_one(run: RunFolder) -> None:
    config = with_values(read_config(run.config), {"output": None})
    first = train(config)
    first.report.unlink()
    assert train(config).path == first.path
    assert first.report.is_file()


def test_a_run_cut_off_before_it_was_measured_is_measured_in_full(run: RunFolder) -> None:
    whole = run.read_metrics()
    assert whole["controls"]["erased"]
    run.metrics.unlink()
    assert train_again(run).read_metrics()["controls"] == whole["controls"]


def test_evaluated_in_place_it_keeps_the_control_and_drops_the_old_audit(run: RunFolder) -> None:
    run.audit.write_text("{}")
    assert "erased" in run.read_metrics()["controls"]
    evaluate("output=run", "boxes.threshold=0.95", "boxes.method=components")
    assert not run.audit.exists()
    audit(run)
    assert run.read_metrics()["controls"]["erased"] == json.loads(run.audit.read_text())  # of the boxes there are now


def test_what_cannot_be_measured_leaves_everything_as_it_was(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file() and path.suffix != ".log"}
    monkeypatch.setattr(
        results, "measure_erasure", lambda *_: (_ for _ in ()).throw(WeakspotError("a picture is gone"))
    )
    with pytest.raises(WeakspotError, match="a picture is gone"):
        evaluate("output=run", "boxes.threshold=0.3")
    assert before == {path: path.read_bytes() for path in before}


def test_trained_again_in_its_folder_a_run_is_not_taken_for_finished_meanwhile(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def fit(prepared: PreparedRun, folder: Path) -> FittedRun:
        seen.append((run.metrics.exists(), run.fitted))
        return fit_and_infer(prepared, folder)

    monkeypatch.setattr("weakspot.commands.train.fit_and_infer", fit)
    # Checkpoints are made beside the last one: a temporary folder may be on another disk, and a copy can be cut off.
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("written elsewhere, and then copied"))
    train_again(run, "reuse=false")
    assert seen == [(False, False)]
    assert run.metrics.is_file()
    assert run.checkpoint.is_file()


def test_the_clock_going_back_overwrites_nothing(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 10, 25, 2, 30)  # an hour that comes twice

    monkeypatch.setattr(files, "datetime", Stopped)
    assert [new_folder(Path("x"), "-e").name for _ in range(3)] == [
        "20261025-023000-e", "20261025-023000-2-e", "20261025-023000-3-e",
    ]  # fmt: skip
    config = with_values(read_config(run.config), {"output": None})
    first = train(config)
    second = train(with_values(config, {"reuse": False}))
    assert first.path != second.path
    assert first.metrics.is_file()
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["weakspot", "explain", "run", str(next(Path("../photos").glob("0.png")))])
        main_ends(0)
    assert len(list(Path("outputs/explain").iterdir())) == 2


def main_ends(status: int) -> None:
    try:
        main()
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    assert code == status


def test_a_cache_file_from_the_future_is_as_good_as_any(run: RunFolder) -> None:
    whole = run.read_metrics()["test"]
    for path in Path("cache").rglob("*.npy"):
        os.utime(path, (4e9, 4e9))
    shutil.rmtree(run.path)
    command = ["data.subset=fabric", *mishaps.TINY, f"data.root={Path('../data').resolve()}", "output=run"]
    assert train(train_config(*command)).read_metrics()["test"] == whole


def test_figures_are_the_same_bytes_and_old_ones_go(run: RunFolder) -> None:
    before = {path.name: path.read_bytes() for path in run.figures.iterdir()}
    assert "trust.svg" in before
    train_again(run)
    assert before == {path.name: path.read_bytes() for path in run.figures.iterdir()}
    evaluate("output=run", "decision.miss=1e-9")  # nothing is called defective any more
    assert before.keys() - {path.name for path in run.figures.iterdir()} == {"trust.png", "trust.svg"}
