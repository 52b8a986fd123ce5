"""From an image to the input of the network, in NumPy and OpenCV, so that an exported model runs without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.region_pixels import fill_outside
from weakspot.data.roi import RegionOfInterest, SharedRegion, region_from_dict
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import BoolArray, ImageArray, Size

PreprocessMode = Literal["torchvision", "caffe", "inception", "clip"]
Resizing = Literal["squash", "keep_ratio", "tile"]

MULTIPLE = 32
"""Sides of an input that is not resized are filled up to a multiple of this many pixels, so that every depth of the
network has whole cells."""

KEPT = 0.999
"""A pixel of the input counts where this share of what it was made of lies in the region of interest."""

_MEAN_STD: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # in units of 0…255: torchvision's published values apply to 0…1
    "torchvision": (
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    "caffe": ((123.0, 117.0, 104.0), (1.0, 1.0, 1.0)),
    "inception": ((127.5,) * 3, (127.5,) * 3),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
}


@dataclass(frozen=True)
class Preprocess:
    """From an image to the input of the network; the same for training, inference and exported models.

    Attributes:
        image_size: ``(height, width)`` of the network input, each 32…4096; with ``tile`` that of a tile.
        mode: ``torchvision`` (0…1, minus mean, divided by standard deviation), ``caffe`` (0…255 minus mean),
            ``inception`` (−1…1) or ``clip`` (as ``torchvision``, other numbers); it belongs to the pre-trained weights.
        resizing: ``squash`` changes the aspect ratio to the input's; ``keep_ratio`` keeps it, puts the image in the
            middle and repeats its outermost pixels on both sides; ``tile`` leaves the image's pixels as they are, adds
            only such a border, and has the network run on one tile at a time.
        roi: the region of interest; what lies outside is filled from inside. None: the whole picture counts.

    Raises:
        WeakspotError: for another mode, resizing or size.

    Examples:
        >>> preprocess = Preprocess((224, 224), "torchvision", "keep_ratio")
        >>> preprocess(np.zeros((300, 400, 3), np.uint8)).shape
        (3, 224, 224)

        The rows and columns of the input that the image fills; the rest is border:

        >>> preprocess.content((300, 400))
        (slice(28, 196, None), slice(0, 224, None))
    """

    image_size: Size
    mode: PreprocessMode
    resizing: Resizing = "squash"
    roi: RegionOfInterest | None = None

    def __post_init__(self) -> None:
        if self.mode not in get_args(PreprocessMode):
            raise WeakspotError(
                f"model.preprocess={self.mode!r} is not known{did_you_mean(str(self.mode), get_args(PreprocessMode))}; "
                f"use one of {', '.join(get_args(PreprocessMode))}"
            )
        if self.resizing not in get_args(Resizing):
            raise WeakspotError(
                f"data.resize={self.resizing!r} is not known{did_you_mean(str(self.resizing), get_args(Resizing))}; "
                f"use one of {', '.join(get_args(Resizing))}"
            )
        size = self.image_size
        whole = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
        if not whole or not all(32 <= side <= 4096 for side in size):
            raise WeakspotError(f"data.image_size={size!r}: give (height, width), two whole numbers from 32 to 4096")
        if self.resizing == "tile" and any(side % MULTIPLE for side in size):
            raise WeakspotError(
                f"data.image_size={list(size)}: with data.resize=tile both sides must be multiples of {MULTIPLE}"
            )

    @property
    def tile(self) -> Size | None:
        """Size ``(height, width)`` of the tiles that the network is run on; None where it is run on the whole image."""
        return self.image_size if self.resizing == "tile" else None

    def input_size(self, size: Size) -> Size:
        """Size ``(height, width)`` of the network's input for an image.

        Args:
            size: ``(height, width)`` of the image.
        """
        if self.resizing != "tile":
            return self.image_size
        return -(-size[0] // MULTIPLE) * MULTIPLE, -(-size[1] // MULTIPLE) * MULTIPLE

    def common_input_size(self, sizes: Iterable[Size]) -> Size:
        """The :meth:`input_size` that several images have in common.

        Args:
            sizes: ``(height, width)`` of each image.

        Raises:
            WeakspotError: when the input sizes differ, which only happens with ``tile``.
        """
        found: dict[Size, Size] = {}
        for size in sizes:
            found.setdefault(self.input_size(size), size)
        if len(found) > 1:
            first, second = (f"{height}×{width}" for height, width in list(found.values())[:2])
            raise WeakspotError(
                f"data.resize=tile needs images of one size, and there are {first} and {second}; "
                "crop them, or use data.resize=keep_ratio"
            )
        return next(iter(found), self.image_size)

    def resize(self, image: ImageArray, name: Path | None = None) -> ImageArray:
        """Bring an image to its :meth:`input_size`, without cropping, so that map and image stay aligned.

        Args:
            image: uint8 RGB of shape ``(height, width, 3)``.
            name: the file that it was read from, for a region of interest that has a mask for each picture.

        Returns:
            uint8 RGB of shape ``(*input_size, 3)``; outside the region of interest it shows nothing of the image.

        Raises:
            WeakspotError: when `image` is no such array, or the region of interest is not for it.
        """
        return self.resize_within(image, name)[0]

    def resize_within(self, image: ImageArray, name: Path | None = None) -> tuple[ImageArray, BoolArray | None]:
        """As :meth:`resize`, with the pixels of the result that lie in the region of interest.

        Args:
            image: uint8 RGB of shape ``(height, width, 3)``.
            name: the file that it was read from.

        Returns:
            The resized image, and a mask of shape ``input_size``; None without a region of interest.

        Raises:
            WeakspotError: as :meth:`resize`.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise WeakspotError(
                f"an image must be a uint8 RGB array (height, width, 3), this one is {image.dtype} {image.shape}"
            )
        resized = np.asarray(self._fitted(image, cv2.BORDER_REPLICATE), dtype=np.uint8)
        if self.roi is None:
            return resized, None
        mask = self.roi.mask(image, name)
        shared = isinstance(self.roi, SharedRegion)  # the same for all pictures of a size, so it is fitted once
        region = _fitted_shared(self, (mask.shape[0], mask.shape[1])) if shared else _fitted_region(self, mask)
        if not region.any():
            called = "the picture" if name is None else name.name
            raise WeakspotError(
                f"{called}: nothing is left of its region of interest at {resized.shape[0]}×{resized.shape[1]} pixels; "
                "draw a larger one, or raise data.image_size"
            )
        return fill_outside(resized, region), region

    def _fitted(self, pixels: npt.NDArray[Any], border: int) -> npt.NDArray[Any]:
        """An image ``(height, width[, 3])`` at its input size.

        A side that shrinks is averaged over (INTER_AREA), since linear interpolation would use only two pixels and
        step over the rest, small defects among them; a side that grows is interpolated (INTER_LINEAR), since
        INTER_AREA would repeat pixels.
        """
        rows, columns = pixels.shape[:2]
        vertical, horizontal = self.content((rows, columns))
        height, width = vertical.stop - vertical.start, horizontal.stop - horizontal.start
        shrunk = cv2.resize(
            np.ascontiguousarray(pixels), (min(width, columns), min(height, rows)), interpolation=cv2.INTER_AREA
        )
        resized = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
        top, left = vertical.start, horizontal.start
        whole = self.input_size((rows, columns))
        bottom, right = whole[0] - vertical.stop, whole[1] - horizontal.stop
        if top or left or bottom or right:
            resized = cv2.copyMakeBorder(resized, top, bottom, left, right, border)
        return np.asarray(resized)

    def for_picture(self, image: ImageArray, name: Path | None = None) -> Preprocess:
        """The same with the region of interest of one picture, for changed copies of it.

        Args:
            image: uint8 RGB of shape ``(height, width, 3)``.
            name: the file that it was read from.

        Raises:
            WeakspotError: when the region of interest is not for it.
        """
        if self.roi is None or isinstance(self.roi, SharedRegion):
            return self
        return replace(self, roi=SharedRegion.of(self.roi.mask(image, name)))

    def content(self, size: Size) -> tuple[slice, slice]:
        """The rows and columns of the network's input that an image fills; the rest is border.

        Args:
            size: ``(height, width)`` of the image.
        """
        if self.resizing == "squash":
            return slice(0, self.image_size[0]), slice(0, self.image_size[1])
        whole = self.input_size(size)
        scale = 1.0 if self.tile else min(wanted / side for wanted, side in zip(whole, size, strict=True))
        filled = [min(wanted, max(1, round(side * scale))) for wanted, side in zip(whole, size, strict=True)]
        starts = [(wanted - side) // 2 for wanted, side in zip(whole, filled, strict=True)]
        return slice(starts[0], starts[0] + filled[0]), slice(starts[1], starts[1] + filled[1])

    def shrinking(self, size: Size) -> tuple[float, float]:
        """Number of the image's pixels that become one of the input, down and across; below 1 where the image grows.

        Args:
            size: ``(height, width)`` of the image.
        """
        vertical, horizontal = self.content(size)
        return size[0] / (vertical.stop - vertical.start), size[1] / (horizontal.stop - horizontal.start)

    def __call__(self, image: ImageArray, name: Path | None = None) -> npt.NDArray[np.float32]:
        """Resize and normalise an image for the network.

        In memory the three values of a pixel lie side by side (channels last), which is the fastest layout for
        convolutions.

        Args:
            image: uint8 RGB of shape ``(height, width, 3)``.
            name: the file that it was read from, for a region of interest that has a mask for each picture.

        Returns:
            float32 of shape ``(3, *input_size)``.
        """
        return self.normalise(self.resize(image, name))

    def normalise(self, image: ImageArray) -> npt.NDArray[np.float32]:
        """Normalise an image that has its :meth:`input_size` already.

        Args:
            image: uint8 RGB of shape ``(*input_size, 3)``.

        Returns:
            float32 of shape ``(3, *input_size)``.
        """
        # A table of the 256 possible values: the same numbers as by arithmetic, in a third of the time.
        normalised = cv2.LUT(image, _table(self.mode))
        return np.asarray(normalised, dtype=np.float32).transpose(2, 0, 1)

    @property
    def mean_and_spread(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """What :meth:`normalise` subtracts from red, green and blue in 0…255 and divides them by; ``(3,)`` each."""
        mean, std = _MEAN_STD[self.mode]
        return np.array(mean, dtype=np.float32), np.array(std, dtype=np.float32)

    def denormalise(self, pixels: npt.NDArray[np.float32]) -> ImageArray:
        """Undo :meth:`normalise`: float32 ``(3, height, width)`` to uint8 ``(height, width, 3)``."""
        mean, std = (np.array(values, dtype=np.float32) for values in _MEAN_STD[self.mode])
        return np.asarray(np.clip(np.rint(pixels.transpose(1, 2, 0) * std + mean), 0, 255), dtype=np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for JSON, which :meth:`from_dict` reads."""
        found: dict[str, Any] = {"image_size": list(self.image_size), "mode": self.mode}
        if self.resizing != "squash":
            found["resizing"] = self.resizing
        if self.roi is not None:
            found["roi"] = self.roi.to_dict()
        return found

    def identity(self) -> dict[str, Any]:
        """What the network's input depends on: :meth:`to_dict` without where files lie."""
        return self.to_dict() if self.roi is None else {**self.to_dict(), "roi": self.roi.identity()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Return the preprocessing that :meth:`to_dict` described.

        Raises:
            WeakspotError: for a missing, unknown or impossible entry.
        """
        needed, known = ("image_size", "mode"), ("image_size", "mode", "resizing", "roi")
        for key in values:
            if key not in known:
                raise WeakspotError(f"preprocess: {key!r} is not known{did_you_mean(str(key), known)}; known: {known}")
        for key in needed:
            if key not in values:
                raise WeakspotError(f"preprocess: {key!r} is missing")
        size = values["image_size"]
        roi = None if values.get("roi") is None else region_from_dict(values["roi"])
        return cls(
            tuple(size) if isinstance(size, list) else size, values["mode"], values.get("resizing", "squash"), roi
        )


@lru_cache(maxsize=8)
def _fitted_shared(preprocess: Preprocess, size: Size) -> BoolArray:
    assert isinstance(preprocess.roi, SharedRegion)  # noqa: S101 - for the type checker
    region = _fitted_region(preprocess, preprocess.roi.at_size(size))
    region.flags.writeable = False
    return region


def _fitted_region(preprocess: Preprocess, mask: BoolArray) -> BoolArray:
    """The pixels of the input, its border not among them, that are made of the region of interest alone."""
    if mask.all():
        inside = np.zeros(preprocess.input_size((mask.shape[0], mask.shape[1])), dtype=bool)
        inside[preprocess.content((mask.shape[0], mask.shape[1]))] = True
        return inside
    return np.asarray(preprocess._fitted(mask.astype(np.float32), cv2.BORDER_CONSTANT) >= KEPT)


@lru_cache
def _table(mode: PreprocessMode) -> npt.NDArray[np.float32]:
    """The normalised value of every uint8 of every channel, ``(256, 1, 3)``."""
    mean, std = (np.array(values, dtype=np.float32) for values in _MEAN_STD[mode])
    return (np.arange(256, dtype=np.float32)[:, None, None] - mean) / std


def fit_within(image: ImageArray, longest: int) -> ImageArray:
    """Shrink an image so that its longest side is at most `longest` pixels; smaller ones stay as they are.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        longest: the longest side that is allowed, in pixels.

    Returns:
        uint8 ``(h, w, 3)`` with the same aspect ratio, or `image` itself where it is small enough.
    """
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
