"""What the commands do, as plain functions: train and evaluate; predict lies in :mod:`weakspot.commands.predict`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from scipy.special import softmax

from weakspot.commands.predict import predict
from weakspot.commands.results import Measured, write_results
from weakspot.config.schema import (
    EvaluateConfig,
    TrainConfig,
    fit_identity,
    read_config,
    run_identity,
    short_hash,
    write_config,
)
from weakspot.data.annotations import correct
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.shortcuts import find_shortcuts, follow_confidence
from weakspot.data.splits import read_split, write_split
from weakspot.errors import WeakspotError
from weakspot.evaluation.measure import calibrated_rule
from weakspot.heatmaps.classes import check_heatmap
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle import BundleMeta, find_bundle, read_meta, rewrite_meta
from weakspot.models.output_store import MapStore
from weakspot.postprocess.boxes import BoxRule
from weakspot.postprocess.decision import Wish, fit_decision, read_validation
from weakspot.report.pairs import write_pairs
from weakspot.report.run_report import read_evaluated, write_report
from weakspot.runs.folder import (
    RunFolder,
    adopt_fit,
    find_finished,
    find_fit,
    holds_something,
    logging_to,
    open_run,
    own_test_part,
    parent_folder,
)
from weakspot.training.dataset import Data, measurements, read_and_check, twins_of_trained
from weakspot.training.prepare import Plan, box_rule, crossfitted, make_plan, validation_images
from weakspot.training.stages import compute_maps, fit_and_map, thresholds
from weakspot.types import Part, Sample
from weakspot.utils import console
from weakspot.utils.locks import alone

__all__ = ["evaluate", "predict", "train"]

log = logging.getLogger(__name__)


def train(config: TrainConfig) -> RunFolder:
    """Train on image labels, then draw boxes on the test part and measure.

    Finished work is not done again: a finished run of the same settings is returned as it is (unless ``output`` names
    another folder), stem features come from the cache, a model that was already fitted from the same
    data, split, network and settings is taken over, an interrupted run goes on from its last epoch.

    Args:
        config: what ``conf/train.yaml`` and its groups compose to.

    Returns:
        The run folder, complete.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    plan = make_plan(config)
    data = plan.data
    fit_hash = fit_identity(
        config,
        plan.preprocess,
        data.data_hash,
        data.split_hash,
        plan.weights.sha256,
        crossfit=crossfitted(config, data),
    )
    run_hash = run_identity(config, fit_hash, data.truth_hash)
    # Whoever writes to the same folder waits, and so does whoever makes the same run wherever that will be.
    named = config.output is not None
    with alone(Path(str(config.output)) if named else parent_folder(config), "" if named else run_hash):
        finished = find_finished(config, run_hash) if config.reuse and not named else None
        if finished:
            console.err.print(f"nothing to do: {finished.path} is the same run (reuse=false trains again)", style="dim")
            if not finished.report.is_file():
                write_report(read_evaluated(finished.path))
            return finished
        run = open_run(config, run_hash)
        run.update_identity(run=run_hash, fit=fit_hash)  # first, so that the folder is found again
        with nullcontext() if named else alone(run.path), logging_to(run.log):
            log.info("pre-trained weights: %s", plan.weights.origin)
            config.data.root = str(data.root.resolve())
            write_config(run.config, config)
            write_split(run.split, data.samples, data.parts, data.root)
            if data.near_duplicates is not None and data.near_duplicates.pairs:
                write_pairs(run.figures / "near_duplicates.png", data.samples, data.near_duplicates)
            run.update_identity(
                data=data.data_hash,
                truth=data.truth_hash,
                split=data.split_hash,
                identical_across_parts=data.identical_across_parts,
                leakage=data.leakage(),
                validation_clusters=_clusters(data),
                seen=sorted(info.sha256 for info, part in zip(data.infos, data.parts, strict=True) if part != "test"),
            )
            with alone(parent_folder(config), fit_hash):
                _fit_or_adopt(plan, run, fit_hash)
            store, samples = own_test_part(run)
            run.update_identity(alarms=_alarms(data, store, config))
            meta = _with_thresholds(read_meta(run.bundle), plan.rule, Wish(**asdict(config.decision)), run)
            rewrite_meta(run.bundle, meta)
            measured = Measured(config, store, samples, meta, run.read_identity(), data.parts)
            write_results(run, measured, ask_again=run.asks_again)
    return run


def _clusters(data: Data) -> list[int]:
    """A number for the part that each validation image shows."""
    groups = data.groups
    return [groups[i] for i in validation_images(data)]


