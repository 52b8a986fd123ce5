"""What do the next outlines buy? V2, pixel AP and balanced accuracy by the number of outlined training pictures.

For each fold `weakspot train` makes the labels-only run. Then, for each number of outlined defect pictures, as boxes
and as masks, chosen by the queue of `weakspot review` and by lot, it trains with `data.annotations`, which goes on from
the labels-only run, and the two are compared on the fold's test pictures. Every training is a line of a file; lines
that are there already are not computed again.

    python benchmarks/label_efficiency.py DIR --subset magnetic_tile --experiment recommended --split published
    python benchmarks/label_efficiency.py DIR --subset magnetic_tile --experiment fast --split own --fold 1 \
        --count 0 --count 20 --count all --choice lot
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import typer
from common import OutputOption, report, say, table
from pycocotools import mask as coco_mask

from weakspot.commands.review import ReviewRequest, prepare_review
from weakspot.commands.train import train
from weakspot.config import hydra_app
from weakspot.config.schema import TrainConfig, typed
from weakspot.data.images import inspect_image, read_mask
from weakspot.data.splits import portable, read_split
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.truth import Truth, levels_reached
from weakspot.metrics import mask_boxes
from weakspot.metrics.paired import paired_difference
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.runs.folder import RunFolder, own_test_subset
from weakspot.runs.identity import short_hash
from weakspot.types import GOOD, Sample
from weakspot.utils.files import write_json

SPLITS = {
    "own": ("split.seed=7", "split.folds=3"),
    "published": ("split.folds=3",),
}
"""Overrides of the split, without the fold."""

SECONDS_A_BOX = 7.5
"""What a box takes a person with the keys of the review page, as benchmarks/review_speed.py estimates it."""

MEASURES = {"max_box_acc_v2": "V2", "pixel_ap": "pixel AP", "balanced_accuracy": "balanced accuracy"}


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        settings: hash over the configuration; rows of other settings are of another curve.
        fold: number of the fold.
        count: defect pictures that are outlined; 0 is labels only, -1 all of them.
        kind: ``boxes``, ``masks`` or ``none``.
        choice: ``queue``, ``lot`` or ``none``.
        seed: of the lot and of the training.
    """

    settings: str
    fold: int
    count: int
    kind: str
    choice: str
    seed: int


@dataclass(frozen=True)
class Fold:
    """A fold and its labels-only run, which is made when it is first needed.

    Attributes:
        overrides: of ``weakspot train``, with the fold.
        folder: for runs.
    """

    overrides: Sequence[str]
    folder: Path

    def trained(self, name: str, *more: str) -> RunFolder:
        """The run of a name; one that is finished is taken over.

        Args:
            name: of its folder.
            more: further overrides.
        """
        keys = [*self.overrides, f"output={self.folder / name}", *more]
        return train(typed(hydra_app.compose("train", keys), TrainConfig))

    @cached_property
    def labels_only(self) -> RunFolder:
        """The run that is gone on from."""
        return self.trained("labels")

    @cached_property
    def root(self) -> Path:
        """The folder that paths in the run's ``split.csv`` are relative to."""
        overrides = dict(text.split("=", 1) for text in self.overrides)
        return Path(overrides["data.root"])

    @cached_property
    def outlined(self) -> list[Sample]:
        """The training pictures of defects that have a mask, so that they can be outlined."""
        samples, subsets = read_split(self.labels_only.split, self.root)
        train_ = [sample for sample, subset in zip(samples, subsets, strict=True) if subset == "train"]
        return [sample for sample in train_ if sample.defect != GOOD and sample.mask is not None]

    def order(self, choice: str, seed: int) -> list[Sample]:
        """The pictures of :attr:`outlined`, those that are outlined first in front.

        Args:
            choice: ``queue`` (as ``weakspot review`` shows them) or ``lot``.
            seed: of the lot.
        """
        if choice == "lot":
            return [self.outlined[n] for n in np.random.default_rng([seed, 6]).permutation(len(self.outlined))]
        queue = prepare_review(ReviewRequest(self.labels_only.path)).store.pictures
        place = {picture.name: number for number, picture in enumerate(queue)}
        return sorted(self.outlined, key=lambda sample: place[portable(sample.path, self.root)])

    def corrected(self, chosen: Sequence[Sample], kind: str, name: str) -> RunFolder:
        """The run that has learnt from outlines too.

        Args:
            chosen: the outlined pictures.
            kind: ``boxes`` or ``masks``.
            name: of the run's folder.
        """
        file = self.folder / f"{name}.json"
        write_json(file, as_coco(chosen, kind, self.root))
        return self.trained(name, f"data.annotations=[{file}]")


