"""Commands killed with SIGKILL, again and again, until one may end: is its result that of an undisturbed run?

``make faults`` does it 500 times, and everything in ``mishaps.py``; the tests do it a few times. A command runs in a
fork of this process, which has imported everything, in a folder that is the same each time, so that files can be
compared byte by byte. Half of the kills come at a random moment, half at a random change to a file, as there the damage
is done.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs this file by itself

import numpy as np
from helpers.backbones import tiny_backbone
from helpers.runs import ALL_ANOMALY, FEW_STEPS, tiny_run
from PIL import Image
from safetensors.numpy import load as load_tensors

from weakspot.cli import main as cli
from weakspot.data import synthetic
from weakspot.models import backbones

SLOWEST = 180.0
"""Seconds after which a command is taken to hang."""

CTRL_C_SECONDS = 2.0

TINY = (*tiny_run(size="32"), *ALL_ANOMALY, "data.subset=fabric")

REFINED = (
    "experiment=recommended", *TINY, *FEW_STEPS, "boxes.threshold=-2", "boxes.false_boxes=60", "split.val_size=0.3",
)  # fmt: skip


@dataclass(frozen=True)
class Command:
    """What is killed.

    Attributes:
        words: the command line; ``DATA`` and ``PHOTOS`` stand for folders.
        kills: how many of 500.
        begin: what is there before: a name in :attr:`Bench.states`.
        says: what the command may say instead, once its result is there.
    """

    words: tuple[str, ...]
    kills: int
    begin: str = "trained"
    says: str = ""


COMMANDS = {
    "train": Command(("train", *TINY, "data.root=DATA", "output=run"), 70, "empty"),
    "train, named by time": Command(("train", *TINY, "data.root=DATA"), 30, "empty"),
    "train, refined": Command(("train", *REFINED, "data.root=DATA", "output=run"), 40, "empty"),
    "train again": Command(("train", *TINY, "data.root=DATA", "output=run", "reuse=false"), 20),
    "cross-validate": Command(("train", *TINY, "data.root=DATA", "cv=2"), 30, "empty"),
    "sweep": Command(("train", "-m", *TINY, "data.root=DATA", "boxes.threshold=0.3,0.6"), 30, "empty"),
    "evaluate": Command(("evaluate", "run=run", "boxes.threshold=0.4"), 30),
    "evaluate in place": Command(("evaluate", "output=run", "boxes.threshold=0.4"), 40),
    "predict": Command(("predict", "run", "PHOTOS", "--output", "results"), 60,
                       says="predictions already; choose another --output"),
    "export boxes": Command(("export", "boxes", "run", "--format", "yolo", "--output", "annotations"), 40,
                            says="annotations already holds something; choose another --output"),
    "export model": Command(("export", "model", "run", "--count", "4"), 15),
    "audit": Command(("audit", "run"), 25),
    "report": Command(("report", "run"), 20),
    "explain": Command(("explain", "run", "PHOTOS/0.png", "--output", "why"), 20),
    "check": Command(("check", "DATA/fabric", "--output", "found.json", "--pairs", "pairs"), 15, "empty"),
    "split": Command(("split", "DATA/fabric", "--output", "split.csv"), 15, "empty",
                     says="split.csv exists; choose another file with --output"),
}  # fmt: skip


@dataclass
class Tally:
    """What came of disturbing a command; `findings` is what must not be."""

    faults: int = 0
    lost: int = 0
    wrong: int = 0
    crashes: int = 0
    slowest_stop: float = 0.0
    findings: list[str] = field(default_factory=list)

    def note(self, kind: str, what: str) -> None:
        """Count a finding of a kind: ``lost``, ``wrong`` or ``crashes``."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.findings.append(f"{kind}: {what}")
        print(self.findings[-1], file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its status (minus the signal's number if by one), what it printed, and after what time."""

    status: int
    output: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """Its error lines."""
        return [line for line in self.output.splitlines() if line.startswith("error:")]


@dataclass(frozen=True)
class Undisturbed:
    """What a command does when it is left alone."""

    ended: Ended
    files: dict[str, bytes]
    changes: int


class Bench:
    """A folder to run commands in, put back to a known state before each."""

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.here = scratch, scratch / "here"
        self.log, self.counted = scratch / "said", scratch / "counted"
        self.states = {name: scratch / name for name in ("empty", "trained")}
        self.folders = {"DATA": str(scratch / "data"), "PHOTOS": str(scratch / "photos")}
        self._known: dict[str, Undisturbed] = {}
        backbones.BACKBONES["tiny"] = tiny_backbone
        synthetic.generate(scratch / "data", "fabric", seed=1, good=16, defect=3, size=(64, 80))
        (scratch / "photos").mkdir()
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 255, (40, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(scratch / "photos" / f"{i}.png")
        (scratch / "photos" / "5.png").write_bytes(b"not a picture")
        self.states["empty"].mkdir()
        self.reset("empty")
        trained = self.run(COMMANDS["train"].words)
        if trained.status:
            raise RuntimeError(trained.output)
        self.learn()
        shutil.copytree(self.here, self.states["trained"])

    def reset(self, state: str) -> None:
        """Put the folder back."""
        shutil.rmtree(self.here, ignore_errors=True)
        shutil.copytree(self.states[state], self.here)

    def start(
        self, words: Sequence[str], kill_at: int = 0, first: Callable[[], object] = int, log: Path | None = None
    ) -> int:
        """Start a command in a fork.

        Args:
            words: the command line.
            kill_at: it kills itself before so many changes to files.
            first: called in the fork before.
            log: for what it says.

        Returns:
            Its process.
        """
        changes: list[int] = []

        def begin() -> None:
            changes.append(0)
            count_changes(self.here, kill_at, changes)
            first()

        def end() -> None:
            self.counted.write_text(json.dumps([changes[0], sorted(sys.modules)]))

        return fork([self.filled(word) for word in words], self.here, log or self.log, begin, end)

    def filled(self, word: str) -> str:
        """A word with its folders."""
        return re.sub("DATA|PHOTOS", lambda found: self.folders[found[0]], word)

    def wait(
        self,
        process: int,
        kill_after: float = SLOWEST,
        with_signal: signal.Signals = signal.SIGKILL,
        log: Path | None = None,
    ) -> Ended:
        """Wait for a process, and send it a signal when its time is over."""
        log = log or self.log
        begin, sent = time.monotonic(), 0.0
        while True:
            found, status = os.waitpid(process, os.WNOHANG)
            now = time.monotonic()
            if found:
                text = log.read_text(errors="replace") if log.is_file() else ""
                return Ended(os.waitstatus_to_exitcode(status), text, now - (sent or begin))
            if not sent and now - begin > kill_after:
                os.kill(process, with_signal)
                sent = now
            elif now - begin > kill_after + SLOWEST:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.002)

    def run(self, words: Sequence[str]) -> Ended:
        """Run a command to its end."""
        return self.wait(self.start(words))

    def undisturbed(self, name: str) -> Undisturbed:
        """What a command does when it is left alone; found out once."""
        if name not in self._known:
            self.reset(COMMANDS[name].begin)
            ended = self.run(COMMANDS[name].words)
            if ended.status not in (0, 1) or "Traceback" in ended.output:
                raise RuntimeError(f"{name}: {ended.output}")
            self._known[name] = Undisturbed(ended, results(self.here), self.learn())
        return self._known[name]

    def learn(self) -> int:
        """Import here what the last command had to, so that the next need not; how many changes to files it made."""
        changes, modules = json.loads(self.counted.read_text())
        for module in set(modules) - set(sys.modules):
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        return int(changes)

    def disturb(self, name: str, rng: random.Random, kills: int, tally: Tally) -> None:
        """Kill a command up to `kills` times, then let it end, and compare."""
        command, known = COMMANDS[name], self.undisturbed(name)
        self.reset(command.begin)
        for _ in range(kills):
            at_change = rng.random() < 0.5
            process = self.start(command.words, rng.randint(1, known.changes + 1) if at_change else 0)
            ended = self.wait(process, SLOWEST if at_change else rng.uniform(0, known.ended.seconds))
            if ended.status != -signal.SIGKILL:
                break
            tally.faults += 1
            for path in not_whole(self.here):
                tally.note("wrong", f"{name}: {path} is not whole")
        self.compare(name, tally)

    def interrupt(self, name: str, rng: random.Random, tally: Tally) -> None:
        """Press Ctrl-C at a random moment, then run the command to its end, and compare."""
        command, known = COMMANDS[name], self.undisturbed(name)
        self.reset(command.begin)
        ended = self.wait(self.start(command.words), rng.uniform(0.02, 0.98) * known.ended.seconds, signal.SIGINT)
        if ended.status == known.ended.status:
            return  # it was quicker
        tally.faults += 1
        tally.slowest_stop = max(tally.slowest_stop, ended.seconds)
        if ended.status != 130 or "Traceback" in ended.output:
            tally.note("crashes", f"{name}: Ctrl-C ended it with {ended.status}: {ended.output[-1500:]}")
        if ended.seconds > CTRL_C_SECONDS:
            tally.note("crashes", f"{name}: {ended.seconds:.1f} s after Ctrl-C")
        for path in not_whole(self.here):
            tally.note("wrong", f"{name}: {path} is not whole")
        self.compare(name, tally)

    def compare(self, name: str, tally: Tally) -> None:
        """Run the command to its end; what it leaves must be what an undisturbed run leaves."""
        command, known = COMMANDS[name], self.undisturbed(name)
        ended = self.run(command.words)
        told = bool(command.says) and any(command.says in line for line in ended.errors)
        if "Traceback" in ended.output or (ended.status != known.ended.status and not (ended.status == 1 and told)):
            tally.note("crashes", f"{name}: ended with {ended.status}: {ended.output[-1500:]}")
        else:
            self.compare_files(name, tally)

    def compare_files(self, name: str, tally: Tally) -> None:
        """What is there must be what an undisturbed run leaves."""
        known, files = self.undisturbed(name), results(self.here)
        for path in sorted(known.files.keys() - files.keys()):
            tally.note("lost", f"{name}: {path} is missing")
        for path in sorted(files.keys() - known.files.keys()):
            tally.note("wrong", f"{name}: {path} was left behind")
        for path in sorted(files.keys() & known.files.keys()):
            if files[path] != known.files[path]:
                tally.note("wrong", f"{name}: {path} is another")

    def refused(self, name: str, ended: Ended, names: str, tally: Tally) -> None:
        """A command that could not do its work must have said so in one line that names the thing."""
        tally.faults += 1
        usual = self._known[name].ended.errors if name in self._known else []
        errors = [line for line in ended.errors if line not in usual]
        told = "Traceback" not in ended.output and "Logging error" not in ended.output and len(errors) == 1
        if ended.status != 1 or not told or names not in errors[0]:
            tally.note("crashes", f"{name}: ended with {ended.status}: {ended.output[-1500:]}")


def fork(
    words: Sequence[str], here: Path, log: Path, begin: Callable[[], object] = int, end: Callable[[], object] = int
) -> int:
    """Start a command in a fork of this process.

    Args:
        words: the command line.
        here: folder to run in; the cache lies there too.
        log: for what it says.
        begin, end: called in the fork before, and after if it ends by itself.

    Returns:
        Its process.
    """
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.setsid()
        os.chdir(here)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.environ |= {"XDG_CACHE_HOME": str(here / "cache"), "COLUMNS": "150"}
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["weakspot", *words]
        begin()
        try:
            cli.main()
            status = 0
        except SystemExit as ending:
            status = ending.code if isinstance(ending.code, int) else 0
        sys.stdout.flush(), sys.stderr.flush()
        end()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def count_changes(here: Path, kill_at: int, count: list[int]) -> None:
    """Count changes to files below a folder from now on, its cache apart, and die before one of them."""
    cache = str(here / "cache")
    changing = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            changes = event in changing
        if not changes or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - quick
        if path.startswith(str(here)) and not path.startswith(cache):
            count[0] += 1
            if count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


# --- what is compared ---------------------------------------------------------------------------------------------

IGNORED = re.compile(r"^cache/|/logs/|/checkpoints/|\.log$|^outputs/sweeps/.*(multirun|optimization).*")
STAMP = re.compile(rb"\d{8}-\d{6}(?=[-/\"'&<\s])(-\d+(?=/))?")
TIMES = re.compile(
    rb'"(seconds|pytorch|exported|ratio)": ?[-+.e\d]+|\d{4}-\d\d-\d\d \d\d:\d\d|(?<= epochs, )\d+ s(?=\.)'
)


def results(here: Path) -> dict[str, bytes]:
    """Every file that a command made, without the time it was made at and what it took."""
    newest = max((path.name for path in here.glob("outputs/sweeps/*")), default="")
    found = {}
    for path in sorted(here.rglob("*")):
        name = path.relative_to(here).as_posix()
        old_sweep = name.startswith("outputs/sweeps/") and not name.startswith(f"outputs/sweeps/{newest}")
        if path.is_file() and not old_sweep and not IGNORED.search(name):
            content = path.read_bytes()
            if path.suffix in (".json", ".html", ".csv", ".yaml"):
                content = TIMES.sub(b"", STAMP.sub(b"STAMP", content))
            found[STAMP.sub(b"STAMP", name.encode()).decode()] = content
    return found


def not_whole(here: Path) -> Iterator[str]:
    """Files under their own names, not temporary ones, that cannot be read."""
    for path in sorted(here.rglob("*")):
        name = path.relative_to(here)
        if not path.is_file() or any(part.startswith(".") for part in name.parts) or IGNORED.search(name.as_posix()):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_bytes())
            elif path.suffix == ".jsonl":
                [json.loads(line) for line in path.read_bytes().splitlines()]
            elif path.suffix in (".png", ".jpg"):
                Image.open(path).load()
            elif path.suffix == ".npz":
                with np.load(path) as file:
                    [file[key] for key in file.files]
            elif path.suffix == ".safetensors":
                load_tensors(path.read_bytes())
            elif not path.stat().st_size and path.suffix in (".html", ".csv", ".yaml", ".onnx", ".xml"):
                raise ValueError("empty")
        except Exception:
            yield name.as_posix()


def disturb_all(bench: Bench, seed: int, share: float, interrupts: int, only: str = "") -> dict[str, Tally]:
    """Kill every command its share of 500 times, and interrupt each a few times; a row of the table each."""
    tallies = {}
    for name, command in ((name, command) for name, command in COMMANDS.items() if only in name):
        rng, tally, begin = random.Random(f"{seed} {name}"), Tally(), time.monotonic()  # noqa: S311 - not for secrets
        wanted = max(1, round(command.kills * share))
        while tally.faults < wanted:
            bench.disturb(name, rng, min(rng.randint(1, 4), wanted - tally.faults), tally)
        stopped = tallies.setdefault("Ctrl-C", Tally())
        for _ in range(interrupts):
            bench.interrupt(name, rng, stopped)
        tallies[name] = tally
        print(f"{name}: {tally.faults} kills, {time.monotonic() - begin:.0f} s", file=sys.stderr)
    tallies["Ctrl-C"] = tallies.pop("Ctrl-C")  # last
    return tallies


def table(tallies: dict[str, Tally]) -> str:
    """A row a command."""
    total = Tally()
    for tally in tallies.values():
        for key in ("faults", "lost", "wrong", "crashes"):
            setattr(total, key, getattr(total, key) + getattr(tally, key))
    lines = [f"{'':24}{'faults':>10}{'results lost':>16}{'wrong answers':>16}{'crashes':>10}"]
    lines += [
        f"{name:24}{tally.faults:10}{tally.lost:16}{tally.wrong:16}{tally.crashes:10}"
        for name, tally in {**tallies, "in all": total}.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Disturb everything and print a table; exit with 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="default: another each time")
    parser.add_argument("--only", default="", help="commands whose name holds this")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    print(f"seed {seed}")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        tallies = disturb_all(bench, seed, options.kills / 500, interrupts=3, only=options.only)
        if not options.only:
            from robustness.mishaps import all_mishaps

            tallies |= all_mishaps(bench, seed)
    print(table(tallies))
    print(f"longest wait after Ctrl-C: {tallies['Ctrl-C'].slowest_stop:.2f} s")
    findings = [finding for tally in tallies.values() for finding in tally.findings]
    print("\n".join(dict.fromkeys(findings)))
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
