"""Features and pixels for training the evidence heads, kept on disk meanwhile and read in any order."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from weakspot.models.evidence import Level
from weakspot.types import Size

Float = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """A rectangle of an image, counted in cells of the coarsest level.

    Attributes:
        top, left: first row and column.
        height, width: number of rows and columns.
    """

    top: int
    left: int
    height: int
    width: int

    def at(self, factor: int) -> tuple[slice, slice]:
        """Rows and columns of the window on a finer grid.

        Args:
            factor: number of cells of that grid along one cell of the coarsest level.
        """
        return (
            slice(self.top * factor, (self.top + self.height) * factor),
            slice(self.left * factor, (self.left + self.width) * factor),
        )


@dataclass(frozen=True)
class Mirror:
    """Along which axes a batch is mirrored.

    Attributes:
        axes: 2 for rows, 3 for columns, or both, or none.
    """

    axes: list[int]

    @classmethod
    def by_lot(cls, rng: np.random.Generator) -> Mirror:
        """Each axis in every second draw."""
        return cls([axis for axis in (2, 3) if rng.random() < 0.5])

    def flip(self, tensor: Tensor) -> Tensor:
        """Mirror ``(batch, channels, rows, columns)``."""
        return tensor.flip(self.axes) if self.axes else tensor

    def flip_levels(self, levels: Sequence[Level]) -> list[Level]:
        """Mirror levels; their means stay."""
        return [Level(self.flip(level.features), level.mean) for level in levels]


def _array_on_disk(path: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float16]:
    """A new array that lies in a file.

    Raises:
        OSError: where there is no room for all of it, naming the file; found out later, it would end the process.
    """
    array = open_memmap(path, "w+", np.float16, shape)
    if hasattr(os, "posix_fallocate"):
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
    return array


class Bank:
    """Projected features and centred pixels of n images, in files of a scratch folder.

    Args:
        folder: where the files go.
        images: n.
        channels: number of projected channels of each level, fine to coarse.
        sizes: ``(height, width)`` of each level, fine to coarse; each is a whole multiple of the last.
        input_size: ``(height, width)`` of the network's input, a whole multiple of all of them.
    """

    def __init__(
        self, folder: Path, images: int, channels: Sequence[int], sizes: Sequence[Size], input_size: Size
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.sizes = list(sizes)
        self.factors = [size[0] // sizes[-1][0] for size in sizes]
        self._levels = [
            _array_on_disk(folder / f"level{i}.npy", (images, c, *size))
            for i, (c, size) in enumerate(zip(channels, sizes, strict=True))
        ]
        self._means = [np.zeros((images, c), np.float32) for c in channels]
        self._pixels = _array_on_disk(folder / "pixels.npy", (images, 3, *input_size))
        self._pixel_factor = input_size[0] // sizes[-1][0]

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def whole(self) -> Window:
        """The window that covers a whole image."""
        return Window(0, 0, *self.sizes[-1])

    def write(self, index: int, levels: Sequence[Level], pixels: Tensor) -> None:
        """Keep one image.

        Args:
            index: position of the image.
            levels: its projected features, fine to coarse, each a batch of one.
            pixels: its centred pixels, a batch of one.
        """
        for stored, means, level in zip(self._levels, self._means, levels, strict=True):
            stored[index] = level.features[0].cpu().numpy()
            means[index] = level.mean[0].cpu().numpy()
        self._pixels[index] = pixels[0].cpu().numpy()

    def levels(
        self, indices: Sequence[int], device: torch.device, windows: Sequence[Window] | None = None
    ) -> list[Level]:
        """Read the projected features of a batch of images, or of windows of them.

        Args:
            indices: positions of the images.
            device: that the batch goes to.
            windows: one for each image, all of one size; None takes whole images.

        Returns:
            The levels, fine to coarse; their means are those of the whole images.
        """
        windows = windows or [self.whole] * len(indices)
        return [
            Level(_cut(stored, indices, windows, factor, device), torch.from_numpy(means[list(indices)]).to(device))
            for stored, means, factor in zip(self._levels, self._means, self.factors, strict=True)
        ]

    def pixels(self, indices: Sequence[int], device: torch.device, windows: Sequence[Window] | None = None) -> Tensor:
        """Read the centred pixels of a batch of images, or of windows of them.

        Args:
            indices: positions of the images.
            device: that the batch goes to.
            windows: one for each image, all of one size; None takes whole images.

        Returns:
            ``(batch, 3, height, width)``.
        """
        windows = windows or [self.whole] * len(indices)
        return _cut(self._pixels, indices, windows, self._pixel_factor, device)


@dataclass(frozen=True)
class TrainingBank:
    """The images that the heads are trained on.

    Attributes:
        bank: features and pixels of all images.
        good, defect, imitations: positions of the images of each kind.
        masks: ``(imitations, 2h, 2w)`` 0…1, masks of the imitations, in order.
    """

    bank: Bank
    good: Sequence[int]
    defect: Sequence[int]
    imitations: Sequence[int]
    masks: Float

    def some(self, kept: Callable[[int], bool]) -> TrainingBank:
        """The same bank with fewer images to train on.

        Args:
            kept: says of the position of an image whether it stays.
        """
        good, defect, imitations = (list(filter(kept, which)) for which in (self.good, self.defect, self.imitations))
        masks = self.masks[[p - self.imitations[0] for p in imitations]]
        return TrainingBank(self.bank, good, defect, imitations, masks)


def _cut(
    stored: npt.NDArray[np.float16],
    indices: Sequence[int],
    windows: Sequence[Window],
    factor: int,
    device: torch.device,
) -> Tensor:
    cut = np.stack([stored[i][:, *window.at(factor)] for i, window in zip(indices, windows, strict=True)])
    return torch.from_numpy(cut).to(device).float().contiguous(memory_format=torch.channels_last)
