"""From the class activation map to the recommended boxes, step by step, on data with masks.

Two set-ups are cross-validated, ``plain_cam`` and ``recommended``; every step between them is the recommended run with
something left out: the evidence heads, their last stage, the merging of neighbours. So all steps share folds and
classifier. Test subsets are pooled over the folds; nothing is chosen on them. Folds that ``weakspot train`` finished in
``outputs/`` are taken as they are.

    python benchmarks/ablation.py DATA --weights FILE
    python benchmarks/ablation.py DATA --weights FILE --near-duplicates report --folds 5     # a random split
    python benchmarks/ablation.py --quick                                                    # tiny, generated pictures
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
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

from weakspot.commands.cross_validate import cross_validate
from weakspot.commands.evaluate import evaluate as evaluate_command
from weakspot.commands.resolve import feature_cache
from weakspot.config.schema import EvaluateConfig, read_config, with_values, write_config
from weakspot.data.images import inspect_images
from weakspot.evaluation.measure import measure
from weakspot.evaluation.pooled import Pooled, runs_of
from weakspot.evaluation.schema import Localisation, SubsetResult
from weakspot.models.bundle import load_bundle, save_bundle
from weakspot.models.feature_cache import FeatureCache
from weakspot.models.model import Model
from weakspot.models.output_store import OutputStore
from weakspot.runs.folder import RunFolder
from weakspot.training.stages import compute_outputs

Change = Callable[[Model, Path], Model]
"""Takes a finished run's model and the folder of its checkpoints; gives what is left of it."""


def whole(model: Model, checkpoints: Path) -> Model:
    """Nothing is left out."""
    return model


def without_evidence(model: Model, checkpoints: Path) -> Model:
    """The classifier alone."""
    return Model(model.network)


def before_again(model: Model, checkpoints: Path) -> Model:
    """The heads as they were before the location head was trained again."""
    assert model.evidence is not None  # noqa: S101 - for the type checker
    model.evidence.load_state_dict(load_file(checkpoints / "evidence-mask.safetensors"))
    return model


STEPS: dict[str, tuple[str, Change | None, dict[str, Any]]] = {
    "class map, the rule of plain class activation maps": ("plain_cam", None, {}),
    "at 320 px, a calibrated box a region": ("recommended", without_evidence, {"merge": None}),
    "+ location and mask heads": ("recommended", before_again, {"merge": None}),
    "+ location head again, from its own masks": ("recommended", whole, {"merge": None}),
    "+ neighbours merged = recommended": ("recommended", None, {}),
}
"""What each step is called, the experiment it is taken from, what is changed of its model, and of its box rule."""

QUICK = (
    "data.image_size=64", "trainer.max_epochs=1", "trainer.stop_at_accuracy=null",
)  # fmt: skip
QUICK_REFINE = (
    "refine.imitations=8",
    "refine.location_steps=4",
    "refine.mask_steps=4",
    "refine.location_refit_steps=2",
)
HEADER = (
    "step", "balanced accuracy", "V2", "IoU ≥ 0.3", "≥ 0.5", "≥ 0.7", "pixel AP", "AUPRO", "box precision, IoU ≥ 0.3",
    "box AP, IoU ≥ 0.3", "boxes an image", "false boxes per 100 Good",
)  # fmt: skip


def derived(run: RunFolder, number: int, change: Change, rule: dict[str, Any], cache: FeatureCache | None) -> RunFolder:
    """A finished run with something left out, its boxes calibrated anew, in a folder beside it."""
    target = RunFolder(run.path.parent / f"{run.path.name}-step{number}")
    if target.metrics.is_file():
        return target
    shutil.rmtree(target.path, ignore_errors=True)
    left_out = shutil.ignore_patterns(run.metrics.name, "checkpoints", "logs", "figures")
    shutil.copytree(run.path, target.path, ignore=left_out)
    target.update_identity(fit=f"{run.read_identity()['fit']}-step{number}")  # no run may take this model over
    config = read_config(run.config)
    config = with_values(config, {f"boxes.{key}": value for key, value in rule.items()})
    if change is without_evidence:
        config = with_values(config, {"refine.method": "none"})
    write_config(target.config, config)
    model, meta = load_bundle(run.path)
    model = change(model, run.checkpoint.parent)
    save_bundle(target.bundle, model, replace(meta, evidence=meta.evidence if model.evidence else None))
    for path in (target.maps, target.calibration):
        images = inspect_images(OutputStore.load(path).paths)
        compute_outputs(model, images, meta.preprocess, cache).save(path)
    return evaluate_command(EvaluateConfig(output=str(target.path)))


