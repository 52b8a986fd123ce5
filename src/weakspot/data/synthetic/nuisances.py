"""What disturbs the picture of a good and of a defective part alike."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.synthetic.scene import Float, Nuisance, Rng, axes, mix, wander
from weakspot.types import ImageArray


def dust(image: Float, rng: Rng, most: float = 0.016) -> Float:
    """Scatter dark and bright specks of dirt over an image.

    Args:
        image: RGB 0…1, ``(h, w, 3)``.
        rng: decides number, size, place and colour.
        most: share of the image that the dark specks may cover at most, and the bright ones as well.

    Returns:
        The image with dust, of the same shape.
    """
    height, width = image.shape[:2]
    unit = min(height, width) / 200
    for low, high in ((0.04, 0.25), (0.6, 0.92)):
        layer, covered = np.zeros((2 * height, 2 * width), np.uint8), 0.0
        amount = rng.uniform(0, 1) ** 2 * most * height * width
        while covered < amount:
            a, b = np.exp(rng.uniform(np.log(0.5), np.log(3.2), 2)) * unit
            centre = rng.integers(0, (2 * width, 2 * height)).tolist()
            cv2.ellipse(layer, (centre, (4 * a, 4 * b), rng.uniform(0, 180)), 255, -1, cv2.LINE_AA)
            covered += np.pi * a * b
        image = _overlay(image, layer, rng.uniform(low, high) * (1 + rng.normal(0, 0.06, 3)), rng.uniform(0.5, 0.95))
    return image


def lint(image: Float, rng: Rng, most: int = 3) -> Float:
    """Lay thin curly fibres over an image.

    Args:
        image: RGB 0…1, ``(h, w, 3)``.
        rng: decides number, place, shape and colour.
        most: largest number of dark fibres, and of bright ones.

    Returns:
        The image with lint, of the same shape.
    """
    height, width = image.shape[:2]
    unit = min(height, width) / 200
    for low, high in ((0.05, 0.25), (0.65, 0.95)):
        layer = np.zeros((2 * height, 2 * width), np.uint8)
        for _ in range(int(rng.integers(most + 1))):
            start, length = tuple(rng.uniform(0, (2 * height, 2 * width))), rng.uniform(60, 180) * unit
            points = wander(rng, start, length, rng.uniform(0, 6.3), rng.uniform(0.8, 2.6), 0.15, 40)
            fixed = np.round(points[:, ::-1] * 16).astype(np.int32)
            cv2.polylines(layer, [fixed], False, 255, 2, cv2.LINE_AA, 4)
        image = _overlay(image, layer, rng.uniform(low, high) * (1 + rng.normal(0, 0.06, 3)), rng.uniform(0.5, 0.95))
    return image


def _overlay(image: Float, layer: ImageArray, colour: npt.ArrayLike, opacity: float) -> Float:
    """Things of one colour (`layer`, 0…255, twice the size) laid on the image, their soft shadow to the lower right."""
    amount = cv2.resize(layer, image.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / np.float32(255)
    shadow = cv2.GaussianBlur(np.roll(amount, (2, 2), (0, 1)), (0, 0), 1.6)
    return mix(np.asarray(image * (1 - 0.3 * shadow[..., None]), np.float32), amount * opacity, colour)


def light(image: Float, rng: Rng) -> Float:
    """Light an image unevenly: a slope over all of it, and a vignette or a lighter middle.

    Args:
        image: RGB 0…1, ``(h, w, 3)``.
        rng: decides direction and strength.

    Returns:
        The image in that light, of the same shape.
    """
    y, x = axes((image.shape[0], image.shape[1]))
    y, x = y / image.shape[0], x / image.shape[1]
    angle = rng.uniform(0, 2 * np.pi)
    field_ = 1 + rng.uniform(0, 0.4) * (x * np.cos(angle) + y * np.sin(angle)) - rng.uniform(-0.15, 0.5) * (x**2 + y**2)
    return np.asarray(image * field_[..., None], np.float32)


def exposure(image: Float, rng: Rng, span: float = 0.22) -> Float:
    """Vary brightness, contrast, gamma and white balance, as they differ from picture to picture.

    Args:
        image: RGB 0…1, ``(h, w, 3)``.
        rng: decides how much of each.
        span: brightness varies by up to this share; contrast and gamma vary by about as much.

    Returns:
        The developed image, 0…1, of the same shape.
    """
    gain = rng.uniform(1 - span, 1 + span) * (
        1 + rng.uniform(-0.06, 0.06) * np.array([1, 0.1, -1]) + rng.normal(0, 0.01, 3)
    )
    grey, contrast = 0.42, rng.uniform(1 - 1.1 * span, 1 + 0.9 * span)
    developed = np.clip((image * gain - grey) * contrast + grey, 0, 1) ** rng.uniform(1 - 0.9 * span, 1 + 1.1 * span)
    return np.asarray(developed, np.float32)


def focus(image: Float, rng: Rng) -> Float:
    """Blur an image slightly, or hardly at all.

    Args:
        image: RGB 0…1, ``(h, w, 3)``.
        rng: decides how much.

    Returns:
        The image, of the same shape.
    """
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.95)), np.float32)


NUISANCES: Mapping[str, Nuisance] = {"dust": dust, "lint": lint, "light": light, "exposure": exposure, "focus": focus}
"""What happens to every picture after rendering, in this order; sensor noise comes last."""

CLEAN_ROOM: Mapping[str, Nuisance] = {
    **NUISANCES,
    "dust": partial(dust, most=0.008),
    "lint": partial(lint, most=1),
    "exposure": partial(exposure, span=0.15),
}
"""Less of it, for a part whose own edges make it hard enough."""
