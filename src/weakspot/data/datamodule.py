"""The Lightning wrapper round the data: batches of stem features, or of images, with their targets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from weakspot.data.images import read_image
from weakspot.data.preprocess import Preprocess
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
    """Preprocessed images ``(3, H, W)`` with class indices."""

    paths: Sequence[Path]
    preprocess: Preprocess
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        return torch.from_numpy(self.preprocess(read_image(self.paths[index]))), self.targets[index]


class EpochShuffle(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees the orders it would have seen."""

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        return iter(torch.randperm(self.length, generator=generator).tolist())


class DataModule(pl.LightningDataModule):
    """Training and validation batches.

    Args:
        train: training part; shuffled, the order depending on `seed` and the epoch alone.
        val: validation part; may be empty.
        batch_size: images in a batch.
        seed: of the order.
    """

    def __init__(self, train: Dataset[Item], val: Dataset[Item], batch_size: int, seed: int) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed

    def train_dataloader(self) -> DataLoader[Item]:
        """Batches of the training part, in another order each epoch."""
        return DataLoader(self.train, self.batch_size, sampler=EpochShuffle(len(self.train), self.seed))  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Item] | list[DataLoader[Item]]:
        """Batches of the validation part; no loader at all where it is empty."""
        return DataLoader(self.val, self.batch_size) if len(self.val) else []  # type: ignore[arg-type]
