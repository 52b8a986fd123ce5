"""Photographs of the same part: another exposure, the next frame of a video. They belong on one side of a split.

Two photographs show the same part where their fine detail agrees. Both are brought to one scale, what is smooth is
taken away and the rest divided by its local contrast, so that exposure and shading drop out; then their normalised
cross-correlation is taken at the shift that suits it best (Lewis, "Fast Normalized Cross-Correlation", 1995). How much
*different* parts of this very data agree is measured on pairs drawn by lot: a near-duplicate lies far outside that,
because one screw resembles another, and a fixed background every other picture of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from weakspot.data.images import ImageInfo, Progress, read_image
from weakspot.utils.threads import threads

Float = npt.NDArray[np.float32]

SIDE = 96
"""Pictures are compared at a scale at which nine in ten of them have no side longer than this."""

NEIGHBOURS = 12
"""Of each picture only those that look most alike as thumbnails are compared closely."""

BY_LOT = 1000
"""Pairs that tell how much different parts agree."""

OUTSIDE = 4.0
"""A near-duplicate agrees more than different parts do by this many standard deviations (of Fisher's z)."""

LEAST, MOST = 0.5, 0.98
"""Whatever the other pairs do: less agreement is never a near-duplicate, more always is."""

TOO_LARGE = 0.5
"""A group of more than this share of all images is no part: then all of them look the same to this search."""

VERSION = 2
"""Goes up whenever the same images give other pairs."""

_THUMBNAIL = 32


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates among a set of images.

    Attributes:
        pairs: ``(first, second, agreement)``, positions with first < second; agreement up to 1, in decreasing order.
        limit: agreement from which on a pair is a near-duplicate.
        usual: median agreement of pairs drawn by lot.
        images: number of images that were compared.
    """

    pairs: list[tuple[int, int, float]]
    limit: float
    usual: float
    images: int

    @property
    def repeated(self) -> int:
        """Number of images with a near-duplicate."""
        return len({int(position) for pair in self.pairs for position in pair[:2]})

    @property
    def n_groups(self) -> int:
        """Number of groups that these images form."""
        return len(set(self.groups())) - (self.images - self.repeated)

    @property
    def tells_groups(self) -> bool:
        """Whether groups can be told apart; False where the search takes most images for the same part."""
        return self.images < 4 or max(Counter(self.groups()).values()) <= TOO_LARGE * self.images

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> NearDuplicates:
        """Read what :meth:`to_dict` made."""
        pairs = [(int(a), int(b), float(score)) for a, b, score in record["pairs"]]
        return cls(pairs, float(record["limit"]), float(record["usual"]), int(record["images"]))

    def links(self) -> list[tuple[int, int, float]]:
        """The fewest and closest pairs that hold all groups together, the most doubtful first."""
        costs = [2 - pair[2] for pair in self.pairs]  # above zero, which would mean "no link"
        tree = minimum_spanning_tree(self._matrix(costs)).tocoo()
        return [
            (int(a), int(b), float(2 - cost))
            for cost, a, b in sorted(zip(tree.data, tree.row, tree.col, strict=True), reverse=True)
        ]

    def _matrix(self, values: Sequence[float]) -> coo_array:
        first, second = ([pair[k] for pair in self.pairs] for k in (0, 1))
        return coo_array((np.array(values, np.float64), (first, second)), shape=(self.images, self.images))

    def groups(self) -> list[int]:
        """A group number for each image; an image shares it with its near-duplicates, and with theirs in turn."""
        matrix = self._matrix([1.0] * len(self.pairs))
        return [int(group) for group in connected_components(matrix, directed=False)[1]]


def find_near_duplicates(
    images: Sequence[ImageInfo], *, workers: int | None = None, progress: Progress | None = None
) -> NearDuplicates:
    """Find photographs of the same part.

    Args:
        images: those that can be read.
        workers: number of threads; by default one per core, at most 8.
        progress: called with (done, total) in the calling thread.

    Returns:
        Pairs of positions in `images`. Turned and mirrored copies are not found; a picture without any detail has no
        near-duplicate.

    Raises:
        WeakspotError: when an image cannot be read; the message names it.
    """
    n = len(images)
    if n < 2:
        return NearDuplicates([], MOST, 0.0, n)
    sketches: list[Float] = []
    thumbnails: list[Float] = []
    scale = min(1.0, SIDE / float(np.quantile([max(image.height, image.width) for image in images], 0.9)))
    with threads(workers) as pool:
        for sketch, thumbnail in pool.map(partial(_sketch, scale=scale), images):
            sketches.append(sketch)
            thumbnails.append(thumbnail)
            if progress is not None:
                progress(len(sketches), 2 * n)

        def compare(pair: tuple[int, int]) -> float:
            return agreement(sketches[pair[0]], sketches[pair[1]])

        by_lot = _drawn_pairs(n)
        found = dict(zip(by_lot, pool.map(compare, by_lot), strict=True))
        usual, limit = _limit(list(found.values()))
        found |= dict.fromkeys(_same_content(images), 1.0)
        for i, likely in enumerate(_neighbours(np.stack(thumbnails))):
            todo = [pair for pair in ((min(i, j), max(i, j)) for j in likely) if pair not in found]
            found.update(zip(todo, pool.map(compare, todo), strict=True))
            if progress is not None:
                progress(n + i + 1, 2 * n)
    pairs = [(a, b, score) for (a, b), score in found.items() if score >= limit]
    return NearDuplicates(sorted(pairs, key=lambda pair: (-pair[2], pair)), limit, usual, n)


def agreement(a: Float, b: Float) -> float:
    """Normalised cross-correlation of two sketches at the shift where it is highest.

    Only shifts at which at least half of the smaller sketch lies over the other one count.

    Args:
        a: shape ``(h, w)``, fine detail about 0.
        b: the same of another picture, of any size. If it may be the same picture at another resolution, the larger
            sketch is brought to the size of the smaller.

    Returns:
        0…1; 0 where either has no detail, or nothing agrees at any shift.
    """
    resized = _at_same_size(a, b)
    return max(0.0, _best_shift(a, b), _best_shift(*resized) if resized else 0.0)


def _best_shift(a: Float, b: Float) -> float:
    shape = tuple(int(fft.next_fast_len(p + q - 1, real=True)) for p, q in zip(a.shape, b.shape, strict=True))
    cross = fft.irfft2(fft.rfft2(a, shape) * np.conj(fft.rfft2(b, shape)), shape)
    rows, columns = (_Overlaps.of(p, q) for p, q in zip(a.shape, b.shape, strict=True))
    area = np.outer(rows.length, columns.length)
    in_a = _sums(a, rows.start_a, rows.length, columns.start_a, columns.length)
    in_b = _sums(b, rows.start_b, rows.length, columns.start_b, columns.length)
    energy = np.sqrt(in_a * in_b)
    usable = np.logical_and(area >= 0.5 * min(a.size, b.size), energy > 1e-3 * area)
    if not usable.any():
        return 0.0
    shifted = cross[np.ix_(rows.shift % shape[0], columns.shift % shape[1])]
    return float((shifted[usable] / energy[usable]).max())


@dataclass(frozen=True)
class _Overlaps:
    """Along one axis, for every shift of a against b: how much of them lies over each other, and from where on."""

    shift: npt.NDArray[np.intp]
    start_a: npt.NDArray[np.intp]
    start_b: npt.NDArray[np.intp]
    length: npt.NDArray[np.intp]

    @classmethod
    def of(cls, a: int, b: int) -> _Overlaps:
        shift = np.arange(-b + 1, a)
        start_a, start_b = np.maximum(shift, 0), np.maximum(-shift, 0)
        return cls(shift, start_a, start_b, np.minimum(a - start_a, b - start_b))


def _sums(
    values: Float,
    top: npt.NDArray[np.intp],
    height: npt.NDArray[np.intp],
    left: npt.NDArray[np.intp],
    width: npt.NDArray[np.intp],
) -> npt.NDArray[np.float64]:
    """Sum of squares in every rectangle of some rows by some columns."""
    integral = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    integral[1:, 1:] = np.square(values, dtype=np.float64).cumsum(axis=0).cumsum(axis=1)
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


def _sketch(image: ImageInfo, scale: float) -> tuple[Float, Float]:
    """An image's fine detail at `scale`, and a look at all of it: ``(h, w)`` and a unit vector."""
    grey = cv2.cvtColor(read_image(image.path), cv2.COLOR_RGB2GRAY).astype(np.float32)
    factor = min(scale, 2 * SIDE / max(grey.shape))
    size = [max(4, round(side * factor)) for side in grey.shape[::-1]]
    detail = _less_mean(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), 2)
    # Two grey levels: less is noise of the camera or of compression.
    contrast = np.sqrt(cv2.GaussianBlur(np.square(detail), (0, 0), 4)) + 2
    thumbnail = _less_mean(cv2.resize(grey, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA), 4).ravel()
    norm = float(np.linalg.norm(thumbnail))
    detail = np.clip(detail / contrast, -3, 3)
    # Straight edges and grooves along the axes are the machine's, not the part's.
    detail = detail - detail.mean(axis=0, keepdims=True) - detail.mean(axis=1, keepdims=True) + detail.mean()
    return detail, thumbnail / np.float32(max(norm, 1e-6))