def _alarms(data: Data, store: MapStore, config: TrainConfig) -> list[dict[str, Any]]:
    """What but the defect tells the classes apart, or moves the network's confidence on the Good images of the test."""
    values, groups = measurements(data.infos, config.cache), data.groups
    good = [n for n, i in enumerate(data.where("test")) if data.targets[i] == 0]
    positions = [data.where("test")[n] for n in good]
    confidences = 1 - softmax(store.logits[good], axis=1)[:, 0]
    found = [
        *find_shortcuts(values, data.targets, groups),
        *follow_confidence(values[positions], confidences.tolist(), [groups[i] for i in positions]),
    ]
    return [shortcut.to_dict() for shortcut in found]


def _fit_or_adopt(plan: Plan, run: RunFolder, fit_hash: str) -> None:
    """Give the run a model and maps: its own, those of a run with the same data, split and settings, or new ones."""
    donor = find_fit(fit_hash, run) if plan.config.reuse else None
    if donor:
        log.info("model and maps taken over from %s", donor.path)
        console.err.print(f"same data, split and settings as {donor.path}: its model is taken over", style="dim")
        adopt_fit(run, donor)
        return
    if run.metrics.is_file():  # reuse=false in the folder of a finished run: from the start
        shutil.rmtree(run.checkpoint.parent, ignore_errors=True)
        run.maps.unlink(missing_ok=True)  # nobody takes over what is being made
        run.unfinish()
    if not run.asks_again:  # its model was taken over, once
        run.update_identity(fitted_by=None)
    fit_and_map(plan, run)


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
    rule, wish = box_rule(settings.boxes), Wish(**asdict(settings.decision))
    other_maps = config.heatmap not in (None, settings.heatmap)
    if config.heatmap is not None and other_maps:
        _check_other_maps(config, rule, settings)
        settings.heatmap, meta = config.heatmap, replace(meta, heatmap=config.heatmap)
    if config.second_look not in (None, settings.second_look):
        other_maps, settings.second_look = True, bool(config.second_look)
        meta = replace(meta, second_look=settings.second_look)
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
        parts: Sequence[Part] | None = None
        if config.data is None:
            store, samples = own_test_part(run)
            parts = read_split(run.split, Path(settings.data.root or "."))[1]
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
        meta = _with_thresholds(meta, rule, wish, run)
        if in_place:
            identity = {**identity, "run": run_identity(settings, identity["fit"], identity["truth"])}

        def settle() -> None:
            write_config(target.config, settings)
            if in_place:
                rewrite_meta(find_bundle(run.path), meta)
                run.update_identity(run=identity["run"])

        measured = Measured(settings, store, samples, meta, identity, parts, corrected)
        write_results(target, measured, settle, ask_again=in_place and run.asks_again)
    return target


def _other_images(
    run: RunFolder, config: TrainConfig, identity: dict[str, Any]
) -> tuple[MapStore, list[Sample], dict[str, Any] | None]:
    """Maps of another labelled data set, and what is known of near-duplicates among the training images."""
    indexed = read_and_check(config)
    if "seen" not in identity:
        raise WeakspotError(f"{run.identity} does not say which images were trained on; train again")
    known = set(identity["seen"])
    seen = [info.path for info in indexed.infos if info.sha256 in known]
    if seen:
        raise WeakspotError(
            f"{len(seen)} of these images were trained on, {seen[0]} for one; leave them out, "
            "or leave data out to measure the run's own held-out part"
        )
    leak = None
    if config.split.near_duplicates != "ignore":
        leak = twins_of_trained(run, indexed, config.cache)
    return _maps_of(run, indexed.infos, config), indexed.samples, leak


def _maps_of(run: RunFolder, images: Sequence[ImageInfo], config: TrainConfig) -> MapStore:
    """Maps by a run's model."""
    localizer = Localizer.load(run.path)
    with console.progress_bar("maps") as progress:
        return compute_maps(
            localizer.model,
            images,
            localizer.meta.preprocess,
            None,
            config.heatmap,
            config.second_look,
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


def _with_thresholds(meta: BundleMeta, rule: BoxRule, wish: Wish, run: RunFolder) -> BundleMeta:
    """The bundle's description with everything that decides, fitted on the run's held-out images."""
    calibration = None
    if rule.threshold_kind == "calibrated":
        rule, calibration = calibrated_rule(rule, MapStore.load(run.calibration), meta.preprocess)
    clusters = run.read_identity().get("validation_clusters")  # runs of before November 2026 do not know them
    fitted = fit_decision(read_validation(run.validation, len(meta.classes), clusters), wish)
    return replace(meta, boxes=rule, decision=fitted.decision, thresholds=thresholds(rule, fitted, calibration))


def _short_name(config: EvaluateConfig, settings: TrainConfig) -> str:
    data = None if config.data is None else asdict(config.data)
    truth = [] if config.truth is None else [Path(config.truth).read_text(encoding="utf-8")]
    other = [str(value) for value in (config.heatmap, config.second_look) if value is not None]
    return short_hash([asdict(settings.boxes), asdict(settings.decision), data, *truth, *other])
