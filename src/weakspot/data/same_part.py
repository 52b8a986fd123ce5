"""Whether two look-alikes are photographs of the same physical part, or of two parts of one product in the same pose.

Parts of one product share their edges, their threads and their print, and photographs of one place share its
background. What they do not share is the surface: grain, scratches, pores. Two pictures are compared block by block in
fine detail, each block at the place where it fits best (block matching by normalised cross-correlation; Lewis, "Fast
Normalized Cross-Correlation", 1995). A block speaks for the same part where

- it fits where the other blocks fit: one shift, rotation and scale for all (RANSAC; Fischler and Bolles, 1981), and
- it fits better than in any other look-alike of that picture. This is the null: not pairs drawn by lot.

What pictures of one size have in common at the same place, such as the background, is taken away before; strong edges
do not count; and where the product stands out from its background, only blocks on the product count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.bare_surface import edges, fine_detail, on_product
from weakspot.types import BoolArray, Size
from weakspot.utils.spread import spread_indices

Float = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

SIDE = 320
"""Pictures are verified at a scale at which nine in ten of them have no side longer than this."""

BLOCK = 24
"""Side of a block in pixels at that scale."""

SEARCH = 8
"""A block is looked for up to so many pixels off the place where the sketches agree best: about 3° or 5 % of scale."""

TOLERANCE = 1.6
"""Pixels by which a block may miss the common shift, rotation and scale."""

FITS, MARGIN = 0.35, 0.1
"""A block speaks for the same part from this correlation on, and by this much more than in any other look-alike."""

EVIDENCE, SHARE, AMONG_OWN = 6.0, 0.25, 0.6
"""A pair is certain where blocks worth so many whole ones speak for it, this share of all blocks, and this share of
those that no other look-alike has as well."""

DOUBT = 0.8
"""Both shares are to be so high, on smooth blocks, where further look-alikes fit as well (other photographs of the
part, or other parts in the same pose), and where the product is too small for blocks of its own."""

PLENTY, MANY_BLOCKS = 0.75, 16.0
"""Seen from one side alone, shares from `PLENTY` on of so many blocks are enough."""

GAP = 0.2
"""Look-alikes that fit as well as the pair does, and better than the rest by this much of Fisher's z, may show the same
part again; they are left out of its null."""

FEW, MOST_BLOCKS = 24, 40
"""With fewer blocks than `FEW` they overlap by half; more than `MOST_BLOCKS` are thinned out evenly."""

BELOW = 3
"""So many look-alikes at least are left in the null."""

_RIM = 4  # pixels that the other picture may lack
_SHARED = 0.45
_CHANCE = 0.2
_LOCAL = (25, 25)


@dataclass(frozen=True)
class Surface:
    """A picture, prepared for being verified.

    Attributes:
        grey: the picture at the scale of verification, ``(h, w)``.
        detail: fine detail in units of its local spread, 32 a unit about 128; 128 at strong edges. ``(h, w)``.
        places: top left corner ``(y, x)`` of each block that counts, ``(n, 2)``.
        worth: what each block is worth in whole ones: less where blocks overlap, more where they were thinned out.
        smooth: which blocks have at most four times the power of the smooth quarter of them: bare surface, without
            threads and edges. ``(n,)``.
        whole: whether blocks off the product count too, because it is too small for blocks of its own.
    """

    grey: Bytes
    detail: Bytes
    places: npt.NDArray[np.intp]
    worth: float
    smooth: BoolArray
    whole: bool = False


@dataclass(frozen=True)
class Match:
    """Where the blocks of one picture fit in another.

    Attributes:
        score: correlation at the best place, ``(n,)``, 0 for a block that lies outside.
        found: top left corner ``(y, x)`` there, ``(n, 2)``.
        size: ``(height, width)`` of the other picture.
    """

    score: Float
    found: Float
    size: Size

    @cached_property
    def closeness(self) -> float:
        """Fisher's z of the median correlation of the blocks inside."""
        inside = self.score[self.score > 0]
        return float(np.arctanh(min(0.999, float(np.median(inside))))) if inside.size else 0.0


def common_detail(pictures: Sequence[Float]) -> Float:
    """What the fine detail of pictures of one size has in common at the same place.

    Args:
        pictures: fine detail, ``(h, w)`` each.
    """
    scaled = [np.clip(one / max(1e-6, float(np.abs(one).mean())), -5, 5) for one in pictures]
    return np.asarray(np.mean(scaled, axis=0), np.float32)


