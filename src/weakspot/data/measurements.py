"""Simple measurements of a picture that have nothing to do with a defect: light, sharpness, compression, size.

:mod:`weakspot.data.shortcuts` compares them between Good and defect images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.images import ImageInfo, Progress, read_image
from weakspot.types import BoolArray, ImageArray, Size
from weakspot.utils.threads import each

VERSION = 4
"""Goes up whenever the same image is measured otherwise."""

GRID = 8
"""Cells along each side of a picture."""

FEWEST_LEFT = 0.2
"""Share of a cell's pixels that must count for the cell to be measured."""

CELL_MEASURES = (
    "brightness", "red or green cast", "blue or yellow cast", "sharpness or grain",
    "brightness against the rest of the picture", "red or green against the rest of the picture",
    "blue or yellow against the rest of the picture", "grain against the rest of the picture",
)  # fmt: skip
PICTURE_MEASURES = (
    "contrast", "light from the right", "light from below", "light at the edge", "tone curve",
    "blocks of JPEG compression",
)  # fmt: skip
CELLS = 4 * GRID * GRID
"""Number of means of cells: brightness, two colours and fine detail of each."""

FAR = 0.3
"""Least difference in squared distance from the middle, half a side being 1, of cells that are compared."""

AS_BRIGHT = 0.2
"""Largest difference in log brightness of cells that are compared; the closest tenth of the pairs always is."""

FILE_MEASURES = ("height", "width", "height by width", "bytes a pixel", "JPEG quality", "colour file", "JPEG file")

Values = npt.NDArray[np.float64]

Ignored = Callable[[Size], BoolArray | None]
"""From an image's ``(height, width)`` to its pixels to leave out, bool ``(H, W)``; None for none."""


