"""The Lightning wrapper round the data: batches of stem features, or of images, with their targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from weakspot.data.images import read_image
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import apply_view
from weakspot.errors import WeakspotError
from weakspot.features import FeatureCache

Item = tuple[Tensor, int]


@dataclass
class FeatureDataset(Dataset[Item]):
    """Stem features ``(channels, h, w)`` out of the cache, with class indices."""

    cache: FeatureCache
    keys: Sequence[str]
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Item:
        features = self.cache.load(self.keys[index])
        if features is None:
            raise WeakspotError(
                f"cache.dir={self.cache.folder} lost a file while training; start the same command again, "
                "or set cache.enabled=false"
            )
        return torch.from_numpy(features), self.targets[index]


@dataclass
class ImageDataset(Dataset[Item]):
    """Preprocessed images ``(3, H, W)``, each in one of its views, with class indices."""

    items: Sequence[tuple[Path, str]]
    preprocess: Preprocess
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        path, view = self.items[index]
        pixels = apply_view(self.preprocess(read_image(path)), view)
        return torch.from_numpy(np.ascontiguousarray(pixels)), self.targets[index]


class EpochShuffle(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees the orders it would have seen.

    Args:
        images: how many there are.
        seed: of the order.
        views: how many items of the data set, one after the other, are the same image; each epoch draws one of them.
    """

    def __init__(self, images: int, seed: int, views: int = 1) -> None:
        self.images, self.seed, self.views, self.epoch = images, seed, views, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.images, generator=generator)
        drawn = torch.randint(self.views, (self.images,), generator=generator)
        return iter((order * self.views + drawn).tolist())


class DataModule(pl.LightningDataModule):
    """Training and validation batches.

    Args:
        train: training part; shuffled, the order depending on `seed` and the epoch alone.
        val: validation part; may be empty.
        batch_size: images in a batch.
        seed: of the order.
        views: how many items of `train`, one after the other, are the same image.
    """

    def __init__(self, train: Dataset[Item], val: Dataset[Item], batch_size: int, seed: int, views: int = 1) -> None:
        super().__init__()
        self.train, self.val, self.batch_size = train, val, batch_size
        self.order = EpochShuffle(len(train) // views, seed, views)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Item]:
        """Batches of the training part, in another order each epoch."""
        return DataLoader(self.train, self.batch_size, sampler=self.order)

    def val_dataloader(self) -> DataLoader[Item] | list[DataLoader[Item]]:
        """Batches of the validation part; no loader at all where it is empty."""
        return DataLoader(self.val, self.batch_size) if len(self.val) else []  # type: ignore[arg-type]
