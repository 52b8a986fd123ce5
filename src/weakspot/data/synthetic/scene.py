"""A physical scene and what every surface, defect and nuisance is drawn with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.types import Size

Float = npt.NDArray[np.float32]
Rng = np.random.Generator
SUPERSAMPLING = 2
"""Scenes are drawn this many times larger than the picture."""


@dataclass
class Scene:
    """What stands before the camera, at `SUPERSAMPLING` times the final resolution.

    Attributes:
        albedo: colour of the part, RGB 0…1, shape ``(h, w, 3)``.
        height: relief of the part in pixels, shape ``(h, w)``.
        solid: 1 where there is material, 0 where one looks through to `under`, shape ``(h, w)``.
        under: colour of what lies under the part, RGB 0…1, shape ``(h, w, 3)``.
        gloss: strength of the highlight, 0 (matt) and up.
        grid: two coordinate fields that belong to the surface: warp and weft, in yarns, of a fabric; radius (1 = tip of
            the teeth) and angle of a gear; row and column of a sheet.
    """

    albedo: Float
    height: Float
    solid: Float
    under: Float
    gloss: float
    grid: tuple[Float, Float] = field(repr=False)

    @property
    def shape(self) -> Size:
        """``(height, width)`` of the scene in its own pixels."""
        return self.height.shape[0], self.height.shape[1]

    @property
    def unit(self) -> float:
        """Scene pixels per nominal pixel (of a 200-pixel-high image)."""
        return min(self.shape) / 200

    def copy(self) -> Scene:
        """A scene that can be changed without changing this one (`under` and `grid` are shared)."""
        return replace(self, albedo=self.albedo.copy(), height=self.height.copy(), solid=self.solid.copy())


Surface = Callable[[Rng, Size], Scene]
"""Generator and scene size to a part without defect."""
Defect = Callable[[Scene, Rng], None]
"""Changes the scene in place; draws size, place and strength from the generator."""
Nuisance = Callable[[Float, Rng], Float]
"""RGB image 0…1 to RGB image; what it draws from the generator must not depend on the image."""


def rng_for(*key: object) -> Rng:
    """A generator that depends on the key alone, on every platform and in every order of calls."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:16], "big"))


