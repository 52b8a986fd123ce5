"""The stages of training: features, fit, evidence heads, outputs. Each takes a prepared run and returns a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from weakspot.data.images import ImageInfo
from weakspot.data.loading import batched, stack_pixels
from weakspot.data.picture_sizes import PictureSizes
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import AS_IS, MIRRORED, ImageView
from weakspot.heatmaps.classes import ClassMaps
from weakspot.models.backbones import FREEZE_POINT
from weakspot.models.bundle_meta import BundleMeta
from weakspot.models.feature_cache import FeatureCache, Progress, compute_features, view_features
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.model import Model
from weakspot.models.network import inference_batch_size
from weakspot.models.output_store import OutputStore
from weakspot.postprocess.familiarity import Familiarity
from weakspot.training.datamodule import DataModule, FeatureDataset, ImageDataset
from weakspot.training.evidence.fit import checkpoints_of_fold
from weakspot.training.familiarity import FittedFamiliarity
from weakspot.training.held_out import HeldOut
from weakspot.training.imitated import MOST_PICTURES, imitated_outputs
from weakspot.training.lightning_fit import FitSummary, fit
from weakspot.training.lightning_module import ClassifierModule, class_weights
from weakspot.training.model_parts import Heads, fit_heads, fit_to_recognise
from weakspot.training.prepare import PreparedRun, image_sizes
from weakspot.training.rules import TrainingRules
from weakspot.types import SUBSETS, ModelOutput, Subset
from weakspot.utils import console

FROZEN, MAPS, FOR_TRUST = "frozen layers, once per image", "maps", "imitated defects, for trust"
"""Names of stages, in lines of progress."""


@dataclass(frozen=True)
class FittedRun:
    """The result of training.

    Attributes:
        model: classifier and evidence heads.
        summary: of the classifier's training.
        test: outputs for the test subset.
        held_out: what is said of the held-out images; None where there are none.
        familiarity: what is known of the training pictures, with distances of the held-out ones; None where there are
            no held-out images, or too few training pictures.
    """

    model: Model
    summary: FitSummary
    test: OutputStore
    held_out: HeldOut | None = None
    familiarity: Familiarity | None = None


def fit_and_infer(prepared: PreparedRun, folder: Path) -> FittedRun:
    """Train the model, then run it on the test subset and on the held-out images.

    Args:
        prepared: its network is trained in place.
        folder: run folder, for checkpoints and logs; an interrupted fit goes on from there.
    """
    left_out = [prepared.without(fold) for fold in prepared.left_out]  # with the network as it is now
    summary = fit_classifier(prepared, folder)
    heads, *heads_of_others = fit_heads(prepared, folder, left_out)
    model = Model(prepared.network, heads.evidence, heads.statistics)
    data, decided_on = prepared.data, prepared.validation_images
    known = fit_to_recognise(prepared, model) if decided_on else None
    model = model if known is None else replace(model, familiarity=known.head)
    test = _outputs_of(prepared, model, [data.infos[i] for i in data.indices("test")])
    if not decided_on:
        return FittedRun(model, summary, test)
    if left_out:
        checkpoints = folder / "checkpoints"
        found = [
            _kept_held_out(one, of_heads, checkpoints_of_fold(checkpoints, k), -(-MOST_PICTURES // len(left_out)))
            for k, (one, of_heads) in enumerate(zip(left_out, heads_of_others, strict=True))
        ]
        held_out = HeldOut.join(found, [len(one.calibration_images) for one in left_out])
    else:
        held_out = _held_out(prepared, model, known, MOST_PICTURES)
    familiarity = None
    if known is not None and held_out.distances:
        targets, sizes = [data.targets[i] for i in decided_on], image_sizes(data.infos[i] for i in decided_on)
        familiarity = known.calibrated(held_out.distances, targets, sizes)
    return FittedRun(model, summary, test, held_out, familiarity)


def fit_classifier(prepared: PreparedRun, folder: Path) -> FitSummary:
    """Fit the classifier on the training subset.

    Args:
        prepared: its network is trained in place.
        folder: for checkpoints and logs; an interrupted fit goes on from there.
    """
    rules, data, network = prepared.rules, prepared.data, prepared.network
    device = device_of(rules)
    network.to(device)
    subsets = _datasets(prepared)
    views = len(rules.trainer.views)
    loaders = DataModule(subsets["train"], subsets["val"], rules.trainer.batch_size, rules.seed, views)
    train_targets = [target for i in data.indices("train") for target in data.kinds(i)]
    module = ClassifierModule(
        network,
        class_weights(rules.model.class_weights, train_targets, len(data.classes)),
        rules.optimizer,
        on_features=rules.cache is not None,
        schedule=rules.trainer.schedule,
    )
    if rules.trainer.strategy != "auto":
        network.cpu()  # the processes get copies, each for its own device
    summary = fit(module, loaders, rules.trainer, folder, rules.seed)
    network.eval().to(device)  # Lightning leaves it on the CPU
    return summary


def device_of(rules: TrainingRules) -> str:
    """The device to train on: ``cuda`` where there is a GPU and the settings allow it, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() and rules.trainer.accelerator != "cpu" else "cpu"


