"""Sizes of the pictures that a model was trained on, to remark on others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weakspot.types import Size
from weakspot.utils.files import shown

LONGER = 1.25
"""A side that is so many times longer or shorter than any in training is remarked on."""

OTHER_SHAPE = 1.1
"""The same for the ratio of height to width."""

WHAT_TO_DO = (
    "What it says of them was never tested: give it pictures as the camera made those of training, neither cut nor "
    "scaled, or train with such pictures too"
)

Range = tuple[float, float]


@dataclass(frozen=True)
class PictureSizes:
    """Which sizes a set of pictures has.

    Attributes:
        usual: ``(height, width)`` in pixels that most of the pictures have.
        heights, widths: the smallest and the largest, in pixels.
        ratios: the smallest and the largest height divided by width.
    """

    usual: Size
    heights: Range
    widths: Range
    ratios: Range

    @classmethod
    def of(cls, sizes: Sequence[Size]) -> PictureSizes:
        """Collect the sizes of pictures.

        Args:
            sizes: ``(height, width)`` of each in pixels; at least one.

        Examples:
            >>> PictureSizes.of([(480, 640), (480, 640), (400, 640)])
            PictureSizes(usual=(480, 640), heights=(400, 480), widths=(640, 640), ratios=(0.625, 0.75))
        """
        heights, widths = zip(*sizes, strict=True)
        ratios = [height / width for height, width in sizes]
        ends = [(min(values), max(values)) for values in (heights, widths, ratios)]
        return cls(Counter((int(h), int(w)) for h, w in sizes).most_common(1)[0][0], *ends)

    def fits(self, size: Size) -> bool:
        """Whether a picture is about as large as those of the set, and has about their shape.

        Args:
            size: ``(height, width)`` in pixels.

        Examples:
            >>> sizes = PictureSizes.of([(480, 640)])
            >>> [sizes.fits(size) for size in ((480, 640), (500, 660), (960, 1280), (640, 480), (480, 480))]
            [True, True, False, False, False]
        """
        height, width = size
        return (
            _within(height, self.heights, LONGER)
            and _within(width, self.widths, LONGER)
            and _within(height / width, self.ratios, OTHER_SHAPE)
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PictureSizes:
        """Read what a bundle holds.

        Raises:
            ValueError: when it is something else.
        """
        pairs = [values.get(key) for key in ("usual", "heights", "widths", "ratios")]
        if len(values) != len(pairs) or not all(_is_pair(pair) for pair in pairs):
            raise ValueError("pictures are not the sizes of pictures")
        usual, *ranges = [tuple(pair) for pair in pairs if pair is not None]
        return cls((int(usual[0]), int(usual[1])), *ranges)


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list | tuple) and len(pair) == 2 and all(type(n) in (int, float) and n > 0 for n in pair)


def _within(value: float, ends: Range, times: float) -> bool:
    return ends[0] / times <= value <= ends[1] * times


def in_one_sentence(size: Size, trained: PictureSizes) -> str:
    """That one picture has another size than those of training, with both sizes.

    Args:
        size: ``(height, width)`` of the picture in pixels.
        trained: sizes of those of training.
    """
    usual, other = (f"{height}×{width}" for height, width in (trained.usual, size))
    return f"another size or shape than in training: {other} pixels, height × width, in place of {usual}"


class OtherSizes:
    """Counts pictures whose size is not that of training.

    Attributes:
        count: of them, so far.
        images: of all pictures, so far.
    """

    def __init__(self, trained: PictureSizes | None) -> None:
        self._trained = trained
        self._first: tuple[Path, Size] | None = None
        self.count = self.images = 0

    def add(self, path: Path, size: Size) -> bool:
        """Count a picture.

        Args:
            path: its name.
            size: ``(height, width)`` in pixels; zeros for one that could not be read, which does not count.

        Returns:
            Whether it is the first of another size.
        """
        if not all(size):
            return False
        self.images += 1
        if self._trained is None or self._trained.fits(size):
            return False
        self.count += 1
        self._first = self._first or (path, size)
        return self.count == 1

    @property
    def remark(self) -> str | None:
        """A sentence that names both sizes; None where all pictures fit, or the sizes of training are unknown."""
        if self._first is None or self._trained is None:
            return None
        (path, (height, width)), (usual_height, usual_width) = self._first, self._trained.usual
        return (
            f"{self.count} of {self.images} pictures have another size or shape than those that the model was trained "
            f"on ({shown(path)}: {height}×{width} pixels, height × width; in training {usual_height}×{usual_width}). "
            f"{WHAT_TO_DO}"
        )
