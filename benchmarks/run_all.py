"""Run every benchmark in a process of its own and put the sections together in one Markdown file.

The file is written again after each section, so that an interrupted run keeps what it has; a section that is not run
(``--only``) stays as it was. A benchmark that fails is written down as failed, the others go on, and the exit status is
1 at the end. About 50 minutes on two cores without ``peers_speed``, which
trains models first and whose time is not measured.

    python benchmarks/run_all.py DATA --weights FILE --output benchmarks/results.md
    python benchmarks/run_all.py DATA --weights FILE --only epoch --only sweep
    python benchmarks/run_all.py --quick --output outputs/quick.md       # tiny, generated pictures, some minutes
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from common import DataArgument, WeightsOption, processor, say

from weakspot.utils.files import write_text

HERE = Path(__file__).resolve().parent
SECTIONS = (
    "predict_speed",
    "cam_libraries",
    "refinement",
    "epoch",
    "sweep",
    "memory",
    "scaling",
    "exported",
    "service",
    "peers_speed",
)
MARK = "<!-- {} -->"
QUICK = {
    "predict_speed": "--images 8 --rounds 1",
    "cam_libraries": "--images 8 --rounds 1",
    "refinement": "--images 8 --rounds 1",
    "epoch": "--images 16 --rounds 1",
    "sweep": "--images 40 --folds 2 --thresholds 2 --max-epochs 1 --cells 1",
    "memory": "--images 8 --images 16",
    "scaling": "--images 4 --rounds 1 --count 4 --count 8",
    "exported": "--images 8 --rounds 1",
    "service": "--images 8 --requests 40",
    "peers_speed": "--images 8 --rounds 1 --quick",
}


@dataclass(frozen=True)
class Inputs:
    """What every benchmark is given.

    Attributes:
        data: folder in MVTec AD layout; None for generated pictures.
        weights: as ``model.weights``.
        quick: only try whether everything works.
    """

    data: Path | None
    weights: str
    quick: bool

    def arguments(self, name: str) -> list[str]:
        """Of the benchmark's command."""
        data = [str(self.data)] if self.data else []
        return [*data, "--weights", self.weights, *(QUICK[name].split() if self.quick else [])]

    def shown(self, name: str) -> str:
        """The command as the results file has it."""
        return self.without_places(" ".join(["python", f"benchmarks/{name}.py", *self.arguments(name)]))

    def without_places(self, text: str) -> str:
        """A text with DATA, FILE and the like for the places on this machine."""
        places = {str(self.data): "DATA"} if self.data else {}
        places |= {self.weights: "FILE"} if self.weights not in ("auto", "imagenet", "none") else {}
        places |= {str(HERE.parent): ".", sys.prefix: "PYTHON", tempfile.gettempdir(): "TMP", str(Path.home()): "~"}
        for place in sorted(places, key=len, reverse=True):
            text = text.replace(place, places[place])
        return text.replace("`", "'")


def run_section(name: str, inputs: Inputs, section: Path) -> tuple[int, str]:
    """Run a benchmark, passing on what it says; returns its exit status and its last words."""
    command = [sys.executable, str(HERE / f"{name}.py"), *inputs.arguments(name), "--output", str(section)]
    environment = os.environ | {"TYPER_STANDARD_TRACEBACK": "1"}  # whose last line is the error itself
    last = ""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stderr or ():
            sys.stderr.write(line)
            last = line.strip() or last
    return process.returncode, last


def section_text(name: str, inputs: Inputs) -> tuple[str, bool]:
    """Run a benchmark; returns its section, and whether it succeeded."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weakspot-bench-") as scratch:
        file = Path(scratch) / "section.md"
        status, last_words = run_section(name, inputs, file)
        # A benchmark that missed its own target writes its section and says so in it.
        if file.is_file():
            text = file.read_text(encoding="utf-8")
        else:
            text = f"## {name}\n\n**Failed** with status {status}: `{inputs.without_places(last_words)}`\n"
    minutes = (time.monotonic() - start) / 60
    return f"{text}\n`{inputs.shown(name)}`, {minutes:.1f} min\n", status == 0


def read_sections(path: Path) -> dict[str, str]:
    """The sections that a results file holds already, by name."""
    if not path.is_file():
        return {}
    pieces = re.split(MARK.format(r"(\w+)") + "\n", path.read_text(encoding="utf-8"))[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def write_results(path: Path, sections: dict[str, str], data: Path | None) -> None:
    """Write the whole file, sections in their usual order."""
    head = (
        "# Benchmarks\n\n"
        "Written by `python benchmarks/run_all.py DATA --weights FILE`; each section says when and on what it was "
        f"measured. Last run: {datetime.now().astimezone():%Y-%m-%d %H:%M}, {processor()}, torch {version('torch')}, "
        f"pictures: {data.resolve().name if data else 'generated'}.\n"
    )
    body = [f"{MARK.format(name)}\n{sections[name].strip()}\n" for name in SECTIONS if name in sections]
    write_text(path, "\n".join([head, *body]))


def chosen(only: Sequence[str]) -> list[str]:
    """The sections to run, in their usual order.

    Raises:
        typer.BadParameter: for a name that is none.
    """
    for name in only:
        if name not in SECTIONS:
            raise typer.BadParameter(f"{name} is no section; choose: {', '.join(SECTIONS)}", param_hint="--only")
    return [name for name in SECTIONS if not only or name in only]


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    output: Annotated[Path, typer.Option(help="The results file.")] = HERE / "results.md",
    only: Annotated[list[str] | None, typer.Option(help="Run this section; repeatable; all when left out.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny settings, to see that everything works.")] = False,
) -> None:
    """Run the benchmarks and write the results file; exit with 1 when one failed."""
    inputs = Inputs(data, weights, quick)
    sections, failed = read_sections(output), []
    for name in chosen(only or []):
        say(f"--- {inputs.shown(name)}")
        sections[name], fine = section_text(name, inputs)
        failed += [] if fine else [name]
        write_results(output, sections, data)
    say(f"results: {output}")
    if failed:
        say(f"failed: {', '.join(failed)}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
