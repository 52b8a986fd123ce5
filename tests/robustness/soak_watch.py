"""A camera that writes pictures, one in twenty of them broken, to a watcher that is killed again and again.

``make soak-watch`` does it with 20,000 pictures and 50 kills. The camera writes below the rate that the watcher
sustains, and above it; the watcher is killed (SIGKILL) at moments drawn by lot and started again at once; the MQTT
broker is stopped and started. In the end every good picture has exactly one verdict in the journal, in the prediction
files and at the webhook (by its key), and at least one at the broker; every broken one is reported once.

The network has one convolution and an input of 32 pixels: what is tested is everything but the arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for who runs this file by itself

from helpers.tiny_onnx import tiny_onnx
from helpers.watching import MOSQUITTO, Broker, receiving, subscribed

from weakspot.inference.localizer import Localizer
from weakspot.watch.journal import Entry, Journal

BROKEN = 20
"""One in so many."""

WARM = 5000
"""Pictures after which memory is judged: by then the runtime has its arenas, SQLite its caches, and the watch for
changes its reference."""

GROWTH_MB = 1.0
"""In 1,000 pictures, from then on: a kilobyte a picture."""

MEMORY_AT = (1, 100, 200, 500, 1000, 2000, 3000, 4000, 5000, 10_000, 20_000, 40_000)
"""Pictures after which memory is shown."""


@dataclass
class Outcome:
    """What was found wrong, and what was measured."""

    wrong: list[str] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    def check(self, fine: bool, text: str) -> None:
        if not fine:
            self.wrong.append(text)


class Starter:
    """A process that has everything imported and one thread, and is forked for each start of the watcher."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, __file__, "--starter", str(log)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, words: Sequence[str]) -> int:
        """Start a command; gives its process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(words)) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


def starter(log: Path) -> None:
    """The other side of :class:`Starter`."""
    import onnxruntime  # noqa: F401

    import weakspot.commands.watch
    import weakspot.watch.sinks.flag
    import weakspot.watch.sinks.mqtt
    import weakspot.watch.sinks.webhook  # noqa: F401
    from weakspot.cli import main as cli

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    for line in sys.stdin:
        process = os.fork()
        if process:
            print(process, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1), os.dup2(said, 2)
        sys.argv = ["weakspot", *json.loads(line)]
        try:
            cli.main()
        except SystemExit:
            pass
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(0)


def contents() -> tuple[list[bytes], list[bytes]]:
    """Good and broken files."""
    import io

    import numpy as np
    from PIL import Image

    good = []
    for i in range(200):
        rng = np.random.default_rng(i)
        pixels = np.full((int(rng.integers(60, 120)), int(rng.integers(60, 120)), 3), rng.integers(0, 255, 3), np.uint8)
        pixels[5:30, 10:30] = rng.integers(0, 255, (25, 20, 3), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "png")
        good.append(stream.getvalue())
    return good, [b"", b"not a picture", good[0][: len(good[0]) // 2], good[1][:16] + bytes(8) + good[1][24:]]


class Camera:
    """Writes files at a rate, half of them by renaming, half by writing and closing."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.good: list[str] = []
        self.broken: list[str] = []
        self.order: list[str] = []
        self._contents = contents()
        self._random = random.Random(seed)  # noqa: S311 - not for secrets
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, count: int, rate: float) -> None:
        """Write so many, so many a second; as fast as it can where it is late."""
        begin = time.monotonic()
        for i in range(count):
            time.sleep(max(0.0, begin + i / rate - time.monotonic()))
            self._one()

    def _one(self) -> None:
        number = len(self.order)
        name = f"{number:06d}.png"
        bad = self._random.randrange(BROKEN) == 0
        content = self._random.choice(self._contents[bad])
        self.order.append(name)
        (self.broken if bad else self.good).append(name)
        if number % 2:
            hidden = self.folder / f".{name}"
            hidden.write_bytes(content)
            hidden.rename(self.folder / name)
        else:
            (self.folder / name).write_bytes(content)


