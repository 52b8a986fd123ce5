"""Is the location head to be trained again, from the outlines that the mask head gave? The evidence heads alone.

Each set is learnt from by its labels, with the second training of the location head and without it, and V2 of the three
best boxes of a picture, drawn whatever its class, is measured on other pictures of the same make. Of a folder in MVTec
AD layout the first fold of ``split.seed=7 split.folds=3`` is measured, which is not a published one.

    python benchmarks/location_refit.py          # five generated sets, some 3 minutes a training on one core
    python benchmarks/location_refit.py DIR/magnetic_tile --only magnetic_tile
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from box_margin import v2_of
from common import OutputOption, report, say, table
from other_surfaces import SETS, TESTED, write_set

from weakspot.commands.resolve import resolve, with_backbone
from weakspot.config import hydra_app
from weakspot.config.schema import TrainConfig, typed
from weakspot.data import synthetic
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.readers import read_samples
from weakspot.evaluation.truth import Truth
from weakspot.models.model import Model
from weakspot.models.output_store import OutputStore
from weakspot.training.evidence.budget import MOST, budget_for
from weakspot.training.evidence.fit import fit_evidence
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.prepare import PreparedRun, prepare
from weakspot.training.stages import compute_outputs
from weakspot.types import Sample

GENERATED = ("gear", "fabric")
MADE_UP = ("screws", "biscuits", "pits")
MARGINS = (0.0, 0.025, 0.05)
LEARN_FROM, MEASURE_ON = 1, 2
"""Seeds of the two halves of a generated set; the published pictures have others."""


@dataclass(frozen=True)
class Work:
    """A set, ready to learn from, and the pictures to measure on."""

    run: PreparedRun
    samples: Sequence[Sample]
    infos: Sequence[ImageInfo]


def prepared(root: Path, subset: str, *keys: str) -> PreparedRun:
    """A run of ``recommended`` on a set in MVTec AD layout."""
    place = [f"data.root={root}", f"data.subset={subset}", "data=mvtec", "split.near_duplicates=report"]
    config = typed(hydra_app.compose("train", ["experiment=recommended", *place, *keys]), TrainConfig)
    return prepare(resolve(with_backbone(config)))


def generated(name: str, folder: Path, *keys: str, good_too: bool = False) -> Work:
    """A generated or made-up set: all of one half is learnt from but the test subset, the other half measured on.

    Args:
        name: of the set.
        folder: where its pictures are kept.
        keys: ``key=value`` of ``weakspot train``.
        good_too: whether Good pictures are measured on, and not the defective ones alone.
    """
    for half, seed in (("learn", LEARN_FROM), ("measure", MEASURE_ON)):
        if name in SETS:
            draw, good, defective, number = SETS[name]
            counts = (good, defective) if half == "learn" else (TESTED if good_too else 1, TESTED)
            write_set(folder / half / name, draw, *counts, np.random.default_rng(1000 * seed + number))
        else:
            synthetic.ensure(folder / half, name, seed=76 + seed)
    samples = [one for one in read_samples("mvtec", folder / "measure", subset=name) if good_too or not one.is_good]
    return Work(prepared(folder / "learn", name, *keys), samples, inspect_images([sample.path for sample in samples]))


def of_folder(data: Path, *keys: str) -> Work:
    """A fold of a folder that is not a published one; parts are on one side."""
    split = ("split.near_duplicates=together", "split.seed=7", "split.folds=3", "split.fold=0")
    run = prepared(data.parent, data.name, *split, *keys)
    test = [i for i in run.data.indices("test") if run.data.targets[i] != 0]
    return Work(run, [run.data.samples[i] for i in test], [run.data.infos[i] for i in test])


def with_refit(run: PreparedRun, *, again: bool) -> PreparedRun:
    """The run with as many steps of the second training as go with those of the first, or with none."""
    first = budget_for(run.rules.refine, len(run.data.indices("train"))).location_steps
    steps = round(first * MOST.location_refit_steps / MOST.location_steps) if again else 0
    return replace(run, rules=replace(run.rules, refine=replace(run.rules.refine, location_refit_steps=steps)))


def trained(work: Work, scratch: Path) -> OutputStore:
    """Outputs of freshly trained evidence heads for the pictures to measure on."""
    run, data = work.run, work.run.data
    train = data.indices("train")
    good, defect = ([data.infos[i] for i in train if (data.targets[i] == 0) == is_good] for is_good in (True, False))
    source = FeatureSource(run.network, run.preprocess, run.rules.cache)
    (net,) = fit_evidence(source, good, defect, run.rules.refine, run.rules.seed, scratch)
    return compute_outputs(Model(run.network, net, None), work.infos, run.preprocess, run.rules.cache)


def main(
    data: Annotated[
        Path | None, typer.Argument(metavar="DATA", help="Folder in MVTec AD layout, beside the others.")
    ] = None,
    output: OutputOption = None,
    folder: Annotated[Path, typer.Option(help="Where pictures and heads are kept.")] = Path("outputs/location_refit"),
    only: Annotated[list[str] | None, typer.Option(help="Only this set; repeatable.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="A key=value of weakspot train besides; repeatable.")] = None,
) -> None:
    """Train the heads of each set twice and write the table."""
    names = [*GENERATED, *MADE_UP, *([] if data is None else [data.name])]
    rows = []
    for name in only or names:
        for again in (True, False):
            place = folder.resolve()
            work = of_folder(data, *key or ()) if data and name == data.name else generated(name, place, *key or ())
            work = replace(work, run=with_refit(work.run, again=again))
            say(f"{name}, the location head trained {'twice' if again else 'once'}")
            outputs = trained(work, place / "heads" / f"{name}-{again}")
            truth = [boxes.astype(float) for boxes in Truth.read(work.samples, outputs.sizes).boxes]
            rule = replace(work.run.rules.boxes, threshold_kind="absolute")
            rules = [replace(rule, margin=margin) for margin in MARGINS]
            figures = [f"{v2_of(outputs, truth, work.run.preprocess, one):.3f}" for one in rules]
            rows.append([name, len(work.samples), "twice" if again else "once", *figures])
    header = ["set", "n", "location head trained", *(f"V2, margin {margin:g}" for margin in MARGINS)]
    report("The location head's second training", [table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)
