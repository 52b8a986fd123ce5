"""Measure a run again, with other settings or on other images."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from weakspot.commands.alarms import RaisedAlarms
from weakspot.commands.resolve import feature_cache
from weakspot.commands.results import MeasuredRun, measure_run, write_results
from weakspot.commands.thresholds import calibrate
from weakspot.config.rules import BoxRule
from weakspot.config.schema import (
    DataConfig,
    EvaluateConfig,
    TrainConfig,
    changed_rule,
    read_config,
    with_values,
    write_config,
)
from weakspot.config.values import quoted
from weakspot.data.annotated_truth import Corrected, correct
from weakspot.data.images import ImageInfo, inspect_images
from weakspot.data.picture_sizes import OtherSizes
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.evaluation.schema import Alarm
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.heatmaps.classes import check_heatmap
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle_meta import EVALUATIONS, BundleMeta, find_bundle, read_meta, rewrite_meta
from weakspot.models.output_store import OutputStore
from weakspot.runs.folder import RunFolder, holds_something, own_test_subset
from weakspot.runs.identity import run_identity, short_hash
from weakspot.runs.log import logging_to
from weakspot.training.cached_searches import near_training_images
from weakspot.training.dataset import read_and_check, with_groups
from weakspot.training.stages import compute_outputs
from weakspot.types import Sample, Subset
from weakspot.utils import console
from weakspot.utils.files import write_json
from weakspot.utils.locks import alone
from weakspot.utils.untrusted import MOST_ANNOTATIONS, read_bounded

log = logging.getLogger(__name__)

OF_MODEL = ("image_size", "resize", "task")
"""Keys of ``data`` that belong to the model, so that other images are measured with the run's own."""


@dataclass(frozen=True)
class Request:
    """An evaluation, resolved from its configuration.

    Attributes:
        run: the run whose model is measured.
        target: folder to write to.
        settings: the run's settings, with the changes.
        meta: description of the model, with the changes, still without the thresholds that are set on held-out images.
        other_maps: whether maps are computed anew.
        other_images: whether other images than the run's own test subset are measured.
        truth: file with the boxes that a person drew and labels that were corrected; None takes the data set's own.
        other_roi: folder with the regions of interest of other images; None for what the model knows.
    """

    run: RunFolder
    target: RunFolder
    settings: TrainConfig
    meta: BundleMeta
    other_maps: bool
    other_images: bool
    truth: Path | None
    other_roi: Path | None = None

    @property
    def in_place(self) -> bool:
        """Whether the run itself is changed for good."""
        return self.target.path.resolve() == self.run.path.resolve()


