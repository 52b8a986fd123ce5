"""The shift at which two sketches of fine detail agree best (Lewis, "Fast Normalized Cross-Correlation", 1995)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from weakspot.types import Size

Float = npt.NDArray[np.float32]

ENOUGH = 0.5
"""Only shifts at which this share of the smaller sketch lies over the other one count."""


@dataclass(frozen=True)
class Placed:
    """How two pictures lie over each other.

    Attributes:
        agreement: of their sketches there, 0…1.
        down, right: shift of the second over the first, in pixels of the sketches.
        resized: whether the larger was brought to the size of the smaller.
    """

    agreement: float
    down: int = 0
    right: int = 0
    resized: bool = False

    def turned(self) -> Placed:
        """The same, with the first over the second."""
        return replace(self, down=-self.down, right=-self.right)


def agreement(a: Float, b: Float) -> float:
    """Normalised cross-correlation of two sketches at the shift where it is highest, as :func:`placed` finds it.

    Args:
        a: shape ``(h, w)``, fine detail about 0.
        b: the same of another picture, of any size.

    Returns:
        0…1; 0 where either has no detail, or nothing agrees at any shift.
    """
    return placed(a, b).agreement


def placed(a: Float, b: Float) -> Placed:
    """Find the shift at which two sketches agree best.

    Only shifts at which :data:`ENOUGH` of the smaller sketch lies over the other one count.

    Args:
        a: shape ``(h, w)``, fine detail about 0.
        b: the same of another picture, of any size. If it may be the same picture at another resolution, the larger
            sketch is brought to the size of the smaller.

    Returns:
        Their agreement, 0…1, and the shift of `b` in pixels.
    """
    best, resized = _best_shift(a, b), _at_same_size(a, b)
    if resized:
        small = _best_shift(*resized)
        if small.agreement > best.agreement:
            best = replace(small, resized=True) if a.size < b.size else replace(small.turned(), resized=True)
    return best


def _best_shift(a: Float, b: Float) -> Placed:
    shape = tuple(int(fft.next_fast_len(p + q - 1, real=True)) for p, q in zip(a.shape, b.shape, strict=True))
    cross = fft.irfft2(fft.rfft2(a, shape) * np.conj(fft.rfft2(b, shape)), shape)
    rows, columns = _overlaps((a.shape[0], a.shape[1]), (b.shape[0], b.shape[1]))
    area = np.outer(rows.length, columns.length)
    in_a = _sums(a, rows.start_a, rows.length, columns.start_a, columns.length)
    in_b = _sums(b, rows.start_b, rows.length, columns.start_b, columns.length)
    energy = np.sqrt(in_a * in_b)
    usable = np.logical_and(area >= ENOUGH * min(a.size, b.size), energy > 1e-3 * area)
    if not usable.any():
        return Placed(0.0)
    shifted = cross[np.ix_(rows.shift % shape[0], columns.shift % shape[1])]
    scores = np.divide(shifted, energy, out=np.zeros_like(energy), where=usable)
    down, right = np.unravel_index(int(scores.argmax()), scores.shape)
    return Placed(max(0.0, float(scores[down, right])), int(rows.shift[down]), int(columns.shift[right]))


@dataclass(frozen=True)
class _Overlaps:
    """Along one axis, for every shift of a against b: how much of them lies over each other, and from where on."""

    shift: npt.NDArray[np.intp]
    start_a: npt.NDArray[np.intp]
    start_b: npt.NDArray[np.intp]
    length: npt.NDArray[np.intp]

    @classmethod
    def of(cls, a: int, b: int, least: float) -> _Overlaps:
        shift = np.arange(-b + 1, a)
        start_a, start_b = np.maximum(shift, 0), np.maximum(-shift, 0)
        length = np.minimum(a - start_a, b - start_b)
        kept = length >= least
        return cls(shift[kept], start_a[kept], start_b[kept], length[kept])


@lru_cache(maxsize=1024)
def _overlaps(a: Size, b: Size) -> tuple[_Overlaps, _Overlaps]:
    """Down and across: the shifts at which enough could lie over each other if all did along the other axis."""
    enough = ENOUGH * min(a[0] * a[1], b[0] * b[1])
    down, across = (min(p, q) for p, q in zip(a, b, strict=True))
    return _Overlaps.of(a[0], b[0], enough / across), _Overlaps.of(a[1], b[1], enough / down)


def _sums(
    values: Float,
    top: npt.NDArray[np.intp],
    height: npt.NDArray[np.intp],
    left: npt.NDArray[np.intp],
    width: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Sum of squares in every rectangle of some rows by some columns."""
    integral = cv2.integral(np.square(values, dtype=np.float64))
    strips = integral[top + height] - integral[top]
    sums: npt.NDArray[np.float64] = np.maximum(strips[:, left + width] - strips[:, left], 0)
    return sums


def _at_same_size(a: Float, b: Float) -> tuple[Float, Float] | None:
    """The larger at the size of the smaller where they may be the same picture at two resolutions."""
    ratios = [p / q for p, q in zip(a.shape, b.shape, strict=True)]
    if abs(ratios[0] / ratios[1] - 1) > 0.02 or abs(ratios[0] - 1) < 0.1:
        return None
    small, large = (a, b) if a.size < b.size else (b, a)
    return small, cv2.resize(large, small.shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32)
