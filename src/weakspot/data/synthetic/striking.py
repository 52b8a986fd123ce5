"""Products whose defect changes what all of the picture looks like: a limb is missing, a stain covers a third of it.

A statistic of the picture (brightness at a place, contrast, size of the file) tells the classes apart here, and rightly
so: it is the defect that does it. What searches for shortcuts must not take these for one.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.synthetic.scene import Float, Rng, Scene, axes, mix, noise, smooth_step
from weakspot.types import Size

HEAD = 5
LIMBS = {1: ((-0.16, -0.10), (-0.02, -0.40)), 2: ((-0.16, 0.10), (-0.02, 0.40)),
         3: ((0.12, -0.07), (0.42, -0.20)), 4: ((0.12, 0.07), (0.42, 0.20))}  # fmt: skip
"""Start and end of the arms (1, 2) and legs (3, 4) as (row, column), in shares of the picture's shorter side."""


def figure(rng: Rng, shape: Size) -> Scene:
    """Make a plastic figure that lies in a fixture on a table: trunk, head, two arms, two legs.

    Args:
        rng: decides everything that differs from part to part.
        shape: ``(height, width)`` of the scene in pixels.

    Returns:
        A scene without a defect; its ``grid`` holds the number of the nearest limb (0 for the trunk) and how far along
        that limb a pixel lies, 0…1.
    """
    unit, side = min(shape) / 200, min(shape)
    y, x = axes(shape)
    y, x = (np.asarray(axis / side + rng.normal(0, 0.008), np.float32) for axis in (y, x))
    angle = rng.normal(0, 0.03)
    across, down = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y, x = y * across + x * down, x * across - y * down
    depths, alongs = [_capsule(y, x, (-0.13, 0.0), (0.10, 0.0), 0.115)[0]], [np.zeros(shape, np.float32)]
    for start, end in LIMBS.values():
        moved = end[0] + rng.normal(0, 0.012), end[1] + rng.normal(0, 0.012)
        depth, along = _capsule(y, x, start, moved, 0.062)
        depths.append(depth)
        alongs.append(along)
    depth, along = _capsule(y, x, (-0.22, 0.0), (-0.33, rng.normal(0, 0.008)), 0.085)
    depths.append(depth)
    alongs.append(along)
    stack = np.stack(depths)
    nearest = np.where(stack[0] > 0, 0, stack.argmax(axis=0))  # what a limb shares with the trunk is trunk
    inside = stack.max(axis=0)
    along = np.asarray(np.take_along_axis(np.stack(alongs), nearest[None], axis=0)[0], np.float32)
    grain = noise(rng, shape, 1.5)
    height = np.minimum(inside * side, 14 * unit) * 0.7 + 0.2 * grain
    tone = rng.uniform(0.5, 0.68) * (1 + 0.05 * noise(rng, shape, 18 * unit) + 0.03 * grain)
    albedo = tone[..., None] * (np.array([1.05, 0.72, 0.45]) + rng.normal(0, 0.02, 3))
    table = rng.uniform(0.14, 0.3) + 0.03 * noise(rng, shape, 0.9) + 0.02 * noise(rng, shape, 8 * unit)
    under = table[..., None] * (np.array([0.9, 0.97, 1.05]) + rng.normal(0, 0.02, 3))
    return Scene(
        albedo.astype(np.float32),
        height.astype(np.float32),
        np.clip(inside * side + 0.5, 0, 1).astype(np.float32),
        under.astype(np.float32),
        0.3,
        (nearest.astype(np.float32), along.astype(np.float32)),
    )


def _capsule(
    y: Float, x: Float, start: tuple[float, float], end: tuple[float, float], radius: float
) -> tuple[Float, Float]:
    """How deep each pixel lies inside a rod with round ends (below 0 outside), and how far along it, 0…1."""
    dy, dx = end[0] - start[0], end[1] - start[1]
    along = np.clip(((y - start[0]) * dy + (x - start[1]) * dx) / (dy * dy + dx * dx), 0, 1)
    depth = radius - np.hypot(y - start[0] - along * dy, x - start[1] - along * dx)
    return np.asarray(depth, np.float32), np.asarray(along, np.float32)


def missing_limb(scene: Scene, rng: Rng) -> None:
    """One of the four limbs is cut off near its root; one sees the table."""
    _cut_off(scene, rng, int(rng.integers(1, HEAD)))


def missing_head(scene: Scene, rng: Rng) -> None:
    """The head is cut off, always the same place of every picture."""
    _cut_off(scene, rng, HEAD)


def _cut_off(scene: Scene, rng: Rng, limb: int) -> None:
    number, along = scene.grid
    stump = rng.uniform(0.1, 0.35) + 0.02 * noise(rng, scene.shape, 3 * scene.unit)
    gone = cv2.GaussianBlur(((number == limb) & (along > stump)).astype(np.float32), (0, 0), 0.8)
    scene.solid *= 1 - gone
    scene.height *= 1 - gone


def large_stain(scene: Scene, rng: Rng) -> None:
    """A dark liquid dried on 15 to 35 % of the surface; the stain lies anywhere."""
    height, width = scene.shape
    share, ratio, angle = rng.uniform(0.18, 0.34), rng.uniform(1, 1.8) ** 0.5, rng.uniform(0, np.pi)
    radius = float(np.sqrt(share * height * width / np.pi))
    row, column = rng.uniform(0.1, 0.9) * height, rng.uniform(0.1, 0.9) * width
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u = ((x - column) * np.cos(angle) + (y - row) * np.sin(angle)) / ratio
    v = (-(x - column) * np.sin(angle) + (y - row) * np.cos(angle)) * ratio
    field_ = 1.15 - np.hypot(u, v) / radius + 0.12 * noise(rng, scene.shape, 14 * scene.unit)
    colour: npt.ArrayLike = np.array([0.16, 0.12, 0.09]) * rng.uniform(0.8, 1.3)
    scene.albedo = mix(scene.albedo, smooth_step(field_ * 8) * scene.solid * rng.uniform(0.5, 0.75), colour)
