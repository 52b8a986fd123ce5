"""Reports to test with, made without training: pictures with a bright rectangle, and maps that mostly see it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weakspot.commands.cross_validate import write_pooled
from weakspot.commands.results import MeasuredRun, measure_run, write_results
from weakspot.config.hydra_app import compose
from weakspot.config.rules import BoxRule
from weakspot.config.schema import TrainConfig, read_config, typed, with_values, write_config
from weakspot.data.preprocess import Preprocess
from weakspot.data.splits import write_split
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.models.bundle_meta import META_FILE, BundleMeta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.report.run_report import Evaluated
from weakspot.runs.folder import RunFolder
from weakspot.types import Sample, Subset
from weakspot.utils.files import write_json

HEIGHT, WIDTH = 80, 128
CELLS = (10, 16)
HOSTILE_FILES = (
    "<script>window.hacked=1<!--.png", '"><img src=x onerror=window.hacked=1>.png', "it's \"quoted\" & 100 %.png",
    "日本語 пример.png", "x" * 196 + ".png", "{{ 7*7 }} ${7*7}.png",
)  # fmt: skip
HOSTILE_CLASSES = ("</script><script>window.hacked=1</script>", "\"><b onclick=alert(1)>'class'</b>")


@dataclass
class Made:
    """A data set whose maps are known."""

    samples: list[Sample]
    store: OutputStore
    classes: list[str]


def make_data(
    root: Path,
    n: int,
    *,
    classes: Sequence[str] = ("hole",),
    names: Sequence[str] = (),
    refined: bool = False,
    spots: int = 0,
) -> Made:
    """`n` images, half of them Good; of the defects one in four is missed and one in four boxed elsewhere.

    With `spots`, each defect picture has so many further small defects, which no map sees.
    """
    rng = np.random.default_rng(0)
    folders = {"good": "good", **{name: f"type {k}" for k, name in enumerate(classes)}}
    for folder in folders.values():
        (root / folder).mkdir(parents=True)
    (root / "masks").mkdir()
    samples, maps = [], rng.normal(0, 0.02, (n, 1 + len(classes), *CELLS)).astype(np.float32)
    for i in range(n):
        defect = "good" if i % 2 == 0 else classes[(i // 2) % len(classes)]
        name = names[i] if i < len(names) else f"{i:04d}.png"
        path, mask = root / folders[defect] / name, None
        image = np.clip(rng.normal(110, 14, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        seen = 1 + (list(classes).index(defect) if defect != "good" else 0)
        row, column = rng.integers(1, CELLS[0] - 4), rng.integers(1, CELLS[1] - 5)
        if defect != "good":
            image[8 * row : 8 * row + 24, 8 * column : 8 * column + 32] += 90
            truth = np.zeros((HEIGHT, WIDTH), np.uint8)
            truth[8 * row : 8 * row + 24, 8 * column : 8 * column + 32] = 255
            for spot in range(spots):
                truth[72:80, 16 * spot : 16 * spot + 8] = 255
            mask = root / "masks" / f"{i:04d}.png"
            Image.fromarray(truth).save(mask)
            if i % 8 != 3:
                at = (slice(0, 2), slice(0, 3)) if i % 8 == 5 else (slice(row, row + 3), slice(column, column + 4))
                maps[i, seen][at] += 6.0 + rng.random()
        elif i % 10 == 0:
            maps[i, 1, 4:6, 5:8] += 4.0  # a false alarm
        Image.fromarray(image).save(path)
        samples.append(Sample(path, defect, mask))
    bias = np.array([0.25, *[0.0] * len(classes)], np.float32)
    logits = maps.mean((2, 3)) + bias
    sizes = np.tile(np.array([HEIGHT, WIDTH]), (n, 1))
    evidence = (maps[:, 1:].max(axis=1) - 2).astype(np.float16) if refined else None
    store = OutputStore([s.path for s in samples], sizes, 20 * logits, maps, bias, evidence, evidence)
    return Made(samples, store, ["good", *classes])


def make_meta(classes: list[str], rule: BoxRule) -> BundleMeta:
    """What a bundle would say of a model with these classes."""
    thresholds = {
        "decision": {
            "value": None,
            "decision": {"temperature": 1.0, "threshold": None},
            "origin": "the likeliest class",
        },
        "boxes": {"value": rule.threshold, "kind": rule.threshold_kind, "origin": "configuration"},
    }
    weights = {"origin": "none", "sha256": "0"}
    preprocess = Preprocess((HEIGHT, WIDTH), "torchvision")
    return BundleMeta(classes, preprocess, "vgg16", 2, rule, thresholds, weights, "split", "data", decision=Decision())


def make_report(
    folder: Path, made: Made, rule: BoxRule, root: Path, values: Mapping[str, Any] | None = None
) -> RunFolder:
    """Everything that an evaluation writes, the report among it; `values` are settings by dotted key."""
    config = typed(compose("train", ["data=folder", "name=test"]), TrainConfig)
    config = with_values(config, {"data.root": str(root), **(values or {})})
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    history = [{"epoch": e, "seconds": 1.0, "train/loss": 1 / e, "train/accuracy": 0.5 + e / 10} for e in (1, 2, 3)]
    identity = {"run": "0", "train": {"images": 99, "epochs": 3, "seconds": 3.0, "history": history}}
    write_config(run.config, config)
    write_json(run.identity, identity)
    meta = make_meta(made.classes, rule)
    subset = EvaluatedSubset.predict(made.samples, made.store, meta)
    write_results(run, measure_run(MeasuredRun(config, subset, identity, ["test"] * len(made.samples))))
    return run


def make_finished(
    folder: Path,
    made: Made,
    rule: BoxRule,
    root: Path,
    test: slice = slice(None),
    values: Mapping[str, Any] | None = None,
) -> RunFolder:
    """A run as `train` leaves it, but for the model's weights; `test` are the images that it was measured on."""
    measured = Made(made.samples[test], made.store.rows(test), made.classes)
    run = make_report(folder, measured, rule, root, values)
    measured.store.save(run.maps)
    paths = {sample.path for sample in measured.samples}
    subsets: list[Subset] = ["test" if sample.path in paths else "train" for sample in made.samples]
    write_split(run.split, made.samples, subsets, root)
    write_json(run.bundle / META_FILE, make_meta(made.classes, rule).to_dict() | {"sha256": "0"})
    return run


