"""From images with labels to a trained evidence network: imitations, projections, bank, heads."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from copy import deepcopy
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sklearn.decomposition import PCA
from torch import nn

from weakspot.config.schema import RefineConfig
from weakspot.data.images import ImageInfo
from weakspot.data.imitations import imitation_name
from weakspot.data.views import AS_IS, ImageView
from weakspot.errors import WeakspotError
from weakspot.models.evidence import EvidenceNet, halving
from weakspot.training.evidence.bank import Bank, TrainingBank
from weakspot.training.evidence.budget import Budget, budget_for, budget_of_others
from weakspot.training.evidence.heads import HeadTrainer
from weakspot.training.evidence.source import FeatureSource
from weakspot.training.evidence.unfinished import FILE
from weakspot.types import Size
from weakspot.utils import console
from weakspot.utils.files import atomic_path
from weakspot.utils.spread import spread_evenly

log = logging.getLogger(__name__)

PROJECTED = 64
"""Channels that the finest level is projected to; each coarser level has twice as many, if the backbone has them."""

STAGES = ("location", "mask", "location-refit")
"""Names of the stages, in the names of the files of what they came to."""

FEATURES = "features for the evidence heads"
"""Name of what comes before the stages, in lines of progress."""

TINY = 1e-12
"""A smaller variance counts as none, as where every picture is of one even colour."""

SAMPLE_IMAGES, SAMPLE_CELLS = 40, 400
"""Number of images, and of cells of each, that the projections are computed from."""


def fit_evidence(
    source: FeatureSource,
    good: Sequence[ImageInfo],
    defect: Sequence[ImageInfo],
    settings: RefineConfig,
    seed: int,
    folder: Path,
    views: Sequence[str] = (AS_IS,),
    left_out: Sequence[AbstractSet[Path]] = (),
) -> list[EvidenceNet]:
    """Train an evidence network, and for each set of left-out images another one that has not learnt from them.

    The others share projections and mask head with the first: those learn outlines from imitated defects, and of real
    images only that Good ones have none. Only the location head is trained anew, without the left-out images and
    without imitations on them.

    Args:
        source: network, preprocessing and cache.
        good: training images without a defect, at least one.
        defect: training images with a defect, at least one.
        settings: the ``refine`` group of the configuration.
        seed: another seed gives another network.
        folder: finished stages are kept there, so that an interrupted run goes on after the last one; a scratch folder
            in it is removed at the end.
        views: of each real image; imitations are made on images as they are.
        left_out: paths of images; without each of these sets there are Good images and defects still.

    Returns:
        The network, then one for each of `left_out`, in evaluation mode, on the device of the source's network.

    Raises:
        WeakspotError: when the input size does not fit, an image cannot be read, or the loss diverges.
    """
    rng = np.random.default_rng([seed, 0])
    good, defect = (at_most(images, settings.max_images // 2, rng) for images in (good, defect))
    real = [ImageView(image, view) for image in (*good, *defect) for view in views]
    budget = budget_for(settings, len(good) + len(defect))
    grounds = spread_evenly(good, budget.imitations)  # fewer imitations than Good images are made all over them
    imitated = (ImageView(image, imitation_name(n)) for n in count() for image in grounds)
    items = [*real, *islice(imitated, budget.imitations)]
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        net = _projecting_net(source, [items[i] for i in rng.permutation(len(real))], rng)
        net.to(next(source.network.parameters()).device)
        nets = [net, *(deepcopy(net) for _ in left_out)]
        folders = [folder, *(checkpoints_of_fold(folder, k) for k in range(len(left_out)))]
        finished = [stage_file(one, STAGES[-1]) for one in folders]
        if all(file.is_file() and taken_over(one, file) for one, file in zip(nets, finished, strict=True)):
            return [one.eval() for one in nets]
        data = training_bank(source, net, items, len(good) * len(views), len(defect) * len(views), scratch)
        trainer = HeadTrainer(net, data, settings.learning_rate, seed, folder)
        _train(trainer, budget, folder)
        paths = [item.image.path for item in items]
        for k, (other, images) in enumerate(zip(nets[1:], left_out, strict=True)):
            kept = data.some(lambda position, images=images: paths[position] not in images)  # type: ignore[misc]
            if not kept.imitations:
                raise WeakspotError(
                    f"refine.imitations={budget.imitations} are too few: none is left where pictures are left out to "
                    "set thresholds on; give more, or null"
                )
            fewer = budget_of_others(settings, (len(kept.good) + len(kept.defect)) // len(views))
            take_mask_head(other, net)
            note = note_of(k, len(left_out))
            of_other = HeadTrainer(other, kept, settings.learning_rate, seed, folders[1 + k], note)
            _train(of_other, fewer, folders[1 + k])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [one.eval() for one in nets]


def note_of(fold: int, folds: int) -> str:
    """What lines of progress say of the models that are trained without one of the sets of left-out images.

    Args:
        fold: number of the set, from 0.
        folds: number of sets.
    """
    return f" (other pictures left out, {fold + 1} of {folds})"


def checkpoints_of_fold(folder: Path, fold: int) -> Path:
    """Where checkpoints of the models lie that were trained without one of the sets of left-out images.

    Args:
        folder: of the run's checkpoints.
        fold: number of the set, from 0.
    """
    return folder / f"without-{fold}"


def take_mask_head(net: EvidenceNet, taught: EvidenceNet) -> None:
    """Take over all of a trained network but its location head.

    Args:
        net: is changed in place.
        taught: of the same shape.
    """
    state = taught.state_dict()
    net.load_state_dict({n: v for n, v in state.items() if not n.startswith("location_")}, strict=False)


def at_most(images: Sequence[ImageInfo], most: int, rng: np.random.Generator) -> list[ImageInfo]:
    """All images, or `most` of them drawn by lot, in their order.

    Args:
        images: any; may be empty.
        most: number of images at most.
        rng: decides which.
    """
    chosen = sorted(rng.permutation(len(images))[:most].tolist())
    return [images[i] for i in chosen]


def _projecting_net(source: FeatureSource, items: Sequence[ImageView], rng: np.random.Generator) -> EvidenceNet:
    """A fresh network whose projections are whitened principal components of a sample of real images."""
    cells: list[list[npt.NDArray[np.float32]]] = [[] for _ in source.network.pyramid]
    spreads, sizes, input_size = [], [], (0, 0)
    for view in source.features_of(items[:SAMPLE_IMAGES]):
        spreads.append(float(view.pixels.std(axis=(1, 2)).mean()))
        sizes = [(array.shape[1], array.shape[2]) for array in view.features]
        input_size = (view.pixels.shape[1], view.pixels.shape[2])
        for level, array in zip(cells, view.features, strict=True):
            flat = array.reshape(len(array), -1).T
            level.append(flat[rng.permutation(len(flat))[:SAMPLE_CELLS]])
    check_sizes(sizes, input_size)
    fits = []
    narrow = projected_channels([level[0].shape[1] for level in cells])
    for level, most in zip(cells, narrow, strict=True):
        sample = np.concatenate(level).astype(np.float64)
        components = min(most, len(sample))
        fits.append(PCA(components, whiten=True, svd_solver="full").fit(sample))
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        net = EvidenceNet(source.network.pyramid, [fit.components_.shape[::-1] for fit in fits])
    with torch.no_grad():
        net.pixel_scale.fill_(max(1e-6, 2 * float(np.mean(spreads))))
        for projection, fit in zip(net.projections, fits, strict=True):
            assert isinstance(projection, nn.Conv2d)  # noqa: S101 - for the type checker
            # Directions of next to no variance are left small rather than blown up to noise.
            least = max(1e-6 * fit.explained_variance_[0], TINY)
            scale = np.sqrt(np.maximum(fit.explained_variance_, least))
            weight = fit.components_ / scale[:, None]
            projection.weight.copy_(torch.from_numpy(weight).float()[:, :, None, None])
            projection.bias.copy_(torch.from_numpy(-weight @ fit.mean_).float())  # type: ignore[union-attr]
    return net


def projected_channels(channels: Sequence[int]) -> list[int]:
    """How many channels each level is projected to, where there are pictures enough.

    Args:
        channels: number of channels of each level in the backbone, fine to coarse.
    """
    return [min(PROJECTED * 2**i, wide) for i, wide in enumerate(channels)]


def check_sizes(sizes: Sequence[Size], input_size: Size) -> None:
    """Refuse sizes that windows cannot be cut from: they must fall on whole cells of every level, and of the input.

    Args:
        sizes: ``(height, width)`` of the features at each level, fine to coarse.
        input_size: of the network.

    Raises:
        WeakspotError: naming the sizes that will do.
    """
    if not halving([input_size, *sizes]):
        multiple = 2 ** math.ceil(math.log2(max(1, input_size[0] // sizes[-1][0])))
        raise WeakspotError(
            f"data.image_size={list(input_size)}: refine=segment needs both sides to be multiples of {multiple}, and "
            "a backbone whose cells are 2, 4, 8 or 16 pixels wide"
        )


def training_bank(
    source: FeatureSource, net: EvidenceNet, items: Sequence[ImageView], goods: int, defects: int, scratch: Path
) -> TrainingBank:
    """Fill the bank; a progress bar shows how long that takes.

    Args:
        source: network, preprocessing and cache.
        net: with its projections set.
        items: Good images, then defects, then imitations, at least one of these.
        goods: number of Good images.
        defects: number of defects.
        scratch: folder for the bank's files.
    """
    device = next(net.parameters()).device
    channels = [narrow for _, narrow in net.settings["channels"]]
    bank: Bank | None = None
    masks = []
    with console.progress_bar(FEATURES) as progress, torch.inference_mode():
        for i, view in enumerate(source.features_of(items)):
            sizes = [(array.shape[1], array.shape[2]) for array in view.features]
            if bank is None:
                bank = Bank(scratch, len(items), channels, sizes, (view.pixels.shape[1], view.pixels.shape[2]))
            levels = net.project([torch.from_numpy(array)[None].to(device) for array in view.features])
            pixels = torch.from_numpy(np.ascontiguousarray(view.pixels))[None].to(device)
            bank.write(i, levels, net.centre(pixels))
            if view.mask is not None:
                size = (2 * sizes[0][1], 2 * sizes[0][0])
                masks.append(cv2.resize(view.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA))
            progress(i + 1, len(items))
    assert bank is not None  # noqa: S101 - there is at least one image
    positions = range(len(items))
    return TrainingBank(
        bank, positions[:goods], positions[goods : goods + defects], positions[goods + defects :], np.stack(masks)
    )


def _train(trainer: HeadTrainer, budget: Budget, folder: Path) -> None:
    """The stages in turn; one whose result is on disk already is not repeated."""
    fits: list[tuple[Callable[[int], None], int]] = [
        (trainer.fit_location, budget.location_steps),
        (trainer.fit_mask, budget.mask_steps),
        (trainer.refit_location, budget.location_refit_steps),
    ]
    for name, (fit, steps) in zip(STAGES, fits, strict=True):
        kept = stage_file(folder, name)
        if kept.is_file() and taken_over(trainer.net, kept):
            continue
        if steps:
            fit(steps)
        keep_stage(trainer.net, folder, name)


def stage_file(folder: Path, name: str) -> Path:
    """Where the result of a stage is kept.

    Args:
        folder: of the run's checkpoints.
        name: of the stage.
    """
    return folder / f"evidence-{name}.safetensors"


def keep_stage(net: EvidenceNet, folder: Path, name: str) -> None:
    """Keep what a stage came to, whole or not at all, in place of what it had come to half-way.

    Args:
        net: after the stage.
        folder: of the run's checkpoints, made where it is missing.
        name: of the stage.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save({key: value.cpu().contiguous() for key, value in net.state_dict().items()})
    with atomic_path(stage_file(folder, name)) as temporary:
        temporary.write_bytes(content)
    (folder / FILE).unlink(missing_ok=True)


def taken_over(net: EvidenceNet, kept: Path) -> bool:
    """Load what a stage came to.

    Args:
        net: gets the values.
        kept: file of the stage.

    Returns:
        False where the file is damaged, so that the stage is done again.
    """
    try:
        net.load_state_dict(load_file(kept))
    except (OSError, SafetensorError, RuntimeError) as error:
        log.warning("%s is damaged (%s); its stage is done again", kept, (str(error).splitlines() or [""])[0])
        return False
    return True