def surface(grey: Float, common: Float | None = None) -> Surface:
    """Prepare a picture.

    Args:
        grey: ``(h, w)``, 0…255, at the scale of verification.
        common: of pictures of this size, from :func:`common_detail`; it is taken away as far as this picture shares it.
    """
    detail, product = fine_detail(grey), on_product(grey)
    if common is not None:
        share = cv2.blur(detail * common, _LOCAL) / np.maximum(cv2.blur(common * common, _LOCAL), 1e-6)
        detail = np.asarray(detail - np.maximum(share, 0) * common, np.float32)
    calm = 1 - edges(grey, product)
    power = np.maximum(cv2.blur(detail * detail * calm, _LOCAL), 0) / np.maximum(cv2.blur(calm, _LOCAL), 1e-3)
    spread = np.sqrt(power) + 0.25
    scaled = np.clip(detail / spread, -3, 3) * calm * 32 + 128
    places, worth = _places(calm, product)
    small = product is not None and len(places) * worth < EVIDENCE
    if small:
        places, worth = _places(calm, None)
    smooth = _smooth(detail * calm, places)
    return Surface(np.round(grey).astype(np.uint8), np.round(scaled).astype(np.uint8), places, worth, smooth, small)


def _places(calm: Float, product: BoolArray | None) -> tuple[npt.NDArray[np.intp], float]:
    """Blocks without many edges, on the product; and what each is worth, since they overlap where it is small."""
    inside = np.ones_like(calm) if product is None else product.astype(np.float32)
    sums = [cv2.integral(one) for one in (calm, inside)]
    height, width = calm.shape
    for step in (BLOCK, BLOCK // 2):
        y, x = (np.arange(_RIM, side - _RIM - BLOCK + 1, step) for side in (height, width))
        parts = [
            s[np.ix_(y + BLOCK, x + BLOCK)] - s[np.ix_(y, x + BLOCK)] - s[np.ix_(y + BLOCK, x)] + s[np.ix_(y, x)]
            for s in sums
        ]
        rows, columns = np.nonzero((parts[0] >= 0.5 * BLOCK**2) & (parts[1] >= 0.6 * BLOCK**2))
        if len(rows) >= FEW:
            break
    if not len(rows):
        return np.zeros((0, 2), np.intp), 1.0
    kept = spread_indices(len(rows), MOST_BLOCKS)
    return np.stack([y[rows[kept]], x[columns[kept]]], axis=1), (step / BLOCK) ** 2 * len(rows) / len(kept)


def _smooth(detail: Float, places: npt.NDArray[np.intp]) -> BoolArray:
    """Which blocks have little detail, compared with the others."""
    if not len(places):
        return np.zeros(0, bool)
    (top, left), sums = places.T, cv2.integral(detail * detail)
    bottom, right = top + BLOCK, left + BLOCK
    power = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return np.asarray(power <= 4 * np.quantile(power, 0.25) + 0.06 * BLOCK**2)


def match_blocks(a: Surface, b: Surface, shift: tuple[float, float]) -> Match:
    """Find the blocks of `a` in `b`.

    Args:
        a: the picture whose blocks are looked for.
        b: the picture in which they are looked for.
        shift: ``(down, right)`` in pixels by which `b` is to be moved to lie over `a`.
    """
    height, width = b.detail.shape
    blocks, field = a.detail.astype(np.float32), b.detail.astype(np.float32)
    score, found = np.zeros(len(a.places), np.float32), np.zeros((len(a.places), 2), np.float32)
    for k, (y, x) in enumerate(a.places.tolist()):
        top, left = round(y - shift[0]) - SEARCH, round(x - shift[1]) - SEARCH
        y0, y1 = max(top, 0), min(top + BLOCK + 2 * SEARCH, height)
        x0, x1 = max(left, 0), min(left + BLOCK + 2 * SEARCH, width)
        if min(y1 - y0, x1 - x0) < BLOCK:
            continue
        fit = cv2.matchTemplate(field[y0:y1, x0:x1], blocks[y : y + BLOCK, x : x + BLOCK], cv2.TM_CCOEFF_NORMED)
        _, best, _, (dx, dy) = cv2.minMaxLoc(fit)
        score[k], found[k] = max(best, 1e-3), (y0 + dy, x0 + dx)
    return Match(score, found, (height, width))


def fits_together(places: npt.NDArray[np.intp], match: Match) -> BoolArray:
    """Which blocks fit by one shift, rotation and scale.

    Args:
        places: of the blocks, ``(n, 2)``.
        match: where they fit.
    """
    return _aligned(places, match)[0]


def _aligned(places: npt.NDArray[np.intp], match: Match) -> tuple[BoolArray, BoolArray]:
    """Which blocks fit together, and which lie inside the other picture if it lies as they say."""
    together, inside = np.zeros(len(places), bool), match.score > 0
    usable = np.flatnonzero(match.score > FITS)
    if len(usable) < 3:
        return together, inside
    cv2.setRNGSeed(0)
    model, inliers = cv2.estimateAffinePartial2D(
        places[usable].astype(np.float32), match.found[usable], method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE
    )
    if model is not None and 0.85 < np.hypot(model[0, 0], model[0, 1]) < 1.18:
        together[usable[inliers.ravel() > 0]] = True
        there = places @ model[:, :2].T + model[:, 2]
        inside &= np.all((there > -1) & (there < np.array(match.size) - BLOCK + 1), axis=1)
    return together, inside


def same_pixels(a: Surface, b: Surface) -> bool:
    """Whether two pictures differ by no more than rounding."""
    if a.grey.shape != b.grey.shape:
        return False
    difference = cv2.absdiff(a.grey, b.grey)
    return int(difference.max()) <= 2 and float(difference.mean()) <= 0.25


@dataclass(frozen=True)
class Support:
    """What speaks for the same part, seen from one of two pictures.

    Attributes:
        blocks: how many blocks no other look-alike has as well, in whole ones.
        share: their share of all blocks.
        among_own: their share of the blocks that other look-alikes do not have as well.
        doubtful: whether more is needed: other look-alikes fit as well, or blocks off the product count.
    """

    blocks: float = 0.0
    share: float = 0.0
    among_own: float = 0.0
    doubtful: bool = False

    @property
    def enough(self) -> bool:
        """Whether this is enough if the other picture says the same."""
        share, among_own = (DOUBT, DOUBT) if self.doubtful else (SHARE, AMONG_OWN)
        return self.blocks >= EVIDENCE and self.share >= share and self.among_own >= among_own

    @property
    def plenty(self) -> bool:
        """Whether this is enough on its own."""
        return self.blocks >= MANY_BLOCKS and min(self.share, self.among_own) >= PLENTY


def weigh(a: Surface, match: Match, others: Sequence[Match]) -> Support:
    """Weigh what a match shows beyond what other look-alikes show too.

    Args:
        a: the picture whose blocks were looked for.
        match: in the picture in question.
        others: in other look-alikes of `a`.
    """
    if not others or not len(a.places):
        return Support()
    siblings = siblings_among([match.closeness, *(other.closeness for other in others)])
    best = np.max([other.score for k, other in enumerate(others, start=1) if k not in siblings], axis=0)
    together, inside = _aligned(a.places, match)
    own = together & inside & (match.score > best + MARGIN)
    doubtful = len(siblings) > 1 or a.whole
    if doubtful:  # what fits as well in several may be the product's threads and edges
        own, inside = own & a.smooth, inside & a.smooth
    shared = inside & ~own & (best > _SHARED)
    n, n_own, n_shared = (int(one.sum()) for one in (inside, own, shared))
    return Support(n_own * a.worth, n_own / max(1, n), n_own / max(1, n - n_shared), doubtful)


def siblings_among(closeness: Sequence[float]) -> set[int]:
    """Positions of those that may show the same part as the first does, itself included.

    These are all above the lowest gap that is wide enough to tell and leaves some look-alikes below it, provided that
    the first is above it.

    Args:
        closeness: Fisher's z of each look-alike, that of the pair in question first.

    Examples:
        >>> siblings_among([0.9, 0.95, 0.2, 0.25, 0.2])
        {0, 1}
        >>> siblings_among([0.4, 0.5, 0.3])
        {0}
    """
    values = np.maximum(closeness, _CHANCE)
    order = np.argsort(values)  # the least alike first
    gaps = np.diff(values[order])
    wide = np.flatnonzero(gaps >= GAP)
    wide = wide[wide + 1 >= min(BELOW, len(closeness) - 1)]
    if not wide.size:
        return {0}
    above = {int(k) for k in order[wide[0] + 1 :]}
    return above if 0 in above else {0}