def make_folds(
    folder: Path, made: Made, rule: BoxRule, root: Path, folds: int = 2, values: Mapping[str, Any] | None = None
) -> Path:
    """What a cross-validation leaves."""
    ends = [round(fold * len(made.samples) / folds) for fold in range(folds + 1)]
    tests = [slice(start, end) for start, end in pairwise(ends)]
    runs = [
        make_finished(
            folder / f"fold {k}", made, rule, root, test, values and {**values, "split.folds": folds, "split.fold": k}
        )
        for k, test in enumerate(tests)
    ]
    write_pooled(folder / "cv", str((values or {}).get("name", "test")), runs)
    return folder / "cv"


def with_maps(made: Made, positions: Sequence[int], factor: float) -> Made:
    """The same images, seen by a model whose maps of some are stronger or weaker."""
    maps = made.store.maps.copy()
    maps[list(positions)] *= factor
    logits = 20 * (maps.mean((2, 3)) + made.store.bias)
    return replace(made, store=replace(made.store, maps=maps, logits=logits))


def evaluated(made: Made, run: RunFolder, rule: BoxRule, folder: Path) -> Evaluated:
    """What the report of `run` was made of, to be changed and written into another folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (run.config, run.identity):
        shutil.copy(path, folder)
    meta, predictions = make_meta(made.classes, rule), read_predictions(run.predictions)
    subset = EvaluatedSubset(made.samples, made.store, predictions, meta)
    return Evaluated(RunFolder(folder), read_config(run.config), MetricsRecord.read(run.metrics), subset)


def many(made: Made, run: RunFolder, rule: BoxRule, folder: Path, n: int) -> Evaluated:
    """The same images again and again under other names, `n` in all."""
    once = evaluated(made, run, rule, folder)
    order = np.resize(np.arange(len(made.samples)), n)
    paths = [folder / f"{number:05d}.png" for number in range(n)]
    for path, i in zip(paths, order, strict=True):
        os.link(made.samples[i].path, path)
    store = made.store
    copies = OutputStore(paths, store.sizes[order], store.logits[order], store.maps[order], store.bias)
    subset = EvaluatedSubset(
        [replace(made.samples[i], path=path) for path, i in zip(paths, order, strict=True)],
        copies,
        [replace(once.subset.predictions[i], path=path) for path, i in zip(paths, order, strict=True)],
        once.subset.meta,
    )
    return replace(once, subset=subset)
