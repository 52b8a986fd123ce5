"""Photographs of the same part: another exposure, the next frame of a video. They belong on one side of a split.

Two photographs show the same part where their fine detail agrees. Both are brought to one scale, what is smooth is
taken away and the rest divided by its local contrast, so that exposure and shading drop out; then their normalised
cross-correlation is taken at the shift that suits it best (Lewis, "Fast Normalized Cross-Correlation", 1995). How much
*different* parts of this very data agree is measured on pairs drawn by lot: look-alikes lie far outside that.

Look-alikes may still be two parts of one product in the same pose. So each is verified at a finer scale
(:mod:`weakspot.data.same_part`): it is certain if it shares surface detail that other look-alikes lack, else possible.
Where blocks of the surface tell nothing, all of it does (:mod:`weakspot.data.registration`), for a few most agreeing
look-alikes of each picture: that work grows with the number of pictures, not of look-alikes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from weakspot.data import registration, spectra
from weakspot.data.images import ImageInfo, Progress
from weakspot.data.shifts import Placed, placed
from weakspot.data.verification import Search, confirmed, read_grey, scaled_grey, scaled_sizes
from weakspot.types import Size
from weakspot.utils.threads import threads

Float = npt.NDArray[np.float32]

SIDE = 96
"""Pictures are compared at a scale at which nine in ten of them have no side longer than this."""

NEIGHBOURS = 12
"""Of each picture only those that look most alike as thumbnails are compared closely."""

FURTHER = (16, 32, 64, 128)
"""Ranks of the look-alikes that a picture is compared with as well when a pair is verified."""

BY_LOT = 1000
"""Pairs that tell how much different parts agree."""

OUTSIDE = 4.0
"""A near-duplicate agrees more than different parts do by this many standard deviations (of Fisher's z)."""

LEAST, MOST = 0.5, 0.98
"""Whatever the other pairs do: less agreement is never a near-duplicate, more always is."""

VERIFIED = 0.35
"""Where different parts agree much, pairs are verified from here on: a small turn costs more than another part does."""

TOO_LARGE = 0.5
"""A group of more than this share of all images is no part: then all of them look the same to this search."""

MOST_GREYS = 2**29
"""Bytes of brightness that are kept in memory for verification; of more images it is read again."""

VERSION = 4
"""Goes up whenever the same images give other pairs."""

_THUMBNAIL = 32


@dataclass(frozen=True)
class NearDuplicates:
    """Near-duplicates among a set of images; only certain ones form groups.

    Attributes:
        pairs: certain ones, ``(first, second, agreement)``: positions with first < second; agreement up to 1, in
            decreasing order.
        limit: agreement from which on two images look alike; less is enough for a pair whose surface agrees.
        usual: median agreement of pairs drawn by lot.
        images: number of images that were compared.
        possible: further pairs in the same form, which agree as much but share no detail that other look-alikes lack.
            They may be the same part, or two parts of one product in the same pose; they form no groups.
    """

    pairs: list[tuple[int, int, float]]
    limit: float
    usual: float
    images: int
    possible: list[tuple[int, int, float]] = field(default_factory=list)

    @property
    def repeated(self) -> int:
        """Number of images with a near-duplicate."""
        return len({int(position) for pair in self.pairs for position in pair[:2]})

    @property
    def any(self) -> bool:
        """Whether there is any pair, certain or possible."""
        return bool(self.pairs or self.possible)

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
        pairs, possible = (
            [(int(a), int(b), float(score)) for a, b, score in record.get(name, ())] for name in ("pairs", "possible")
        )
        return cls(pairs, float(record["limit"]), float(record["usual"]), int(record["images"]), possible)

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
        Pairs of positions in `images`. At most :data:`~weakspot.data.registration.PARTNERS` look-alikes of each image
        are registered with it, so that more look-alikes take no more time. Turned and mirrored copies are not found; a
        picture without any detail has no near-duplicate.

    Raises:
        WeakspotError: when an image cannot be read; the message names it.
    """
    n = len(images)
    if n < 2:
        return NearDuplicates([], MOST, 0.0, n)
    with threads(workers) as pool:
        sketches, thumbnails, greys = _look(images, pool, progress and (lambda done, total: progress(done, 3 * n)))

        def compare(pair: tuple[int, int]) -> Placed:
            return placed(sketches[pair[0]], sketches[pair[1]])

        by_lot = _drawn_pairs(n)
        found = dict(zip(by_lot, pool.map(compare, by_lot), strict=True))
        usual, limit = _limit([one.agreement for one in found.values()])
        copies = _same_content(images)
        found |= dict.fromkeys(copies, Placed(1.0))
        nearest: list[list[int]] = []
        further: list[list[int]] = []
        for i, (likely, rest) in enumerate(_neighbours(np.stack(thumbnails))):
            nearest.append(likely)
            further.append(rest)
            todo = [pair for pair in ((min(i, j), max(i, j)) for j in likely) if pair not in found]
            found.update(zip(todo, pool.map(compare, todo), strict=True))
            if progress is not None:
                progress(n + i + 1, 3 * n)
        likely_parts: list[list[int]] = []
        if limit > LEAST:  # the products look alike as a whole
            likely_parts = _alike_when_registered(images, sketches, np.stack(thumbnails), greys, pool)
            by_spectrum = spectra.neighbours(np.stack(list(pool.map(_spectrum, images))))
            for i, (by_surface, likely) in enumerate(zip(likely_parts, by_spectrum, strict=True)):
                nearest[i] = list(dict.fromkeys([*nearest[i], *likely, *by_surface]))
                todo = [pair for pair in ((min(i, j), max(i, j)) for j in nearest[i]) if pair not in found]
                found.update(zip(todo, pool.map(compare, todo), strict=True))
        shapes = [sketch.shape for sketch in sketches]
        verified = LEAST if limit == LEAST else VERIFIED
        search = Search(found, verified, nearest, further, shapes, compare, likely_parts)
        certain = confirmed(
            images, search, copies, pool, progress and (lambda done: progress(2 * n + done, 3 * n)), greys
        )
    alike = [(a, b, one.agreement) for (a, b), one in found.items() if one.agreement >= search.limit]
    return _graded(sorted(alike, key=lambda pair: (-pair[2], pair)), limit, usual, n, certain)


def _look(
    images: Sequence[ImageInfo], pool: Executor, progress: Progress | None
) -> tuple[list[Float], list[Float], list[Float]]:
    """Read each image once: its sketch, its thumbnail and, where memory allows, its brightness for verification."""
    sizes = scaled_sizes(images)
    longest = float(np.quantile([max(image.height, image.width) for image in images], 0.9))
    keep = sum(4 * height * width for height, width in sizes) <= MOST_GREYS

    def look(image: ImageInfo, size: Size) -> tuple[Float, Float, list[Float]]:
        grey = read_grey(image)
        return *_sketch(grey, min(1.0, SIDE / longest)), [scaled_grey(grey, size)] if keep else []

    sketches, thumbnails, greys = list[Float](), list[Float](), list[Float]()
    for sketch, thumbnail, scaled in pool.map(look, images, sizes):
        sketches.append(sketch)
        thumbnails.append(thumbnail)
        greys += scaled
        if progress is not None:
            progress(len(sketches), len(images))
    return sketches, thumbnails, greys


def _graded(
    alike: Sequence[tuple[int, int, float]], limit: float, usual: float, n: int, certain: list[tuple[int, int]]
) -> NearDuplicates:
    """Look-alikes that lie in one group are certain, whether or not this very pair was looked at."""
    groups = NearDuplicates([(a, b, 1.0) for a, b in certain], limit, usual, n).groups()
    same = [pair for pair in alike if groups[pair[0]] == groups[pair[1]]]
    possible = [pair for pair in alike if groups[pair[0]] != groups[pair[1]] and pair[2] >= limit]
    return NearDuplicates(same, limit, usual, n, possible)


def _sketch(grey: Float, scale: float) -> tuple[Float, Float]:
    """An image's fine detail at `scale`, and a look at all of it: ``(h, w)`` and a unit vector."""
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


def _alike_when_registered(
    images: Sequence[ImageInfo], sketches: Sequence[Float], thumbnails: Float, greys: Sequence[Float], pool: Executor
) -> list[list[int]]:
    """For each image the others whose surface agrees most once all are registered on the most usual image."""
    sizes = scaled_sizes(images)

    def prepared(k: int) -> registration.Registrable:
        return registration.registrable(greys[k] if greys else scaled_grey(read_grey(images[k]), sizes[k]))

    usual = int((thumbnails @ thumbnails.mean(axis=0)).argmax())
    reference, factor = prepared(usual), sizes[usual][0] / sketches[usual].shape[0]
    places = registration.sampled_places(reference)
    if len(places) < registration.FEWEST_PIXELS:
        return [[] for _ in images]

    def surface(k: int) -> Float:
        place = placed(sketches[usual], sketches[k])
        shift = place.down * factor, place.right * factor
        return registration.sampled_surface(reference, prepared(k), shift, places)

    return list(registration.proposals(np.stack(list(pool.map(surface, range(len(images)))))))


def _spectrum(image: ImageInfo) -> Float:
    return spectra.spectrum(read_grey(image))


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


def _neighbours(thumbnails: Float) -> Iterator[tuple[list[int], list[int]]]:
    """For each image the others that look most alike as thumbnails, and a few that look a little less alike."""
    k = min(NEIGHBOURS, len(thumbnails) - 1)
    ranks = [rank for rank in FURTHER if rank < len(thumbnails) - 1]
    for start in range(0, len(thumbnails), 512):
        alike = thumbnails[start : start + 512] @ thumbnails.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        order = np.argpartition(-alike, [k - 1, *ranks], axis=1)
        yield from zip(order[:, :k].tolist(), order[:, ranks].tolist(), strict=True)
