"""Does `weakspot predict` use more memory for more pictures? Resident memory of the command in fresh processes.

Each run predicts a folder with that many pictures (links under different names to a few of them) with overlays, as the
command does by default. Memory is read from inside when the command has ended, the peak and what is in use then. The
growth from the fewest to the most pictures has a limit.

    python benchmarks/memory.py                                          # generated pictures
    python benchmarks/memory.py DATA --weights FILE --images 200 --images 2000
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import typer
from common import (
    DataArgument,
    OutputOption,
    Spread,
    WeightsOption,
    choose_files,
    described,
    link,
    number,
    report,
    save_model,
    say,
    table,
    workplace,
)

LIMIT_MB = 50.0
CHILD = "--child"
DIFFERENT = 50
"""Pictures that the links go round."""


@dataclass(frozen=True)
class Memory:
    """Resident memory of a process in MB (10⁶ bytes).

    Attributes:
        peak: the highest so far. Loading the model sets one that would hide a slow growth after it, hence also:
        now: at this moment; NaN where the system does not say.
    """

    peak: float
    now: float


def own_memory() -> Memory:
    """Of this process."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS, in KiB elsewhere
        return Memory(usage / 1e6 if sys.platform == "darwin" else usage * 1024 / 1e6, math.nan)
    fields = dict(line.split(":", 1) for line in lines)
    peak, now = (int(fields[name].split()[0]) * 1024 / 1e6 for name in ("VmHWM", "VmRSS"))
    return Memory(peak, now)


def child(result: Path, arguments: Sequence[str]) -> None:
    """Run ``weakspot`` with `arguments` in this process, then write its memory into `result`."""
    from weakspot.cli.main import main as weakspot

    sys.argv = ["weakspot", *arguments]
    try:
        weakspot()
    finally:
        result.write_text(json.dumps(asdict(own_memory())), encoding="utf-8")


def memory_of(arguments: Sequence[str], scratch: Path) -> Memory:
    """Memory of ``weakspot`` with `arguments` in a fresh process, at its end."""
    result = scratch / "memory.json"
    command = [sys.executable, __file__, CHILD, str(result), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"weakspot {arguments[0]} failed, {(done.stderr.splitlines() or [''])[-1]}")
    return Memory(**json.loads(result.read_text(encoding="utf-8")))


def growth(few: Sequence[Memory], many: Sequence[Memory]) -> float:
    """How much more many pictures need than few, in MB: at the peak or at the end, whichever is more."""
    peak = Spread.of([m.peak for m in many]).median - Spread.of([m.peak for m in few]).median
    now = Spread.of([m.now for m in many]).median - Spread.of([m.now for m in few]).median
    return max(peak, now) if math.isfinite(now) else peak


def make_folder(pictures: Sequence[Path], count: int, folder: Path) -> Path:
    """A folder with `count` links to `pictures`, under different names."""
    for index, picture in enumerate(islice(cycle(pictures), count)):
        link(picture, folder / f"{index:06d}{picture.suffix}")
    return folder


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    images: Annotated[list[int] | None, typer.Option(min=1, help="Pictures; repeatable, default 200 and 2000.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Fresh processes for each number of pictures, in turn.")] = 1,
    limit: Annotated[float, typer.Option(min=0.0, help="Largest growth allowed, in MB.")] = LIMIT_MB,
    output: OutputOption = None,
) -> None:
    """Measure memory for each number of pictures; exit with 1 when it grows beyond the limit."""
    counts = sorted(images or [200, 2000])
    found: dict[int, list[Memory]] = {count: [] for count in counts}
    with workplace(data, DIFFERENT) as (scratch, folder):
        model = save_model(scratch / "model", weights)
        pictures = choose_files(folder, DIFFERENT)
        sources = {count: make_folder(pictures, count, scratch / f"pictures-{count}") for count in counts}
        for turn in range(rounds):
            for count, source in sources.items():
                results = scratch / f"results-{turn}-{count}"
                found[count].append(memory_of(["predict", str(model), str(source), "--output", str(results)], scratch))
                say(f"{count} pictures: {found[count][-1]}")
    grown = growth(found[counts[0]], found[counts[-1]])
    intro = (
        "Resident memory of `weakspot predict` with overlays, in a fresh process for each number of pictures, "
        f"{rounds} time(s) in turn: median (lowest – highest). The folders hold links to {described(data, DIFFERENT)}."
    )
    verdict = (
        f"From {counts[0]:,} to {counts[-1]:,} pictures it changes by {grown:+.1f} MB, at the peak or at the end, "
        f"whichever is more; {number(limit)} MB are allowed."
    )
    rows = [
        (f"{count:,}", Spread.of([m.peak for m in values]), Spread.of([m.now for m in values]))
        for count, values in found.items()
    ]
    failure = f"memory grows by {grown:.1f} MB" if grown > limit else ""
    blocks = [intro, table(("pictures", "peak, MB", "at the end, MB"), rows), verdict]
    report("Memory of prediction", blocks, output, failure)


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        child(Path(sys.argv[2]), sys.argv[3:])
    else:
        typer.run(main)