def evaluate(config: EvaluateConfig) -> RunFolder:
    """Measure a run again, with another box rule or on other labelled images.

    The run itself stays as it is, unless ``output`` is the run folder: then its box rule is changed for good.

    Args:
        config: what ``conf/evaluate.yaml`` composes to; it stays as it is.

    Returns:
        The folder with the new metrics.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    request = resolve_request(config)
    request.target.path.mkdir(parents=True, exist_ok=True)
    with alone(request.target.path), logging_to(request.target.log):
        collected = _collect(request)
        meta = calibrate(request.meta, request.settings.boxes, request.settings.decision, request.run)
        subset = EvaluatedSubset.predict(collected.samples, collected.store, meta)
        identity = {**request.run.read_identity(), **collected.identity}
        if request.in_place:
            identity["run"] = run_identity(request.settings, identity["fit"], identity["truth"])
        alarms = [Alarm.from_dict(alarm) for alarm in identity.get("alarms") or []]
        raised = RaisedAlarms(alarms, identity.get("notes") or [])
        measured = measure_run(
            MeasuredRun(request.settings, subset, identity, collected.subsets, collected.truth, raised),
            erasing=request.run if request.in_place and request.run.erasure_due else None,
        )

        if not request.in_place:
            changes = {"run": str(request.run.path.resolve()), "changes": changed_keys(config)}
            write_json(request.target.evaluation, changes)

        def settle() -> None:
            write_config(request.target.config, request.settings)
            if request.in_place:
                rewrite_meta(find_bundle(request.run.path), meta)
                request.run.update_identity(run=identity["run"])

        write_results(request.target, measured, settle)
    return request.target


def resolve_request(config: EvaluateConfig) -> Request:
    """Read the run's own settings, make the changes, and choose the folder to write to.

    Args:
        config: what ``conf/evaluate.yaml`` composes to.

    Raises:
        WeakspotError: when the run is no run, a setting is impossible, or the folder holds something else.
    """
    source = config.run or config.output
    if source is None:
        raise WeakspotError("run is not set: give the run folder to evaluate, run=outputs/…")
    run = RunFolder(Path(source))
    own, meta = read_config(run.config), read_meta(find_bundle(run.path))
    settings = replace(
        own,
        boxes=changed_rule(own.boxes, config.boxes, "boxes"),
        decision=changed_rule(own.decision, config.decision, "decision"),
    )
    if config.heatmap not in (None, own.heatmap):
        _check_other_maps(str(config.heatmap), settings.boxes, own)
        settings = replace(settings, heatmap=str(config.heatmap))
    if config.flip_tta is not None:
        settings = replace(settings, flip_tta=config.flip_tta)
    meta = replace(meta, heatmap=settings.heatmap, flip_tta=settings.flip_tta)
    other_maps = (settings.heatmap, settings.flip_tta) != (own.heatmap, own.flip_tta)
    folder = Path(config.output) if config.output else run.path / EVALUATIONS / _short_name(config, settings)
    if config.data is not None:  # size and classes are the model's, not the data's
        same = {key: getattr(own.data, key) for key in OF_MODEL}
        _refuse_another(config.data, same)
        if config.data.roi is None:
            same["roi"] = own.data.roi
        settings = with_values(settings, {"data": replace(config.data, **same)})
    truth = None if config.truth is None else Path(config.truth).expanduser()
    roi = None if config.data is None or config.data.roi is None else Path(config.data.roi)
    request = Request(run, RunFolder(folder), settings, meta, other_maps, config.data is not None, truth, roi)
    _check_target(request)
    return request


def _refuse_another(data: DataConfig, same: Mapping[str, object]) -> None:
    """Refuse values that the run's own would take the place of without a word; a usual one may be nobody's choice."""
    usual = asdict(DataConfig(layout=data.layout))
    for key, own in same.items():
        if getattr(data, key) not in (usual[key], own):
            raise WeakspotError(
                f"data.{key}={getattr(data, key)}: the run's model was trained with data.{key}={own} and is measured "
                "with it; leave the key out, or train again"
            )


def changed_keys(config: EvaluateConfig) -> list[str]:
    """What an evaluation changes, as ``key=value`` of the command line that makes it again.

    Args:
        config: what ``conf/evaluate.yaml`` composes to.
    """
    groups = {"boxes": config.boxes, "decision": config.decision}
    values = {f"{group}.{key}": value for group, keys in groups.items() for key, value in keys.items()}
    values |= {"heatmap": config.heatmap, "flip_tta": config.flip_tta, "truth": config.truth}
    if config.data is not None:
        values["data"], data = config.data.layout, asdict(config.data)
        values |= {f"data.options.{key}": value for key, value in data.pop("options").items()}
        usual = asdict(DataConfig(layout=config.data.layout))
        values |= {f"data.{key}": value for key, value in data.items() if value != usual[key]}
    return [f"{key}={_hydra_value(value)}" for key, value in values.items() if value is not None]


def _hydra_value(value: object) -> str:
    return quoted(value) if isinstance(value, str) else json.dumps(value)


def _check_target(request: Request) -> None:
    folder = request.target.path
    if request.in_place:
        for unwanted, what in (
            (request.other_images, "numbers are never replaced by those of other images"),
            (request.other_maps, "maps are never replaced by those of another method"),
            (request.truth is not None, "numbers are never replaced by those of another truth"),
        ):
            if unwanted:
                raise WeakspotError(f"output={folder} is the run itself: its {what}; give another output, or none")
        return
    if request.target.identity.is_file():
        raise WeakspotError(f"output={folder} is another run; choose another folder")
    # A log is what even a failed evaluation leaves; that one may be tried again.
    if holds_something(folder) and not request.target.log.is_file():
        raise WeakspotError(f"output={folder} already holds something else; choose another folder")


@dataclass(frozen=True)
class _Collected:
    """Labels and outputs to measure; `identity` is what differs for these images from the run's own ``run.json``."""

    samples: list[Sample]
    store: OutputStore
    subsets: Sequence[Subset] | None
    truth: Corrected | None
    identity: dict[str, object]