def row(name: str, found: SubsetResult) -> list[str]:
    """One line of the table."""
    boxes, accuracy = localisation_of(found), found.classification.balanced_accuracy
    v2 = boxes.max_box_acc_v2
    return [
        name,
        f"{accuracy.value:.3f} ({accuracy.low:.3f} – {accuracy.high:.3f})",
        f"**{v2.value:.3f}** ({v2.low:.3f} – {v2.high:.3f})",
        *(f"{at.value:.2f}" for at in (boxes.box_accuracy_30, boxes.box_accuracy_50, boxes.box_accuracy_70)),
        f"{boxes.pixel.pixel_average_precision:.3f}",
        f"{boxes.pixel.aupro:.3f}",
        f"{boxes.detection.precision_30.value:.2f}",
        f"{boxes.detection.ap_30:.2f}",
        f"{boxes.mean_boxes:.2f}",
        f"{boxes.before_decision.false_boxes_per_100_good:.1f}",
    ]


def localisation_of(found: SubsetResult) -> Localisation:
    """Of images some of which have a mask."""
    if found.localisation is None:
        raise RuntimeError("no image has a mask")
    return found.localisation


def defect_rows(found: dict[str, SubsetResult]) -> tuple[list[str], list[list[str]]]:
    """V2 of every defect type, a line a step."""
    first = localisation_of(next(iter(found.values()))).per_defect
    header = ["V2 of", *(f"{name} (n = {entry.n})" for name, entry in first.items())]
    rows = [
        [name, *(f"{entry.max_box_acc_v2.value:.2f}" for entry in localisation_of(metrics).per_defect.values())]
        for name, metrics in found.items()
    ]
    return header, rows


def main(
    data: DataArgument = None,
    weights: WeightsOption = "auto",
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 3,
    near_duplicates: Annotated[
        str, typer.Option(help="together: each part on one side of the split; report: a random split.")
    ] = "together",
    cache_dir: Annotated[Path | None, typer.Option(help="As cache.dir.")] = None,
    quick: Annotated[bool, typer.Option(help="Only try whether everything works.")] = False,
    output: OutputOption = None,
) -> None:
    """Measure every step from the class activation map to the recommended boxes."""
    found: dict[str, SubsetResult] = {}
    with workplace(data, 60) as (_, folder):
        for number, (name, (experiment, change, rule)) in enumerate(STEPS.items(), start=1):
            extra = [*QUICK, *(QUICK_REFINE if experiment == "recommended" else ())] if quick else []
            config = training_config(
                folder, weights, f"experiment={experiment}", *extra, f"split.near_duplicates={near_duplicates}"
            )
            config = with_values(config, {"cv": folds})
            if cache_dir is not None:
                config = with_values(config, {"cache.dir": str(cache_dir)})
            say(f"{name}: {experiment}, {folds} folds")
            runs = runs_of(cross_validate(config))
            if change is not None:
                runs = [derived(run, number, change, rule, feature_cache(config.cache)) for run in runs]
            found[name] = measure(Pooled.read(runs).subsets).test
            say(" | ".join(row(name, found[name])))
    defects, by_defect = defect_rows(found)
    last = next(reversed(found.values()))
    intro = (
        f"{folds} folds, split.near_duplicates={near_duplicates}, {localisation_of(last).n} pictures with a mask of "
        f"{last.groups} independent groups; the three best boxes of a picture count for V2. 95 % intervals: parts are "
        "drawn."
    )
    blocks = [intro, table(HEADER, [row(*item) for item in found.items()]), table(defects, by_defect)]
    report("From the class map to the recommended boxes", blocks, output)


if __name__ == "__main__":
    typer.run(main)