def noise(rng: Rng, shape: Size, sigma_x: float, sigma_y: float | None = None) -> Float:
    """Draw smooth noise of mean 0 and standard deviation 1; wide noise is drawn small and enlarged.

    Args:
        rng: draws it.
        shape: ``(height, width)``.
        sigma_x: deviation of the Gaussian that smooths along rows, in pixels.
        sigma_y: the same along columns; None takes `sigma_x`.

    Returns:
        float32 of `shape`.
    """
    sigma_y = sigma_x if sigma_y is None else sigma_y
    step_x, step_y = max(1, int(sigma_x / 3)), max(1, int(sigma_y / 3))
    small = (shape[0] // step_y + 2, shape[1] // step_x + 2)
    raw = cv2.GaussianBlur(rng.standard_normal(small, np.float32), (0, 0), sigma_x / step_x, sigmaY=sigma_y / step_y)
    out = cv2.resize(raw, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((out - out.mean()) / (out.std() + 1e-6), np.float32)


def axes(shape: Size) -> tuple[Float, Float]:
    """Row and column of every pixel, relative to the centre."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return y - shape[0] / 2, x - shape[1] / 2


def smooth_step(x: npt.NDArray[np.floating[Any]]) -> Float:
    """Smooth step from 0 (x ≤ 0) to 1 (x ≥ 1)."""
    t = np.clip(np.asarray(x, np.float32), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def place(scene: Scene, rng: Rng, margin: float = 12) -> tuple[float, float]:
    """Draw a random place on the material.

    Args:
        scene: its ``solid`` says where material is.
        rng: draws the place.
        margin: distance from the material's edge, in nominal pixels, kept where there is room for it.

    Returns:
        ``(row, column)`` in scene pixels.
    """
    size = 2 * int(margin * scene.unit) + 1
    inside = cv2.erode((scene.solid > 0.9).astype(np.uint8), np.ones((size, size), np.uint8), borderValue=0)
    rows, columns = np.nonzero(inside if inside.any() else scene.solid > 0.9)
    pick = rng.integers(len(rows))
    return float(rows[pick]), float(columns[pick])


def blob(scene: Scene, rng: Rng, radius: float, stretch: float = 1.5, ragged: float = 0.15) -> Float:
    """Draw an irregular ellipse at a random place on the material, as a distance field.

    Args:
        scene: gives shape, scale and material.
        rng: decides place, direction and outline.
        radius: mean radius in nominal pixels.
        stretch: largest ratio of the longer axis to the shorter, at least 1.
        ragged: strength of the outline's unevenness; 0 gives a smooth ellipse.

    Returns:
        float32 ``(h, w)``: above 0 inside, 1 at the centre, below 0 outside.
    """
    row, column = place(scene, rng, min(12, radius))
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(1, stretch) ** 0.5
    u = ((x - column) * np.cos(angle) + (y - row) * np.sin(angle)) / ratio
    v = (-(x - column) * np.sin(angle) + (y - row) * np.cos(angle)) * ratio
    edge = 1 + ragged * noise(rng, scene.shape, radius * scene.unit * 0.4)
    return np.asarray(1 - np.hypot(u, v) / (radius * scene.unit) / np.maximum(edge, 0.4), np.float32)


def stroke(shape: Size, points: npt.NDArray[np.float64], width: float) -> Float:
    """Draw an anti-aliased line with tapered ends.

    Args:
        shape: ``(height, width)`` of the result.
        points: ``(n, 2)``, (row, column) of each point along the line.
        width: of the line where it is widest, in pixels.

    Returns:
        float32 of `shape`, 1 on the line and 0 elsewhere.
    """
    canvas = np.zeros(shape, np.uint8)
    fixed = np.round(points[:, ::-1] * 16).astype(np.int32)
    taper = np.sin(np.linspace(0.25, np.pi - 0.25, len(points) - 1)) ** 0.5
    for start, end, share in zip(fixed[:-1], fixed[1:], taper, strict=True):
        cv2.line(canvas, start.tolist(), end.tolist(), 255, max(1, round(width * share)), cv2.LINE_AA, 4)
    return np.asarray(canvas / np.float32(255), np.float32)


def wander(
    rng: Rng, start: tuple[float, float], length: float, angle: float, bend: float, jitter: float, n: int = 24
) -> npt.NDArray[np.float64]:
    """Draw the points of a line that wanders.

    Args:
        rng: draws the jitter.
        start: (row, column) of the line's middle.
        length: of the line, in pixels.
        angle: direction, in radians.
        bend: the line as a whole turns by twice this angle, in radians.
        jitter: standard deviation of the turn at each step, in radians.
        n: number of points.

    Returns:
        float64 ``(n, 2)``, (row, column) of each point.
    """
    turn = angle + np.linspace(-bend, bend, n) + np.cumsum(rng.normal(0, jitter, n)) + rng.normal(0, jitter, n)
    steps = np.stack([np.sin(turn), np.cos(turn)], 1) * length / n
    points = np.cumsum(steps, 0)
    return np.asarray(points - points[n // 2] + np.asarray(start))


def mix(image: Float, amount: Float, colour: npt.ArrayLike) -> Float:
    """Lay a colour over an image.

    Args:
        image: RGB 0…1, ``(h, w, 3)``; it stays as it is.
        amount: ``(h, w)``: 0 keeps the image, 1 shows the colour alone.
        colour: RGB 0…1, one for all pixels or ``(h, w, 3)``.

    Returns:
        float32 ``(h, w, 3)``.
    """
    return np.asarray(image + amount[..., None] * (np.asarray(colour, np.float32) - image), np.float32)
