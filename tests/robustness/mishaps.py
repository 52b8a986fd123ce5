"""What else goes wrong on a production PC: no room, no right to write, files that go, two at once, a worker that dies.

Each mishap disturbs commands of :mod:`faults` on its bench; after it they must end as if nothing had been, or they say
in one line what is wrong.
"""

from __future__ import annotations

import functools
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from robustness.faults import COMMANDS, TINY, Bench, Tally

from weakspot.errors import WeakspotError
from weakspot.models import weights

ROOM = "64m"
WRITING = ("train", "train, refined", "evaluate in place", "predict", "export boxes", "export model", "audit", "report",
           "explain", "check", "split")  # fmt: skip
"""Commands that are given a full disk and a folder that cannot be written."""


def _mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0  # noqa: S607


@functools.cache
def can_mount() -> bool:
    """Whether a small file system can be made: for root, where it is allowed."""
    return os.name == "posix" and os.geteuid() == 0 and bool(shutil.which("mount")) and _probe()


def _probe() -> bool:
    here = Path("/tmp") / f"weakspot-probe-{os.getpid()}"  # noqa: S108 - is removed at once
    here.mkdir()
    mounted = _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(here))
    if mounted:
        subprocess.run(["umount", str(here)], check=True)  # noqa: S607
    here.rmdir()
    return mounted


@contextmanager
def small_disk(bench: Bench, state: str) -> Iterator[Callable[[str], None]]:
    """The bench's folder as a file system of its own; yields what sets its options."""
    shutil.rmtree(bench.here, ignore_errors=True)
    bench.here.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(bench.here)):
        raise OSError("no file system can be mounted here")

    def remount(options: str) -> None:
        if not _mount("-o", f"remount,{options}", str(bench.here)):
            raise OSError(f"remounting with {options} failed")

    try:
        shutil.copytree(bench.states[state], bench.here, dirs_exist_ok=True)
        yield remount
    finally:
        subprocess.run(["umount", str(bench.here)], check=True)  # noqa: S607


def full_disk(bench: Bench, name: str, rng: random.Random, tally: Tally) -> None:
    """The disk is full at some point of a command; then there is room again."""
    command = COMMANDS[name]
    bench.undisturbed(name)
    with small_disk(bench, command.begin) as remount:
        used = disk_use(bench.here)
        bench.run(command.words)
        needed = disk_use(bench.here) - used
        for path in bench.here.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(bench.states[command.begin], bench.here, dirs_exist_ok=True)
        remount(f"size={disk_use(bench.here) + int(max(0, needed) * rng.uniform(0.0, 0.9)) // 4096 * 4096}")
        ended = bench.run(command.words)
        if ended.status == bench.undisturbed(name).ended.status and "No space left" not in ended.output:
            return  # it needs less than thought
        bench.refused(name, ended, "No space left on device", tally)
        remount(f"size={ROOM}")
        bench.compare(name, tally)


def disk_use(folder: Path) -> int:
    """Bytes in use of a file system."""
    found = os.statvfs(folder)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def short_files(bench: Bench, name: str, rng: random.Random, tally: Tally) -> None:
    """As :func:`full_disk` where nothing can be mounted: no file may get longer than so many bytes."""
    known = bench.undisturbed(name)
    longest = max(len(content) for content in known.files.values())
    most = int(longest * rng.uniform(0.05, 0.8))
    bench.reset(COMMANDS[name].begin)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (most, most))
    ended = bench.wait(bench.start(COMMANDS[name].words, first=limit))
    if ended.status != known.ended.status or "File too large" in ended.output:
        bench.refused(name, ended, "File too large", tally)
    bench.compare(name, tally)


def read_only(bench: Bench, name: str, tally: Tally) -> None:
    """Nothing can be written where the results should go."""
    bench.undisturbed(name)
    with small_disk(bench, COMMANDS[name].begin) as remount:
        remount("ro")
        bench.refused(name, bench.run(COMMANDS[name].words), "Read-only file system", tally)
        remount("rw")
        bench.compare(name, tally)