def _less_mean(grey: npt.NDArray[Any], sigma: float) -> Float:
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _same_content(images: Sequence[ImageInfo]) -> list[tuple[int, int]]:
    """Each file with the first one of the same content."""
    first: dict[str, int] = {}
    firsts = [first.setdefault(image.sha256, i) for i, image in enumerate(images)]
    return [(a, i) for i, a in enumerate(firsts) if a != i]


def _drawn_pairs(n: int) -> list[tuple[int, int]]:
    """Pairs of `n`, always the same ones; all of them where there are few."""
    if n * (n - 1) // 2 <= BY_LOT:
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    rng = np.random.default_rng(0)
    drawn = rng.integers(n, size=(2 * BY_LOT, 2)).tolist()
    return sorted({(min(i, j), max(i, j)) for i, j in drawn if i != j})[::2][:BY_LOT]


def _limit(agreements: Sequence[float]) -> tuple[float, float]:
    """Median agreement of different parts, and what is far outside it; near-duplicates among them hardly count."""
    low, high = np.quantile(np.arctanh(np.clip(agreements, -0.999, 0.999)), [0.5, 0.84])
    return float(np.tanh(low)), float(np.clip(np.tanh(low + OUTSIDE * (high - low)), LEAST, MOST))


def _neighbours(thumbnails: Float) -> Iterator[list[int]]:
    """For each image the others that look most alike as thumbnails."""
    k = min(NEIGHBOURS, len(thumbnails) - 1)
    for start in range(0, len(thumbnails), 512):
        alike = thumbnails[start : start + 512] @ thumbnails.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        yield from np.argpartition(-alike, k - 1, axis=1)[:, :k].tolist()
