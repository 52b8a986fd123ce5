"""Pictures for a page: a small one, and tiles of a large one; decoded pictures are kept up to a budget."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.images import read_image
from weakspot.data.preprocess import fit_within
from weakspot.report.overlays import heat_colours
from weakspot.report.pictures import jpeg
from weakspot.types import ImageArray

PREVIEW_SIDE = 1600
"""Longest side in pixels of the small picture."""

TILE = 512
"""Side of a tile in pixels."""

DECODED_BYTES = 512 * 2**20
"""Of decoded pictures that are kept; one of 50 megapixels has 150 MB."""

ENCODED_BYTES = 64 * 2**20
"""Of small pictures that are kept."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Values that were made lately, up to a number of bytes; the one made last is kept however large it is.

    Args:
        budget: bytes.
        size: bytes of a value.
    """

    def __init__(self, budget: int, size: Callable[[V], int]) -> None:
        self._budget, self._size = budget, size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock, self._making = threading.Lock(), dict[K, threading.Lock]()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value, made where it is not kept; who asks for the same meanwhile waits for it."""
        with self._lock:
            own = self._making.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
            value = make()
            with self._lock:
                self._values[key] = value
                self._making.pop(key, None)
                while len(self._values) > 1 and self.bytes > self._budget:
                    self._values.popitem(last=False)
            return value

    @property
    def bytes(self) -> int:
        """Of all that is kept."""
        return sum(map(self._size, self._values.values()))


class Pictures:
    """Serves small pictures and tiles of files."""

    def __init__(self, decoded: int = DECODED_BYTES) -> None:
        self._decoded: Kept[Path, ImageArray] = Kept(decoded, lambda image: image.nbytes)
        self._small: Kept[Path, bytes] = Kept(ENCODED_BYTES, len)

    def preview(self, path: Path) -> bytes:
        """The whole picture as a JPEG, no side longer than :data:`PREVIEW_SIDE`.

        Raises:
            WeakspotError: when the file cannot be read (any more).
        """
        return self._small.get(path, lambda: jpeg(fit_within(self._image(path), PREVIEW_SIDE)))

    def tile(self, path: Path, level: int, column: int, row: int) -> bytes | None:
        """A square of the picture as a lossless PNG; None beyond its edge.

        Args:
            path: the picture.
            level: it is shown at 1 / 2^level of its size.
            column: of the tile, from 0, at that size.
            row: likewise.

        Raises:
            WeakspotError: when the file cannot be read (any more).
        """
        image = self._image(path)
        side = TILE << level
        part = image[row * side : (row + 1) * side, column * side : (column + 1) * side]
        if part.size == 0:
            return None
        if level:
            size = (max(1, part.shape[1] >> level), max(1, part.shape[0] >> level))
            part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        return _png(np.ascontiguousarray(part))

    def _image(self, path: Path) -> ImageArray:
        return self._decoded.get(path, lambda: read_image(path))


def heat_png(map_: npt.NDArray[np.uint8], low: float, high: float, scale: tuple[float, float]) -> bytes:
    """A map as a PNG to lay over its picture: coloured on a scale that all pictures share, cold places transparent.

    Args:
        map_: ``(h, w)``, stretched over the picture.
        low: value that 0 stands for.
        high: value that 255 stands for.
        scale: values that are shown as nothing and as the hottest.
    """
    values = low + map_.astype(np.float32) / 255 * (high - low)
    span = max(scale[1] - scale[0], 1e-9)
    return _png(heat_colours(np.clip((values - scale[0]) / span, 0, 1)))


def _png(image: ImageArray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
