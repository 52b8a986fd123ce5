"""Frozen-stem features, computed once per image and kept on disk.

conv1_1–conv4_3 never change, and they are 13.9 of VGG16's 15.3 GMAC at 224 pixels. What they make of an image is
kept in one small file, named by everything it depends on (image content, preprocessing, stem weights, tap), so that
epochs, folds, runs and processes share it without locks.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import platformdirs
import torch

from weakspot.data.images import ImageInfo
from weakspot.data.loading import batched, load_images
from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.files import atomic_path
from weakspot.model.network import CamNet
from weakspot.model.weights import hash_state

Precision = Literal["float16", "float32"]
Progress = Callable[[int, int], None]

FEATURES_VERSION = 1
"""Goes up whenever the same image and settings give other features: other decoding, resizing, normalisation."""

FREEZE_POINT = "stem"
"""The tap at the freeze point: what the trained tail is fed with."""


def default_cache_dir() -> Path:
    """The platform's user cache folder for features (``XDG_CACHE_HOME`` is honoured)."""
    return Path(platformdirs.user_cache_dir("weakspot")) / "features"


@dataclass(frozen=True)
class FeatureCache:
    """Arrays on disk, one file each, with a checksum behind the ``.npy`` content.

    Attributes:
        folder: where the files are; made on first use.
        max_bytes: :meth:`trim` removes the least recently used files beyond it.
        precision: type that features are stored in; they are always handed out as float32.
    """

    folder: Path
    max_bytes: int = 20 * 2**30
    precision: Precision = "float16"

    def key(self, image_sha256: str, preprocess: Preprocess, stem_sha256: str, tap: str = FREEZE_POINT) -> str:
        """Name (hexadecimal) of everything that the features of an image depend on."""
        parts = [FEATURES_VERSION, image_sha256, preprocess.to_dict(), stem_sha256, tap, self.precision]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def path(self, key: str) -> Path:
        """File of `key`; it need not exist."""
        return self.folder / key[:2] / f"{key}.npy"

    def load(self, key: str) -> npt.NDArray[np.float32] | None:
        """The array under `key` as float32, or None where there is none or it is damaged."""
        path = self.path(key)
        try:
            content = path.read_bytes()
            path.touch()  # the modification time orders the files by last use
        except OSError:
            return None
        payload, checksum = content[:-4], content[-4:]
        if zlib.crc32(payload).to_bytes(4, "little") != checksum:
            return None
        array: npt.NDArray[np.floating] = np.load(BytesIO(payload), allow_pickle=False)
        return array.astype(np.float32)

    def store(self, key: str, array: npt.NDArray[np.float32]) -> None:
        """Write the array under `key`, whole or not at all.

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

    def trim(self, keep: set[str] | frozenset[str] = frozenset()) -> int:
        """Remove least recently used files until `max_bytes` hold; `keep` is never removed.

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
        """``(files, bytes)`` now in the cache."""
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
    network: CamNet, images: Sequence[ImageInfo], preprocess: Preprocess, cache: FeatureCache
) -> list[str]:
    """The cache key of every image's stem features, in order, whether they are in the cache or not."""
    # The layers' own description counts too: a pool has no weights and still changes everything.
    stem_sha256 = hash_state(network.stem.state_dict()) + repr(network.stem)
    return [cache.key(image.sha256, preprocess, stem_sha256) for image in images]


def compute_features(
    network: CamNet,
    images: Sequence[ImageInfo],
    preprocess: Preprocess,
    cache: FeatureCache,
    *,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> list[str]:
    """Make sure that the stem's features of every image are in the cache; compute those that are not.

    Args:
        network: its stem is run, on whatever device it is.
        images: files and the hashes of their contents.
        preprocess: as in training and inference.
        cache: where the features go.
        batch_size: images in one forward pass.
        progress: called with (done, to do) after each batch.

    Returns:
        The cache key of every image, in order.

    Raises:
        WeakspotError: when an image cannot be read or the cache cannot be written.
    """
    keys = feature_keys(network, images, preprocess, cache)
    missing = {key: image.path for key, image in zip(keys, images, strict=True) if cache.load(key) is None}
    device = next(network.stem.parameters()).device
    done = 0
    loaded = load_images(missing.values(), preprocess)
    for batch in batched(zip(missing, loaded, strict=True), batch_size):
        for _, item in batch:
            if item.pixels is None:
                raise WeakspotError(item.error)
        pixels = torch.from_numpy(np.stack([item.pixels for _, item in batch if item.pixels is not None]))
        with torch.inference_mode():
            features = network.forward_stem(pixels.to(device, memory_format=torch.channels_last))
        for (key, _), array in zip(batch, features.cpu().contiguous().numpy(), strict=True):
            cache.store(key, array)
        done += len(batch)
        if progress:
            progress(done, len(missing))
    cache.trim(keep=set(keys))
    return keys
