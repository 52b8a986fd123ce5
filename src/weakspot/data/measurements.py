"""Simple measurements of a picture that have nothing to do with a defect: light, sharpness, compression, size.

:mod:`weakspot.data.shortcuts` compares them between Good and defect images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.images import ImageInfo, Progress, read_image
from weakspot.types import ImageArray
from weakspot.utils.threads import threads

VERSION = 2
"""Goes up whenever the same image is measured otherwise."""

GRID = 8
"""Cells along each side of a picture."""

CELL_MEASURES = (
    "brightness", "red or green cast", "blue or yellow cast", "sharpness or grain",
    "brightness against the rest of the picture", "red or green against the rest of the picture",
    "blue or yellow against the rest of the picture", "grain against the rest of the picture",
)  # fmt: skip
PICTURE_MEASURES = (
    "contrast", "light from the right", "light from below", "light at the edge", "blocks of JPEG compression",
)  # fmt: skip
FILE_MEASURES = ("height", "width", "height by width", "bytes a pixel", "JPEG quality", "colour file", "JPEG file")

Values = npt.NDArray[np.float64]


def measure_all(images: Sequence[ImageInfo], *, workers: int | None = None, progress: Progress | None = None) -> Values:
    """Measure images.

    Args:
        images: those that can be read.
        workers: number of threads; by default one per core, at most 8.
        progress: called with (done, total) in the calling thread after each image.

    Returns:
        ``(n, measurements)``, in the order of :data:`COLUMNS`.

    Raises:
        WeakspotError: when an image cannot be read; the message names it.
    """
    rows: list[Values] = []
    with threads(workers) as pool:
        for row in pool.map(measure_image, images):
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(images))
    return np.array(rows).reshape(len(images), len(COLUMNS))


def measure_image(image: ImageInfo) -> Values:
    """Make all measurements of one image, in the order of :data:`COLUMNS`."""
    picture = read_image(image.path)
    cells = np.stack([_cells(plane) for plane in _planes(picture)])
    overall = np.median(cells, axis=(1, 2), keepdims=True)
    relative = cells - overall  # whatever exposure and white balance are
    relative[[0, 3]] = np.log((cells[[0, 3]] + 1) / (overall[[0, 3]] + 1))
    lit = relative[0]
    # Medians over rows or columns, and of most cells: a defect is in few of them.
    along, down = np.median(lit, axis=0), np.median(lit, axis=1)
    half = GRID // 2
    edge = np.ones((GRID, GRID), dtype=bool)
    edge[1:-1, 1:-1] = False
    light = [
        float(np.subtract(*np.quantile(lit, [0.75, 0.25]))),
        float(along[half:].mean() - along[:half].mean()),
        float(down[half:].mean() - down[:half].mean()),
        float(np.median(lit[edge]) - np.median(lit[~edge])),
    ]
    of_picture = [*overall.ravel(), *light, _blocks(picture)]
    return np.concatenate([cells.ravel(), relative.ravel(), of_picture, _of_file(image)])


def _planes(picture: ImageArray) -> list[npt.NDArray[Any]]:
    """Brightness, two colours, and fine detail of every pixel; a grey picture has no colour, whatever rounding says."""
    lab = cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    if (picture == picture[..., :1]).all():
        lab[..., 1:] = 0
    detail = np.abs(cv2.Laplacian(lab[..., 0], cv2.CV_32F))
    return [lab[..., 0], lab[..., 1], lab[..., 2], detail]


def _cells(plane: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Means ``(GRID, GRID)``."""
    return np.asarray(cv2.resize(plane, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float64)


def _blocks(picture: ImageArray) -> float:
    """How much larger steps are at every eighth pixel than elsewhere."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    excess = []
    for steps in (np.abs(np.diff(grey, axis=1)).mean(axis=0), np.abs(np.diff(grey, axis=0)).mean(axis=1)):
        at_border = np.arange(1, len(steps) + 1) % 8 == 0
        if at_border.any() and not at_border.all():
            excess.append(steps[at_border].mean() / (steps[~at_border].mean() + 0.1))
    return float(np.mean(excess)) if excess else 1.0


def _of_file(image: ImageInfo) -> list[float]:
    size = image.path.stat().st_size
    with Image.open(image.path) as opened:
        tables = getattr(opened, "quantization", None) or {}
        is_jpeg = opened.format in ("JPEG", "MPO")
    # Coarser tables, worse pictures; a format without them loses nothing.
    quality = -float(np.mean(next(iter(tables.values())))) if tables else 0.0
    pixels = max(1, image.height * image.width)
    return [
        float(image.height), float(image.width), image.height / max(1, image.width), size / pixels, quality,
        float(image.mode not in ("L", "1", "I;16", "I", "F", "LA")), float(is_jpeg),
    ]  # fmt: skip


def _columns() -> list[tuple[str, str, tuple[float, float, float, float] | None]]:
    places = [(x / GRID, y / GRID, (x + 1) / GRID, (y + 1) / GRID) for y in range(GRID) for x in range(GRID)]
    return [
        *((name, "place", place) for name in CELL_MEASURES for place in places),
        *((name, "picture", None) for name in (*CELL_MEASURES[:4], *PICTURE_MEASURES)),
        *((name, "file", None) for name in FILE_MEASURES),
    ]


COLUMNS = _columns()
"""Of each measurement its name, its kind, and its place."""