def _collect(request: Request) -> _Collected:
    """Labels and outputs of the images that are measured."""
    settings, identity = request.settings, dict[str, object]()
    subsets: Sequence[Subset] | None = None
    if request.other_images:
        store, samples, identity = _other_images(request)
    else:
        store, samples = own_test_subset(request.run)
        subsets = read_split(request.run.split, Path(settings.data.root or "."))[1]
        if request.other_maps:
            store = _outputs_of(request, inspect_images([sample.path for sample in samples]))
    corrected = None
    if request.truth is not None:
        folder, good_class = request.target.path / "truth", settings.data.good_class
        corrected = correct(samples, store.sizes, request.truth, folder, good_class)
        samples = corrected.samples
        for line in corrected.remarks:
            log.info("%s", line)
            console.remark(line, style="yellow")
    return _Collected(list(samples), store, subsets, corrected, identity)


def _other_images(request: Request) -> tuple[OutputStore, list[Sample], dict[str, object]]:
    """Outputs for another labelled data set, and what is known of near-duplicates among the training images."""
    run, settings = request.run, request.settings
    if settings.data.annotations is not None or settings.data.use_masks is not None:
        raise WeakspotError("data.annotations and data.use_masks are for training; truth=FILE measures against a file")
    indexed = read_and_check(settings.data)
    samples = with_groups(indexed.samples, settings.data.group, indexed.root)
    identity = run.read_identity()
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
    if settings.split.near_duplicates != "ignore":
        cache = feature_cache(settings.cache)
        folder = cache.folder if cache else None
        leak, warnings = near_training_images(run, samples, indexed.infos, indexed.root, folder)
        for warning in warnings:
            console.remark(warning)
    _remark_on_sizes(request, indexed.infos)
    return _outputs_of(request, indexed.infos), samples, {"leakage": leak, "alarms": None, "notes": None}


def _remark_on_sizes(request: Request, images: Sequence[ImageInfo]) -> None:
    """Say it where the images have another size than those of training."""
    sizes = OtherSizes(request.meta.pictures)
    for image in images:
        sizes.add(image.path, (image.height, image.width))
    if sizes.remark:
        log.warning("%s", sizes.remark)
        console.remark(sizes.remark, style="yellow")


def _outputs_of(request: Request, images: Sequence[ImageInfo]) -> OutputStore:
    """Outputs by the run's model."""
    localizer, settings = Localizer.load(request.run.path), request.settings
    if request.other_roi is not None:
        localizer = localizer.with_masks(request.other_roi)
    with console.progress_bar("maps") as progress:
        return compute_outputs(
            localizer.model,
            images,
            localizer.meta.preprocess,
            None,
            settings.heatmap,
            settings.flip_tta,
            progress=progress,
        )


def _check_other_maps(heatmap: str, rule: BoxRule, own: TrainConfig) -> None:
    """Refuse maps by another method than the run's where that cannot be done."""
    check_heatmap(heatmap, own.refine.method, own.data.resize)
    if rule.threshold_kind == "calibrated":
        raise WeakspotError(
            f"heatmap={heatmap}: boxes.threshold_kind=calibrated was set on maps by {own.heatmap}; train "
            f"with heatmap={heatmap}, or set boxes.threshold_kind=relative"
        )


def _short_name(config: EvaluateConfig, settings: TrainConfig) -> str:
    data = None if config.data is None else asdict(config.data)
    truth = [] if config.truth is None else [_content(Path(config.truth).expanduser())]
    other = [str(value) for value in (config.heatmap, config.flip_tta) if value is not None]
    return short_hash([asdict(settings.boxes), asdict(settings.decision), data, *truth, *other])


def _content(truth: Path) -> str:
    """A hash of an annotation file, hexadecimal."""
    try:
        return hashlib.sha256(read_bounded(truth, MOST_ANNOTATIONS)).hexdigest()
    except OSError as error:
        raise WeakspotError(f"truth={truth} cannot be read ({error.strerror}); check the name") from error
    except ValueError as error:
        raise WeakspotError(f"truth={truth}: {error}; give a COCO or Label Studio file") from error
