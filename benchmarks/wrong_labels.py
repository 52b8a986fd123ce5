"""How many wrong labels does confident learning find? Labels are turned round on purpose, and the list is compared.

The statistics head is fitted on frozen features, groups left out in turn; the classifier and the evidence heads are not
trained. Groups (photographs of one part) stay together; a label is turned round for one photograph, not for its group.
The flaws of the data set itself are unknown and count as false finds.

    python benchmarks/wrong_labels.py DIR --subset magnetic_tile
    python benchmarks/wrong_labels.py                               # the generated sets
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from common import OutputOption, report, say, table
from scipy.special import expit

from weakspot.commands.resolve import resolve, with_backbone
from weakspot.config import hydra_app
from weakspot.config.schema import TrainConfig, typed
from weakspot.data import synthetic
from weakspot.data.views import ImageView
from weakspot.evaluation.wrong_labels import probably_wrong
from weakspot.models.statistics import StatisticsHead
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.evidence.statistics import fit_measured, measured_statistics
from weakspot.training.prepare import PreparedRun, prepare


def turned_round(prepared: PreparedRun, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes of all pictures, some wrong, and which are; as many Good as defective ones in proportion."""
    defective = np.array(prepared.data.targets) != 0
    wrong = np.zeros(len(defective), bool)
    rng = np.random.default_rng([seed, 7])
    for kind in (True, False):
        members = np.flatnonzero(defective == kind)
        wrong[rng.permutation(members)[: max(1, round(share * len(members)))]] = True
    return defective ^ wrong, wrong


def found_by(head: StatisticsHead, values: np.ndarray, labels: np.ndarray, groups: list[int], seed: int) -> list[int]:
    """Positions of the pictures whose label is named, most doubtful first."""
    fitted = fit_measured(head, values, labels.astype(int).tolist(), groups, seed)
    if fitted is None:
        raise RuntimeError("no groups can be left out")
    return probably_wrong(expit(fitted.left_out), labels)


def main(
    data: Annotated[Path | None, typer.Argument(help="Folder with subsets; None: generated pictures.")] = None,
    subset: Annotated[list[str] | None, typer.Option(help="As data.subset; repeatable.")] = None,
    experiment: Annotated[str, typer.Option(help="recommended or fast.")] = "fast",
    share: Annotated[float, typer.Option(help="Share of the labels of either kind that is turned round.")] = 0.05,
    repeats: Annotated[int, typer.Option(help="Times that other labels are turned round.")] = 3,
    override: Annotated[list[str] | None, typer.Option(help="Further key=value of weakspot train; repeatable.")] = None,
    output: OutputOption = None,
) -> None:
    """Turn labels round and count which of them are named."""
    rows = []
    for name in subset or list(synthetic.PRODUCTS):
        where = ["data=synthetic"] if data is None else ["data=mvtec", f"data.root={data}"]
        overrides = [f"experiment={experiment}", *where, f"data.subset={name}", *(override or [])]
        prepared = prepare(resolve(with_backbone(typed(hydra_app.compose("train", overrides), TrainConfig))))
        data_set = prepared.data
        source = FeatureSource(prepared.network.eval(), prepared.preprocess, prepared.rules.cache)
        head, values = measured_statistics(source, [ImageView(info) for info in data_set.infos])
        counts = []
        for seed in range(repeats):
            labels, wrong = turned_round(prepared, share, seed)
            named = found_by(head, values, labels, data_set.groups, seed)
            hits = int(wrong[named].sum())
            counts.append((int(wrong.sum()), len(named), hits, int(wrong[named[: int(wrong.sum())]].sum())))
            say(f"{name}, {seed}: {counts[-1]}")
        planted, length, hits, first = np.array(counts).sum(axis=0)
        precision = "–" if not length else f"{hits / length:.2f}"
        rows.append((
            name, len(prepared.data.infos), planted // repeats, f"{length / repeats:.1f}", precision,
            f"{hits / planted:.2f}", f"{first / planted:.2f}",
        ))  # fmt: skip
    header = (
        "set", "pictures", "labels turned round", "length of the list", "precision", "recall",
        "recall of the list cut at the true number",
    )  # fmt: skip
    intro = f"`{experiment}`, {share:.0%} of the labels of either kind turned round, {repeats} times; sums over all."
    report("Wrong labels that are found", [intro, table(header, rows)], output)


if __name__ == "__main__":
    typer.run(main)