def as_coco(samples: Sequence[Sample], kind: str, root: Path) -> dict[str, Any]:
    """What a person would have drawn, as COCO: the masks, or the boxes of their connected regions.

    Args:
        samples: defect pictures with a mask.
        kind: ``boxes`` or ``masks``.
        root: what names are relative to.
    """
    images, drawn = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, sample in enumerate(samples, start=1):
        info = inspect_image(sample.path)
        size = {"height": info.height, "width": info.width}
        images.append({"id": number, "file_name": portable(sample.path, root), "sha256": info.sha256, **size})
        assert sample.mask is not None  # noqa: S101 - for the type checker
        mask = read_mask(sample.mask, (info.height, info.width))
        if kind == "masks":
            encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
            shapes: list[dict[str, Any]] = [
                {"segmentation": {"size": list(mask.shape), "counts": encoded["counts"].decode()}}
            ]
        else:
            shapes = [{"bbox": [x0, y0, x1 - x0, y1 - y0]} for x0, y0, x1, y1 in mask_boxes(mask).tolist()]
        drawn += [{"image_id": number, "category_id": 1, **shape} for shape in shapes]
    drawn = [{"id": n, **one} for n, one in enumerate(drawn, start=1)]
    return {"images": images, "annotations": drawn, "categories": [{"id": 1, "name": "anomaly"}]}


def measured(run: RunFolder) -> dict[str, Any]:
    """What a run reaches on its test pictures, and how far each of those with a mask is located."""
    test = MetricsRecord.read(run.metrics).measurement.test
    assert test.localisation is not None  # noqa: S101 - for the type checker
    store, samples = own_test_subset(run)
    truth = Truth.read(samples, store.sizes)
    predictions = {one.path: one for one in read_predictions(run.predictions)}
    known = [(samples[i], truth.boxes[i]) for i in truth.with_boxes]
    return {
        "max_box_acc_v2": test.localisation.max_box_acc_v2.value,
        "pixel_ap": test.localisation.pixel.pixel_average_precision,
        "balanced_accuracy": test.classification.balanced_accuracy.value,
        "false_boxes_per_100_good": test.localisation.before_decision.false_boxes_per_100_good,
        "levels": [levels_reached(boxes_array(predictions[sample.path].boxes), boxes) for sample, boxes in known],
        "groups": [sample.group or str(sample.path) for sample, _ in known],
        "defects": [sample.defect for sample, _ in known],
    }


def read_rows(file: Path) -> dict[Row, dict[str, Any]]:
    """Trainings that were measured before."""
    if not file.is_file():
        return {}
    lines = (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines())
    return {Row(**line["row"]): line["found"] for line in lines}


def wanted_rows(
    settings: str, folds: Sequence[int], counts: Sequence[int], kinds: Sequence[str], choices: Sequence[str], seed: int
) -> Iterator[Row]:
    """Every training of the curve; all pictures are the same ones by the queue and by lot."""
    for fold in folds:
        if 0 in counts:
            yield Row(settings, fold, 0, "none", "none", seed)
        for count, kind, choice in product(counts, kinds, choices):
            if count > 0:
                yield Row(settings, fold, count, kind, choice, seed)
            elif count < 0 and choice == choices[0]:
                yield Row(settings, fold, count, kind, "none", seed)


def gain(first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]]) -> str:
    """By how much V2 is higher, paired by picture, with an interval from drawing groups within folds."""
    before, after = (np.concatenate([np.array(row["levels"]) for row in rows]) for rows in (first, second))
    names = [(number, group) for number, row in enumerate(first) for group in row["groups"]]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    found = paired_difference(before, after, [numbers[name] for name in names], np.zeros(len(names), int)).difference
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def summary(rows: dict[Row, dict[str, Any]], wanted: Sequence[Row]) -> str:
    """A table: one line for each number, kind and choice, mean over the folds."""
    header = ("outlined", "as", "chosen by", *MEASURES.values(), "V2, gain over labels only")
    lines = []
    for key in dict.fromkeys((row.count, row.kind, row.choice) for row in wanted):
        here = [row for row in wanted if (row.count, row.kind, row.choice) == key and row in rows]
        base = [replace(row, count=0, kind="none", choice="none") for row in here]
        if not here:
            continue
        values = [f"{np.mean([rows[row][measure] for row in here]):.3f}" for measure in MEASURES]
        paired = gain([rows[row] for row in base], [rows[row] for row in here]) if set(base) <= set(rows) else ""
        lines.append(("all" if key[0] < 0 else key[0], key[1], key[2], *values, paired if key[0] else ""))
    return table(header, lines)


