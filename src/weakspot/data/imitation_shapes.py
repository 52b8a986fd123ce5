"""Shapes of imitated defects: from a size and random numbers to an opacity ``(H, W)``, 0…1, and where it is laid.

To add one, write a function and name it in :data:`SHAPES`, and in :data:`ANYWHERE` if any place suits it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import Size

Float = npt.NDArray[np.float32]
Rng = np.random.Generator


def _spot(size: Size, rng: Rng) -> Float:
    """An ellipse, from a dot to an eighth of the image wide."""
    unit = np.sqrt(size[0] * size[1])
    radius = unit * np.exp(rng.uniform(np.log(0.008), np.log(0.12)))
    longer = np.exp(rng.uniform(-0.6, 0.6))
    canvas = np.zeros(size, np.float32)
    centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
    axes = (max(1, round(radius * longer)), max(1, round(radius / longer)))
    cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    return soften(canvas, rng, (0, 1, 2, 3))


def _specks(size: Size, rng: Rng) -> Float:
    """A few dots close together."""
    unit = np.sqrt(size[0] * size[1])
    centre = rng.uniform((0, 0), (size[1], size[0]))
    canvas = np.zeros(size, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        x, y = centre + rng.normal(size=2) * 0.04 * unit
        cv2.circle(canvas, (int(x), int(y)), int(rng.integers(2, 2 + max(2, unit // 45))), 1.0, -1)
    return soften(canvas, rng, (0, 1, 2))


def _line(size: Size, rng: Rng) -> Float:
    """A thin bent line: a crack, a scratch, a fibre."""
    unit = np.sqrt(size[0] * size[1])
    step = unit * np.exp(rng.uniform(np.log(0.03), np.log(0.15)))
    directions = rng.uniform(0, 2 * np.pi) + 0.5 * np.cumsum(rng.normal(size=int(rng.integers(3, 8))))
    steps = step * np.stack([np.cos(directions), np.sin(directions)], axis=1)
    points = rng.uniform((0, 0), (size[1], size[0])) + np.cumsum(steps, axis=0)
    canvas = np.zeros(size, np.float32)
    cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1.0, int(rng.integers(1, 5)))
    return soften(canvas, rng, (0, 1, 2))


def _hairline(size: Size, rng: Rng) -> Float:
    """A crack one or two pixels wide: long, nearly straight, often from the image's edge, with a branch or two."""
    canvas = np.zeros(size, np.float32)
    length = np.sqrt(size[0] * size[1]) * np.exp(rng.uniform(np.log(0.08), np.log(0.9)))
    start = rng.uniform((0, 0), (size[1], size[0]))
    if rng.random() < 0.4:
        axis = int(rng.integers(2))
        start[axis] = rng.choice([0, (size[1], size[0])[axis] - 1])
    angle = rng.choice([rng.uniform(0, 2 * np.pi), rng.integers(4) * np.pi / 2 + 0.1 * rng.normal()])
    width = int(rng.integers(1, 3))
    for share in (1.0, *rng.uniform(0.1, 0.4, size=int(rng.choice([0, 0, 1, 2])))):
        turns = angle + 0.12 * np.cumsum(rng.normal(size=max(3, round(24 * share))))
        steps = share * length / len(turns) * np.stack([np.cos(turns), np.sin(turns)], axis=1)
        points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
        cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1.0, width)
        if share == 1.0:
            trunk = points
        start = trunk[int(rng.integers(len(trunk)))]
        angle += rng.choice([-1, 1]) * rng.uniform(0.3, 1.0)
    return soften(canvas, rng, (0, 0, 1))


def _panel(size: Size, rng: Rng) -> Float:
    """A large region with straight sides, nearly always at the image's edge: a strip or corner worked differently."""
    sides = np.minimum(1, np.exp(rng.uniform(np.log(0.12), np.log(0.9), size=2)))
    if sides.prod() > 0.4:
        sides[int(rng.integers(2))] *= 0.4 / sides.prod()
    low = rng.uniform(0, 1, size=2) * (1 - sides)
    if rng.random() < 0.8:
        axis = int(rng.integers(2))
        low[axis] = rng.choice([0, 1 - sides[axis]])
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides + low + 0.02 * rng.normal(size=(4, 2))
    canvas = np.zeros(size, np.float32)
    cv2.fillPoly(canvas, [np.rint(corners * (size[1], size[0])).astype(np.int32)], 1.0)
    return soften(canvas, rng, (0, 1, 2, 4))


def _patch(size: Size, rng: Rng) -> Float:
    """One ragged region of up to a tenth of the image."""
    field = noise(size, int(rng.integers(3, 9)), rng)
    hot = field > np.quantile(field, 1 - rng.uniform(0.01, 0.08))
    _, labels = cv2.connectedComponents(hot.astype(np.uint8), connectivity=8)
    chosen = labels == rng.integers(1, max(2, labels.max() + 1))
    return soften(chosen.astype(np.float32), rng, (0, 1, 2, 3))


def _field(size: Size, rng: Rng) -> Float:
    """A large region, up to a third of the image, with a soft edge."""
    field = noise(size, int(rng.integers(2, 4)), rng)
    hot = field > np.quantile(field, 1 - rng.uniform(0.05, 0.35))
    return soften(hot.astype(np.float32), rng, (1, 2, 4, 8))


