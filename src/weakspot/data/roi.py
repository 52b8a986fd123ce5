"""The region of interest: the part of a picture that counts. Nothing outside it reaches the network, a map or a box.

A region is one mask for all pictures, a mask for each picture, or the foreground of a plain background. It belongs to
:class:`~weakspot.data.preprocess.Preprocess`, so that training, inference and exported models leave out the same
pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from weakspot.data.images import EXTENSIONS, list_images, read_mask
from weakspot.data.region_pixels import foreground
from weakspot.data.rle import decode_mask, encode_mask
from weakspot.errors import WeakspotError
from weakspot.types import BoolArray, ImageArray, Size
from weakspot.utils.untrusted import MOST_PIXELS, expect

ASPECT = 0.01
"""A mask for all pictures also fits a picture of another size whose aspect ratio differs by at most this share."""


class RegionOfInterest(Protocol):
    """A region of interest; its dictionary is what a bundle keeps of it."""

    def mask(self, image: ImageArray, name: Path | None) -> BoolArray:
        """The pixels of a picture that count, ``(height, width)``.

        Args:
            image: uint8 RGB ``(height, width, 3)``.
            name: the file that it was read from; None where there is none.

        Raises:
            WeakspotError: when the region is not for this picture; the message says why.
        """

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; :func:`region_from_dict` reads it."""

    def identity(self) -> dict[str, Any]:
        """What the region's pixels depend on, without where its files lie."""


@dataclass(frozen=True)
class SharedRegion:
    """One mask for all pictures.

    Attributes:
        size: ``(height, width)`` of the pictures that it was drawn on.
        counts: the mask as COCO's run lengths (:mod:`weakspot.data.rle`).
    """

    size: Size
    counts: tuple[int, ...]

    @classmethod
    def of(cls, mask: BoolArray) -> SharedRegion:
        """Make the region of a mask ``(height, width)``."""
        return cls((mask.shape[0], mask.shape[1]), tuple(encode_mask(mask)))

    def mask(self, image: ImageArray, name: Path | None = None) -> BoolArray:
        """As :meth:`RegionOfInterest.mask`; the mask is resized for a picture of the same aspect ratio."""
        size = image.shape[0], image.shape[1]
        if not self.fits(size):
            raise WeakspotError(
                f"{_called(name)} is {size[0]}×{size[1]} (height×width) and the region of interest was drawn on "
                f"{self.size[0]}×{self.size[1]}; draw it on pictures of this shape (weakspot roi)"
            )
        return self.at_size(size)

    def at_size(self, size: Size) -> BoolArray:
        """The mask resized to ``(height, width)``; read-only, as it is kept."""
        return _at_size(self, size)

    def fits(self, size: Size) -> bool:
        """Whether the mask is for pictures of this ``(height, width)``."""
        return abs(size[0] * self.size[1] / (size[1] * self.size[0]) - 1) <= ASPECT

    def to_dict(self) -> dict[str, Any]:
        """As :meth:`RegionOfInterest.to_dict`."""
        return {"kind": "shared", "size": list(self.size), "counts": list(self.counts)}

    def identity(self) -> dict[str, Any]:
        """As :meth:`RegionOfInterest.identity`."""
        return {
            "kind": "shared",
            "size": list(self.size),
            "sha256": hashlib.sha256(str(self.counts).encode()).hexdigest(),
        }


@lru_cache(maxsize=8)
def _at_size(region: SharedRegion, size: Size) -> BoolArray:
    mask = decode_mask(region.counts, region.size)
    if size != region.size:
        resized = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        mask = np.asarray(resized, dtype=bool)
    mask.flags.writeable = False
    return mask


@dataclass(frozen=True)
class PlainBackground:
    """The foreground of each picture, where its background is plain: :func:`foreground`."""

    def mask(self, image: ImageArray, name: Path | None = None) -> BoolArray:
        """As :meth:`RegionOfInterest.mask`; the whole of a picture whose background is not plain."""
        found = foreground(image)
        return np.ones(image.shape[:2], dtype=bool) if isinstance(found, str) else found

    def to_dict(self) -> dict[str, Any]:
        """As :meth:`RegionOfInterest.to_dict`."""
        return {"kind": "auto"}

    def identity(self) -> dict[str, Any]:
        """As :meth:`RegionOfInterest.identity`."""
        return {"kind": "auto", "version": 1}


