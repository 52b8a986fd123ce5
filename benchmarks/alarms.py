"""Do alarms go off where a shortcut was planted, and only there? Rates over seeds, with Wilson intervals.

Three kinds of generated sets: clean ones; ones whose defect changes a statistic of the picture (a limb is missing, a
stain covers a third), which must raise no alarm; and ones with a bias planted in every defect image, which must. Each
is checked as ``weakspot check`` does, with the masks of the defects and without them.

    python benchmarks/alarms.py                          # 20 seeds a row, about 20 minutes on one core
    python benchmarks/alarms.py --seeds 2 --training 2 --setting data.image_size=96 --setting trainer.max_epochs=2
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from scipy.stats import binomtest

from weakspot.commands.train import train
from weakspot.config.hydra_app import compose
from weakspot.config.schema import TrainConfig, typed
from weakspot.data import synthetic
from weakspot.data.defect_itself import settle
from weakspot.data.images import inspect_images
from weakspot.data.measurements import measure_all
from weakspot.data.readers import read_samples
from weakspot.data.shortcuts import find_shortcuts
from weakspot.data.synthetic.biases import BIASES
from weakspot.data.synthetic.picture import find_product
from weakspot.types import GOOD, Size

SIZE: Size = (112, 128)
N_GOOD = 60
N_DEFECTIVE = 60
FIRST_SEED = 1000


@dataclass(frozen=True)
class Kind:
    """One row of the table.

    Attributes:
        name: of the row.
        products: subsets, taken in turn.
        bias: planted in every defect image; None for none.
        defect: the only type of defect that is kept; None keeps all.
    """

    name: str
    products: Sequence[str]
    bias: str | None = None
    defect: str | None = None

    @property
    def quiet(self) -> bool:
        """Whether no alarm is wanted."""
        return self.bias is None


CLEAN = tuple(synthetic.PRODUCTS)
KINDS = [
    Kind("clean", CLEAN),
    Kind("a limb is missing, one of four", ["figure"], defect="missing_limb"),
    Kind("the head is missing, always there", ["figure"], defect="missing_head"),
    Kind("a stain on 15 to 35 %", ["stained_metal", "stained_fabric"]),
    *(Kind(f"planted: {bias}", CLEAN, bias=bias) for bias in BIASES),
]


def generated(kind: Kind, number: int, root: Path, first: int = FIRST_SEED) -> Path:
    """Generate the set of a row that has this number."""
    product = kind.products[number % len(kind.products)]
    types = 1 if kind.defect else len(find_product(product).defects)
    return synthetic.generate(
        root, product, seed=first + number, good=N_GOOD, defect=N_DEFECTIVE // types, size=SIZE, bias=kind.bias
    )


def checked(kind: Kind, number: int, first: int = FIRST_SEED) -> tuple[int, int, int]:
    """Number of differences between the classes, of alarms with masks, and of alarms without them."""
    with tempfile.TemporaryDirectory() as scratch:
        samples = read_samples("mvtec", generated(kind, number, Path(scratch), first))
        samples = [one for one in samples if one.is_good or kind.defect in (None, one.defect)]
        images = inspect_images([one.path for one in samples])
        values = measure_all(images)
        found = find_shortcuts(values, [int(not one.is_good) for one in samples])
        bare = [replace(one, mask=None) for one in samples]
        with_masks, without = (settle(found, values, of, images, None) for of in (samples, bare))
        return len(found), len(with_masks.alarms), len(without.alarms)


def trained(kind: Kind, number: int, overrides: Sequence[str]) -> int:
    """Number of alarms of a property of the data after a short training on a set without masks."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = generated(kind, number, Path(scratch))
        shutil.rmtree(folder / "ground_truth")
        for other in (folder / "test").iterdir():
            if kind.defect is not None and other.name not in (GOOD, kind.defect):
                shutil.rmtree(other)
        settings = [f"data.root={scratch}", f"data.subset={folder.name}", f"output={scratch}/run", *overrides]
        run = train(typed(compose("train", ["experiment=plain_cam", "cache.enabled=false", *settings]), TrainConfig))
        return sum("goes_with" in alarm for alarm in run.read_metrics()["alarms"])


def rate(hits: int, n: int) -> str:
    """A rate with n and its Wilson 95 % interval."""
    if not n:
        return "–"
    interval = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return f"{hits}/{n} ({interval.low:.2f} – {interval.high:.2f})"


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Sets of each row.")] = 20,
    training: Annotated[int, typer.Option(min=0, help="Sets of each row that are trained on as well.")] = 0,
    first: Annotated[int, typer.Option(min=0, help="Seed of the first set.")] = FIRST_SEED,
    only: Annotated[str, typer.Option(help="Rows whose name holds this text.")] = "",
    setting: Annotated[list[str] | None, typer.Option(help="Override of the training; repeatable.")] = None,
) -> None:
    """Print the table."""
    head = ["set", "wanted", "differences found", "alarms, masks", "alarms, no masks", "alarms a set"]
    head += ["alarms after training, no masks"] if training else []
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for kind in KINDS:
        if only not in kind.name:
            continue
        found = [checked(kind, number, first) for number in range(seeds)]
        cells = [rate(sum(bool(one[i]) for one in found), seeds) for i in range(3)]
        alarmed = [one[1] for one in found if one[1]]
        cells.append(f"{sum(alarmed) / len(alarmed):.1f}" if alarmed else "–")
        if training:
            after = [trained(kind, number, setting or []) for number in range(training)]
            cells.append(rate(sum(map(bool, after)), training))
        print(f"| {' | '.join([kind.name, 'none' if kind.quiet else 'one', *cells])} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