def memory_mb(process: int) -> tuple[float, int]:
    """Resident memory in MB and open files of a process; NaN where it is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list(Path(f"/proc/{process}/fd").iterdir()))
    except (OSError, IndexError):
        return float("nan"), 0


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def until(true: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def bare_rate(model: Path, pictures: int) -> float:
    """Pictures a second through the network alone, as many at once as the export answers."""
    import numpy as np

    localizer = Localizer.load(model).for_many()
    blank = np.zeros((*localizer.meta.preprocess.image_size, 3), np.uint8)
    with ThreadPoolExecutor(localizer.streams) as pool:
        list(pool.map(lambda _: localizer._model.ask([blank]), range(20)))
        begin = time.perf_counter()
        list(pool.map(lambda _: localizer._model.ask([blank]), range(pictures)))
    return pictures / (time.perf_counter() - begin)


def sustained(start: Starter, model: Path, scratch: Path, broker: Broker | None, pictures: int) -> float:
    """Pictures a second that a watcher answers, and tells its sinks of, when enough lie there."""
    camera = Camera(scratch / "measure", 0)
    camera.write(pictures, 1e9)
    output = scratch / "measured"
    with receiving() as receiver:
        words = watching(model, camera.folder, output, receiver.url, scratch / "measured.txt", broker, "measure")
        process = start.start([*words, "--once"])
        until(lambda: not alive(process), 600, "the measurement")
        ended = time.time()  # after the last sink was told
    entries = Journal(output / "journal.sqlite").after(0, pictures)
    return (len(entries) - 1) / (ended - entries[0].answered)


def watching(
    model: Path, folder: Path, output: Path, webhook: str, flag: Path, broker: Broker | None, topic: str
) -> list[str]:
    """The command that watches a folder and tells every sink."""
    words = [
        "watch", str(model), str(folder), "--output", str(output), "--settle", "0.2", "--webhook", webhook,
        "--flag", str(flag),
    ]  # fmt: skip
    return words if broker is None else [*words, "--mqtt", f"mqtt://127.0.0.1:{broker.port}/{topic}"]


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    points = statistics.quantiles(seconds, n=100)
    return {"p50": points[49], "p95": points[94], "p99": points[98]}


class Soak:
    """The whole of it."""

    def __init__(self, scratch: Path, arguments: argparse.Namespace) -> None:
        self.scratch, self.arguments, self.outcome = scratch, arguments, Outcome()
        self.model = tiny_onnx(scratch / "model.onnx", (32, 32))
        self.start = Starter(scratch / "said")
        self.output = scratch / "line"
        self.camera = Camera(scratch / "camera", arguments.seed)
        self._random = random.Random(arguments.seed)  # noqa: S311 - not for secrets
        self.words: list[str] = []

    def run(self) -> Outcome:
        """Measure, write calmly, write under kills, and look at what is there."""
        images, numbers = self.arguments.images, self.outcome.numbers
        numbers["bare network, pictures a second"] = bare_rate(self.model, min(2000, max(100, images // 4)))
        with ExitStack() as stack:
            receiver = stack.enter_context(receiving())
            broker = Broker(self.scratch / "broker") if MOSQUITTO else None
            got: list[tuple[str, bytes]] = []
            if broker is not None:
                broker.start()
                stack.callback(broker.stop)
                got = stack.enter_context(subscribed(broker.port, "line/verdict"))
            rate = sustained(self.start, self.model, self.scratch, broker, min(1000, max(60, images // 8)))
            numbers["sustained by the watcher, pictures a second"] = rate
            self.words = watching(
                self.model, self.camera.folder, self.output, receiver.url, self.scratch / "flag.txt", broker, "line"
            )
            calm = images // 2
            self._calmly(calm, 0.6 * rate)
            self._killing(images - calm, rate, broker)
            self._finish()
            entries = Journal(self.output / "journal.sqlite").after(0, 2 * images)
            self._check_journal(entries)
            self._check_sinks(entries, receiver.got, got, broker is not None)
        self.start.end()
        return self.outcome

    def _calmly(self, images: int, rate: float) -> None:
        """Below the sustained rate and without kills: latency and memory."""
        process, seen = self.start.start(self.words), list[tuple[int, float, int]]()
        writing = threading.Thread(target=self.camera.write, args=(images, rate))
        writing.start()
        while writing.is_alive() or self._answered() < images:
            seen.append((self._answered(), *memory_mb(process)))
            writing.join(timeout=0.2)
            time.sleep(0.05)
        seen.append((images, *memory_mb(process)))
        entries = Journal(self.output / "journal.sqlite").after(0, images)
        os.kill(process, signal.SIGTERM)
        until(lambda: not alive(process), 60, "the end of a watcher that was told to stop")
        # The first were written before the watcher had loaded.
        waits = [entry.answered - entry.stamp[0] / 1e9 for entry in entries[len(entries) // 4 :]]
        for name, value in percentiles(waits).items():
            self.outcome.numbers[f"latency at {rate:.0f} a second, {name}, s"] = value
        self._check_memory(images, seen)

    def _check_memory(self, images: int, seen: Sequence[tuple[int, float, int]]) -> None:
        """Whether memory is flat once the watcher has what it keeps, and open files are few.

        Args:
            images: that the watcher answered.
            seen: pictures answered, resident MB and open files, again and again.
        """
        numbers, files = self.outcome.numbers, max(one[2] for one in seen)
        for part in MEMORY_AT:
            if part <= images:
                numbers[f"memory after {part} pictures, MB"] = next(mb for count, mb, _ in seen if count >= part)
        numbers |= {"memory at most, MB": max(mb for _, mb, _ in seen), "open files at most": files}
        warm = [(count, mb) for count, mb, _ in seen if count >= WARM]
        if images >= 2 * WARM:
            slope = statistics.linear_regression(*zip(*warm, strict=True)).slope * 1000
            numbers["memory's growth from then on, MB in 1,000 pictures"] = slope
            self.outcome.check(slope < GROWTH_MB, f"memory grows by {slope:.2f} MB in 1,000 pictures")
        self.outcome.check(files < 100, "too many open files")

    def _killing(self, images: int, rate: float, broker: Broker | None) -> None:
        """Half at the sustained rate, half above, while the watcher is killed and the broker restarted."""

        def write() -> None:
            self.camera.write(images // 2, rate)
            self.camera.write(images - images // 2, 1.5 * rate)

        writing = threading.Thread(target=write)
        writing.start()
        usual = images / (1.2 * rate) / (self.arguments.kills + 1)
        restarts, kills, memory = 0, 0, 0.0
        while kills < self.arguments.kills:
            process, before = self.start.start(self.words), self._answered()
            loaded = time.monotonic() + 30
            while self._answered() == before and writing.is_alive() and time.monotonic() < loaded:
                time.sleep(0.05)
            end = time.monotonic() + usual * self._random.uniform(0, 1.5)
            while time.monotonic() < end and alive(process):
                memory = max(memory, memory_mb(process)[0])
                time.sleep(0.1)
            self.outcome.check(
                alive(process), f"a watcher ended by itself: {(self.scratch / 'said').read_text()[-800:]}"
            )
            os.kill(process, signal.SIGKILL)
            until(lambda gone=process: not alive(gone), 30, "the end of a watcher that was killed")
            kills += 1
            if broker is not None and kills % 5 == 2:
                broker.stop()
                threading.Timer(1.0, broker.start).start()
                restarts += 1
        self.outcome.numbers |= {"kills": kills, "restarts of the broker": restarts, "memory under kills, MB": memory}
        self._writing = writing

    def _answered(self) -> int:
        return Journal(self.output / "journal.sqlite").last

    def _finish(self) -> None:
        """What is left, to the end."""
        process = self.start.start(self.words)
        self._writing.join()
        journal = Journal(self.output / "journal.sqlite")
        until(lambda: journal.after(len(self.camera.order) - 1, 1), 3600, "the last verdict")
        os.kill(process, signal.SIGTERM)
        until(lambda: not alive(process), 120, "the end")
        last = self.start.start([*self.words, "--once", "--patience", "300"])
        until(lambda: not alive(last), 600, "the last verdict at every sink")

    def _check_journal(self, entries: Sequence[Entry]) -> None:
        check, camera = self.outcome.check, self.camera
        kinds = {entry.name: entry.verdict for entry in entries}
        check([entry.id for entry in entries] == list(range(1, len(entries) + 1)), "ids have gaps")
        counts = Counter(entry.name for entry in entries)
        check(counts == Counter(camera.order), f"{len(entries)} verdicts of {len(camera.order)} pictures")
        check(
            {name for name, kind in kinds.items() if kind == "unreadable"} == set(camera.broken), "broken ones differ"
        )
        lines = [
            json.loads(line)["path"].rsplit("/", 1)[-1]
            for path in sorted(self.output.glob("predictions-*.jsonl"))
            for line in path.open(encoding="utf-8")
        ]
        check(
            lines == [entry.name for entry in entries], f"{len(lines)} lines in the prediction files, or another order"
        )
        overlays = len(list((self.output / "overlays").rglob("*.jpg")))
        alarms = sum(kind == "defective" for kind in kinds.values())
        check(overlays == alarms, f"{overlays} overlays of {alarms} alarms")
        said = (self.scratch / "said").read_text(encoding="utf-8", errors="replace")
        check("Traceback" not in said, said[-2000:])
        names = [entry.name for entry in entries]
        self.outcome.numbers |= {
            "pictures": len(entries), "broken ones": len(camera.broken),
            "answered before one that was written earlier": sum(a > b for a, b in pairwise(names)),
        }  # fmt: skip

    def _check_sinks(
        self, entries: Sequence[Entry], posted: Sequence[tuple[dict[str, Any], dict[str, str], bytes]],
        published: Sequence[tuple[str, bytes]], mqtt: bool,
    ) -> None:  # fmt: skip
        wanted = {entry.key: entry.id for entry in entries}
        keys = Counter(headers["idempotency-key"] for _, headers, _ in posted)
        self.outcome.check(set(keys) == set(wanted), f"{len(keys)} keys at the webhook, {len(wanted)} in the journal")
        self.outcome.check(
            all(wanted.get(body["key"]) == body["id"] for body, _, _ in posted), "other ids at the webhook"
        )
        self.outcome.numbers["told the webhook again under the same key"] = keys.total() - len(keys)
        if mqtt:
            end = time.monotonic() + 60  # the broker passes on what it kept
            while len({payload for _, payload in published}) < len(wanted) and time.monotonic() < end:
                time.sleep(0.2)
            bodies = [json.loads(payload) for _, payload in list(published)]
            found = Counter(body["key"] for body in bodies)
            lost = len(set(wanted) - set(found))
            self.outcome.check(set(found) == set(wanted), f"{lost} keys lost at the broker's reader")
            self.outcome.numbers["told the broker again under the same key"] = found.total() - len(found)
        last = (self.scratch / "flag.txt").read_text().split()[1]
        self.outcome.check(int(last) == len(entries), f"the flag file stands at {last}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starter", type=Path)
    arguments = parser.parse_args()
    if arguments.starter is not None:
        starter(arguments.starter)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        outcome = Soak(Path(scratch), arguments).run()
    for name, value in outcome.numbers.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")
    for text in outcome.wrong:
        print(f"WRONG: {text}")
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main())
