"""What do mirrored views of the training pictures teach, and which part of the model? AUROC of each, and V2.

Generated and made-up sets are learnt from by their labels, with `trainer.augment=flips` and with `none`. Those that
are made up are measured on 120 other pictures of the same make, the generated ones on what another seed makes.

    python benchmarks/mirrored_views.py                                         # some 8 minutes a training on one core
    python benchmarks/mirrored_views.py --only screws --seeds 3 --key refine.mask_steps=1    # classes alone: half of it
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from box_margin import v2_of
from common import OutputOption, report, say, table
from location_refit import GENERATED, MADE_UP, Work, generated
from sklearn.metrics import roc_auc_score

from weakspot.evaluation.truth import Truth
from weakspot.models.model import Model
from weakspot.models.output_store import OutputStore
from weakspot.training.model_parts import fit_heads
from weakspot.training.stages import compute_outputs, fit_classifier
from weakspot.types import MODEL_PARTS

VIEWS = ("none", "flips")
"""Values of ``trainer.augment`` that are compared."""


def outputs_of(work: Work, folder: Path) -> OutputStore:
    """Train on the set once, without any model for thresholds, and ask for the pictures to measure on."""
    run = work.run
    fit_classifier(run, folder)
    heads = fit_heads(run, folder)[0]
    model = Model(run.network, heads.evidence, heads.statistics)
    return compute_outputs(model, work.infos, run.preprocess, run.rules.cache)


def auroc_of_parts(outputs: OutputStore, defective: npt.NDArray[np.bool_]) -> list[float]:
    """AUROC of each part of the model, NaN where it has nothing to say, and of the mean of their log-odds."""
    log_odds = outputs.part_log_odds
    if log_odds is None:
        raise RuntimeError("the model has no parts beside the classifier")
    told = [np.isfinite(column).all() for column in log_odds.T]
    parts = [float(roc_auc_score(defective, log_odds[:, k])) if there else np.nan for k, there in enumerate(told)]
    return [*parts, float(roc_auc_score(defective, log_odds[:, told].mean(axis=1)))]


def row_of(work: Work, folder: Path) -> list[float]:
    """AUROC of the parts and of all, and V2 of the boxes, drawn whatever the class of a picture."""
    outputs = outputs_of(work, folder)
    defective = np.array([not sample.is_good for sample in work.samples])
    which = np.flatnonzero(defective).tolist()
    some = OutputStore.join([outputs.rows(slice(i, i + 1)) for i in which])
    truth = [boxes.astype(float) for boxes in Truth.read([work.samples[i] for i in which], some.sizes).boxes]
    rule = replace(work.run.rules.boxes, threshold_kind="absolute")
    return [*auroc_of_parts(outputs, defective), v2_of(some, truth, work.run.preprocess, rule)]


def main(
    output: OutputOption = None,
    folder: Annotated[Path, typer.Option(help="Where pictures and models are kept.")] = Path("outputs/mirrored_views"),
    only: Annotated[list[str] | None, typer.Option(help="Only this set; repeatable.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each kind, with seeds from 0.", min=1)] = 1,
    key: Annotated[list[str] | None, typer.Option(help="A key=value of weakspot train besides; repeatable.")] = None,
) -> None:
    """Train on every set with each choice of views, and write the table."""
    rows = []
    for name in only or [*GENERATED, *MADE_UP]:
        for views in VIEWS:
            found = list[list[float]]()
            for seed in range(seeds):
                say(f"{name}, trainer.augment={views}, seed {seed}")
                keys = [*(key or ()), f"trainer.augment={views}", f"seed={seed}"]
                work = generated(name, folder.resolve(), *keys, good_too=True)
                found.append(row_of(work, folder.resolve() / f"{name}-{views}-{seed}"))
                say(f"{name}, {views}, seed {seed}: {' '.join(f'{value:.3f}' for value in found[-1])}")
            rows.append([name, views, *(f"{value:.3f}" for value in np.mean(found, axis=0))])
    parts = [f"AUROC of {part}" for part in MODEL_PARTS]
    header = ["set", "views", *parts, "of their mean", "V2, whatever the class"]
    report(f"Mirrored views; means of {seeds} trainings", [table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)
