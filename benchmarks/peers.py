"""weakspot beside what people would pick instead: anomalib, CAM libraries, and a floor, on the same files and splits.

Every method trains and predicts in a process of its own and leaves maps and boxes; one scorer reads them all. Where a
run is interrupted, the next one goes on: finished cells are skipped. Two cells are worked on at once (``--jobs``), each
on its share of the cores. With magnetic_tile (the first of three folds with each tile on one side, and of a random
split) and the three generated sets some five hours on 2 cores are expected, added up from single cells; no cell is
begun that is not expected to end within ``--hours``, and the next run goes on from there.

    pip install 'weakspot[peers,offline]'
    python benchmarks/peers.py DIR/magnetic_tile --weights FILE --output outputs/peers.md
    python benchmarks/peers.py --only fabric-random --methods padim --methods patchcore
    python benchmarks/peers.py DIR/magnetic_tile --hours 0          # only the table, of what there is
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

import typer
from common import OutputOption, Spread, WeightsOption, number, report, say, table
from peer_tools.cells import Cost, DataSet, Fold, open_fold, read_cost, read_tested, write_cost
from peer_tools.scoring import Scores, score
from peers_worker import TOOLS

from weakspot.data import synthetic
from weakspot.metrics import Estimate
from weakspot.utils.files import write_text

HERE = Path(__file__).resolve().parent
GENERATED = ("fabric", "brushed_metal", "gear")
FOLDS = 3
SECONDS_PER_IMAGE = {
    "mean_image": 0.05, "plain_cam": 1.4, "grad_cam": 0.5, "torch_cam": 0.5, "fast": 1.4, "recommended": 4.0,
    "padim": 0.15, "patchcore": 3.0, "dfm": 0.2, "stfpm": 0.3, "supersimplenet": 0.5, "patchcore_own": 6.0,
}  # fmt: skip
"""A first guess of what a cell costs on one core for each picture of its data; what was measured takes its place."""

SECONDS_AT_LEAST = {"supersimplenet": 1800.0}
"""What a cell costs besides, however many pictures there are: as many are seen, again and again."""

NETWORK, ON_THAT_NETWORK = "plain_cam", ("grad_cam", "torch_cam")

METHODS = tuple(name for name in TOOLS if name not in ("dfm", "stfpm"))
"""Those that run when none are named."""

QUESTIONS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "balanced_accuracy": "balanced accuracy",
    "oracle_balanced_accuracy": "oracle balanced accuracy",
    "max_box_acc_v2": "V2",
    "oracle_max_box_acc_v2": "oracle V2",
    "box_precision": "box precision, IoU ≥ 0.3",
    "false_boxes_per_100_good": "false boxes per 100 Good",
    "pixel_average_precision": "pixel AP",
    "aupro": "AUPRO",
}
"""The columns of the table."""


@dataclass(frozen=True)
class Cell:
    """One method on one fold."""

    data: DataSet
    method: str

    def folder(self, results: Path) -> Path:
        """Where its files are."""
        return results / self.data.folder / self.method

    def __str__(self) -> str:
        return f"{self.data.folder}: {self.method}"


@dataclass(frozen=True)
class Plan:
    """What is to be done, and how.

    Attributes:
        data: the folds, in the order that they are worked on.
        methods: by name.
        results: folder of all results.
        weights: of VGG16, as ``model.weights``.
        hours: no cell is begun that is expected to end later than this.
        jobs: cells that are worked on at once.
        images, rounds: of timing.
        quick: tiny settings.
    """

    data: Sequence[DataSet]
    methods: Sequence[str]
    results: Path
    weights: str
    hours: float
    jobs: int
    images: int
    rounds: int
    quick: bool

    @property
    def cells(self) -> list[Cell]:
        """Fold by fold, the methods in turn."""
        return [Cell(data, method) for data in self.data for method in self.methods]

    def worker(self, command: str, cell: Cell, *more: str) -> list[str]:
        """The command of a process that works on a cell."""
        quick = ["--quick"] if self.quick else []
        place = [str(self.results / cell.data.folder), cell.method, str(cell.data.root)]
        return [
            sys.executable,
            str(HERE / "peers_worker.py"),
            command,
            *place,
            "--weights",
            self.weights,
            *more,
            *quick,
        ]


# --- training and testing -----------------------------------------------------------------------------------------


def finished(cell: Cell, results: Path) -> bool:
    """Whether a cell has its figures; one that failed or was left out is tried again."""
    cost = read_cost(cell.folder(results))
    return cost is not None and cost.status == "ok"


class Clock:
    """How long cells take: guessed before the first of a method is measured, then as measured, picture by picture."""

    def __init__(self) -> None:
        self.measured = defaultdict[str, list[float]](list)
        self.begin = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the program began."""
        return time.monotonic() - self.begin

    def add(self, method: str, seconds: float, images: int) -> None:
        """Take a measurement into account."""
        self.measured[method].append(max(0.0, seconds - SECONDS_AT_LEAST.get(method, 0.0)) / max(images, 1))

    def guess(self, method: str, images: int) -> float:
        """Seconds that a cell will take."""
        rates = self.measured.get(method)
        rate, begin = (statistics.mean(rates), 0) if rates else (SECONDS_PER_IMAGE[method], 30)
        return images * rate + begin + SECONDS_AT_LEAST.get(method, 0.0)


