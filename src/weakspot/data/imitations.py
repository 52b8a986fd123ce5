"""Imitated defects: Good images changed inside a known region, to train a dense head on how far a defect extends.

No real mask is needed, because the changed region is known. The idea is that of CutPaste (Li et al., CVPR 2021) and
DRAEM (Zavrtanik et al., ICCV 2021): imitations need not resemble real defects; they show what "not part of this
surface" looks like, and where it ends. Shapes run from dots and hairlines to two fifths of the image, changes from a
shade that is hardly seen to another texture, because nobody knows beforehand what a defect will be.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import BoolArray, ImageArray, Size

Float = npt.NDArray[np.float32]
Rng = np.random.Generator

VISIBLE = 0.12
"""A pixel belongs to the region where it changed by this share of the image's standard deviation."""


IMITATION = "imitation"
VERSION = 2
"""Goes up whenever the same image and number give another imitation."""


def imitation_name(number: int) -> str:
    """Name the `number`-th imitation on an image among the image's views (:mod:`weakspot.models.feature_cache`)."""
    return f"{IMITATION}-v{VERSION}-{number}"


def named_imitation(
    image: ImageArray, image_sha256: str, name: str, region: BoolArray | None = None
) -> tuple[ImageArray, BoolArray]:
    """Make the imitation of that name on an image; it is always the same one.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        image_sha256: hash of the file it was read from.
        name: from :func:`imitation_name`.
        region: ``(H, W)``, where the image may change; None for everywhere.

    Returns:
        As :func:`imitate_defect`, the first of at most twenty tries that can be seen.
    """
    rng = np.random.default_rng([int(image_sha256[:16], 16), int(name.rsplit("-", 1)[1])])
    smallest = max(2, image.shape[0] * image.shape[1] // 17_000)
    for _ in range(20):
        changed, mask = imitate_defect(image, rng)
        if region is not None:
            changed, mask = np.where(region[..., None], changed, image), mask & region
        if mask.sum() >= smallest:
            break
    return changed, mask


def imitate_defect(image: ImageArray, rng: Rng) -> tuple[ImageArray, BoolArray]:
    """Change a random region of a Good image in a random way.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        rng: decides everything.

    Returns:
        The changed image, and the mask ``(H, W)`` of the pixels that visibly changed; it is empty where the change
        cannot be seen.
    """
    before = image.astype(np.float32)
    deviation = max(8.0, float(before.std()))
    shape = SHAPES[rng.choice(list(SHAPES))]
    change = CHANGES[rng.choice(list(CHANGES))]
    opacity = shape(image.shape[:2], rng)
    after = change(before, deviation, rng)
    mixed = np.clip(before + opacity[..., None] * (after - before), 0, 255)
    # Averaged over the region nearby: here and there a pixel of another texture has the old value.
    inside = (opacity > 0.5).astype(np.float32)
    changed = cv2.blur(np.abs(mixed - before).mean(axis=2) * inside, (9, 9))
    mask = (inside > 0) & (changed > VISIBLE * deviation * cv2.blur(inside, (9, 9)))
    return np.rint(mixed).astype(np.uint8), mask


# --- shapes: from a size and random numbers to an opacity (H, W), 0…1 ---------------------------------------------


def _spot(size: Size, rng: Rng) -> Float:
    """An ellipse, from a dot to an eighth of the image wide."""
    unit = np.sqrt(size[0] * size[1])
    radius = unit * np.exp(rng.uniform(np.log(0.008), np.log(0.12)))
    longer = np.exp(rng.uniform(-0.6, 0.6))
    canvas = np.zeros(size, np.float32)
    centre = (int(rng.integers(size[1])), int(rng.integers(size[0])))
    axes = (max(1, round(radius * longer)), max(1, round(radius / longer)))
    cv2.ellipse(canvas, centre, axes, rng.uniform(0, 180), 0, 360, 1.0, -1)
    return _soften(canvas, rng, (0, 1, 2, 3))


def _specks(size: Size, rng: Rng) -> Float:
    """A few dots close together."""
    unit = np.sqrt(size[0] * size[1])
    centre = rng.uniform((0, 0), (size[1], size[0]))
    canvas = np.zeros(size, np.float32)
    for _ in range(int(rng.integers(1, 5))):
        x, y = centre + rng.normal(size=2) * 0.04 * unit
        cv2.circle(canvas, (int(x), int(y)), int(rng.integers(2, 2 + max(2, unit // 45))), 1.0, -1)
    return _soften(canvas, rng, (0, 1, 2))


def _line(size: Size, rng: Rng) -> Float:
    """A thin bent line: a crack, a scratch, a fibre."""
    unit = np.sqrt(size[0] * size[1])
    step = unit * np.exp(rng.uniform(np.log(0.03), np.log(0.15)))
    directions = rng.uniform(0, 2 * np.pi) + 0.5 * np.cumsum(rng.normal(size=int(rng.integers(3, 8))))
    steps = step * np.stack([np.cos(directions), np.sin(directions)], axis=1)
    points = rng.uniform((0, 0), (size[1], size[0])) + np.cumsum(steps, axis=0)
    canvas = np.zeros(size, np.float32)
    cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, 1.0, int(rng.integers(1, 5)))
    return _soften(canvas, rng, (0, 1, 2))


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
    return _soften(canvas, rng, (0, 0, 1))


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
    return _soften(canvas, rng, (0, 1, 2, 4))


def _patch(size: Size, rng: Rng) -> Float:
    """One ragged region of up to a tenth of the image."""
    field = _noise(size, int(rng.integers(3, 9)), rng)
    hot = field > np.quantile(field, 1 - rng.uniform(0.01, 0.08))
    _, labels = cv2.connectedComponents(hot.astype(np.uint8), connectivity=8)
    chosen = labels == rng.integers(1, max(2, labels.max() + 1))
    return _soften(chosen.astype(np.float32), rng, (0, 1, 2, 3))


def _field(size: Size, rng: Rng) -> Float:
    """A large region, up to a third of the image, with a soft edge."""
    field = _noise(size, int(rng.integers(2, 4)), rng)
    hot = field > np.quantile(field, 1 - rng.uniform(0.05, 0.35))
    return _soften(hot.astype(np.float32), rng, (1, 2, 4, 8))


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
    ragged = 1 + np.float32(0.3) * _noise(size, int(rng.integers(4, 16)), rng)
    return _soften((distance < radius * ragged).astype(np.float32), rng, (0, 1, 2))


def _band(size: Size, rng: Rng) -> Float:
    """Everything on one side of a straight or wavy border: a strip along an edge, a third of the image at most."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = rng.integers(4) * np.pi / 2 + rng.normal() * 0.25
    across = np.sin(angle) * (rows / size[0] - 0.5) + np.cos(angle) * (columns / size[1] - 0.5)
    across += np.float32(rng.choice([0, 0, 0.03])) * _noise(size, int(rng.integers(2, 12)), rng)
    return _soften((across > np.quantile(across, 1 - rng.uniform(0.04, 0.35))).astype(np.float32), rng, (0, 1, 2, 4, 8))


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


# --- changes: what the image would be everywhere, (H, W, 3), 0…255 ------------------------------------------------


def _recolour(image: Float, deviation: float, rng: Rng) -> Float:
    """Darker, brighter or another colour; a grey image stays grey."""
    tint = 0.3 * rng.normal(size=3) * _colourfulness(image)
    strength = np.exp(rng.uniform(np.log(0.2), np.log(2.5)))
    return image + np.float32(strength * deviation) * np.asarray(rng.choice([-1, 1]) + tint, np.float32)


def _shade(image: Float, deviation: float, rng: Rng) -> Float:
    """Light that falls off smoothly from one side to the other."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    across = np.sin(angle) * (rows / image.shape[0] - 0.5) + np.cos(angle) * (columns / image.shape[1] - 0.5)
    strength = np.float32(rng.choice([-1, 1]) * rng.uniform(0.3, 2.0) * deviation)
    return np.asarray(image + strength * (np.float32(rng.uniform(0.3, 1)) + across)[..., None], np.float32)


def _smear(image: Float, deviation: float, rng: Rng) -> Float:
    """Wiped along the grain, which is the direction that the image changes least in."""
    grey = image.mean(axis=2)
    down, right = (float(np.abs(np.diff(grey, axis=axis)).mean()) for axis in (0, 1))
    length = max(3, round(max(image.shape[:2]) * rng.uniform(0.02, 0.15)))
    kernel = (1, length) if down < right else (length, 1)
    shift = np.float32(rng.uniform(-1, 1) * deviation)
    return np.asarray(cv2.blur(image, kernel) + shift, np.float32)


def _paste(image: Float, deviation: float, rng: Rng) -> Float:
    """Another place of the same image, turned, mirrored and lit differently."""
    turned = np.ascontiguousarray(np.rot90(image, int(rng.integers(4)))[:, :: int(rng.choice([-1, 1]))])
    height, width = image.shape[:2]
    moved = np.roll(cv2.resize(turned, (width, height)), (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
    return moved * np.float32(rng.uniform(0.6, 1.5)) + np.float32(0.7 * deviation * rng.normal())


def _retexture(image: Float, deviation: float, rng: Rng) -> Float:
    """Band-limited noise about the image's own mean."""
    size, cells = (image.shape[0], image.shape[1]), int(rng.integers(8, 80))
    grey = _noise(size, cells, rng)[..., None]
    colour = np.stack([_noise(size, cells, rng) for _ in range(3)], axis=2) * np.float32(0.3 * _colourfulness(image))
    level = image.mean(axis=(0, 1)) + np.float32(deviation * rng.normal())
    return np.asarray(level + np.float32(rng.uniform(0.5, 1.5) * deviation) * (grey + colour), np.float32)


def _flatten(image: Float, deviation: float, rng: Rng) -> Float:
    """Fine structure wiped away or exaggerated."""
    smooth = cv2.GaussianBlur(image, (0, 0), max(image.shape[:2]) / 40)
    gain = np.float32(rng.choice([rng.uniform(0, 0.4), rng.uniform(1.8, 3)]))
    return np.asarray(smooth + (image - smooth) * gain + np.float32(0.3 * deviation * rng.normal()), np.float32)


def _bend(image: Float, deviation: float, rng: Rng) -> Float:
    """The same structure, shifted and twisted."""
    size = (image.shape[0], image.shape[1])
    far = np.float32(max(size) * rng.uniform(0.02, 0.08))
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    cells = int(rng.integers(2, 8))
    return np.asarray(
        cv2.remap(
            image, x + far * _noise(size, cells, rng), y + far * _noise(size, cells, rng), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        ),
        np.float32,
    )  # fmt: skip


CHANGES: dict[str, Callable[[Float, float, Rng], Float]] = {
    "recolour": _recolour,
    "shade": _shade,
    "paste": _paste,
    "retexture": _retexture,
    "flatten": _flatten,
    "bend": _bend,
    "smear": _smear,
}


def _noise(size: Size, cells: int, rng: Rng) -> Float:
    """Smooth noise of unit variance at its knots, `cells` of them along each side."""
    knots = rng.normal(size=(cells + 1, cells + 1)).astype(np.float32)
    return np.asarray(cv2.resize(knots, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _soften(canvas: Float, rng: Rng, sigmas: tuple[int, ...]) -> Float:
    sigma = float(rng.choice(sigmas))
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), sigma) if sigma else canvas, np.float32)


def _colourfulness(image: Float) -> float:
    """0 for a grey image, 1 for one whose channels differ as its pixels do."""
    return float(min(1.0, image.std(axis=2).mean() / max(1.0, float(image.std()))))
