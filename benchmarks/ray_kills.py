"""Does Ray's engine lose or double a row when things die? Against the local engine, on your pictures and your model.

Three passes over the same pictures: the local engine; Ray, with a worker killed when half of the parts are written;
Ray, with the command itself killed when half are written, and then given again. SIGKILL each time. Rows must be
the local engine's, byte for byte.

    python benchmarks/ray_kills.py DATA RUN --images 500
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from common import choose_files, number, report, say, table

from weakspot.errors import WeakspotError


def predict(run: Path, photos: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "weakspot", "predict", str(run), str(photos), "--output", str(output), *more]
    environment = os.environ | {"RAY_ADDRESS": "local", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for a command that must succeed."""
    if process.wait():
        raise WeakspotError(f"{' '.join(map(str, process.args))} ended with {process.returncode}")  # type: ignore[arg-type]


def parts(output: Path) -> list[Path]:
    """The parts that are written."""
    return sorted((output / "parts").glob("part-*.jsonl"))


def rows(output: Path) -> bytes:
    """All parts, one after the other."""
    return b"".join(path.read_bytes() for path in parts(output))


def workers(of: int) -> list[int]:
    """Ray's actors among the descendants of a process."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    below = {of}
    while grown := {child for child, parent in parents.items() if parent in below} - below:
        below |= grown
    return [process for process in below if _title(process).startswith("ray::MapWorker")]


def _title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def when(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait for a condition while a command runs."""
    while not condition():
        if process.poll() is not None:
            raise WeakspotError("the command ended before half of the parts were written; use more pictures")
        time.sleep(0.02)


def main(
    data: Annotated[Path, typer.Argument(help="Folder in MVTec AD layout.")],
    run: Annotated[Path, typer.Argument(help="Run folder or bundle.")],
    images: Annotated[int, typer.Option(min=16, help="Number of pictures.")] = 500,
    shard_size: Annotated[int, typer.Option(min=1, help="Pictures in a part.")] = 10,
    output: Annotated[Path | None, typer.Option(help="Write the Markdown section here as well.")] = None,
) -> None:
    """Kill things and compare."""
    ray = ("--engine", "ray", "--shard-size", str(shard_size))
    with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as name:
        scratch, photos = Path(name), Path(name) / "photos"
        photos.mkdir()
        for count, path in enumerate(choose_files(data.resolve(), images)):
            (photos / f"{count:05d}{path.suffix}").symlink_to(path.resolve())
        total = len(list(photos.iterdir()))
        half = -(-total // shard_size) // 2

        start = time.perf_counter()
        finish(predict(run, photos, scratch / "local", "--no-overlays"))
        seconds = {"local engine": time.perf_counter() - start}
        expected = (scratch / "local" / "predictions.jsonl").read_bytes()
        say(f"local: {seconds['local engine']:.0f} s")

        start, one = time.perf_counter(), scratch / "worker"
        process = predict(run, photos, one, *ray)
        when(lambda: len(parts(one)) >= half and bool(workers(process.pid)), process)
        os.kill(workers(process.pid)[0], signal.SIGKILL)
        finish(process)
        seconds["Ray, a worker killed"] = time.perf_counter() - start
        say(f"worker killed: {seconds['Ray, a worker killed']:.0f} s")

        start, two = time.perf_counter(), scratch / "driver"
        process = predict(run, photos, two, *ray)
        when(lambda: len(parts(two)) >= half, process)
        process.kill()
        process.wait()
        kept = {path: path.stat().st_mtime_ns for path in parts(two)}
        finish(predict(run, photos, two, *ray))
        seconds["Ray, the command killed and given again"] = time.perf_counter() - start
        again = sum(path.stat().st_mtime_ns != kept.get(path) for path in parts(two))
        untouched = all(path.stat().st_mtime_ns == kept[path] for path in kept)

        found = {"Ray, a worker killed": rows(one), "Ray, the command killed and given again": rows(two)}
    lines = [
        (name, total, "" if name not in found else len(found[name].splitlines()),
         "" if name not in found else "yes" if found[name] == expected else "NO", number(took))
        for name, took in seconds.items()
    ]  # fmt: skip
    intro = (
        f"{total} pictures of {data.resolve().name}, shards of {shard_size}, one thread a worker. Of "
        f"{len(kept) + again} parts, {len(kept)} were there when the command was killed; the second start made {again}."
    )
    wrong = [name for name, each in found.items() if each != expected]
    failure = f"rows differ: {', '.join(wrong)}" if wrong else "" if untouched else "a finished part was made again"
    header = ("", "pictures", "rows", "equal to the local engine's", "s, all in")
    report("Killed midway", [intro, table(header, lines)], output, failure)


if __name__ == "__main__":
    typer.run(main)
