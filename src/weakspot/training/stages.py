"""The stages of a training run: stem features, fit, evidence heads, maps."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold

from weakspot.config.schema import TrainConfig, one_of
from weakspot.data.images import ImageInfo
from weakspot.data.loading import batched, stack_pixels
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import AS_IS, AUGMENTATIONS, MIRRORED
from weakspot.heatmaps.classes import ClassMaps
from weakspot.models.backbones import FREEZE_POINT
from weakspot.models.bundle import BundleMeta, save_bundle
from weakspot.models.evidence import EvidenceNet
from weakspot.models.feature_cache import (
    FeatureCache,
    ImageView,
    Precision,
    Progress,
    compute_features,
    default_cache_dir,
    feature_keys,
    view_features,
)
from weakspot.models.model import Model
from weakspot.models.network import CamNet, inference_batch_size
from weakspot.models.output_store import OutputStore
from weakspot.runs.folder import RunFolder
from weakspot.training.datamodule import DataModule, FeatureDataset, ImageDataset
from weakspot.training.evidence.fit import FeatureSource, fit_evidence
from weakspot.training.lightning_fit import FitSummary, estimate_minutes, fit
from weakspot.training.lightning_module import ClassifierModule, class_weights
from weakspot.training.prepare import (
    CROSSFITS,
    PreparedRun,
    calibration_images,
    image_sizes,
    is_crossfitted,
    make_optimizer,
    validation_images,
)
from weakspot.types import SUBSETS, ModelOutput, Subset
from weakspot.utils import console
from weakspot.utils.files import write_json


def fit_and_map(prepared: PreparedRun, run: RunFolder) -> None:
    """Compute features, fit, and save the bundle and the maps of the test subset and of the held-out Good images."""
    data, cache = prepared.data, feature_cache(prepared.config)
    crossfit = (
        [_leave_out(prepared, fold) for fold in range(CROSSFITS)] if is_crossfitted(prepared.config, data) else []
    )
    model, summary = fit_model(prepared, run.path, cache)
    run.update_identity(train={"images": len(data.indices("train")), **asdict(summary)})
    save_bundle(run.bundle, model, _meta(prepared, model))
    held_out, decided_on = calibration_images(data), validation_images(data)
    with console.progress_bar("maps") as progress:
        images = [data.infos[i] for i in (*data.indices("test"), *decided_on)]
        store = compute_maps(
            model,
            images,
            prepared.preprocess,
            cache,
            prepared.config.heatmap,
            prepared.config.flip_tta,
            progress=progress,
        )
    tests, good = len(data.indices("test")), len(held_out)
    if decided_on:
        targets = [data.targets[i] for i in decided_on]
        write_json(run.validation, {"logits": store.logits[tests:], "targets": targets})
    if crossfit:
        stores = [
            _held_out_maps(subset, run.checkpoint.parent / f"without-{k}", cache) for k, subset in enumerate(crossfit)
        ]
        OutputStore.join(stores).save(run.calibration)
    elif held_out:
        store.rows(slice(tests, tests + good)).save(run.calibration)
    store.rows(slice(tests)).save(run.maps)


def fit_model(prepared: PreparedRun, folder: Path, cache: FeatureCache | None) -> tuple[Model, FitSummary]:
    """Fit classifier and evidence heads on the training subset.

    Args:
        plan: its network is trained in place.
        folder: for checkpoints and logs; an interrupted fit goes on from there.
        cache: of features.
    """
    config, data, network = prepared.config, prepared.data, prepared.network
    device = "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"
    network.to(device)
    subsets = _datasets(prepared, cache)
    views = len(AUGMENTATIONS[config.trainer.augment])
    loaders = DataModule(subsets["train"], subsets["val"], config.trainer.batch_size, config.seed, views)
    train_targets = [data.targets[i] for i in data.indices("train")]
    module = ClassifierModule(
        network,
        class_weights(config.model.class_weights, train_targets, len(data.classes)),
        make_optimizer(config.model.optimizer),
        on_features=cache is not None,
        schedule=config.trainer.schedule,
    )
    if config.trainer.strategy != "auto":
        network.cpu()  # the processes get copies, each for its own device
    summary = fit(module, loaders, config.trainer, folder)
    network.eval().to(device)  # Lightning leaves it on the CPU
    return Model(network, _fit_evidence(prepared, folder / "checkpoints", cache)), summary


def _leave_out(prepared: PreparedRun, fold: int) -> PreparedRun:
    """The same plan, its network copied as it is now, with one part of the training images held out."""
    data = prepared.data
    train = data.indices("train")
    groups = [data.samples[i].group or f"image {i}" for i in train]  # all different, it is StratifiedKFold
    splitter = StratifiedGroupKFold(CROSSFITS, shuffle=True, random_state=prepared.config.split.seed)
    _, left_out = list(splitter.split(train, [data.targets[i] for i in train], groups))[fold]
    subsets = list(data.subsets)
    for position in left_out:
        subsets[train[position]] = "val"
    return replace(prepared, data=replace(data, subsets=subsets), network=deepcopy(prepared.network))


def _held_out_maps(prepared: PreparedRun, folder: Path, cache: FeatureCache | None) -> OutputStore:
    """What a model says of the Good images that it was trained without; not repeated where it is on disk already."""
    kept = folder / "calibration.npz"
    if not kept.is_file():
        model, _ = fit_model(prepared, folder, cache)
        images = [prepared.data.infos[i] for i in calibration_images(prepared.data)]
        with console.progress_bar("maps") as progress:
            compute_maps(
                model,
                images,
                prepared.preprocess,
                cache,
                prepared.config.heatmap,
                prepared.config.flip_tta,
                progress=progress,
            ).save(kept)
    return OutputStore.load(kept)


def _fit_evidence(prepared: PreparedRun, checkpoints: Path, cache: FeatureCache | None) -> EvidenceNet | None:
    config, data = prepared.config, prepared.data
    if config.refine.method == "none":
        return None
    good, defect = (
        [data.infos[i] for i in data.indices("train") if (data.targets[i] == 0) == is_good] for is_good in (True, False)
    )
    source = FeatureSource(prepared.network, prepared.preprocess, cache)
    return fit_evidence(source, good, defect, config.refine, config.seed, checkpoints)


def _datasets(prepared: PreparedRun, cache: FeatureCache | None) -> dict[Subset, FeatureDataset | ImageDataset]:
    """Each part as stem features (computed now, once) or as images; the training subset in all its views."""
    config, data, network, preprocess = prepared.config, prepared.data, prepared.network, prepared.preprocess
    views = {"train": AUGMENTATIONS[config.trainer.augment], "val": (AS_IS,), "test": (AS_IS,)}
    items = {
        subset: [ImageView(data.infos[i], view) for i in data.indices(subset) for view in views[subset]]
        for subset in SUBSETS
    }
    targets = {subset: [data.targets[i] for i in data.indices(subset) for _ in views[subset]] for subset in SUBSETS}
    every = [item for subset in SUBSETS for item in items[subset]]
    announce(config, len(data.indices("train")), every, network, preprocess, cache)
    if cache is None:
        return {
            subset: ImageDataset([(item.image.path, item.view) for item in items[subset]], preprocess, targets[subset])
            for subset in SUBSETS
        }
    with console.progress_bar("frozen layers, once per image") as progress:
        if config.refine.method != "none":  # all taps in one pass, before the last of them is asked for alone
            plain = [item for item in every if item.view == AS_IS]
            taps = tuple(dict.fromkeys([*network.pyramid, FREEZE_POINT]))
            compute_features(network, plain, preprocess, cache, taps=taps, progress=progress)
        keys = iter(compute_features(network, every, preprocess, cache, progress=progress)[0])
    return {
        subset: FeatureDataset(cache, list(islice(keys, len(items[subset]))), targets[subset]) for subset in SUBSETS
    }


def announce(
    config: TrainConfig,
    images: int,
    items: Sequence[ImageView],
    network: CamNet,
    preprocess: Preprocess,
    cache: FeatureCache | None,
) -> None:
    """Say what will be done to `images` training images, and about how long it takes if no epoch is spared.

    With a cache, what is missing of `items` is computed first.
    """
    epochs = config.trainer.max_epochs
    if cache:
        keys = feature_keys(network, items, preprocess, cache)
        stem_images = sum(not cache.path(key).is_file() for key in keys)
    else:
        stem_images = images * epochs
    minutes = estimate_minutes(
        network,
        preprocess.common_input_size(image_sizes(item.image for item in items)),
        stem_images=stem_images,
        tail_images=images * epochs,
        batch_size=config.trainer.batch_size,
    )
    device = next(network.parameters()).device.type
    time = f"about {minutes:.0f} min" if minutes >= 1 else "under a minute"
    heads = config.refine
    steps = heads.location_steps + heads.mask_steps + heads.location_refit_steps
    then = "" if heads.method == "none" else f", then {steps} steps of the evidence heads"
    console.err.print(f"training on {images} images, up to {epochs} epochs on the {device}: {time}{then}")


def feature_cache(config: TrainConfig) -> FeatureCache | None:
    """The stem feature cache, or None where it is switched off.

    Raises:
        WeakspotError: for an unknown precision.
    """
    if not config.cache.enabled:
        return None
    one_of("cache.precision", config.cache.precision, ("float16", "float32"))
    folder = Path(config.cache.dir).expanduser() if config.cache.dir else default_cache_dir()
    return FeatureCache(folder, int(config.cache.max_gb * 2**30), cast(Precision, config.cache.precision))


def compute_maps(
    model: Model,
    images: Sequence[ImageInfo],
    preprocess: Preprocess,
    cache: FeatureCache | None,
    heatmap: str = "cam",
    flip_tta: bool = False,
    *,
    progress: Progress | None = None,
) -> OutputStore:
    """What the model says of a set of images, with maps of the method `heatmap`, and of the same images mirrored.

    Raises:
        WeakspotError: when one cannot be read, or their maps would be of different sizes.
    """
    preprocess.common_input_size(image_sizes(images))
    device = next(model.network.parameters()).device
    seen = [ImageView(image, view) for view in (AS_IS, MIRRORED)[: 1 + flip_tta] for image in images]
    views_with_features = view_features(model.network, seen, preprocess, cache, model.taps)
    output, by_method = list[ModelOutput](), ClassMaps(model.network, heatmap)
    for batch in batched(views_with_features, inference_batch_size(device, preprocess)):
        arrays = [np.stack([view.features[i] for view in batch]) for i in range(len(model.taps))]
        features = {tap: torch.from_numpy(array).to(device) for tap, array in zip(model.taps, arrays, strict=True)}
        pixels = torch.from_numpy(stack_pixels([view.pixels for view in batch])).to(device)
        output += by_method(model.answer(features, pixels), pixels)
        if progress:
            progress(len(output), len(seen))
    if flip_tta:
        first, mirrored = output[: len(images)], output[len(images) :]
        output = [one.with_flipped(other) for one, other in zip(first, mirrored, strict=True)]
    sizes = np.array(image_sizes(images), dtype=np.int64).reshape(-1, 2)
    return OutputStore.of([image.path for image in images], sizes, output, model.network.bias.detach().cpu().numpy())


def _meta(prepared: PreparedRun, model: Model) -> BundleMeta:
    data = prepared.data
    return BundleMeta(
        classes=data.classes,
        preprocess=prepared.preprocess,
        backbone=prepared.config.model.backbone,
        outputs=prepared.config.model.outputs,
        heatmap=prepared.config.heatmap,
        flip_tta=prepared.config.flip_tta,
        boxes=prepared.rule,
        thresholds={},  # set when the rest of the run is there
        weights={"origin": prepared.weights.origin, "sha256": prepared.weights.sha256},
        split_hash=data.split_hash,
        data_hash=data.data_hash,
        evidence=None if model.evidence is None else model.evidence.settings,
    )