def _bite(size: Size, rng: Rng) -> Float:
    """A piece out of the image's edge: a ragged disc whose centre lies near it, or beyond."""
    unit = np.sqrt(size[0] * size[1])
    along, across = rng.uniform(), rng.uniform(-0.04, 0.03)
    y, x = (along, across) if rng.random() < 0.5 else (across, along)
    y, x = (1 - y, 1 - x) if rng.random() < 0.5 else (y, x)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    stretch = np.float32(np.exp(rng.uniform(-0.7, 0.7)))
    distance = np.hypot((rows - y * size[0]) * stretch, (columns - x * size[1]) / stretch)
    radius = unit * np.exp(rng.uniform(np.log(0.03), np.log(0.2)))
    ragged = 1 + np.float32(0.3) * noise(size, int(rng.integers(4, 16)), rng)
    return soften((distance < radius * ragged).astype(np.float32), rng, (0, 1, 2))


def _band(size: Size, rng: Rng) -> Float:
    """Everything on one side of a straight or wavy border: a strip along an edge, a third of the image at most."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = rng.integers(4) * np.pi / 2 + rng.normal() * 0.25
    across = np.sin(angle) * (rows / size[0] - 0.5) + np.cos(angle) * (columns / size[1] - 0.5)
    across += np.float32(rng.choice([0, 0, 0.03])) * noise(size, int(rng.integers(2, 12)), rng)
    return soften((across > np.quantile(across, 1 - rng.uniform(0.04, 0.35))).astype(np.float32), rng, (0, 1, 2, 4, 8))


SHAPES: dict[str, Callable[[Size, Rng], Float]] = {
    "spot": _spot,
    "specks": _specks,
    "line": _line,
    "hairline": _hairline,
    "patch": _patch,
    "field": _field,
    "bite": _bite,
    "band": _band,
    "panel": _panel,
}


ANYWHERE = ("spot", "specks", "line", "hairline", "patch")
"""Shapes that may lie in any place; the others belong to the image's edge, or are as large as a third of it."""


def structure_of(image: Float) -> Float:
    """How much an image changes from pixel to pixel, smoothed: high on an object, low on a background.

    Args:
        image: ``(H, W, 3)``, 0…255.

    Returns:
        ``(H, W)``, length of the gradient of grey, 0 or more.
    """
    grey = image.mean(axis=2)
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    return np.asarray(cv2.GaussianBlur(gradient, (0, 0), max(image.shape[:2]) / 100), np.float32)


WHOLE_TRIES = 5
"""So often at most is a shape drawn that is to be moved, until it lies in the image whole."""


def laid_on(structure: Float, draw: Callable[[Size, Rng], Float], rng: Rng) -> Float:
    """Draw a shape that lies in the image whole, where that succeeds, and lay it where there is structure.

    Args:
        structure: from :func:`structure_of`.
        draw: one of :data:`SHAPES`.
        rng: decides everything.

    Returns:
        The opacity ``(H, W)``, 0…1.
    """
    for _ in range(WHOLE_TRIES):
        opacity = draw((structure.shape[0], structure.shape[1]), rng)
        if not touches_rim(opacity):
            break
    return moved_onto(structure, opacity, rng)


def touches_rim(opacity: Float) -> bool:
    """Whether a shape reaches the image's edge, so that a part of it may be cut off.

    Args:
        opacity: ``(H, W)``, 0…1.
    """
    return bool(max(side.max() for side in (opacity[0], opacity[-1], opacity[:, 0], opacity[:, -1])) > 0.5)


def moved_onto(structure: Float, opacity: Float, rng: Rng) -> Float:
    """Move a shape so that a random pixel of it lies on one with more structure than half of the image has.

    Args:
        structure: from :func:`structure_of`; the more of it a place has, the likelier it is chosen.
        opacity: ``(H, W)``, 0…1.
        rng: decides where to.

    Returns:
        The opacity, moved; as it was where the shape touches the image's edge, which would become an edge of the shape,
        and in an image that has the same structure everywhere.
    """
    inside = np.argwhere(opacity > 0.5)
    weights = np.maximum(structure - np.median(structure), 0).ravel().astype(np.float64)
    if touches_rim(opacity) or not len(inside) or not weights.any():
        return opacity
    target = np.unravel_index(int(rng.choice(weights.size, p=weights / weights.sum())), structure.shape)
    down, right = np.array(target) - inside[int(rng.integers(len(inside)))]
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return np.asarray(cv2.warpAffine(opacity, move, opacity.shape[::-1], flags=cv2.INTER_NEAREST), np.float32)


def noise(size: Size, cells: int, rng: Rng) -> Float:
    """Smooth noise ``(H, W)`` of unit variance at its knots, `cells` of them along each side."""
    knots = rng.normal(size=(cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(cv2.resize(knots, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def soften(canvas: Float, rng: Rng, sigmas: tuple[int, ...]) -> Float:
    """Blur an opacity with a Gaussian of one of these deviations, in pixels; 0 leaves it as it is."""
    sigma = float(rng.choice(sigmas))
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma) if sigma else canvas, np.float32)