def draw(rows: dict[Row, dict[str, Any]], wanted: Sequence[Row], path: Path) -> None:
    """Draw V2 by the number of outlined pictures, mean over the folds; a line for each kind and choice.

    Args:
        rows: what was measured.
        wanted: of one curve.
        path: of the picture.
    """
    counts = [*sorted({row.count for row in wanted if row.count >= 0}), -1]
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for kind, choice in dict.fromkeys((row.kind, row.choice) for row in wanted if row.count > 0):
        here = [(kind, choice) if count > 0 else (kind, "none") if count else ("none", "none") for count in counts]
        found = [
            [rows[row]["max_box_acc_v2"] for row in wanted if row in rows and (row.count, row.kind, row.choice) == key]
            for key in ((count, *names) for count, names in zip(counts, here, strict=True))
        ]
        positions = [position for position, values in enumerate(found) if values]
        line = "-" if kind == "masks" else "--"
        means = [float(np.mean(found[position])) for position in positions]
        axes.plot(positions, means, marker="o", linestyle=line, label=f"{kind}, chosen by {choice}")
    minutes = [f"{count}\n{count * SECONDS_A_BOX / 60:.1f} min" if count >= 0 else "all" for count in counts]
    axes.set_xticks(range(len(counts)), minutes)
    axes.set_xlabel(f"outlined defect pictures in each fold, and what they take at {SECONDS_A_BOX:g} s for a box")
    axes.set_ylabel("V2 on the test subset")
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(
    data: Annotated[Path, typer.Argument(help="Folder with subsets in MVTec AD layout.")],
    subset: Annotated[str, typer.Option(help="As data.subset.")] = "magnetic_tile",
    experiment: Annotated[str, typer.Option(help="recommended or fast.")] = "fast",
    split: Annotated[str, typer.Option(help="published or own folds.")] = "own",
    fold: Annotated[list[int] | None, typer.Option(help="Fold; repeatable; all three when left out.")] = None,
    count: Annotated[list[str] | None, typer.Option(help="Outlined pictures; repeatable; a number or all.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="boxes or masks; repeatable; both when left out.")] = None,
    choice: Annotated[list[str] | None, typer.Option(help="queue or lot; repeatable; both when left out.")] = None,
    seed: Annotated[int, typer.Option(help="Of the lot, and of the training.")] = 42,
    override: Annotated[list[str] | None, typer.Option(help="Further key=value of weakspot train; repeatable.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for models, and rows.jsonl.")] = Path("outputs/label_efficiency"),
    picture: Annotated[Path | None, typer.Option(help="Draw the curve into this PNG.")] = None,
    output: OutputOption = None,
) -> None:
    """Measure the curve; goes on where it was interrupted."""
    counts = [-1 if text == "all" else int(text) for text in (count or ["0", "5", "10", "20", "50", "all"])]
    folds, kinds, choices = fold or [0, 1, 2], kind or ["boxes", "masks"], choice or ["queue", "lot"]
    place = ["data=mvtec", f"data.root={data.resolve()}", f"data.subset={subset}"]
    overrides = [f"experiment={experiment}", *place, f"seed={seed}", *SPLITS[split], *(override or [])]
    settings = short_hash([experiment, subset, *SPLITS[split], *(override or [])])
    file = work / "rows.jsonl"
    rows, wanted = read_rows(file), list(wanted_rows(settings, folds, counts, kinds, choices, seed))
    for number in folds:
        this = Fold([*overrides, f"split.fold={number}"], work.resolve() / f"{settings}-fold{number}-seed{seed}")
        for row in (row for row in wanted if row.fold == number and row not in rows):
            if row.count == 0:
                run = this.labels_only
            else:
                order = this.outlined if row.count < 0 else this.order(row.choice, seed)[: row.count]
                run = this.corrected(order, row.kind, f"{row.count}-{row.kind}-{row.choice}")
            rows[row] = measured(run)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"row": asdict(row), "found": rows[row]}, allow_nan=True) + "\n")
            say(f"fold {number}, {row.count} {row.kind} by {row.choice}: V2 {rows[row]['max_box_acc_v2']:.3f}")
    if picture is not None:
        draw(rows, wanted, picture)
    intro = f"`{experiment}` on {subset}, folds {', '.join(map(str, folds))} ({split}), seed {seed}."
    if override:
        intro += f" Shortened: `{' '.join(override)}`."
    report("What the next outlines buy", [intro, summary(rows, wanted)], output)


if __name__ == "__main__":
    typer.run(main)
