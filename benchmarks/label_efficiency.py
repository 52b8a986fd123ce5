"""What do the next outlines buy? V2, pixel AP and balanced accuracy by the number of outlined training pictures.

For each fold the labels-only model is trained once. Then, for each number of outlined defect pictures, as boxes and as
masks, chosen by the review queue and by lot, only the evidence heads learn on (`data.annotations`), and the fold's test
pictures are measured. Every training is a line of a file; lines that are there already are not computed again.

    python benchmarks/label_efficiency.py DIR --subset magnetic_tile --experiment recommended --split published
    python benchmarks/label_efficiency.py DIR --subset magnetic_tile --experiment fast --split own --fold 1 \
        --count 0 --count 20 --count all --choice lot
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import typer
from common import OutputOption, report, say, table

from weakspot.commands.resolve import resolve, with_backbone
from weakspot.commands.thresholds import calibrate
from weakspot.config import hydra_app
from weakspot.config.schema import TrainConfig, typed
from weakspot.data.annotations import Annotation
from weakspot.data.images import read_mask
from weakspot.evaluation.measure import measure
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.evaluation.truth import Truth, levels_reached
from weakspot.metrics import mask_boxes
from weakspot.metrics.paired import paired_difference
from weakspot.models.model import Model
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.boxes import boxes_array
from weakspot.postprocess.review import doubts
from weakspot.runs.folder import RunFolder
from weakspot.runs.identity import short_hash
from weakspot.training.evidence.correct_fit import fit_corrections
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.model_parts import fit_heads
from weakspot.training.prepare import PreparedRun, prepare
from weakspot.training.stages import bundle_meta, compute_outputs, fit_classifier
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
        count: defect pictures that are outlined; 0 is labels only.
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


class Fold:
    """A fold whose labels-only model is trained once, and taken over from its folder when that was done before.

    Args:
        config: of the labels-only training.
        folder: for checkpoints.
    """

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.prepared: PreparedRun = prepare(resolve(with_backbone(config)))
        fit_classifier(self.prepared, folder / "labels")
        heads = fit_heads(self.prepared, folder / "labels")[0]
        self.model = Model(self.prepared.network, heads.evidence, heads.statistics)
        data = self.prepared.data
        self.train = data.indices("train")
        self.outlined = [i for i in self.train if data.targets[i] != 0 and data.samples[i].mask is not None]

    def order(self, choice: str, seed: int) -> list[int]:
        """The defect pictures with a mask, those that are outlined first in front.

        Args:
            choice: ``queue`` (most worth a look first, by the labels-only model) or ``lot``.
            seed: of the lot.
        """
        drawn: list[int] = np.random.default_rng([seed, 6]).permutation(self.outlined).tolist()
        if choice == "lot":
            return drawn
        samples = [self.prepared.data.samples[i] for i in drawn]
        store = self._outputs(self.model, drawn)
        meta = self._meta(self.model, self.folder / "labels")
        predictions = EvaluatedSubset.predict(samples, store, meta).predictions
        urgency = [(doubts(prediction, meta.decision) or (0.0, ""))[0] for prediction in predictions]
        return [drawn[n] for n in np.argsort(-np.array(urgency), kind="stable")]

    def corrected(self, chosen: Sequence[int], kind: str, folder: Path) -> Model:
        """The labels-only model after it has learnt from outlines.

        Args:
            chosen: positions of the outlined pictures.
            kind: ``boxes`` or ``masks``.
            folder: for checkpoints.
        """
        if not chosen:
            return self.model
        prepared, data = self.prepared, self.prepared.data
        source = FeatureSource(prepared.network, prepared.preprocess, prepared.rules.cache)
        good = [data.infos[i] for i in self.train if data.targets[i] == 0]
        others = [data.infos[i] for i in self.train if data.targets[i] != 0 and i not in set(chosen)]
        drawn = [(data.infos[i], self._annotation(i, kind)) for i in sorted(chosen)]
        assert self.model.evidence is not None  # noqa: S101 - for the type checker
        net = deepcopy(self.model.evidence)
        rules = prepared.rules
        fit_corrections(source, net, good, others, drawn, rules.refine, rules.seed, folder)
        return Model(self.model.network, net, self.model.statistics)

    def _annotation(self, i: int, kind: str) -> Annotation:
        sample, info = self.prepared.data.samples[i], self.prepared.data.infos[i]
        annotation = Annotation(str(sample.path), (info.height, info.width))
        assert sample.mask is not None  # noqa: S101 - for the type checker
        mask = read_mask(sample.mask, annotation.size)
        if kind == "masks":
            annotation.add_mask(mask)
        else:
            for box in mask_boxes(mask).tolist():
                annotation.add_box(*box)
        return annotation

    def _outputs(self, model: Model, positions: Sequence[int]) -> OutputStore:
        rules, data = self.prepared.rules, self.prepared.data
        images = [data.infos[i] for i in positions]
        return compute_outputs(model, images, self.prepared.preprocess, rules.cache, rules.heatmap, rules.flip_tta)

    def _meta(self, model: Model, folder: Path) -> Any:  # noqa: ANN401 - a description of the model
        """The model's description with its thresholds, set on the validation subset."""
        prepared, data, run = self.prepared, self.prepared.data, RunFolder(folder)
        decided_on, good = prepared.validation_images, len(prepared.calibration_images)
        outputs = self._outputs(model, decided_on)
        outputs.rows(slice(0, good)).save(run.calibration)
        write_json(run.validation, {"logits": outputs.logits, "targets": [data.targets[i] for i in decided_on]})
        groups = data.groups
        run.update_identity(validation_groups=[groups[i] for i in decided_on])
        return calibrate(bundle_meta(prepared, model), prepared.rules.boxes, self.config.decision, run)

    def measured(self, model: Model, folder: Path) -> dict[str, Any]:
        """Measure a model on the fold's test pictures.

        Args:
            model: the labels-only one, or one that has learnt on.
            folder: for what thresholds are set on.
        """
        folder.mkdir(parents=True, exist_ok=True)
        data = self.prepared.data
        tests = data.indices("test")
        samples = [data.samples[i] for i in tests]
        subset = EvaluatedSubset.predict(samples, self._outputs(model, tests), self._meta(model, folder))
        found = measure([subset]).test
        assert found.localisation is not None  # noqa: S101 - for the type checker
        truth = Truth.read(samples, subset.store.sizes, None)
        groups = data.groups
        return {
            "max_box_acc_v2": found.localisation.max_box_acc_v2.value,
            "pixel_ap": found.localisation.pixel.pixel_average_precision,
            "balanced_accuracy": found.classification.balanced_accuracy.value,
            "false_boxes_per_100_good": found.localisation.before_decision.false_boxes_per_100_good,
            "levels": [levels_reached(boxes_array(subset.predictions[i].boxes), truth.boxes[i]) for i in truth.known],
            "groups": [groups[tests[i]] for i in truth.known],
            "defects": [samples[i].defect for i in truth.known],
            "pictures": [samples[i].path.name for i in truth.known],
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
    overrides = [
        f"experiment={experiment}", "data=mvtec", f"data.root={data}", f"data.subset={subset}", f"seed={seed}",
        "split.val_size=0.15",  # thresholds are set on held-out pictures, and the models here are not cross-fitted
        *SPLITS[split], *(override or []),
    ]  # fmt: skip
    settings = short_hash([experiment, subset, *SPLITS[split], *(override or [])])
    file = work / "rows.jsonl"
    rows, wanted = read_rows(file), list(wanted_rows(settings, folds, counts, kinds, choices, seed))
    for number in folds:
        todo = [row for row in wanted if row.fold == number and row not in rows]
        if not todo:
            continue
        config = typed(hydra_app.compose("train", [*overrides, f"split.fold={number}"]), TrainConfig)
        base = work / f"{settings}-fold{number}-seed{seed}"
        this = Fold(config, base)
        orders = {name: this.order(name, seed) for name in {row.choice for row in todo} if name != "none"}
        for row in todo:
            order = orders.get(row.choice, this.outlined)
            folder = base / f"{row.count}-{row.kind}-{row.choice}"
            model = this.corrected(order[: row.count] if row.count >= 0 else order, row.kind, folder)
            rows[row] = this.measured(model, folder)
            work.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"row": asdict(row), "found": rows[row]}, allow_nan=True) + "\n")
            say(f"fold {number}, {row.count} {row.kind} by {row.choice}: V2 {rows[row]['max_box_acc_v2']:.3f}")
        del this
        torch.cuda.empty_cache()
    if picture is not None:
        draw(rows, wanted, picture)
    intro = f"`{experiment}` on {subset}, folds {', '.join(map(str, folds))} ({split}), seed {seed}."
    if override:
        intro += f" Shortened: `{' '.join(override)}`."
    report("What the next outlines buy", [intro, summary(rows, wanted)], output)


if __name__ == "__main__":
    typer.run(main)