@dataclass(frozen=True)
class PairedRegions:
    """A mask file for each picture, paired by name; bright pixels count, as in a defect mask.

    A mask belongs to the picture whose path ends as the mask's path below the folder does, without the extension and
    without ``_mask``: ``masks/train/OK/7.png`` before ``masks/OK/7.png`` before ``masks/7.png``.

    Attributes:
        folder: with the masks, at any depth.
        sha256: over names and contents of all masks, as they were when the region was made.
    """

    folder: Path
    sha256: str

    @classmethod
    def at(cls, folder: Path) -> PairedRegions:
        """Make the regions of a folder.

        Raises:
            WeakspotError: when it is no folder, or holds no mask.
        """
        if not (files := list_images(folder)):
            raise WeakspotError(f"data.roi={folder} holds no masks; put one for each picture there, under its name")
        digest = hashlib.sha256()
        for file in files:
            digest.update(
                f"{file.relative_to(folder).as_posix()}\n".encode() + hashlib.sha256(file.read_bytes()).digest()
            )
        return cls(folder.resolve(), digest.hexdigest())

    def find(self, name: Path) -> Path | None:
        """The mask of a picture; None where there is none.

        Args:
            name: the picture's path.
        """
        *folders, stem = name.with_suffix("").parts
        folders = [folder for folder in folders if folder not in (name.anchor, "..")]  # never outside the masks' folder
        for start in range(len(folders) + 1):
            found = _image_called((stem, f"{stem}_mask"), self.folder.joinpath(*folders[start:]))
            if found is not None:
                return found
        return None

    def mask(self, image: ImageArray, name: Path | None) -> BoolArray:
        """As :meth:`RegionOfInterest.mask`."""
        if name is None or (file := self.find(name)) is None:
            raise WeakspotError(
                f"{_called(name)} has no mask of its region of interest in {self.folder}; put one there under its name"
            )
        mask = read_mask(file, (image.shape[0], image.shape[1]))
        if not mask.any():
            raise WeakspotError(f"{file} marks no region of interest; paint what counts white")
        return mask

    def to_dict(self) -> dict[str, Any]:
        """As :meth:`RegionOfInterest.to_dict`."""
        return {"kind": "paired", "folder": str(self.folder), "sha256": self.sha256}

    def identity(self) -> dict[str, Any]:
        """As :meth:`RegionOfInterest.identity`."""
        return {"kind": "paired", "sha256": self.sha256}


def _image_called(stems: Sequence[str], folder: Path) -> Path | None:
    """The first image file of one of these names; files may come at any time, so nothing is remembered."""
    endings = [ending for extension in EXTENSIONS for ending in (extension, extension.upper())]
    candidates = (folder / f"{stem}.{ending}" for stem in stems for ending in endings)
    return next((path for path in candidates if path.is_file()), None)


def region_from_dict(values: Mapping[str, Any]) -> RegionOfInterest:
    """Read what :meth:`RegionOfInterest.to_dict` wrote; it may come from a file that somebody else made.

    Raises:
        WeakspotError: for an unknown kind or an impossible mask.
    """
    kind = values.get("kind") if isinstance(values, Mapping) else None
    try:
        if kind == "shared":
            return _shared_from(values)
        if kind == "paired":
            expect(values, folder=str, sha256=str)
            return PairedRegions(Path(values["folder"]), values["sha256"])
        if kind == "auto":
            return PlainBackground()
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise WeakspotError(f"the region of interest is damaged ({error}); train again") from error
    raise WeakspotError(f"a region of interest of kind {kind!r} is not known; upgrade weakspot, or train again")


def _shared_from(values: Mapping[str, Any]) -> RegionOfInterest:
    height, width = values["size"]
    if not all(type(number) is int for number in (height, width, *values["counts"])):
        raise ValueError("run lengths that are no whole numbers")
    if min(height, width) < 1 or height * width > MOST_PIXELS:
        raise ValueError(f"a picture of {height}×{width}")
    if not decode_mask(values["counts"], (height, width)).any():
        raise ValueError("an empty mask")
    return SharedRegion((height, width), tuple(values["counts"]))


def _called(name: Path | None) -> str:
    return "the picture" if name is None else name.name
