"""Measure a run again, with other settings or on other images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from weakspot.commands.results import Measured, write_results
from weakspot.commands.thresholds import with_thresholds
from weakspot.config.schema import EvaluateConfig, TrainConfig, read_config, write_config
from weakspot.data.annotations import correct
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.heatmaps.classes import check_heatmap
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle import find_bundle, read_meta, rewrite_meta
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.boxes import BoxRule
from weakspot.postprocess.decision import DecisionCosts
from weakspot.runs.folder import (
    RunFolder,
    holds_something,
    logging_to,
    own_test_subset,
)
from weakspot.runs.identity import run_identity, short_hash
from weakspot.training.dataset import near_training_images, read_and_check
from weakspot.training.prepare import box_rule
from weakspot.training.stages import compute_maps
from weakspot.types import Sample, Subset
from weakspot.utils import console
from weakspot.utils.locks import alone

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> RunFolder:
    """Measure a run again, with another box rule or on other labelled images.

    The run itself stays as it is, unless ``output`` is the run folder: then its box rule is changed for good.

    Args:
        config: what ``conf/evaluate.yaml`` composes to.

    Returns:
        The folder with the new metrics.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    source = config.run or config.output
    if source is None:
        raise WeakspotError("run is not set: give the run folder to evaluate, run=outputs/…")
    run = RunFolder(Path(source))
    settings, meta, identity = read_config(run.config), read_meta(find_bundle(run.path)), run.read_identity()
    changes = {key: value for key, value in asdict(config.boxes).items() if value is not None}
    settings.boxes = replace(settings.boxes, **changes)
    chosen = {key: value for key, value in asdict(config.decision).items() if value is not None}
    settings.decision = replace(settings.decision, **chosen)
    rule, costs = box_rule(settings.boxes), DecisionCosts(**asdict(settings.decision))
    other_maps = config.heatmap not in (None, settings.heatmap)
    if config.heatmap is not None and other_maps:
        _check_other_maps(config, rule, settings)
        settings.heatmap, meta = config.heatmap, replace(meta, heatmap=config.heatmap)
    if config.flip_tta not in (None, settings.flip_tta):
        other_maps, settings.flip_tta = True, bool(config.flip_tta)
        meta = replace(meta, flip_tta=settings.flip_tta)
    folder = Path(config.output) if config.output else run.path / "evaluations" / _short_name(config, settings)
    target, in_place = RunFolder(folder), folder.resolve() == run.path.resolve()
    if in_place and config.data is not None:
        raise WeakspotError(f"output={folder} is the run itself; its own numbers are never replaced by other images'")
    if in_place and other_maps:
        raise WeakspotError(f"output={folder} is the run itself, whose maps stay; give another output, or none")
    if in_place and config.truth is not None:
        raise WeakspotError(f"output={folder} is the run itself; its own numbers are never replaced by another truth's")
    if target.identity.is_file() and not in_place:
        raise WeakspotError(f"output={folder} is another run; choose another folder")
    # A log is what even a failed evaluation leaves; that one may be tried again.
    if holds_something(folder) and not target.log.is_file() and not in_place:
        raise WeakspotError(f"output={folder} already holds something else; choose another folder")
    target.path.mkdir(parents=True, exist_ok=True)
    with alone(folder), logging_to(target.log):
        subsets: Sequence[Subset] | None = None
        if config.data is None:
            store, samples = own_test_subset(run)
            subsets = read_split(run.split, Path(settings.data.root or "."))[1]
            if other_maps:
                store = _maps_of(run, inspect_images([sample.path for sample in samples]), settings)
        else:
            # Size and classes are the model's, not the data's.
            own = settings.data
            settings.data = replace(config.data, image_size=own.image_size, resize=own.resize, task=own.task)
            store, samples, leak = _other_images(run, settings, identity)
            identity = {**identity, "leakage": leak, "alarms": None}
        corrected = None
        if config.truth is not None:
            corrected = correct(samples, store.sizes, Path(config.truth), target.path / "truth")
            samples = corrected.samples
            for line in corrected.remarks:
                log.info("%s", line)
                console.err.print(line, style="yellow", markup=False, highlight=False)
        meta = with_thresholds(meta, rule, costs, run)
        if in_place:
            identity = {**identity, "run": run_identity(settings, identity["fit"], identity["truth"])}

        def settle() -> None:
            write_config(target.config, settings)
            if in_place:
                rewrite_meta(find_bundle(run.path), meta)
                run.update_identity(run=identity["run"])

        measured = Measured(settings, store, samples, meta, identity, subsets, corrected)
        write_results(target, measured, settle, with_erasure=in_place and run.erasure_due)
    return target


def _other_images(
    run: RunFolder, config: TrainConfig, identity: dict[str, Any]
) -> tuple[OutputStore, list[Sample], dict[str, Any] | None]:
    """Maps of another labelled data set, and what is known of near-duplicates among the training images."""
    indexed = read_and_check(config)
    if "seen" not in identity:
        raise WeakspotError(f"{run.identity} does not say which images were trained on; train again")
    known = set(identity["seen"])
    seen = [info.path for info in indexed.infos if info.sha256 in known]
    if seen:
        raise WeakspotError(
            f"{len(seen)} of these images were trained on, {seen[0]} for one; leave them out, "
            "or leave data out to measure the run's own held-out subset"
        )
    leak = None
    if config.split.near_duplicates != "ignore":
        leak = near_training_images(run, indexed, config.cache)
    return _maps_of(run, indexed.infos, config), indexed.samples, leak


def _maps_of(run: RunFolder, images: Sequence[ImageInfo], config: TrainConfig) -> OutputStore:
    """Maps by a run's model."""
    localizer = Localizer.load(run.path)
    with console.progress_bar("maps") as progress:
        return compute_maps(
            localizer.model,
            images,
            localizer.meta.preprocess,
            None,
            config.heatmap,
            config.flip_tta,
            progress=progress,
        )


def _check_other_maps(config: EvaluateConfig, rule: BoxRule, settings: TrainConfig) -> None:
    """Refuse maps by another method than the run's where that cannot be done."""
    check_heatmap(str(config.heatmap), settings.refine.method, settings.data.resize)
    if rule.threshold_kind == "calibrated":
        raise WeakspotError(
            f"heatmap={config.heatmap}: boxes.threshold_kind=calibrated was set on maps by {settings.heatmap}; train "
            f"with heatmap={config.heatmap}, or set boxes.threshold_kind=relative"
        )


def _short_name(config: EvaluateConfig, settings: TrainConfig) -> str:
    data = None if config.data is None else asdict(config.data)
    truth = [] if config.truth is None else [Path(config.truth).read_text(encoding="utf-8")]
    other = [str(value) for value in (config.heatmap, config.flip_tta) if value is not None]
    return short_hash([asdict(settings.boxes), asdict(settings.decision), data, *truth, *other])
