"""The Lightning wrapper round the data: batches of frozen features or of images, with their targets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler, default_collate

from weakspot.data.images import read_image
from weakspot.data.loading import batched
from weakspot.data.preprocess import Preprocess
from weakspot.data.views import ImageView
from weakspot.errors import WeakspotError
from weakspot.models.feature_cache import FeatureCache
from weakspot.models.photometric import see

Item = tuple[Tensor, int]


@dataclass
class FeatureDataset(Dataset[Item]):
    """Frozen features ``(channels, h, w)`` from the cache, with the number of each image's class."""

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
    """Preprocessed images ``(3, H, W)``, each in one of its views, with the number of each image's class."""

    items: Sequence[ImageView]
    preprocess: Preprocess
    targets: Sequence[int]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        image, view = self.items[index]
        pixels = see(self.preprocess(read_image(image.path), image.path), image.sha256, view, self.preprocess)
        return torch.from_numpy(np.ascontiguousarray(pixels)), self.targets[index]


class EpochShuffle(Sampler[int]):
    """A permutation that depends on seed and epoch alone, so that a resumed run sees the orders it would have seen.

    Args:
        images: number of images.
        seed: another seed gives other orders.
        views: number of consecutive items of the data set that are the same image; each epoch draws one of them.
    """

    def __init__(self, images: int, seed: int, views: int = 1) -> None:
        self.images, self.seed, self.views, self.epoch = images, seed, views, 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the order belongs to; Lightning calls this before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.images

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.images, generator=generator)
        drawn = torch.randint(self.views, (self.images,), generator=generator)
        return iter((order * self.views + drawn).tolist())


class Shares(Sampler[list[int]]):
    """One process's share of every batch: of n processes each takes every n-th item; a share of the last may be empty.

    No item is repeated to make the shares equal, as torch's ``DistributedSampler`` does, so no image is counted twice.

    Args:
        sampler: the order of the items, the same in every process.
        batch_size: number of items in a batch, all shares together.
        rank: number of this process, from 0.
        world: number of processes.
    """

    def __init__(self, sampler: Sampler[int], batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.sampler = sampler  # Lightning looks for it here, to tell it the epoch
        self.batch_size, self.rank, self.world = batch_size, rank, world

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.batch_size)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        for batch in batched(self.sampler, self.batch_size):
            yield batch[self.rank :: self.world]


class DataModule(pl.LightningDataModule):
    """Training and validation batches; with several processes, each process's share of them.

    Args:
        train: training subset; shuffled, in an order that depends on `seed` and the epoch alone.
        val: validation subset; may be empty.
        batch_size: number of images in a batch, all processes together.
        seed: another seed gives other orders.
        views: number of consecutive items of `train` that are the same image.
    """

    def __init__(self, train: Dataset[Item], val: Dataset[Item], batch_size: int, seed: int, views: int = 1) -> None:
        super().__init__()
        self.train, self.val, self.batch_size = train, val, batch_size
        self.order = EpochShuffle(len(train) // views, seed, views)  # type: ignore[arg-type]

    def train_dataloader(self) -> DataLoader[Item]:
        """Batches of the training subset, in another order each epoch."""
        return self._loader(self.train, self.order)

    def val_dataloader(self) -> DataLoader[Item] | list[DataLoader[Item]]:
        """Batches of the validation subset; an empty list where there is none."""
        in_order = SequentialSampler(self.val)  # type: ignore[arg-type]
        return self._loader(self.val, in_order) if len(in_order) else []

    def _loader(self, items: Dataset[Item], order: Sampler[int]) -> DataLoader[Item]:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        shares = Shares(order, self.batch_size, rank, world)
        return DataLoader(items, batch_sampler=shares, collate_fn=partial(_collate, items))


def _collate(dataset: Dataset[Item], items: list[Item]) -> tuple[Tensor, Tensor]:
    """A batch; an empty one has the shape of the others."""
    inputs, targets = default_collate(items or [dataset[0]])
    return (inputs, targets) if items else (inputs[:0], targets[:0])
