"""From the class activation map to the recommended boxes, step by step, on data with masks.

Each step is an ordinary ``weakspot train`` with the overrides named in the table, over the same folds, which share the
frozen layers' features; what the heads were before *where* was trained again is taken from the checkpoints of the run
that went on. Test parts are pooled over the folds; nothing is chosen on them. Finished folds are not run again when the
script is (``--outputs`` keeps them). About 20 minutes a fold on two cores.

    python benchmarks/ablation.py DATA --weights FILE                  # all five folds
    python benchmarks/ablation.py DATA --weights FILE --fold 0         # one of them
    python benchmarks/ablation.py --quick                              # tiny, generated pictures
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from common import (
    DataArgument,
    OutputOption,
    WeightsOption,
    report,
    say,
    table,
    training_config,
    workplace,
)
from safetensors.torch import load_file

from weakspot import pipeline
from weakspot.config import EvaluateConfig, TrainConfig
from weakspot.crossval import Pooled
from weakspot.data.images import inspect_images
from weakspot.maps import MapStore
from weakspot.model.bundle import load_bundle, save_bundle
from weakspot.runs import RunFolder
from weakspot.stages import compute_maps, feature_cache

BEFORE_AGAIN = "refine.again_steps=0"

STEPS: dict[str, tuple[str, ...]] = {
    "class map, the seed's rule": ("experiment=seed_table",),
    "at 320 px, a calibrated box a region": ("experiment=recommended", "refine=none", "boxes.merge=null"),
    "+ where and extent": ("experiment=recommended", "boxes.merge=null", BEFORE_AGAIN),
    "+ where again, from its own outlines": ("experiment=recommended", "boxes.merge=null"),
    "+ neighbours merged = recommended": ("experiment=recommended",),
}
"""What each step is called, and its overrides."""

QUICK = (
    "data.image_size=64", "trainer.max_epochs=1", "trainer.stop_at_accuracy=null",
)  # fmt: skip
QUICK_REFINE = ("refine.imitations=8", "refine.where_steps=4", "refine.extent_steps=4", "refine.again_steps=2")
HEADER = (
    "step", "balanced accuracy", "V2", "IoU ≥ 0.3", "≥ 0.5", "≥ 0.7", "pixel AP", "AUPRO", "box precision, IoU ≥ 0.3",
    "box AP, IoU ≥ 0.3", "boxes an image", "false boxes per 100 Good",
)  # fmt: skip


def before_again(run: RunFolder, config: TrainConfig) -> RunFolder:
    """A finished refined run as it would be had its last stage been left out, in a folder beside it."""
    target = RunFolder(run.path.parent / f"{run.path.name}-before-again")
    if target.metrics.is_file():
        return target
    shutil.rmtree(target.path, ignore_errors=True)
    shutil.copytree(run.path, target.path, ignore=shutil.ignore_patterns(run.metrics.name, "checkpoints"))
    target.update_identity(fit=f"{run.read_identity()['fit']}-before-again")  # no run may take this model over
    model, meta = load_bundle(run.path)
    assert model.evidence is not None  # noqa: S101 - for the type checker
    model.evidence.load_state_dict(load_file(run.checkpoint.parent / "evidence-extent.safetensors"))
    save_bundle(target.bundle, model, meta)
    for path in (target.maps, target.calibration):
        images = inspect_images(MapStore.load(path).paths)
        compute_maps(model, images, meta.preprocess, feature_cache(config)).save(path)
    return pipeline.evaluate(EvaluateConfig(output=str(target.path)))


def row(name: str, found: dict[str, Any]) -> list[str]:
    """One line of the table."""
    boxes = found["localisation"]
    pixels = boxes["pixel"]
    accuracy = found["classification"]["balanced_accuracy"]
    return [
        name,
        f"{accuracy['value']:.3f} ({accuracy['low']:.3f} – {accuracy['high']:.3f})",
        f"**{boxes['v2']['value']:.3f}** ({boxes['v2']['low']:.3f} – {boxes['v2']['high']:.3f})",
        *(f"{boxes[f'box_accuracy_{level}']['value']:.2f}" for level in (30, 50, 70)),
        f"{pixels['pixel_average_precision']:.3f}",
        f"{pixels['aupro']:.3f}",
        f"{boxes['detection']['precision_30']['value']:.2f}",
        f"{boxes['detection']['ap_30']:.2f}",
        f"{boxes['mean_boxes']:.2f}",
        f"{boxes['before_decision']['false_boxes_per_100_good']:.1f}",
    ]


def defect_rows(found: dict[str, dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """V2 of every defect type, a line a step."""
    first = next(iter(found.values()))["localisation"]["per_defect"]
    header = ["V2 of", *(f"{name} (n = {entry['n']})" for name, entry in first.items())]
    rows = [
        [name, *(f"{entry['v2']['value']:.2f}" for entry in metrics["localisation"]["per_defect"].values())]
        for name, metrics in found.items()
    ]
    return header, rows


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    fold: Annotated[list[int] | None, typer.Option(help="Of five; repeatable, default all.")] = None,
    outputs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("outputs/ablation"),
    near_duplicates: Annotated[
        str, typer.Option(help="together: each part on one side of the split; report: a random split.")
    ] = "together",
    quick: Annotated[bool, typer.Option(help="Only try whether everything works.")] = False,
    output: OutputOption = None,
) -> None:
    """Measure every step from the class activation map to the recommended boxes."""
    folds = fold or list(range(5))
    found: dict[str, dict[str, Any]] = {}
    with workplace(data, 60) as (_, folder):
        for name, overrides in STEPS.items():
            runs = []
            for k in folds:
                refined = "experiment=recommended" in overrides and "refine=none" not in overrides
                extra = [*QUICK, *(QUICK_REFINE if refined else ())] if quick else []
                settings = [key for key in overrides if key != BEFORE_AGAIN]
                split = ("split.folds=5", f"split.fold={k}", f"split.near_duplicates={near_duplicates}")
                config = training_config(folder, weights, *settings, *extra, *split)
                config.name = outputs.name
                say(f"{name}, fold {k}")
                run = pipeline.train(config)
                runs.append(before_again(run, config) if BEFORE_AGAIN in overrides else run)
            found[name] = Pooled.read(runs).measure()["test"]
            say(" | ".join(row(name, found[name])))
    defects, by_defect = defect_rows(found)
    n = next(iter(found.values()))["localisation"]["n"]
    intro = (
        f"Folds {', '.join(map(str, folds))} of 5, {n} pictures with a mask; the three best boxes of a picture count "
        "for V2. 95 % intervals: bootstrap over pictures."
    )
    steps = table(("step", "command"), [(name, f"`{' '.join(overrides)}`") for name, overrides in STEPS.items()])
    blocks = [intro, table(HEADER, [row(*item) for item in found.items()]), table(defects, by_defect), steps]
    report("From the class map to the recommended boxes", blocks, output)


if __name__ == "__main__":
    typer.run(main)
