"""Features of the frozen layers, computed once for each image and kept on disk.

conv1_1–conv4_3 never change, and they are 13.9 of VGG16's 15.3 GMAC at 224 pixels. Their output for an image is kept in
one small file, named by everything it depends on (image content, view, preprocessing, weights, tap), so that
epochs, folds, runs and processes share it without locks.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from weakspot.data.imitations import IMITATION, changeable, named_imitation
from weakspot.data.loading import Loaded, batched, load_images, stack_pixels
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import AS_IS, ImageView
from weakspot.errors import WeakspotError
from weakspot.models.backbones import FREEZE_POINT
from weakspot.models.network import CamNet, inference_batch_size
from weakspot.models.photometric import see
from weakspot.models.weight_files import hash_state
from weakspot.types import BoolArray, Look
from weakspot.utils.files import atomic_path
from weakspot.utils.untrusted import check_npy

Precision = Literal["float16", "float32"]
Progress = Callable[[int, int], None]

FEATURES_VERSION = 2
"""Goes up whenever the same image and settings give other features: other decoding, resizing, normalisation."""


def default_cache_dir() -> Path:
    """The platform's user cache folder for features (``XDG_CACHE_HOME`` is honoured)."""
    return Path(platformdirs.user_cache_dir("weakspot")) / "features"


