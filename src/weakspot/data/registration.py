"""Whether the surface of two pictures agrees once one is registered on the other to a fraction of a pixel.

Blocks of a surface whose texture is as fine as the noise say nothing each by itself; all of it together does. So one
picture is registered on the other by an affine transform that maximises their correlation (ECC: Evangelidis and
Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", 2008), and the fine detail
of all of the product is correlated. Different parts of one product agree then as well, by their shared form, but all
about equally; the same part stands out from them by a gap.

Where all parts lie in one fixture, a cheap look finds whom to compare: every picture is registered on one of them, and
what they all have in common is taken away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.bare_surface import edges, fine_detail, on_product
from weakspot.types import BoolArray
from weakspot.utils.spread import spread_indices

Float = npt.NDArray[np.float32]
Pair = tuple[int, int]

PARTNERS = 8
"""Each picture is registered with at most so many others, so the work grows no faster than the number of pictures."""

PROPOSED = 2
"""Of each picture so many others are proposed that agree most when all are registered on one."""

IN_POSE = 0.7
"""From this correlation on two pictures show one product in the same pose."""

NULL = 3
"""So many other parts in the same pose are needed to tell how much different parts agree."""

GAP, SPREADS = 0.25, 3.0
"""The same part agrees more than any other by this much of Fisher's z, and by so many times as much as the best three
others differ among themselves."""

RIM = 12
"""Pixels at the border that do not count."""

FEWEST_PIXELS = 500
"""With fewer pixels that count in both pictures nothing is said."""

SAMPLED = 4096
"""Pixels of the surface that are compared in the cheap look."""

_STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-4)
_SCALES = (0.85, 1.18)


@dataclass(frozen=True)
class Registrable:
    """A picture, prepared for being registered.

    Attributes:
        half: blurred brightness at half the scale of verification, ``(h // 2, w // 2)``.
        detail: fine detail at the scale of verification, ``(h, w)``.
        counts: 1 on the product, off strong edges and off the rim, else 0, ``(h, w)``.
    """

    half: Float
    detail: Float
    counts: npt.NDArray[np.uint8]


def registrable(grey: Float) -> Registrable:
    """Prepare a picture.

    Args:
        grey: ``(h, w)``, 0…255, at the scale of verification.
    """
    height, width = grey.shape
    even = cv2.GaussianBlur(grey, (0, 0), 1)[: height // 2 * 2, : width // 2 * 2]
    half = cv2.resize(even, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    product = on_product(grey)
    calm = edges(grey, product) == 0
    inside = calm if product is None else calm & product
    counts = np.zeros(grey.shape, np.uint8)
    counts[RIM : height - RIM, RIM : width - RIM] = inside[RIM : height - RIM, RIM : width - RIM]
    return Registrable(np.asarray(half, np.float32), fine_detail(grey), counts)


def transform(a: Registrable, b: Registrable, shift: tuple[float, float]) -> Float | None:
    """Register `b` on `a`.

    Args:
        a: the picture that stays.
        b: the picture that moves.
        shift: ``(down, right)`` in pixels by which `b` is to be moved to lie about over `a`.

    Returns:
        ``(2, 3)``: from ``(x, y, 1)`` in `a` to the same point in `b`, at the scale of verification; None where nothing
        fits.
    """
    found = np.array([[1, 0, -shift[1] / 2], [0, 1, -shift[0] / 2]], np.float32)
    try:
        for motion in (cv2.MOTION_EUCLIDEAN, cv2.MOTION_AFFINE):
            # The stubs do not know that None is a mask.
            _, found = cv2.findTransformECC(a.half, b.half, found, motion, _STEPS, None, 3)  # type: ignore[call-overload]
    except cv2.error:  # it does not converge
        return None
    scale = float(np.sqrt(abs(np.linalg.det(found[:, :2]))))
    if not _SCALES[0] < scale < _SCALES[1]:
        return None
    # The middle of the first pixel lies at 0.5 of two pixels in the larger picture.
    moved = 2 * found[:, 2] + 0.5 - 0.5 * found[:, :2].sum(axis=1)
    return np.column_stack([found[:, :2], moved]).astype(np.float32)


def similarity(a: Registrable, b: Registrable, shift: tuple[float, float]) -> float:
    """Correlation of the fine detail of two pictures where both count, after registration.

    Args:
        a: the picture that stays.
        b: the picture that moves.
        shift: as for :func:`transform`.

    Returns:
        −1…1; 0 where they cannot be registered, or hardly overlap.
    """
    model = transform(a, b, shift)
    if model is None:
        return 0.0
    there, counts = _warped(b, model, a.detail.shape)
    both = counts & (a.counts > 0)
    if both.sum() < FEWEST_PIXELS:
        return 0.0
    one, other = _standard(a.detail[both]), _standard(there[both])
    return float(np.clip((one * other).mean(), -1, 1))


def _warped(b: Registrable, model: Float, shape: tuple[int, ...]) -> tuple[Float, BoolArray]:
    """Fine detail of `b` where it lies over another picture, and where that counts."""
    size, back = (shape[1], shape[0]), cv2.WARP_INVERSE_MAP
    detail = cv2.warpAffine(b.detail, model, size, flags=cv2.INTER_CUBIC | back)
    return np.asarray(detail, np.float32), cv2.warpAffine(b.counts, model, size, flags=cv2.INTER_NEAREST | back) > 0


def _standard(values: Float) -> Float:
    """Values of mean 0 and standard deviation 1, the outermost hundredths clipped; 0 where all are equal."""
    clipped = np.clip(values, *np.quantile(values, [0.01, 0.99]))
    clipped = clipped - clipped.mean()
    return np.asarray(clipped / max(float(clipped.std()), 1e-6), np.float32)


# --- whom to compare ----------------------------------------------------------------------------------------------


def sampled_places(reference: Registrable) -> npt.NDArray[np.intp]:
    """Where the surface is compared when all pictures are registered on one: ``(n, 2)``, rows and columns.

    Args:
        reference: the picture on which all are registered.
    """
    places = np.argwhere(reference.counts)
    return places[spread_indices(len(places), SAMPLED)]


def sampled_surface(
    reference: Registrable, picture: Registrable, shift: tuple[float, float], places: npt.NDArray[np.intp]
) -> Float:
    """Fine detail of a picture at some places of the reference on which it is registered.

    Args:
        reference: the picture on which all are registered.
        picture: the one in question.
        shift: as for :func:`transform`.
        places: from :func:`sampled_places`.

    Returns:
        ``(len(places),)``, standardised; zeros where it cannot be registered.
    """
    model = transform(reference, picture, shift)
    if model is None or not len(places):
        return np.zeros(len(places), np.float32)
    return _standard(_warped(picture, model, reference.detail.shape)[0][tuple(places.T)])


def proposals(surfaces: Float) -> Iterator[list[int]]:
    """For each picture the others that agree most with it in what not all have in common.

    Args:
        surfaces: from :func:`sampled_surface`, ``(n, k)``.
    """
    own = surfaces - surfaces.mean(axis=0)
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6)
    k = min(PROPOSED, len(own) - 1)
    for start in range(0, len(own), 512):
        alike = own[start : start + 512] @ own.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = -np.inf
        for row in alike:
            likely = np.argpartition(-row, k - 1)[:k]
            yield [int(j) for j in likely[np.argsort(-row[likely])]]


def partners(
    apart: Mapping[Pair, float], likely: Sequence[Sequence[int]] = (), most: int = PARTNERS
) -> dict[int, list[int]]:
    """Whom each picture is registered with: first those that were proposed, then those whose blocks fit best.

    Args:
        apart: pairs that look alike and are not certain, and how well their blocks fit.
        likely: for each picture those that were proposed; empty for none.
        most: so many for each picture at most.
    """
    ranked: dict[int, list[tuple[bool, float, int]]] = defaultdict(list)
    for (a, b), closeness in apart.items():
        for one, other in ((a, b), (b, a)):
            proposed = bool(likely) and (other in likely[one] or one in likely[other])
            ranked[one].append((not proposed, -closeness, other))
    return {one: [other for *_, other in sorted(ranks)[:most]] for one, ranks in sorted(ranked.items())}


# --- the gap ------------------------------------------------------------------------------------------------------


def standing_out(similarities: Mapping[int, float]) -> set[int]:
    """Which look-alikes of a picture agree with it as only the same part does.

    These are all above the first gap that is wide enough and leaves three others in the same pose below it.

    Args:
        similarities: of each look-alike, from :func:`similarity`.

    Examples:
        >>> standing_out({3: 0.97, 4: 0.85, 5: 0.84, 6: 0.84})
        {3}
        >>> standing_out({3: 0.87, 4: 0.85, 5: 0.84, 6: 0.84})
        set()
    """
    ranked = sorted(similarities, key=lambda k: -similarities[k])
    in_pose = [k for k in ranked if similarities[k] >= IN_POSE]
    z = np.arctanh(np.minimum([similarities[k] for k in in_pose], 0.9999))
    for first in range(1, len(in_pose) - NULL + 1):
        spread = float(z[first] - z[first + NULL - 1])
        if z[first - 1] - z[first] >= max(GAP, SPREADS * spread):
            return set(in_pose[:first])
    return set()


def seen_from_both(partners: Mapping[int, Sequence[int]], similarities: Mapping[Pair, float]) -> list[Pair]:
    """Pairs that stand out from the look-alikes of either picture.

    Args:
        partners: whom each picture was registered with.
        similarities: of pairs with first < second.
    """
    out = {a: standing_out({b: similarities[min(a, b), max(a, b)] for b in others}) for a, others in partners.items()}
    return sorted((a, b) for a in out for b in out[a] if a < b and a in out.get(b, set()))