def vanishing(path: Path, gone: Path) -> Callable[[], None]:
    """In a fork: a file goes right before it is opened for the first time."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        opened = event == "open" and isinstance(arguments[0], str | os.PathLike)
        if opened and os.fspath(arguments[0]) == str(path) and path.is_file():
            path.replace(gone)

    return lambda: sys.addaudithook(hook)


def deleted_between(bench: Bench, tally: Tally) -> None:
    """A picture goes after it was listed: training names it, a prediction reports it and answers the others."""
    pictures = sorted(Path(bench.folders["DATA"]).rglob("train/good/*.png"))
    for name, path in (("train", pictures[3]), ("check", pictures[4]), ("predict", bench.scratch / "photos" / "7.png")):
        bench.undisturbed(name)
        bench.reset(COMMANDS[name].begin)
        gone = bench.scratch / "gone.png"
        ended = bench.wait(bench.start(COMMANDS[name].words, first=vanishing(path, gone)))
        tally.faults += 1
        named = [line for line in ended.errors if str(path) in line or path.name in line]
        if ended.status != 1 or "Traceback" in ended.output or not named or not gone.is_file():
            tally.note("crashes", f"{name}: ended with {ended.status}: {ended.output[-1500:]}")
        if name == "predict":
            lines = (bench.here / "results" / "predictions.jsonl").read_bytes().splitlines()
            known = bench.undisturbed(name).files["results/predictions.jsonl"].splitlines()
            if len(lines) != len(known) or sum(a != b for a, b in zip(lines, known, strict=True)) != 1:
                tally.note("wrong", "predict: other pictures got other answers")
            shutil.rmtree(bench.here / "results")  # finished, if not as wished: the same command would be refused
        gone.replace(path)
        bench.compare(name, tally)


def two_at_once(bench: Bench, tally: Tally, kinds: Sequence[str] = ("the same run", "another run", "predict")) -> None:
    """The same command twice at a time in one folder, and another one that wants to write there."""
    train = COMMANDS["train"].words
    words = {
        "the same run": train,
        "another run": (*train, "boxes.threshold=0.2"),
        "predict": COMMANDS["predict"].words,
    }
    for kind in kinds:
        name = "predict" if kind == "predict" else "train"
        bench.undisturbed(name)
        bench.reset(COMMANDS[name].begin)
        logs = [bench.scratch / f"said-{i}" for i in range(2)]
        both = [bench.start(w, log=log) for w, log in zip((COMMANDS[name].words, words[kind]), logs, strict=True)]
        first, second = (bench.wait(process, log=log) for process, log in zip(both, logs, strict=True))
        tally.faults += 1
        refused = [one for one in (first, second) if one.errors and one.errors[-1].endswith(("folder", "or wait"))]
        if any("Traceback" in one.output for one in (first, second)) or len(refused) > 1:
            tally.note("crashes", f"{kind} at once: {first.output[-800:]} {second.output[-800:]}")
        elif kind == "another run" and not refused:
            tally.note("wrong", "two runs in one folder")
        elif kind != "another run" or first not in refused:
            bench.compare(name, tally)


def killed_worker(bench: Bench, tally: Tally) -> None:
    """A process of a sweep that runs cells at once is killed, as when memory is short."""
    small = [word.replace("=tiny", "=vgg16") for word in TINY]  # workers know no tiny backbone
    words = ("train", "-m", *small, "data.root=DATA", "boxes.threshold=0.3,0.6", "hydra/launcher=joblib",
             "trainer.max_epochs=1", "hydra.launcher.n_jobs=2")  # fmt: skip
    bench.reset("empty")
    process = bench.start(words)
    victim = 0
    while not victim and os.waitpid(process, os.WNOHANG) == (0, 0):
        time.sleep(0.05)
        victim = next((pid for pid in workers_of(process) if list(bench.here.glob("outputs/*/*/*/run.json"))), 0)
    if not victim:
        return tally.note("crashes", f"no worker was found: {bench.log.read_text()}")
    os.kill(victim, signal.SIGKILL)
    bench.refused("sweep with joblib", bench.wait(process), "a worker process died", tally)
    again = bench.run(words)
    found = list(bench.here.glob("outputs/*/*/*/report.html"))
    if again.status or len(found) != 2:
        tally.note("lost", f"sweep with joblib: {again.output[-1500:]}")
    return None


def workers_of(process: int) -> list[int]:
    """Processes of joblib's below a process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == process and b"popen_loky" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


class Entry:
    """A torchvision entry whose address is a file."""

    def __init__(self, path: Path) -> None:
        self.url = path.as_uri()

    def get_state_dict(self, **settings: Any) -> dict[str, torch.Tensor]:
        """As torchvision's."""
        state: dict[str, torch.Tensor] = torch.hub.load_state_dict_from_url(self.url, **settings)
        return state


def cut_off_download(folder: Path, tally: Tally) -> None:
    """A download was cut off earlier, or is now; then it goes through. ``TORCH_HOME`` must be in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"0.weight": torch.ones(500)}, folder / "whole")
    content = (folder / "whole").read_bytes()
    source = folder / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    kept = Path(torch.hub.get_dir()) / "checkpoints" / source.name
    entry: Any = Entry(source)
    kept.parent.mkdir(parents=True, exist_ok=True)
    for size in (0, 1, 200, len(content) - 1):
        kept.write_bytes(content[:size])
        for arrives, wanted in ((None, "go online once, or give a file"), (size, "invalid hash value")):
            tally.faults += 1
            source.unlink(missing_ok=True)
            if arrives is not None:
                source.write_bytes(content[:arrives])
            try:
                weights.torchvision_state(entry, "net")
                tally.note("wrong", f"{size} bytes were taken for whole")
            except WeakspotError as error:
                if wanted not in str(error):
                    tally.note("crashes", f"cut-off download: {error}")
            if arrives is None and kept.stat().st_size != size:
                tally.note("lost", "thrown away without a connection")
        source.write_bytes(content)
        if weights.torchvision_state(entry, "net")["0.weight"].tolist() != [1] * 500 or kept.read_bytes() != content:
            tally.note("wrong", "cut-off download: other weights")


def all_mishaps(bench: Bench, seed: int) -> dict[str, Tally]:
    """Every mishap, a row of the table each."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    found = {name: Tally() for name in ("full disk", "read-only folder", "file deleted", "two at once", "worker killed",
                                        "download cut off")}  # fmt: skip
    for name in WRITING:
        for _ in range(3):
            (full_disk if can_mount() else short_files)(bench, name, rng, found["full disk"])
        if can_mount():
            read_only(bench, name, found["read-only folder"])
    deleted_between(bench, found["file deleted"])
    two_at_once(bench, found["two at once"])
    killed_worker(bench, found["worker killed"])
    os.environ["TORCH_HOME"] = str(bench.scratch / "torch")
    cut_off_download(bench.scratch / "downloads", found["download cut off"])
    if not can_mount():
        print("nothing can be mounted here (not root?): files are kept short instead, read-only folders left out")
    return found