def _kept_held_out(prepared: PreparedRun, heads: Heads, folder: Path, most: int) -> HeldOut:
    """What a model without some of the images says of them; not repeated if it is on disk."""
    if not HeldOut.is_kept(folder):
        fit_classifier(prepared, folder)
        model = Model(prepared.network, heads.evidence, heads.statistics)
        known = fit_to_recognise(prepared, model)
        model = model if known is None else replace(model, familiarity=known.head)
        _held_out(prepared, model, known, most).save(folder)
    return HeldOut.load(folder)


def _held_out(prepared: PreparedRun, model: Model, known: FittedFamiliarity | None, most: int) -> HeldOut:
    """What a model says of images that it was not trained on, and of defects imitated on at most so many Good ones."""
    outputs = _outputs_of(prepared, model, [prepared.data.infos[i] for i in prepared.validation_images])
    distances = [] if known is None else known.distances([outputs[i] for i in range(len(outputs))])
    good = outputs.rows(slice(len(prepared.calibration_images)))
    imitated = _imitated(prepared, model, most) if len(good) else None
    return HeldOut(outputs.logits, distances, good if len(good) else None, imitated, _drawn(prepared, outputs))


def _drawn(prepared: PreparedRun, outputs: OutputStore) -> LocatedOutputs | None:
    """Of the outputs for held-out images, those of images that a person drew in."""
    every, held_out = prepared.data.corrections.drawn, prepared.validation_images
    drawn = {n: np.array(every[i].boxes, dtype=np.int64) for n, i in enumerate(held_out) if i in every}
    if not drawn:
        return None
    return LocatedOutputs(OutputStore.join([outputs.rows(slice(n, n + 1)) for n in drawn]), list(drawn.values()))


def _imitated(prepared: PreparedRun, model: Model, most: int) -> LocatedOutputs | None:
    """Outputs for defects imitated on at most so many held-out Good images."""
    rules, images = prepared.rules, [prepared.data.infos[i] for i in prepared.calibration_images]
    with console.progress_bar(FOR_TRUST) as progress:
        return imitated_outputs(
            model, images, prepared.preprocess, rules.heatmap, rules.flip_tta, most=most, progress=progress
        )


def examples_of(prepared: PreparedRun) -> dict[Subset, list[tuple[ImageView, int]]]:
    """Every image of a subset in all its views, with its class; only the training subset has more than one view.

    A training picture of several kinds of defects is there once for each, so that it speaks for all of them.
    """
    data = prepared.data
    views = {"train": prepared.rules.trainer.views, "val": (AS_IS,), "test": (AS_IS,)}
    return {
        subset: [
            (ImageView(data.infos[i], view), target)
            for i in data.indices(subset)
            for target in (data.kinds(i) if subset == "train" else data.targets[i : i + 1])
            for view in views[subset]
        ]
        for subset in SUBSETS
    }


def _datasets(prepared: PreparedRun) -> dict[Subset, FeatureDataset | ImageDataset]:
    """Each subset as frozen features (computed now, once) or as images; the training subset in all its views."""
    rules, network, preprocess, cache = prepared.rules, prepared.network, prepared.preprocess, prepared.rules.cache
    examples = examples_of(prepared)
    targets = {subset: [target for _, target in examples[subset]] for subset in SUBSETS}
    if cache is None:
        return {
            subset: ImageDataset([item for item, _ in examples[subset]], preprocess, targets[subset])
            for subset in SUBSETS
        }
    every = [item for subset in SUBSETS for item, _ in examples[subset]]
    with console.progress_bar(FROZEN) as progress:
        if rules.has_heads:  # all taps in one pass, before the last of them is asked for alone
            of_heads = {AS_IS, *prepared.head_views}
            plain = [item for item in every if item.view in of_heads]
            taps = tuple(dict.fromkeys([*network.pyramid, FREEZE_POINT]))
            compute_features(network, plain, preprocess, cache, taps=taps, progress=progress)
        keys = iter(compute_features(network, every, preprocess, cache, progress=progress)[0])
    return {
        subset: FeatureDataset(cache, list(islice(keys, len(targets[subset]))), targets[subset]) for subset in SUBSETS
    }


