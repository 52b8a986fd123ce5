"""A few kills and mishaps of every kind; ``make faults`` does hundreds. And each fault that was found, by itself."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from helpers.backbones import tiny_backbone
from helpers.runs import evaluate_config, train_config
from robustness import mishaps
from robustness.faults import Bench, Tally

from weakspot.cli.main import main
from weakspot.commands import results
from weakspot.commands import train as pipeline
from weakspot.config.schema import read_config
from weakspot.errors import WeakspotError, as_weakspot_error
from weakspot.evaluation.erasure import audit
from weakspot.models import network
from weakspot.runs.folder import RunFolder, holds_something
from weakspot.utils import files, locks
from weakspot.utils.files import atomic_path, is_temporary, new_folder, write_text
from weakspot.utils.threads import threads

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills forks of itself")

KILLS = {
    "train": 3, "evaluate in place": 3, "predict": 5, "export boxes": 4, "audit": 2, "report": 1, "check": 1,
    "split": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(network.BACKBONES, "tiny", tiny_backbone)  # gone again for the tests that follow
        yield Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, tiny: None) -> RunFolder:
    """A finished run, to do anything with."""
    bench.reset("trained")
    monkeypatch.chdir(bench.here)
    return RunFolder(Path("run"))


def train_again(run: RunFolder, *overrides: str) -> RunFolder:
    config = read_config(run.config)
    config.output = str(run.path)
    for override in overrides:
        key, _, value = override.partition("=")
        setattr(config, key, json.loads(value))
    return pipeline.train(config)


def evaluate(*overrides: str) -> RunFolder:
    return pipeline.evaluate(evaluate_config(*overrides))


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
    config = read_config(run.config)
    config.output = None
    first = pipeline.train(config)
    first.report.unlink()
    assert pipeline.train(config).path == first.path
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
    monkeypatch.setattr(results, "erase_and_ask", lambda *_: (_ for _ in ()).throw(WeakspotError("a picture is gone")))
    with pytest.raises(WeakspotError, match="a picture is gone"):
        evaluate("output=run", "boxes.threshold=0.3")
    assert before == {path: path.read_bytes() for path in before}


def test_trained_again_in_its_folder_a_run_is_not_taken_for_finished_meanwhile(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fit = pipeline.fit_and_map
    monkeypatch.setattr(
        pipeline, "fit_and_map", lambda *args: (seen.append((run.metrics.exists(), run.fitted)), fit(*args))
    )
    # Checkpoints are made beside the last one: a temporary folder may be on another disk, and a copy can be cut off.
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("written elsewhere, and then copied"))
    train_again(run, "reuse=false")
    assert seen == [(False, False)]
    assert run.metrics.is_file()
    assert run.checkpoint.is_file()


def test_an_array_that_does_not_fit_on_the_disk_names_its_file(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.npy"):
            raise OSError("16368 requested and 3056 written")  # what NumPy's tofile says, without number or name

    with pytest.raises(OSError, match=r"No space left on device: .*a\.npy"):
        write()


def test_a_link_to_what_is_there_already_leaves_nothing_behind(tmp_path: Path) -> None:
    """Renaming one of two links to a file to the other does nothing: a run that is taken over for the second time."""
    donor, path = tmp_path / "donor", tmp_path / "taken"
    donor.write_text("model")
    for _ in range(2):
        with atomic_path(path) as temporary:
            os.link(donor, temporary)
    assert path.samefile(donor)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["donor", "taken"]


def test_a_folder_with_nothing_but_a_dead_process_s_beginnings_is_taken(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "run.json") as temporary:
        temporary.touch()
        assert not holds_something(tmp_path)
    assert holds_something(tmp_path)


def test_temporary_files_of_the_dead_go_and_those_of_the_living_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = os.fork()
    if not dead:
        os._exit(0)
    os.waitpid(dead, 0)
    machine = files._machine()
    names = [f".{machine}-{who}-0123abcd{suffix}" for who in (dead, os.getpid()) for suffix in (".json", "")]
    names += [f".{'0' * 8}-{dead}-0123abcd.json", ".hidden", "seen.json"]
    for name in names:
        (tmp_path / name).mkdir() if name.endswith("abcd") else (tmp_path / name).touch()
    monkeypatch.setattr(files, "_tidied", set())
    write_text(tmp_path / "a.txt", "")
    assert {path.name for path in tmp_path.iterdir()} == {*names[2:], "a.txt"}
    assert all(is_temporary(tmp_path / name) for name in names[:5])


def write_into(path: Path, cause: OSError | None) -> None:
    with atomic_path(path) as temporary:
        if cause:
            raise cause
        (temporary / "below").touch()


def test_an_error_while_writing_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_into(tmp_path / "a.txt", OSError(errno.ENOSPC, "No space left on device"))
    assert str(as_weakspot_error(caught.value)) == (
        f"No space left on device: {tmp_path / 'a.txt'}; make room and start the same command again"
    )
    with pytest.raises(FileNotFoundError, match="below"):  # another file is named as it is
        write_into(tmp_path / "a.txt", None)
    assert list(tmp_path.iterdir()) == []


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
    config = read_config(run.config)
    config.output = None
    first = pipeline.train(config)
    config.output, config.reuse = None, False
    second = pipeline.train(config)
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


def test_who_writes_where_another_process_writes_is_told(tmp_path: Path) -> None:
    with locks.alone(tmp_path):
        with locks.only_one(tmp_path / "other"):
            pass
        with pytest.raises(WeakspotError, match=r"another process writes to .*choose another folder or wait"):
            locks.only_one(tmp_path).__enter__()
    with locks.only_one(tmp_path):
        pass


def interrupted(work: Callable[[], None]) -> None:
    with threads(2) as pool:
        for _ in range(100):
            pool.submit(work)
        raise KeyboardInterrupt


def test_threads_begin_nothing_new_when_they_are_left() -> None:
    done: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: (time.sleep(0.05), done.append(time.monotonic()))[1])
    assert len(done) <= 4


def test_a_cache_file_from_the_future_is_as_good_as_any(run: RunFolder) -> None:
    whole = run.read_metrics()["test"]
    for path in Path("cache").rglob("*.npy"):
        os.utime(path, (4e9, 4e9))
    shutil.rmtree(run.path)
    command = ["data.subset=fabric", *mishaps.TINY, f"data.root={Path('../data').resolve()}", "output=run"]
    assert pipeline.train(train_config(*command)).read_metrics()["test"] == whole


def test_figures_are_the_same_bytes_and_old_ones_go(run: RunFolder) -> None:
    before = {path.name: path.read_bytes() for path in run.figures.iterdir()}
    assert "trust.svg" in before
    train_again(run)
    assert before == {path.name: path.read_bytes() for path in run.figures.iterdir()}
    evaluate("output=run", "decision.miss=1e-9")  # nothing is called defective any more
    assert before.keys() - {path.name for path in run.figures.iterdir()} == {"trust.png", "trust.svg"}