@dataclass(frozen=True)
class FeatureCache:
    """Arrays on disk, one file each, with a checksum behind the ``.npy`` content.

    Attributes:
        folder: where the files are; made on first use.
        max_bytes: size from which on :meth:`trim` removes the least recently used files.
        precision: type that features are stored in; they are always returned as float32.
    """

    folder: Path
    max_bytes: int = 20 * 2**30
    precision: Precision = "float16"

    def key(
        self, image_sha256: str, preprocess: Preprocess, stem: str, tap: str = FREEZE_POINT, view: str = AS_IS
    ) -> str:
        """Name the features of an image by everything they depend on.

        Args:
            image_sha256: hash of the image file's bytes (hexadecimal).
            preprocess: what brings the image to the network's input.
            stem: hash and description of the frozen layers.
            tap: which of the backbone's features.
            view: how the image is turned or mirrored, or an imitated defect on it.

        Returns:
            A SHA-256 (hexadecimal).
        """
        parts = [FEATURES_VERSION, image_sha256, preprocess.identity(), stem, tap, view, self.precision]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def path(self, key: str) -> Path:
        """The file of `key`; it need not exist."""
        return self.folder / key[:2] / f"{key}.npy"

    def load(self, key: str) -> npt.NDArray[np.float32] | None:
        """The array under `key` as float32; None where there is none. A damaged file is removed and counts as none."""
        payload = self._payload(key)
        if payload is None:
            return None
        try:
            check_npy(BytesIO(payload), len(payload))
            return np.asarray(np.load(BytesIO(payload), allow_pickle=False)).astype(np.float32, casting="same_kind")
        except (ValueError, TypeError):  # whole, and not ours
            self.path(key).unlink(missing_ok=True)
            return None

    def check(self, key: str) -> bool:
        """Tell whether :meth:`load` would find an undamaged file."""
        return self._payload(key) is not None

    def _payload(self, key: str) -> bytes | None:
        try:
            content = (path := self.path(key)).read_bytes()
        except OSError:
            return None
        with suppress(OSError):  # another process has removed it meanwhile, or it is another user's
            os.utime(path)  # the modification time orders the files by last use
        if zlib.crc32(content[:-4]).to_bytes(4, "little") != content[-4:]:
            path.unlink(missing_ok=True)
            return None
        return content[:-4]

    def store(self, key: str, array: npt.NDArray[np.float32]) -> None:
        """Write the array under `key`, whole or not at all.

        Args:
            key: from :meth:`key`.
            array: the features; stored in :attr:`precision`.

        Raises:
            WeakspotError: when the folder cannot be written; the message says how to go on without it.
        """
        buffer = BytesIO()
        np.save(buffer, array.astype(self.precision))
        payload = buffer.getvalue()
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(payload + zlib.crc32(payload).to_bytes(4, "little"))
        except OSError as error:
            raise WeakspotError(
                f"cache.dir={self.folder} cannot be written ({error.strerror}); "
                "set cache.dir to another folder or cache.enabled=false"
            ) from error

    def rounded(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Round an array as storing and loading it would, so that a first run computes with the same values."""
        return array.astype(self.precision).astype(np.float32)

    def trim(self, keep: set[str] | frozenset[str] = frozenset()) -> int:
        """Remove least recently used files until at most `max_bytes` are left; `keep` is never removed.

        Returns:
            The number of files removed.
        """
        entries = sorted((stat.st_mtime, stat.st_size, path) for path, stat in self._files())
        total, removed = sum(size for _, size, _ in entries), 0
        for _, size, path in entries:
            if total <= self.max_bytes:
                break
            if path.stem not in keep:
                path.unlink(missing_ok=True)
                total, removed = total - size, removed + 1
        return removed

    def usage(self) -> tuple[int, int]:
        """Number of files in the cache, and their size in bytes."""
        sizes = [stat.st_size for _, stat in self._files()]
        return len(sizes), sum(sizes)

    def clear(self) -> int:
        """Remove every file; returns how many there were."""
        paths = [path for path, _ in self._files()]
        for path in paths:
            path.unlink(missing_ok=True)
        return len(paths)

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found: list[tuple[Path, os.stat_result]] = []
        for path in self.folder.glob("??/*.npy"):
            try:
                found.append((path, path.stat()))
            except FileNotFoundError:  # another process trimmed it
                continue
        return found


def feature_keys(
    network: CamNet, items: Sequence[ImageView], preprocess: Preprocess, cache: FeatureCache, tap: str = FREEZE_POINT
) -> list[str]:
    """The cache key of every item's features at a tap, in order, whether they are in the cache or not.

    Args:
        network: its stem makes the features.
        items: images and their views.
        preprocess: what brings an image to the network's input.
        cache: its precision is part of the key.
        tap: which of the backbone's features.

    Returns:
        One key for each item.
    """
    # The layers' own description counts too: a pool has no weights and still changes everything.
    stem = hash_state(network.stem.state_dict()) + repr(network.stem)
    return [cache.key(item.image.sha256, preprocess, stem, tap, item.view) for item in items]


def compute_features(
    network: CamNet,
    items: Sequence[ImageView],
    preprocess: Preprocess,
    cache: FeatureCache,
    *,
    taps: Sequence[str] = (FREEZE_POINT,),
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> list[list[str]]:
    """Make sure that the features of every item are in the cache; compute those that are not.

    Several processes may do this at once: they share the work, but for the few images that two of them have in hand
    at the same moment.

    Args:
        network: its stem is run, on whatever device it is.
        items: images and their views.
        preprocess: as in training and inference.
        cache: where the features go.
        taps: which features; all of them come from one pass.
        batch_size: images in one forward pass; None for what suits the device.
        progress: called with (done, to do) after each batch.

    Returns:
        For each tap the cache key of every item, in order.

    Raises:
        WeakspotError: for an unknown tap, an image that cannot be read, or a cache that cannot be written.
    """
    keys = [feature_keys(network, items, preprocess, cache, tap) for tap in taps]
    by_item = dict(zip(zip(*keys, strict=True), items, strict=True))
    missing = [names for names in by_item if not all(cache.check(name) for name in names)]
    # Another process that started on the same images should begin elsewhere.
    start = Random(os.getpid()).randrange(len(missing)) if missing else 0  # noqa: S311 - not for secrets
    waiting: deque[tuple[str, ...]] = deque()
    taken = 0

    def still_missing() -> Iterator[Path]:
        nonlocal taken
        for names in missing[start:] + missing[:start]:
            taken += 1
            if not all(cache.path(name).is_file() for name in names):
                waiting.append(names)
                yield by_item[names].image.path

    device = next(network.stem.parameters()).device
    size = batch_size or inference_batch_size(device, preprocess)
    for batch in batched(load_images(still_missing(), preprocess), size):
        names = [waiting.popleft() for _ in batch]
        pixels = [_see(image, by_item[n], preprocess)[0] for image, n in zip(batch, names, strict=True)]
        features = _forward(network, pixels, device, taps)
        for row, name_of_taps in enumerate(names):
            for array, name in zip(features, name_of_taps, strict=True):
                cache.store(name, array[row])
        if progress:
            progress(taken - len(waiting), len(missing))
    cache.trim(keep={name for names in by_item for name in names})
    return keys


class ViewFeatures(NamedTuple):
    """One image in one view: the network's input, its mask where it is an imitated defect, and its features.

    Attributes:
        pixels: float32 ``(3, H, W)``, preprocessed.
        mask: ``(H, W)`` of an imitated defect; None for a real image.
        features: ``(channels, h, w)`` of each requested tap.
        region: ``(H, W)``, which pixels lie in the region of interest; None where all of them count.
        look: of the image itself; None where it was not asked for.
    """

    pixels: npt.NDArray[np.float32]
    mask: BoolArray | None
    features: list[npt.NDArray[np.float32]]
    region: BoolArray | None = None
    look: Look | None = None


def view_features(
    network: CamNet,
    items: Sequence[ImageView],
    preprocess: Preprocess,
    cache: FeatureCache | None,
    taps: Sequence[str],
    *,
    looks: bool = False,
) -> Iterator[ViewFeatures]:
    """Get pixels and features of every item, in order; what is missing in the cache is computed and put into it.

    A view may be an imitated defect here (:func:`~weakspot.data.imitations.imitation_name`).

    Args:
        network: its stem is run, on whatever device it is.
        items: images and their views.
        preprocess: what brings an image to the network's input.
        cache: of features; None computes all of them.
        taps: which of the backbone's features.
        looks: also measure what each image looks like.

    Yields:
        One :class:`ViewFeatures` for each item.

    Raises:
        WeakspotError: as :func:`compute_features`.
    """
    device = next(network.stem.parameters()).device
    size = inference_batch_size(device, preprocess)
    keys = [feature_keys(network, items, preprocess, cache, tap) for tap in taps] if cache else []
    stored = False
    loaded = batched(load_images((item.image.path for item in items), preprocess, looks=looks), size)
    for number, batch in enumerate(loaded):
        these = range(number * size, number * size + len(batch))
        seen = [_see(image, items[i], preprocess) for image, i in zip(batch, these, strict=True)]
        found = [[cache.load(names[i]) for names in keys] if cache else [None] for i in these]
        missing = [row for row, arrays in enumerate(found) if any(array is None for array in arrays)]
        if missing:
            computed = _forward(network, [seen[row][0] for row in missing], device, taps)
            for position, row in enumerate(missing):
                arrays = [array[position] for array in computed]
                if cache:
                    for names, array in zip(keys, arrays, strict=True):
                        cache.store(names[these[row]], array)
                        stored = True
                    arrays = [cache.rounded(array) for array in arrays]
                found[row] = [*arrays]
        for (pixels, mask), arrays, image in zip(seen, found, batch, strict=True):
            yield ViewFeatures(pixels, mask, [array for array in arrays if array is not None], image.region, image.look)
    if cache and stored:  # where nothing came in nothing need go, least of all what the run still wants
        cache.trim(keep={name for names in keys for name in names})


def _see(loaded: Loaded, item: ImageView, preprocess: Preprocess) -> tuple[npt.NDArray[np.float32], BoolArray | None]:
    if loaded.pixels is None:
        raise WeakspotError(loaded.error)
    if not item.view.startswith(IMITATION):
        return see(loaded.pixels, item.image.sha256, item.view, preprocess), None
    where = changeable(loaded.region, loaded.size, preprocess)
    changed, mask = named_imitation(preprocess.denormalise(loaded.pixels), item.image.sha256, item.view, where)
    return preprocess.normalise(changed), mask


def _forward(
    network: CamNet, pixels: Sequence[npt.NDArray[np.float32]], device: torch.device, taps: Sequence[str]
) -> list[npt.NDArray[np.float32]]:
    with torch.inference_mode():
        features = network.forward_taps(torch.from_numpy(stack_pixels(pixels)).to(device), taps)
    return [features[tap].cpu().contiguous().numpy() for tap in taps]
