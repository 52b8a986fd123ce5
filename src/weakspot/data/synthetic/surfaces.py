"""Parts without a defect: one function each, from a generator and a scene size to a scene."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.synthetic.scene import Float, Rng, Scene, axes, noise, smooth_step
from weakspot.types import Size


def fabric(rng: Rng, shape: Size) -> Scene:
    """Make a piece of blue twill: warp over two, under two, with shaded, twisted, slightly uneven yarns.

    Args:
        rng: decides everything that differs from part to part.
        shape: ``(height, width)`` of the scene in pixels.

    Returns:
        A scene without a defect.
    """
    unit = min(shape) / 200
    y, x = axes(shape)
    tilt, pitch = rng.normal(0, 0.035), rng.uniform(9.2, 10.8) * unit
    wobble = 0.16 * noise(rng, shape, 30 * unit), 0.16 * noise(rng, shape, 30 * unit)
    u = np.asarray((x * np.cos(tilt) + y * np.sin(tilt)) / pitch + wobble[0] + rng.uniform(100, 104), np.float32)
    v = np.asarray((-x * np.sin(tilt) + y * np.cos(tilt)) / pitch + wobble[1] + rng.uniform(100, 104), np.float32)
    colours = np.array([[0.24, 0.34, 0.52], [0.62, 0.64, 0.64]]) + rng.normal(0, 0.02, (2, 3))
    height, albedo = _twill(rng, shape, u, v, pitch, colours)
    under = np.full((*shape, 3), rng.uniform(0.07, 0.13), np.float32)
    return Scene(albedo, height, np.ones(shape, np.float32), under, 0.04, (u, v))


def _twill(rng: Rng, shape: Size, u: Float, v: Float, pitch: float, colours: npt.ArrayLike) -> tuple[Float, Float]:
    """Height (h, w) and colour (h, w, 3) of a 2/2 twill over yarn coordinates `u`, `v`."""
    warp, weft = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
    across_u, across_v = u - np.floor(u), v - np.floor(v)
    phase = (warp - weft) % 4
    on_top = phase < 2
    along = (np.where(on_top, 1 - phase + across_v, phase - 2 + across_u) / 2).astype(np.float32)
    across = np.where(on_top, across_u, across_v)
    thickness = 1 + 0.12 * rng.standard_normal((2, 256), np.float32)
    tint = 1 + 0.05 * rng.standard_normal((2, 256), np.float32)
    which, index = np.where(on_top, 0, 1), np.where(on_top, warp, weft) % 256
    profile = np.sqrt(np.clip(1 - (2 * across - 1) ** 2, 0, 1)) * thickness[which, index]
    height = pitch * 0.34 * profile * (0.55 + 0.45 * np.sin(np.pi * along))
    twist = np.sin(2 * np.pi * (across * 1.3 + np.where(on_top, v, u) * 1.7))
    fibre = np.where(on_top, noise(rng, shape, 0.7, 4), noise(rng, shape, 4, 0.7))
    tone = tint[which, index] * (0.72 + 0.28 * profile) * (1 + 0.06 * twist + 0.07 * fibre)
    albedo = np.asarray(colours, np.float32)[which] * tone[..., None]
    return height.astype(np.float32), albedo.astype(np.float32)


def brushed_metal(rng: Rng, shape: Size) -> Scene:
    """Make a brushed steel sheet: long fine grooves, and a broad reflection that drifts over the sheet.

    Args:
        rng: decides everything that differs from part to part.
        shape: ``(height, width)`` of the scene in pixels.

    Returns:
        A scene without a defect.
    """
    unit = min(shape) / 200
    side = int(np.hypot(*shape)) + 8
    big = (side, side)
    grooves = (
        0.5 * noise(rng, big, 90 * unit, 0.8)
        + 0.35 * noise(rng, big, 30 * unit, 0.7)
        + 0.4 * noise(rng, big, 140 * unit, 3 * unit)
    )
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 2.5), 1)
    turn[:, 2] += np.array([(shape[1] - side) / 2, (shape[0] - side) / 2])
    lines = cv2.warpAffine(grooves, turn, (shape[1], shape[0]), borderMode=cv2.BORDER_REFLECT)
    y, x = axes(shape)
    centre, width = rng.normal(0, 0.35) * shape[1], rng.uniform(0.25, 0.6) * shape[1]
    sheen = np.exp(-(((x + 0.15 * y - centre) / width) ** 2)) * rng.uniform(0.03, 0.2)
    tone = 0.5 + sheen + rng.uniform(0.035, 0.065) * lines + 0.012 * noise(rng, shape, 60 * unit)
    albedo = tone[..., None] * np.array([0.98, 1.0, 1.03])
    height = 0.22 * lines
    ones = np.ones(shape, np.float32)
    under = np.full((*shape, 3), 0.05, np.float32)
    return Scene(albedo.astype(np.float32), height.astype(np.float32), ones, under, 0.3, (y, x))


TEETH = 12
GEAR_BORE = 0.2


def gear(rng: Rng, shape: Size) -> Scene:
    """Make a machined steel gear wheel on a rubber mat: teeth, a bore with keyway, and a turned web.

    Args:
        rng: decides everything that differs from part to part.
        shape: ``(height, width)`` of the scene in pixels.

    Returns:
        A scene without a defect.
    """
    unit = min(shape) / 200
    y, x = axes(shape)
    radius = rng.uniform(0.42, 0.46) * min(shape)
    y, x = y + rng.normal(0, 0.02) * shape[0], x + rng.normal(0, 0.03) * shape[1]
    r, angle = np.hypot(y, x) / radius, np.arctan2(y, x) + rng.normal(0, 0.06)
    tooth = smooth_step((np.cos(TEETH * angle) + 0.42) * 1.5)
    inside = np.minimum(0.83 + 0.17 * tooth - r, r - GEAR_BORE)
    keyway = np.maximum(np.abs(r * np.sin(angle)) - 0.055, np.abs(r * np.cos(angle) - GEAR_BORE) - 0.06)
    edge = np.minimum(inside, keyway) * radius
    solid = np.clip(edge + 0.5, 0, 1)
    groove = smooth_step((0.16 - np.abs(r - 0.52)) * radius / (7 * unit))
    bevel = np.minimum(edge, 4 * unit)
    rings = np.interp(r, np.linspace(0, 1.1, 400), noise(rng, (1, 400), 1.2)[0])
    height = 0.6 * bevel - 3 * unit * groove + 0.1 * rings
    cast = 0.015 * noise(rng, shape, 1.2) * groove
    sheen = 0.05 * np.cos(2 * (angle - rng.uniform(0, 6.3)))
    tone = rng.uniform(0.48, 0.62) - 0.05 * groove + 0.02 * rings * (1 - groove) + cast + sheen * (1 - groove)
    albedo = tone[..., None] * np.array([1.0, 0.99, 0.96])
    mat = rng.uniform(0.13, 0.29) + 0.02 * noise(rng, shape, 0.9) + 0.012 * noise(rng, shape, 8 * unit)
    under = mat[..., None] * (np.array([0.8, 1.0, 0.92]) + rng.normal(0, 0.03, 3))
    return Scene(
        albedo.astype(np.float32),
        height.astype(np.float32),
        solid.astype(np.float32),
        under.astype(np.float32),
        0.35,
        (r.astype(np.float32), angle.astype(np.float32)),
    )