def run_cells(plan: Plan, run: Callable[[list[str]], str | None] | None = None) -> list[Cell]:
    """Train and test every cell that is not finished.

    Args:
        plan: what is to be done.
        run: runs a command and returns the reason why it failed, or None; a process by default.

    Returns:
        The cells that there was no time for.
    """
    due = [cell for cell in plan.cells if not finished(cell, plan.results)]
    say(f"{len(plan.cells) - len(due)} of {len(plan.cells)} cells are finished")
    if not plan.hours:
        return due
    work = Work(plan, due, run or partial(run_process, max(1, (os.cpu_count() or 1) // plan.jobs)))
    with ThreadPoolExecutor(plan.jobs) as pool:
        list(pool.map(work.do, chains(due)))
    return [cell for cell in due if cell in work.postponed]


def chains(due: Sequence[Cell]) -> list[list[Cell]]:
    """Cells that follow each other; the CAM libraries come after the network that they work on."""
    found: list[list[Cell]] = []
    for cell in due:
        after = [chain for chain in found if chain[0].data == cell.data and chain[0].method == NETWORK]
        if cell.method in ON_THAT_NETWORK and after:
            after[0].append(cell)
        else:
            found.append([cell])
    return found


class Work:
    """Cells that are worked on, several at once.

    Args:
        plan: what is to be done.
        due: cells that are not finished.
        run: runs a command and returns the reason why it failed, or None.
    """

    def __init__(self, plan: Plan, due: Sequence[Cell], run: Callable[[list[str]], str | None]) -> None:
        self.plan, self.run, self.clock, self.lock = plan, run, Clock(), Lock()
        self.left, self.total, self.postponed = list(due), len(due), set[Cell]()
        self.sizes = {
            data: len(open_fold(data, plan.results).subset("train", "val", "test"))
            for data in dict.fromkeys(cell.data for cell in due)
        }

    def do(self, chain: Sequence[Cell]) -> None:
        """Work on cells one after the other."""
        for cell in chain:
            if not self.begin(cell):
                continue
            start = time.monotonic()
            failure = self.run(self.plan.worker("train", cell))
            with self.lock:
                if failure is None:
                    self.clock.add(cell.method, time.monotonic() - start, self.sizes[cell.data])
                    continue
                say(f"{cell} failed: {failure}")
                write_cost(cell.folder(self.plan.results), Cost("failed", failure))

    def begin(self, cell: Cell) -> bool:
        """Say that a cell is begun and how long it takes; False where there is no time for it."""
        with self.lock:
            guess = self.clock.guess(cell.method, self.sizes[cell.data])
            left = sum(self.clock.guess(each.method, self.sizes[each.data]) for each in self.left)
            left /= min(self.plan.jobs, len(self.left))
            self.left.remove(cell)
            if self.clock.spent + guess > 3600 * self.plan.hours:
                self.postponed.add(cell)
                return False
            count = self.total - len(self.left)
            say(f"{count} of {self.total}: {cell}, about {guess / 60:.1f} min; {left / 60:.0f} min left in all")
            return True


def run_process(threads: int, command: list[str]) -> str | None:
    """Run a command on so many threads; returns the last line of what it says where it fails, else None."""
    environment = {"OMP_NUM_THREADS": str(threads), **os.environ}
    environment |= {"TYPER_STANDARD_TRACEBACK": "1"}  # whose last line is the error itself
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"status {done.returncode}"


# --- speed --------------------------------------------------------------------------------------------------------


def time_methods(plan: Plan) -> None:
    """Time the methods in turn, each in a process of its own; goes on where it stopped.

    Each measurement is a line of ``speed.jsonl``; round 0 warms the machine up and does not count. Of the generated
    sets the first is timed, of a set that was given its first fold.
    """
    for data in timed(plan.data):
        path = plan.results / data.folder / "speed.jsonl"
        done = {(line["round"], line["method"]) for line in read_lines(path)}
        for count in range(plan.rounds + 1):
            for method in plan.methods:
                cell = Cell(data, method)
                if not finished(cell, plan.results) or (count, method) in done:
                    continue
                command = plan.worker("speed", cell, "--images", str(plan.images))
                found = subprocess.run(command, capture_output=True, text=True, check=False)
                if found.returncode != 0:
                    say(f"{cell}: not timed, {(found.stderr.strip().splitlines() or ['no reason'])[-1]}")
                    continue
                line = {"round": count, "method": method, **json.loads(found.stdout.strip().splitlines()[-1])}
                say(f"round {count} of {plan.rounds}: {cell}: {line['seconds']:.2f} s")
                write_text(path, "".join(json.dumps(each) + "\n" for each in [*read_lines(path), line]))


def timed(data: Sequence[DataSet]) -> list[DataSet]:
    """The folds that the methods are timed on."""
    firsts: dict[str, DataSet] = {}
    for one in data:
        firsts.setdefault("" if one.name in GENERATED else one.name, one)
    return list(firsts.values())


def first_folds(data: Sequence[DataSet]) -> list[DataSet]:
    """The first fold of each set and split."""
    firsts: dict[str, DataSet] = {}
    for one in data:
        firsts.setdefault(one.title, one)
    return list(firsts.values())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; none where there is no file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


# --- the table ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A method on all finished folds of a set and split.

    Attributes:
        title: of set and split.
        method: its name.
        scores: its figures; None where it has none.
        costs: of each fold.
        folds: how many folds the figures are of.
    """

    title: str
    method: str
    scores: Scores | None
    costs: Sequence[Cost]
    folds: int


def make_rows(plan: Plan) -> Iterator[Row]:
    """Score what there is, set by set; a cell without files is in no row."""
    by_title = defaultdict[str, list[DataSet]](list)
    for data in plan.data:
        by_title[data.title].append(data)
    for title, several in by_title.items():
        for method in plan.methods:
            cells = [Cell(data, method) for data in several]
            costs = [cost for cell in cells if (cost := read_cost(cell.folder(plan.results))) is not None]
            done = [cell for cell in cells if finished(cell, plan.results)]
            if not costs:
                continue
            tested = [read_tested(Fold(plan.results / cell.data.folder, cell.data.root), method) for cell in done]
            yield Row(title, method, score(tested) if tested else None, costs, len(done))


def shown(estimate: Estimate, *, counted: bool) -> str:
    """A figure with its interval, and with its n where it is `counted`."""
    if math.isnan(estimate.value):
        return "–"
    digits = 1 if estimate.value >= 2 or estimate.high > 2 else 3
    interval = f" ({estimate.low:.{digits}f} – {estimate.high:.{digits}f})" if not math.isnan(estimate.low) else ""
    return f"{estimate.value:.{digits}f}{interval}" + (f", n = {estimate.n}" if counted else "")


def quality_table(rows: Sequence[Row]) -> str:
    """A line for each figure, a column for each method; n stands by itself where it is the same for all."""
    header = ["", "n", *(f"`{row.method}`" for row in rows)]
    lines: list[list[str]] = []
    for i, title in enumerate(QUESTIONS.values()):
        found = [None if row.scores is None else figures_of(row.scores)[i] for row in rows]
        counts = {each.n for each in found if each is not None}
        cells = ["–" if each is None else shown(each, counted=len(counts) > 1) for each in found]
        lines.append([title, str(*counts) if len(counts) == 1 else "", *cells])
    return table(header, lines)


def figures_of(scores: Scores) -> tuple[Estimate, ...]:
    """The figures in the order of :data:`QUESTIONS`."""
    return tuple(getattr(scores, name) for name in QUESTIONS)


def cost_table(rows: Sequence[Row], speeds: Sequence[dict[str, Any]]) -> str:
    """Training, speed and memory of each method, and how it was set up."""
    header = (
        "",
        "training, minutes a fold (processor time)",
        "files → boxes, images/s",
        "peak memory, MB: training, predicting",
        "set up",
    )
    lines = []
    for row in rows:
        done = [cost for cost in row.costs if cost.status == "ok"]
        timed = [line for line in speeds if line["method"] == row.method and line["round"] > 0]
        minutes = trained_in(done) if done else "–"
        rate = str(Spread.of([line["images"] / line["seconds"] for line in timed])) if timed else "–"
        trained = f"{max(cost.peak_mb for cost in done):,.0f}" if done else "–"
        predicted = f"{max(line['peak_mb'] for line in timed):,.0f}" if timed else "–"
        notes = {cost.note if cost.status == "ok" else f"{cost.status}: {cost.note}" for cost in row.costs}
        lines.append((f"`{row.method}`", minutes, rate, f"{trained}, {predicted}", "; ".join(sorted(notes))))
    return table(header, lines)


def trained_in(costs: Sequence[Cost]) -> str:
    """Minutes of training by the clock and of processor time, means over folds."""
    clock = statistics.mean(cost.train_minutes for cost in costs)
    return f"{number(clock)} ({number(statistics.mean(cost.processor_minutes for cost in costs))})"


def gap_table(rows: Sequence[Row]) -> str | None:
    """How much better each method looks on a random split than on one with each part on one side; None without both."""
    scored = {(row.title, row.method): row.scores for row in rows if row.scores is not None}
    lines = []
    for (title, method), random in scored.items():
        grouped = scored.get((title.removesuffix("-random") + "-grouped", method))
        if not title.endswith("-random") or grouped is None:
            continue
        gaps = [getattr(random, name).value - getattr(grouped, name).value for name in ("auroc", "average_precision")]
        gaps += [random.balanced_accuracy.value - grouped.balanced_accuracy.value]
        gaps += [random.max_box_acc_v2.value - grouped.max_box_acc_v2.value]
        lines.append((f"{title.removesuffix('-random')}, `{method}`", *(f"{gap:+.3f}" for gap in gaps)))
    return table(("random minus grouped", "AUROC", "AP", "balanced accuracy", "V2"), lines) if lines else None


INTRODUCTION = (
    "The same files and splits for all; one scorer. The models of anomalib are trained on Good pictures alone, as they "
    "are meant to be; the others on the image labels of Good and defective ones. V2 and box precision are of the boxes "
    "that a tool shows at its own threshold. *Oracle* stands for the threshold that is best on the test pictures. "
    "Intervals are 95 % and come from drawing groups; an oracle's does not count that it was chosen. Training time "
    "of weakspot's experiments includes predicting and measuring the test pictures, and the report; features come "
    "from no cache."
)


def write_report(plan: Plan, postponed: Sequence[Cell], output: Path | None) -> None:
    """Print the tables and write them."""
    rows = list(make_rows(plan))
    blocks = [INTRODUCTION]
    for data in first_folds(plan.data):
        mine = [row for row in rows if row.title == data.title]
        if not mine:
            continue
        folds = [one for one in plan.data if one.title == data.title]
        told = f"{max(row.folds for row in mine)} of {len(folds)} folds" if data.folds else "one hold-out"
        speeds = read_lines(plan.results / data.folder / "speed.jsonl")
        blocks += [f"**{data.name}, {data.split} split, {told}**", quality_table(mine), cost_table(mine, speeds)]
    gaps = gap_table(rows)
    blocks += [gaps] if gaps else []
    if postponed:
        blocks.append(f"Not yet measured: {'; '.join(map(str, postponed))}. The same command goes on with them.")
    report("Side by side with what people would pick instead", blocks, output)


# --- the program --------------------------------------------------------------------------------------------------


def all_data(data: Path | None, generated: Path, folds: int = 1) -> list[DataSet]:
    """Every data set and split: the generated ones, then of the folder a fold, a random one, and the other folds."""
    sets = [DataSet(name, generated / name, "random") for name in GENERATED]
    if data is not None:
        root = data.resolve()
        grouped = [DataSet(root.name, root, "grouped", FOLDS, fold) for fold in range(folds)]
        sets += [*grouped[:1], DataSet(root.name, root, "random", FOLDS, 0), *grouped[1:]]
    return sets


def folder_of_data(results: Path, *, quick: bool) -> Path:
    """Where the generated sets lie."""
    return results / ("small" if quick else "data")


def generate(sets: Sequence[DataSet], quick: bool) -> None:
    """Generate those of the generated sets that are not there yet."""
    for one in sets:
        if one.name in GENERATED and quick:
            synthetic.ensure(one.root.parent, one.name, good=40, defect=6, size=(96, 128))
        elif one.name in GENERATED:
            synthetic.ensure(one.root.parent, one.name)


def chosen(names: Sequence[str] | None, known: Sequence[str], option: str) -> list[str]:
    """Those that were named, in their usual order; all where none were.

    Raises:
        typer.BadParameter: for a name that is none.
    """
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(f"{name} is none of: {', '.join(known)}", param_hint=option)
    return [name for name in known if not names or name in names]


def main(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Folder in MVTec AD layout; the generated sets alone without.")
    ] = None,
    weights: WeightsOption = "auto",
    output: OutputOption = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only this set or fold, as its folder is called; repeatable.")
    ] = None,
    methods: Annotated[
        list[str] | None, typer.Option(help=f"Only this method; repeatable: {', '.join(TOOLS)}.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where results are kept.")] = Path("outputs/peers"),
    folds: Annotated[int, typer.Option(min=1, max=FOLDS, help="How many of the three grouped folds.")] = 1,
    hours: Annotated[float, typer.Option(min=0, help="Begin no cell that is expected to end later.")] = 6.0,
    jobs: Annotated[int, typer.Option(min=1, help="Cells that are worked on at once.")] = 2,
    images: Annotated[int, typer.Option(min=1, help="Pictures to time with.")] = 24,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of timing; 0 times nothing.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny settings, to see that everything works.")] = False,
) -> None:
    """Train, test and time every method, and write the tables."""
    results = folder.resolve()
    sets = all_data(data, folder_of_data(results, quick=quick), folds)
    names = chosen(only, list(dict.fromkeys(name for one in sets for name in (one.title, one.folder))), "--only")
    wanted = [one for one in sets if one.title in names or one.folder in names]
    generate(wanted, quick)
    ways = chosen(methods, list(TOOLS), "--methods") if methods else list(METHODS)
    plan = Plan(wanted, ways, results, weights, hours, jobs, images, rounds, quick)
    postponed = run_cells(plan)
    if hours > 0 and rounds > 0:
        time_methods(plan)
    write_report(plan, postponed, output)


if __name__ == "__main__":
    typer.run(main)