def measure_all(
    images: Sequence[ImageInfo],
    *,
    ignored: Sequence[Ignored] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Values:
    """Measure images.

    Args:
        images: those that can be read.
        ignored: for each image what makes the pixels to leave out, as for :func:`measure_image`, once its size is
            known; None leaves nothing out.
        workers: number of threads; by default one per core, at most 8.
        progress: called with (done, total) in the calling thread after each image.

    Returns:
        ``(n, measurements)``, in the order of :data:`COLUMNS`; NaN for what an image cannot have.

    Raises:
        WeakspotError: when an image cannot be read; the message names it.
    """
    left_out: Sequence[Ignored | None] = [None] * len(images) if ignored is None else ignored

    def measured(item: tuple[ImageInfo, Ignored | None]) -> Values:
        image, makes = item
        return measure_image(image, None if makes is None else makes((image.height, image.width)))

    rows = each(measured, list(zip(images, left_out, strict=True)), workers=workers, progress=progress)
    return of_rows(np.array(rows).reshape(len(images), CELLS + 1 + len(FILE_MEASURES)))


def measure_image(image: ImageInfo, ignored: BoolArray | None = None) -> Values:
    """Measure one image alone.

    Args:
        image: one that can be read; what lies outside its region of interest is left out.
        ignored: bool ``(H, W)``, pixels that count nowhere, such as those of a defect or outside a region of interest;
            None counts all.

    Returns:
        ``(CELLS + 1 + file measures,)``: the means of the cells, how blocky it is, and measures of the file; NaN for
        what the image cannot have: the colour of a grey picture, a cell of which less than :data:`FEWEST_LEFT` counts.
    """
    picture = read_image(image.path)
    if image.roi is not None:
        outside = ~image.roi.mask(picture, image.path)
        ignored = outside if ignored is None else ignored | outside
    kept = None if ignored is None or not ignored.any() else ~ignored
    return np.array([*_cell_means(picture, kept).ravel(), _blocks(picture, kept), *_of_file(image, picture, kept)])


def of_rows(rows: Values) -> Values:
    """Complete what was measured of each image alone by what compares an image with the others.

    What a place looks like in most images is taken away first, and then the median over the places of what is left:
    that is exposure and white balance. A part that is missing or stained changes them no more than one place.

    Args:
        rows: ``(n, CELLS + 1 + file measures)`` from :func:`measure_image`; cells may be NaN.

    Returns:
        ``(n, measurements)``, in the order of :data:`COLUMNS`.
    """
    n = len(rows)
    cells = rows[:, :CELLS].reshape(n, 4, GRID * GRID)
    scaled = cells.copy()
    scaled[:, [0, 3]] = np.log(cells[:, [0, 3]] + 1)
    usual = quantile(scaled.transpose(1, 2, 0), 0.5)  # (4, cells)
    unusual = scaled - usual
    overall = quantile(unusual, 0.5)  # (n, 4)
    relative = scaled - overall[..., None]
    lit = (unusual - overall[..., None])[:, 0].reshape(n, GRID, GRID)
    # Medians over rows or columns, and of most cells: a defect is in few of them.
    along, down = quantile(lit.transpose(0, 2, 1), 0.5), quantile(lit, 0.5)
    half = GRID // 2
    light = [
        quantile(scaled[:, 0], 0.75) - quantile(scaled[:, 0], 0.25),
        _mean(along[:, half:]) - _mean(along[:, :half]),
        _mean(down[:, half:]) - _mean(down[:, :half]),
        _towards_the_edge(lit.reshape(n, GRID * GRID), usual[0]),
        _tone(scaled[:, 0].reshape(n, GRID, GRID)),
    ]
    of_picture = np.column_stack([overall, *light])
    return np.column_stack([rows[:, :CELLS], relative.reshape(n, CELLS), of_picture, rows[:, CELLS:]])


def _towards_the_edge(lit: Values, usual: Values) -> Values:
    """How fast the light rises with the squared distance from the middle ``(n,)``: the median over pairs of cells.

    Only cells that usually are about as bright are compared: another exposure or contrast changes a bright part in the
    middle otherwise than a dark table around it, and that is no light that falls off.

    Args:
        lit: log brightness ``(n, cells)`` less what is usual at each cell.
        usual: log brightness ``(cells,)`` of most images.
    """
    from_middle = (np.arange(GRID) - (GRID - 1) / 2) / (GRID / 2)
    squared = (from_middle[:, None] ** 2 + from_middle**2).ravel()
    outer, inner = np.nonzero(squared[:, None] - squared > FAR)
    apart = np.abs(usual[outer] - usual[inner])
    alike = apart <= np.fmax(AS_BRIGHT, quantile(apart, 0.1))
    outer, inner = outer[alike], inner[alike]
    across = squared[outer] - squared[inner]
    parts = np.array_split(lit, 1 + len(lit) // 256)  # so that the pairs of thousands of images need no gigabytes
    return np.concatenate([quantile((part[:, outer] - part[:, inner]) / across, 0.5) for part in parts])


def _tone(bright: Values) -> Values:
    """How steep the tone curve is ``(n,)``: it makes a picture darker *and* richer in contrast.

    A power of the brightness multiplies its logarithm: how far it lies below white, and how much it differs between
    cells. Of these, second differences between neighbours count: light that falls from one side has none, and a defect
    is in few of them.

    Args:
        bright: log brightness ``(n, GRID, GRID)``.
    """
    n = len(bright)
    bends = [np.abs(np.diff(bright, 2, axis=axis)).reshape(n, GRID * (GRID - 2)) for axis in (1, 2)]
    below_white = math.log(101) - quantile(bright.reshape(n, GRID * GRID), 0.5)
    return np.log(np.maximum(quantile(np.hstack(bends), 0.5), 1e-4)) + np.log(np.maximum(below_white, 1e-2))


def quantile(values: Values, share: float) -> Values:
    """Quantile along the last axis of what is not NaN, interpolated.

    Args:
        values: ``(…, n)``.
        share: 0…1.

    Returns:
        ``(…)``, NaN where all is.
    """
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    ordered = np.sort(values, axis=-1)  # NaN come last
    counts = (~np.isnan(values)).sum(axis=-1)
    position = share * np.maximum(counts - 1, 0)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(counts - 1, 0))
    low, high = (np.take_along_axis(ordered, at[..., None], axis=-1)[..., 0] for at in (below, above))
    return np.asarray(low + (high - low) * (position - below))


def _mean(values: Values) -> Values:
    """Mean along the last axis of what is not NaN; NaN where all is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=-1)
    return np.asarray(np.where(counts, np.where(known, values, 0).sum(axis=-1) / np.maximum(counts, 1), np.nan))


def _cell_means(picture: ImageArray, kept: BoolArray | None) -> Values:
    """Means ``(4, GRID, GRID)`` of brightness, two colours and fine detail; a grey picture has no colour: NaN."""
    lab = cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    detail = np.abs(cv2.Laplacian(lab[..., 0], cv2.CV_32F))
    # Detail next to a pixel that is left out is made of that pixel too.
    near = kept if kept is None else cv2.erode(kept.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    cells = np.stack([*(_cells(lab[..., i], kept) for i in range(3)), _cells(detail, near)])
    if (picture == picture[..., :1]).all():
        cells[1:3] = np.nan
    return cells


def _cells(plane: npt.NDArray[Any], kept: BoolArray | None) -> Values:
    """Means ``(GRID, GRID)`` over the pixels that are kept, NaN where they are too few."""
    if kept is None:
        return np.asarray(cv2.resize(plane, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float64)
    weight = kept.astype(np.float32)
    shares = np.asarray(cv2.resize(weight, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float64)
    sums = np.asarray(cv2.resize(plane * weight, (GRID, GRID), interpolation=cv2.INTER_AREA), np.float64)
    return np.where(shares >= FEWEST_LEFT, sums / np.maximum(shares, 1e-9), np.nan)


def _blocks(picture: ImageArray, kept: BoolArray | None) -> float:
    """How much larger steps are at every eighth pixel than elsewhere."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    excess = []
    for axis in (1, 0):
        steps = np.abs(np.diff(grey, axis=axis))
        if kept is None:  # most pictures count as a whole, and that is faster
            totals, means = np.ones(steps.shape[axis]), steps.mean(axis=1 - axis)
        else:
            both = np.minimum(*(np.take(kept, range(at, at + steps.shape[axis]), axis=axis) for at in (0, 1)))
            totals = both.sum(axis=1 - axis)
            means = (steps * both).sum(axis=1 - axis) / np.maximum(totals, 1e-9)
        at_border = (np.arange(1, len(means) + 1) % 8 == 0) & (totals > 0)
        elsewhere = ~at_border & (totals > 0)
        if at_border.any() and elsewhere.any():
            excess.append(means[at_border].mean() / (means[elsewhere].mean() + 0.1))
    return float(np.mean(excess)) if excess else 1.0


def _of_file(image: ImageInfo, picture: ImageArray, kept: BoolArray | None) -> list[float]:
    size = image.path.stat().st_size
    with Image.open(image.path) as opened:
        tables = getattr(opened, "quantization", None) or {}
        is_jpeg = opened.format in ("JPEG", "MPO")
    # Coarser tables, worse pictures; a format without them loses nothing.
    quality = -float(np.mean(next(iter(tables.values())))) if tables else 0.0
    pixels = max(1, image.height * image.width)
    return [
        float(image.height), float(image.width), image.height / max(1, image.width),
        size / pixels * (1.0 if kept is None else _left_of_bytes(picture, kept)), quality,
        float(image.mode not in ("L", "1", "I;16", "I", "F", "LA")), float(is_jpeg),
    ]  # fmt: skip


def _left_of_bytes(picture: ImageArray, kept: BoolArray) -> float:
    """Bytes a pixel of what is kept, against those of all of the picture, as PNG tells them."""
    flat = picture * kept[..., None].astype(np.uint8)
    whole, rest = (len(cv2.imencode(".png", np.ascontiguousarray(one))[1]) for one in (picture, flat))
    return rest / whole / max(float(kept.mean()), 1e-9) if kept.any() else math.nan


def _columns() -> list[tuple[str, str, tuple[float, float, float, float] | None]]:
    places = [(x / GRID, y / GRID, (x + 1) / GRID, (y + 1) / GRID) for y in range(GRID) for x in range(GRID)]
    return [
        *((name, "place", place) for name in CELL_MEASURES for place in places),
        *((name, "picture", None) for name in (*CELL_MEASURES[:4], *PICTURE_MEASURES)),
        *((name, "file", None) for name in FILE_MEASURES),
    ]


COLUMNS = _columns()
"""Of each measurement its name, its kind, and its place."""