def _outputs_of(prepared: PreparedRun, model: Model, images: Sequence[ImageInfo]) -> OutputStore:
    """Outputs by the run's own rules, with a progress bar."""
    rules = prepared.rules
    with console.progress_bar(MAPS) as progress:
        return compute_outputs(
            model, images, prepared.preprocess, rules.cache, rules.heatmap, rules.flip_tta, progress=progress
        )


def compute_outputs(
    model: Model,
    images: Sequence[ImageInfo],
    preprocess: Preprocess,
    cache: FeatureCache | None,
    heatmap: str = "cam",
    flip_tta: bool = False,
    *,
    progress: Progress | None = None,
) -> OutputStore:
    """Run a model on images whose frozen features may be in the cache.

    Args:
        model: on the device to run on.
        images: files that can be read.
        preprocess: what brings them to the network's input.
        cache: of frozen features; None computes them.
        heatmap: method of the maps.
        flip_tta: whether to run the mirrored images too.
        progress: called with (done, total) after each batch.

    Raises:
        WeakspotError: when an image cannot be read, or their maps would be of different sizes.
    """
    preprocess.common_input_size(image_sizes(images))
    device = next(model.network.parameters()).device
    views = [ImageView(image, view) for view in (AS_IS, MIRRORED)[: 1 + flip_tta] for image in images]
    with_features = view_features(
        model.network, views, preprocess, cache, model.taps, looks=model.familiarity is not None
    )
    outputs, by_method = list[ModelOutput](), ClassMaps(model.network, heatmap)
    for batch in batched(with_features, inference_batch_size(device, preprocess)):
        arrays = [np.stack([view.features[i] for view in batch]) for i in range(len(model.taps))]
        features = {tap: torch.from_numpy(array).to(device) for tap, array in zip(model.taps, arrays, strict=True)}
        pixels = torch.from_numpy(stack_pixels([view.pixels for view in batch])).to(device)
        found = by_method(model.answer(features, pixels), pixels)
        outputs += [one._replace(region=v.region, look=v.look) for one, v in zip(found, batch, strict=True)]
        if progress:
            progress(len(outputs), len(views))
    if flip_tta:
        first, mirrored = outputs[: len(images)], outputs[len(images) :]
        outputs = [one.with_flipped(other) for one, other in zip(first, mirrored, strict=True)]
    sizes = np.array(image_sizes(images), dtype=np.int64).reshape(-1, 2)
    return OutputStore.of([image.path for image in images], sizes, outputs, model.network.bias.detach().cpu().numpy())


def bundle_meta(prepared: PreparedRun, model: Model, familiarity: Familiarity | None = None) -> BundleMeta:
    """Describe the trained model for its bundle, still without the thresholds that are set on held-out images.

    Args:
        prepared: the run.
        model: what the run has trained.
        familiarity: what is known of its training pictures.
    """
    rules, data = prepared.rules, prepared.data
    return BundleMeta(
        classes=data.classes,
        preprocess=prepared.preprocess,
        backbone=rules.model.backbone,
        outputs=rules.model.outputs,
        heatmap=rules.heatmap,
        flip_tta=rules.flip_tta,
        boxes=rules.boxes,
        thresholds={},
        weights={"origin": prepared.weights.origin, "sha256": prepared.weights.sha256},
        split_hash=data.split_hash,
        data_hash=data.data_hash,
        evidence=None if model.evidence is None else model.evidence.settings,
        statistics=None if model.statistics is None else model.statistics.settings,
        learnt_from=data.corrections.counts if data.corrections.any else None,
        pictures=PictureSizes.of([(data.infos[i].height, data.infos[i].width) for i in data.indices("train")]),
        familiarity=familiarity,
    )
