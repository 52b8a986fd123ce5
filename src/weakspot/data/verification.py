"""Which look-alikes are certain to show the same part: the fewest pairs are verified that settle all groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from weakspot.data.bare_surface import fine_detail
from weakspot.data.images import ImageInfo, read_image
from weakspot.data.registration import partners, registrable, seen_from_both, similarity
from weakspot.data.same_part import (
    SIDE,
    Match,
    Support,
    Surface,
    common_detail,
    fits_together,
    match_blocks,
    same_pixels,
    surface,
    weigh,
)
from weakspot.data.shifts import Placed
from weakspot.types import Size

Float = npt.NDArray[np.float32]
Pair = tuple[int, int]

COMMON = 8
"""Pictures of one size that it takes to tell what they have in common."""

OTHERS = 3
"""Of each picture's nearest look-alikes below the limit so many are in its null; those above the limit all are."""

KEPT = 1500
"""Surfaces in memory at once, about 200 kB each."""

HOPELESS = 0.05
"""Where a smaller share of the blocks speaks for the same part, the pair is not looked at from the other side."""


@dataclass(frozen=True)
class Search:
    """What the search for look-alikes found.

    Attributes:
        found: how pairs ``(first, second)`` with first < second lie over each other.
        limit: agreement from which on a pair is verified.
        nearest, further: for each picture its nearest look-alikes, and a few that are less alike.
        shapes: ``(h, w)`` of each sketch.
        compare: finds how a pair lies over each other.
        likely: for each picture those whose surface agrees most when all are registered on one; empty where that was
            not looked at.
    """

    found: Mapping[Pair, Placed]
    limit: float
    nearest: Sequence[Sequence[int]]
    further: Sequence[Sequence[int]]
    shapes: Sequence[tuple[int, ...]]
    compare: Callable[[Pair], Placed]
    likely: Sequence[Sequence[int]] = ()

    def place(self, a: int, b: int) -> Placed:
        """How `b` lies over `a`."""
        pair = (min(a, b), max(a, b))
        one = self.found.get(pair) or self.compare(pair)
        return one if a < b else one.turned()

    def null(self, a: int) -> list[int]:
        """The look-alikes that an agreement with `a` has to exceed."""
        ranked = sorted(self.nearest[a], key=lambda c: -self.place(a, c).agreement)
        alike = [c for c in ranked if self.place(a, c).agreement >= self.limit]
        others = ranked[len(alike) : len(alike) + OTHERS]
        return list(dict.fromkeys([*alike, *others, *self.further[a]]))


