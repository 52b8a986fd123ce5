"""What a person drew in a picture, as targets on the grids of the evidence heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.annotations import Annotation
from weakspot.data.preprocess import Preprocess
from weakspot.training.evidence.bank import Window
from weakspot.types import BoolArray, Size

Float = npt.NDArray[np.float32]
Rectangle = tuple[int, int, int, int]
"""First row, row beyond the last, first column, column beyond the last."""


@dataclass(frozen=True)
class Target:
    """What is known of every cell of a picture, or of a window of it.

    Attributes:
        mask: ``(H, W)`` 0…1, share of each cell that was marked.
        known: ``(H, W)``, 1 where `mask` is the truth; 0 inside of what is only boxed.
        boxes: rectangles of cells of which every row and every column crosses a defect.
    """

    mask: Float
    known: Float
    boxes: tuple[Rectangle, ...] = ()

    @property
    def marked(self) -> Float:
        """``(H, W)``, cells that are marked or boxed."""
        return np.maximum(self.mask, 1 - self.known)

    def coarser(self) -> Target:
        """The same on a grid half as fine: a cell is marked where any of its four is, and known where all are."""
        height, width = self.mask.shape
        cells = (height // 2, 2, width // 2, 2)
        boxes = tuple((r0 // 2, -(-r1 // 2), c0 // 2, -(-c1 // 2)) for r0, r1, c0, c1 in self.boxes)
        return Target(self.mask.reshape(cells).max(axis=(1, 3)), self.known.reshape(cells).min(axis=(1, 3)), boxes)

    def cut(self, rows: slice, columns: slice) -> Target:
        """A window; a box that is not wholly inside says nothing any more, as the defect may lie in the rest of it."""
        boxes = tuple(
            (r0 - rows.start, r1 - rows.start, c0 - columns.start, c1 - columns.start)
            for r0, r1, c0, c1 in self.boxes
            if rows.start <= r0 and r1 <= rows.stop and columns.start <= c0 and c1 <= columns.stop
        )
        return Target(self.mask[rows, columns], self.known[rows, columns], boxes)

    def flipped(self, axes: Sequence[int]) -> Target:
        """Mirrored along the axes 2 (rows) and 3 (columns), as tensors ``(batch, channels, rows, columns)`` are."""
        height, width = self.mask.shape
        boxes = self.boxes
        if 2 in axes:
            boxes = tuple((height - r1, height - r0, c0, c1) for r0, r1, c0, c1 in boxes)
        if 3 in axes:
            boxes = tuple((r0, r1, width - c1, width - c0) for r0, r1, c0, c1 in boxes)
        on = tuple(axis - 2 for axis in axes)
        return Target(np.flip(self.mask, on), np.flip(self.known, on), boxes)


def target_of(annotation: Annotation, preprocess: Preprocess, grid: Size) -> Target:
    """Bring what was drawn to a grid over the network's input.

    Args:
        annotation: of the picture, at its own size.
        preprocess: what brings the picture to the network's input.
        grid: ``(H, W)`` of the mask head's output.
    """
    mask, boxed = np.zeros(grid, np.float32), np.zeros(grid, np.float32)
    rectangles = list[Rectangle]()
    for box, shape in zip(annotation.boxes, annotation.shapes, strict=True):
        if shape is None:
            rectangles.append(_rectangle(box, annotation.size, preprocess, grid))
        else:
            fitted = _fitted(shape, preprocess)
            shares = cv2.resize(fitted, (grid[1], grid[0]), interpolation=cv2.INTER_AREA)
            mask = np.maximum(mask, surest(np.asarray(shares, np.float32)))
    for r0, r1, c0, c1 in rectangles:
        boxed[r0:r1, c0:c1] = 1
    known = np.where(mask > 0.5, 1, 1 - boxed).astype(np.float32)
    return Target(mask, known, tuple(rectangles))


def surest(mask: Float) -> Float:
    """A mask whose surest cells are wholly of the defect: a line that is thinner than a cell is one of cells.

    Args:
        mask: share of each cell that is of the defect, 0…1. One with a whole cell stays as it is.

    Examples:
        >>> surest(np.array([[0.0, 0.25, 0.5]], np.float32)).tolist()
        [[0.0, 0.5, 1.0]]
    """
    most = float(mask.max(initial=0.0))
    return mask / np.float32(most) if 0 < most < 1 else mask


def _fitted(mask: BoolArray, preprocess: Preprocess) -> Float:
    """A mask of a picture at the network's input, 0…1."""
    size = mask.shape[0], mask.shape[1]
    rows, columns = preprocess.content(size)
    height, width = rows.stop - rows.start, columns.stop - columns.start
    whole = np.zeros(preprocess.input_size(size), np.float32)
    shrunk = cv2.resize(
        mask.astype(np.float32), (min(width, size[1]), min(height, size[0])), interpolation=cv2.INTER_AREA
    )
    whole[rows, columns] = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_LINEAR)
    return whole


def _rectangle(box: tuple[int, int, int, int], size: Size, preprocess: Preprocess, grid: Size) -> Rectangle:
    """The cells that a box covers by half or more, at least one."""
    whole, content = preprocess.input_size(size), preprocess.content(size)
    ends = []
    for axis, (low, high) in enumerate(((box[1], box[3]), (box[0], box[2]))):
        inside = content[axis]
        scale = (inside.stop - inside.start) / size[axis]
        cells = grid[axis] / whole[axis]
        first = min(round((inside.start + low * scale) * cells), grid[axis] - 1)
        last = max(first + 1, round((inside.start + high * scale) * cells))
        ends += [first, min(last, grid[axis])]
    return ends[0], ends[1], ends[2], ends[3]


def window_at(window: Window, factor: int, target: Target) -> Target:
    """The part of a target that lies in a window.

    Args:
        window: in cells of the coarsest level.
        factor: number of the target's cells along one of them.
        target: of the whole picture.
    """
    rows, columns = window.at(factor)
    return target.cut(rows, columns)
