"""Thumbnails and maps for a page: small enough to be mailed, in the page itself up to a budget and beside it beyond."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image

from weakspot.data.images import Progress, read_image
from weakspot.data.preprocess import fit_within
from weakspot.errors import WeakspotError
from weakspot.ops.regions import region_outlines
from weakspot.types import BoolArray, FloatArray, ImageArray
from weakspot.utils.files import temporary_beside
from weakspot.utils.threads import threads

EMBEDDED = 16 * 2**20
"""Bytes of thumbnails in the page itself; more would be too much for a mail."""

LONGEST_SIDES = ((300, 480), (1000, 320))
MANY_SIDE = 224
MAP_SIDE = 64
JPEG_QUALITY = 82
COLOUR_MAPS = ("inferno", "viridis", "cividis", "gray")
WORKERS = 4


@dataclass(frozen=True)
class SmallMap:
    """A small picture of a map.

    Attributes:
        url: 8-bit grey PNG as a ``data:`` URL.
        low, high: values of the map that black and white stand for.
    """

    url: str
    low: float
    high: float


def thumbnail_side(images: int) -> int:
    """Choose the longest side of thumbnails, in pixels, for a number of images."""
    return next((side for most, side in LONGEST_SIDES if images <= most), MANY_SIDE)


def thumbnails(paths: Iterable[Path], side: int, progress: Progress | None = None, total: int = 0) -> Iterator[bytes]:
    """Make thumbnails of image files, in threads and in order.

    Args:
        paths: the image files.
        side: longest side in pixels.
        progress: called with (done, `total`) after each image.
        total: number of images, for `progress` alone.

    Yields:
        A JPEG file's content for each image; empty for one that cannot be read (any more).
    """

    def small(path: Path) -> bytes:
        try:
            return jpeg(fit_within(read_image(path), side))
        except WeakspotError:
            return b""

    with threads(WORKERS) as pool:
        for done, thumbnail in enumerate(pool.map(small, paths), start=1):
            if progress:
                progress(done, total)
            yield thumbnail


def jpeg(image: ImageArray) -> bytes:
    """An image as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def small_map(map_: FloatArray) -> SmallMap:
    """Make a small picture of a map of any resolution and range."""
    values = np.asarray(map_, dtype=np.float32)
    scale = min(1.0, MAP_SIDE / max(values.shape))
    if scale < 1:
        size = (max(1, round(values.shape[1] * scale)), max(1, round(values.shape[0] * scale)))
        values = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    grey = np.rint(255 * (values - low) / (high - low)) if high > low else np.zeros_like(values)
    buffer = io.BytesIO()
    Image.fromarray(grey.astype(np.uint8)).save(buffer, format="PNG")
    return SmallMap(data_url(buffer.getvalue(), "image/png"), low, high)


def outlines(mask: BoolArray, side: int) -> list[list[tuple[int, int]]]:
    """Trace the regions of a mask as polygons, no finer than a thumbnail can show.

    Args:
        mask: bool ``(H, W)``.
        side: longest side of the thumbnail in pixels.

    Returns:
        Corners ``(x, y)`` of each polygon, in pixels of the mask.
    """
    height, width = mask.shape
    scale = min(1.0, side / max(height, width))
    if not mask.any():
        return []
    small = (
        cv2.resize(
            mask.astype(np.float32),
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA,
        )
        > 0.25
    )
    polygons = region_outlines(np.asarray(small), (height, width))
    simple = (cv2.approxPolyDP(np.array(polygon, dtype=np.int32), 0.7 / scale, True) for polygon in polygons)
    return [[(int(x), int(y)) for x, y in polygon[:, 0]] for polygon in simple]


def colour_maps() -> dict[str, list[list[int]]]:
    """Colours that a map can be shown in, 17 evenly spaced RGB values of each; colour-blind people can read all."""
    stops = np.linspace(0, 1, 17)
    return {name: (mpl.colormaps[name](stops)[:, :3] * 255).round().astype(int).tolist() for name in COLOUR_MAPS}


FIGURE_SIDE = 1400
"""Longer side of a figure on a page, in pixels."""


def figure_url(path: Path) -> str | None:
    """A figure as a ``data:`` URL, no larger than a page needs; None where there is none.

    Args:
        path: of an image file.

    Raises:
        WeakspotError: when the file is there and cannot be read.
    """
    if not path.is_file():
        return None
    return data_url(jpeg(fit_within(read_image(path), FIGURE_SIDE)), "image/jpeg")


def data_url(content: bytes, kind: str) -> str:
    """Write content as a ``data:`` URL, which needs no file.

    Args:
        content: of the file that it stands for.
        kind: its media type, such as ``image/jpeg``.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


class Album:
    """Decides which thumbnails lie in the page and writes the others beside it, in ``<page>_files/``.

    Use it in a ``with`` block; the folder appears as a whole, in place of an older one, when the block ends without
    error.
    """

    def __init__(self, page: Path, budget: int = EMBEDDED) -> None:
        self._left, self._folder = budget, page.with_name(f"{page.stem}_files")
        self._temporary = temporary_beside(self._folder)

    def __enter__(self) -> Album:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            shutil.rmtree(self._folder, ignore_errors=True)
            if self._temporary.is_dir():
                self._temporary.replace(self._folder)
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, number: int, thumbnail: bytes) -> str | None:
        """Put a thumbnail into the page or, when there is no room left there, into the folder beside it.

        Args:
            number: names the file; each thumbnail has its own.
            thumbnail: a JPEG file's content; empty for an image that cannot be read.

        Returns:
            The thumbnail's URL as the page sees it; None for an empty one.
        """
        if not thumbnail:
            return None
        if len(thumbnail) <= self._left:
            self._left -= len(thumbnail)
            return data_url(thumbnail, "image/jpeg")
        self._left = 0  # the most important come first, and none after this one is more so
        self._temporary.mkdir(exist_ok=True, parents=True)
        (self._temporary / f"{number}.jpg").write_bytes(thumbnail)
        return f"{self._folder.name}/{number}.jpg"