def confirmed(
    images: Sequence[ImageInfo],
    search: Search,
    copies: Sequence[Pair],
    pool: Executor,
    progress: Callable[[int], None] | None = None,
    greys: Sequence[Float] = (),
) -> list[Pair]:
    """Find the pairs that hold all groups together.

    In every round as many pairs are verified as would link all look-alikes that are still apart if all of them held, so
    a part photographed k times takes k − 1 verifications where all succeed. Pictures that are still apart then are
    registered each with the :data:`~weakspot.data.registration.PARTNERS` most agreeing others at most: work in
    proportion to the number of pictures, however many pairs look alike.

    Args:
        images: all that were searched.
        search: what was found among them.
        copies: files of the same content, which need not be verified.
        pool: does the work.
        progress: called with a number that grows up to the number of images.
        greys: :func:`scaled_grey` of each image, where they are known; empty reads again what is looked at.

    Returns:
        Verified pairs and copies; two pictures show the same part for certain if a chain of these links them.
    """
    n, certain, groups = len(images), list(copies), DisjointSet(range(len(images)))
    for pair in copies:
        groups.merge(*pair)
    waiting = {p: one.agreement for p, one in search.found.items() if one.agreement >= search.limit}
    verifier = _Verifier(images, search, greys)
    if waiting:
        verifier.prepare(pool)
    total = max(1, len(waiting))
    while waiting := {p: score for p, score in waiting.items() if not groups.connected(*p)}:
        if progress is not None:
            progress(n - n * len(waiting) // total)
        links = _next_links(waiting, groups)
        for tried, passed in zip(links.values(), pool.map(verifier.verify_all, links, links.values()), strict=True):
            for pair in tried:
                del waiting[pair]
            for pair in passed:
                groups.merge(*pair)
            certain += passed
    certain += verifier.standing_out(groups, pool)
    if progress is not None:
        progress(n)
    return certain


def _next_links(waiting: Mapping[Pair, float], groups: DisjointSet) -> dict[int, list[Pair]]:
    """The fewest pairs that link all groups which any waiting pair links, by the picture that they share."""
    partners: dict[int, list[int]] = defaultdict(list)
    for a, b in sorted(waiting, key=lambda pair: (-waiting[pair], pair)):
        partners[a].append(b)
        partners[b].append(a)
    assumed = DisjointSet({int(groups[k]) for k in partners})
    links: dict[int, list[Pair]] = defaultdict(list)
    for hub in sorted(partners, key=lambda k: (-len(partners[k]), k)):
        for other in partners[hub]:
            if assumed.merge(int(groups[hub]), int(groups[other])):
                links[hub].append((min(hub, other), max(hub, other)))
    return links


def sizes_in_common(sizes: Sequence[Size]) -> dict[Size, list[int]]:
    """Positions of the pictures of each size that enough of them have, at most 48 a size.

    Args:
        sizes: ``(height, width)`` of each picture.
    """
    counts = Counter(sizes)
    return {
        size: [k for k, one in enumerate(sizes) if one == size][:: -(-count // 48)]
        for size, count in counts.items()
        if count >= COMMON
    }


def scaled_sizes(images: Sequence[ImageInfo]) -> list[Size]:
    """``(height, width)`` at which each image is verified; nine in ten have no side longer than :data:`SIDE`."""
    longest = float(np.quantile([max(image.height, image.width) for image in images], 0.9))
    factors = [min(1.0, SIDE / longest, 2 * SIDE / max(image.height, image.width)) for image in images]
    return [
        (max(4, round(image.height * factor)), max(4, round(image.width * factor)))
        for image, factor in zip(images, factors, strict=True)
    ]


def read_grey(image: ImageInfo) -> Float:
    """An image's brightness, ``(H, W)``, 0…255."""
    return cv2.cvtColor(read_image(image.path), cv2.COLOR_RGB2GRAY).astype(np.float32)


def scaled_grey(grey: Float, size: Size) -> Float:
    """An image's brightness at another ``(height, width)``."""
    return np.asarray(cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA), np.float32)


class _Verifier:
    """Looks at pairs closely; remembers what it prepared."""

    def __init__(self, images: Sequence[ImageInfo], search: Search, greys: Sequence[Float]) -> None:
        self._images, self._search, self._greys = images, search, greys
        self._sizes = scaled_sizes(images)
        self._common: dict[Size, Float] = {}
        self._nulls: dict[int, tuple[list[int], list[Match]]] = {}
        self._closeness: dict[Pair, float] = {}
        self._surface = lru_cache(KEPT)(self._prepared)
        self._registrable = lru_cache(KEPT // 2)(lambda k: registrable(self._grey(k)))

    def prepare(self, pool: Executor) -> None:
        """Work out what pictures of one size have in common."""
        sizes = [self._size(k) for k in range(len(self._images))]
        for size, members in sizes_in_common(sizes).items():
            self._common[size] = common_detail(list(pool.map(lambda k: fine_detail(self._grey(k)), members)))

    def verify_all(self, hub: int, pairs: Sequence[Pair]) -> list[Pair]:
        """Those of `pairs`, all with `hub`, that show the same part for certain."""
        return [(a, b) for a, b in pairs if self._same_part(hub, b if a == hub else a)]

    def _same_part(self, a: int, b: int) -> bool:
        place = self._search.place(a, b)
        if place.resized:  # seen from the smaller, with the larger at its size
            a, b = sorted((a, b), key=lambda k: self._images[k].height)
            here = self._evidence(a, b)
            return here.enough or same_pixels(self._surface(a), self._surface(b, self._size(a)))
        if same_pixels(self._surface(a), self._surface(b)):
            return True
        here = self._evidence(a, b)
        if self._alone(here) or (here.share < HOPELESS and len(self._surface(a).places) > 0):
            return self._alone(here)
        there = self._evidence(b, a)
        return self._alone(there) or (here.enough and there.enough)

    def _alone(self, here: Support) -> bool:
        """Whether what is seen from one picture is enough; not if in doubt where all products look alike."""
        return here.plenty and not (here.doubtful and self._search.likely)

    def _evidence(self, a: int, b: int) -> Support:
        """What speaks for the same part, seen from `a`."""
        match = self._match(a, b)
        self._closeness[min(a, b), max(a, b)] = match.closeness
        if not fits_together(self._surface(a).places, match).any():
            return Support()  # without a look at the null
        if a not in self._nulls:
            null = self._search.null(a)
            self._nulls[a] = null, [self._match(a, c) for c in null]
        null, matches = self._nulls[a]
        return weigh(self._surface(a), match, [one for c, one in zip(null, matches, strict=True) if c != b])

    def standing_out(self, groups: DisjointSet, pool: Executor) -> list[Pair]:
        """Of the pairs whose blocks did not tell, those whose surface as a whole agrees as no other look-alike's does.

        Args:
            groups: what is certain; pictures of one group need no further proof.
            pool: does the work.
        """
        apart = {p: z for p, z in self._closeness.items() if not groups.connected(*p) and not self._resized(p)}
        chosen = partners(apart, self._search.likely)
        pairs = sorted({(min(a, b), max(a, b)) for a, others in chosen.items() for b in others})
        return seen_from_both(chosen, dict(zip(pairs, pool.map(self._similarity, pairs), strict=True)))

    def _resized(self, pair: Pair) -> bool:
        return self._search.place(*pair).resized

    def _similarity(self, pair: Pair) -> float:
        a, b = pair
        place, factor = self._search.place(a, b), self._size(a)[0] / self._search.shapes[a][0]
        return similarity(self._registrable(a), self._registrable(b), (place.down * factor, place.right * factor))

    def _match(self, a: int, b: int) -> Match:
        place = self._search.place(a, b)
        one = self._surface(a)
        other = self._surface(b, self._size(a)) if place.resized else self._surface(b)
        factor = one.grey.shape[0] / self._search.shapes[a][0]
        if place.resized:
            factor = one.grey.shape[0] / min(self._search.shapes[k][0] for k in (a, b))
        return match_blocks(one, other, (place.down * factor, place.right * factor))

    def _size(self, k: int) -> Size:
        return self._sizes[k]

    def _grey(self, k: int, size: Size | None = None) -> Float:
        if size in (None, self._sizes[k]) and self._greys:
            return self._greys[k]
        return scaled_grey(read_grey(self._images[k]), size or self._sizes[k])

    def _prepared(self, k: int, size: Size | None = None) -> Surface:
        return surface(self._grey(k, size), self._common.get(size or self._size(k)))
