"""Imitated defects: Good images changed inside a known region, to train a dense head on how far a defect extends.

No real mask is needed, because the changed region is known. The idea is that of CutPaste (Li et al., CVPR 2021) and
DRAEM (Zavrtanik et al., ICCV 2021): imitations need not resemble real defects; they show what "not part of this
surface" looks like, and where it ends. Shapes run from dots and hairlines to two fifths of the image, changes from a
shade that is hardly seen to another texture, because nobody knows beforehand what a defect will be. On an object before
a background most shapes are laid on the object: elsewhere they would teach where objects end, and not defects.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from weakspot.data.imitation_shapes import ANYWHERE, SHAPES, Float, Rng, laid_on, noise, structure_of
from weakspot.data.preprocess import Preprocess
from weakspot.types import BoolArray, ImageArray, Size

VISIBLE = 0.12
"""A pixel belongs to the region where it changed by this share of the image's standard deviation."""

NEARLY_SQUARE = 1.25
"""Up to this aspect ratio texture is turned by quarters: brought back to the image's shape, it is stretched by the
square of the ratio."""

IMITATION = "imitation"
VERSION = 4
"""Goes up whenever the same image and number give another imitation."""


def imitation_name(number: int) -> str:
    """Name the `number`-th imitation on an image among the image's views (:mod:`weakspot.models.feature_cache`)."""
    return f"{IMITATION}-v{VERSION}-{number}"


def named_imitation(
    image: ImageArray, image_sha256: str, name: str, region: BoolArray | None = None
) -> tuple[ImageArray, BoolArray]:
    """Make the imitation of that name on an image; it is always the same one in the same region.

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


def changeable(region: BoolArray | None, size: Size, preprocess: Preprocess) -> BoolArray | None:
    """Where an imitation may lie at the network's input: not on the border that keeps a picture's aspect ratio.

    Args:
        region: ``(H, W)``, which pixels of the input lie in the region of interest; None where all of them do.
        size: ``(height, width)`` of the picture.
        preprocess: what brought it to the network's input.

    Returns:
        ``(H, W)``; None for everywhere.
    """
    if region is not None:  # the border is outside every region of interest
        return region
    inside = np.zeros(preprocess.input_size(size), dtype=bool)
    inside[preprocess.content(size)] = True
    return None if inside.all() else inside


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
    structure = structure_of(before)
    # Between 0, an object before an empty background, and about 0.7, a surface with the same structure everywhere.
    evenness = float(np.median(structure)) / max(1e-6, float(np.quantile(structure, 0.95)))
    change = CHANGES[rng.choice(list(CHANGES))]
    if rng.random() < 1 - 2 * evenness:
        opacity = laid_on(structure, SHAPES[rng.choice(ANYWHERE)], rng)
    else:
        opacity = SHAPES[rng.choice(list(SHAPES))](image.shape[:2], rng)
    after = change(before, deviation, rng)
    mixed = np.clip(before + opacity[..., None] * (after - before), 0, 255)
    # Averaged over the region nearby: here and there a pixel of another texture has the old value.
    inside = (opacity > 0.5).astype(np.float32)
    changed = cv2.blur(np.abs(mixed - before).mean(axis=2) * inside, (9, 9))
    mask = (inside > 0) & (changed > VISIBLE * deviation * cv2.blur(inside, (9, 9)))
    return np.rint(mixed).astype(np.uint8), mask


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
    height, width = image.shape[:2]
    turns = int(rng.integers(4))
    if max(height, width) > NEARLY_SQUARE * min(height, width):
        turns = turns // 2 * 2
    turned = np.ascontiguousarray(np.rot90(image, turns)[:, :: int(rng.choice([-1, 1]))])
    moved = np.roll(cv2.resize(turned, (width, height)), (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
    return moved * np.float32(rng.uniform(0.6, 1.5)) + np.float32(0.7 * deviation * rng.normal())


def _retexture(image: Float, deviation: float, rng: Rng) -> Float:
    """Band-limited noise about the image's own mean."""
    size, cells = (image.shape[0], image.shape[1]), int(rng.integers(8, 80))
    grey = noise(size, cells, rng)[..., None]
    colour = np.stack([noise(size, cells, rng) for _ in range(3)], axis=2) * np.float32(0.3 * _colourfulness(image))
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
            image, x + far * noise(size, cells, rng), y + far * noise(size, cells, rng), cv2.INTER_LINEAR,
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


def _colourfulness(image: Float) -> float:
    """0 for a grey image, 1 for one whose channels differ as its pixels do."""
    return float(min(1.0, image.std(axis=2).mean() / max(1.0, float(image.std()))))
