"""A generated data set in MVTec AD layout, for the demo and the tests: no download, no licence, exact masks.

Every picture is a small physical scene: colour and height of a surface, what lies under it, one lamp. A *surface* builds
the scene, a *defect* changes it, *nuisances* (dirt, lint, light, colour, focus) disturb good and defective parts alike,
so that brightness, contrast or histogram do not tell the classes apart. Each picture is rendered with and without its
defect; the mask is where the two differ visibly, and outside the mask they are the same picture bit by bit.

To add a subset, write one surface function and one entry of :data:`SUBSETS`; to add a defect, one function with the
signature of :data:`Defect`. Lengths inside those functions are in pixels of a 200-pixel-high image times ``scene.unit``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import GOOD, ImageArray, Size

GENERATOR_VERSION = 1
"""Goes up whenever the same parameters make other pictures."""

Float = npt.NDArray[np.float32]
Rng = np.random.Generator
SUPERSAMPLING = 2
VISIBLE = 6 / 255
"""A pixel belongs to the mask when the defect changed it by more than this (before sensor noise)."""


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


class Rendered(NamedTuple):
    """One picture: `image` and its defect-free `twin`, uint8 RGB ``(H, W, 3)``; `mask`, uint8 0 or 255, ``(H, W)``."""

    image: ImageArray
    twin: ImageArray
    mask: ImageArray


Surface = Callable[[Rng, Size], Scene]
Defect = Callable[[Scene, Rng], None]
"""Changes the scene in place; draws size, place and strength from the generator."""
Nuisance = Callable[[Float, Rng], Float]
"""RGB image 0…1 to RGB image; what it draws from the generator must not depend on the image."""


# ---------------------------------------------------------------------------------------------------- building blocks


def _rng(*key: object) -> Rng:
    """A generator that depends on the key alone, on every platform and in every order of calls."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:16], "big"))


def _noise(rng: Rng, shape: Size, sigma_x: float, sigma_y: float | None = None) -> Float:
    """Smooth noise of zero mean and unit deviation, shape ``(h, w)``; wide noise is made small and enlarged."""
    sigma_y = sigma_x if sigma_y is None else sigma_y
    step_x, step_y = max(1, int(sigma_x / 3)), max(1, int(sigma_y / 3))
    small = (shape[0] // step_y + 2, shape[1] // step_x + 2)
    raw = cv2.GaussianBlur(rng.standard_normal(small, np.float32), (0, 0), sigma_x / step_x, sigmaY=sigma_y / step_y)
    out = cv2.resize(raw, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray((out - out.mean()) / (out.std() + 1e-6), np.float32)


def _axes(shape: Size) -> tuple[Float, Float]:
    """Row and column of every pixel, relative to the centre."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return y - shape[0] / 2, x - shape[1] / 2


def _smooth(x: Float) -> Float:
    """Smooth step from 0 (x ≤ 0) to 1 (x ≥ 1)."""
    x = np.clip(x, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), np.float32)


def _place(scene: Scene, rng: Rng, margin: float = 12) -> tuple[float, float]:
    """A random (row, column) on the material, `margin` nominal pixels from its edge where there is room."""
    size = 2 * int(margin * scene.unit) + 1
    inside = cv2.erode((scene.solid > 0.9).astype(np.uint8), np.ones((size, size), np.uint8), borderValue=0)
    rows, columns = np.nonzero(inside if inside.any() else scene.solid > 0.9)
    pick = rng.integers(len(rows))
    return float(rows[pick]), float(columns[pick])


def _blob(scene: Scene, rng: Rng, radius: float, stretch: float = 1.5, ragged: float = 0.15) -> Float:
    """Distance field of an irregular ellipse on the material: > 0 inside, 1 at its centre, < 0 outside."""
    row, column = _place(scene, rng, min(12, radius))
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(1, stretch) ** 0.5
    u = ((x - column) * np.cos(angle) + (y - row) * np.sin(angle)) / ratio
    v = (-(x - column) * np.sin(angle) + (y - row) * np.cos(angle)) * ratio
    edge = 1 + ragged * _noise(rng, scene.shape, radius * scene.unit * 0.4)
    return np.asarray(1 - np.hypot(u, v) / (radius * scene.unit) / np.maximum(edge, 0.4), np.float32)


def _stroke(shape: Size, points: npt.NDArray[np.float64], width: float) -> Float:
    """An anti-aliased line through (row, column) points, 0…1; ends are tapered."""
    canvas = np.zeros(shape, np.uint8)
    fixed = np.round(points[:, ::-1] * 16).astype(np.int32)
    taper = np.sin(np.linspace(0.25, np.pi - 0.25, len(points) - 1)) ** 0.5
    for start, end, share in zip(fixed[:-1], fixed[1:], taper, strict=True):
        cv2.line(canvas, start.tolist(), end.tolist(), 255, max(1, round(width * share)), cv2.LINE_AA, 4)
    return np.asarray(canvas, np.float32) / 255


def _path(
    rng: Rng, start: tuple[float, float], length: float, angle: float, bend: float, jitter: float, n: int = 24
) -> npt.NDArray[np.float64]:
    """(row, column) points of a wandering line centred on `start`: `bend` turns it as a whole, `jitter` every step."""
    turn = angle + np.linspace(-bend, bend, n) + np.cumsum(rng.normal(0, jitter, n)) + rng.normal(0, jitter, n)
    steps = np.stack([np.sin(turn), np.cos(turn)], 1) * length / n
    points = np.cumsum(steps, 0)
    return np.asarray(points - points[n // 2] + np.asarray(start))


def _mix(image: Float, amount: Float, colour: npt.ArrayLike) -> Float:
    """`image` (h, w, 3) with `colour` laid over it where `amount` (h, w) is 1."""
    return np.asarray(image + amount[..., None] * (np.asarray(colour, np.float32) - image), np.float32)


# ------------------------------------------------------------------------------------------------------------ surfaces


def fabric(rng: Rng, shape: Size) -> Scene:
    """Blue twill: warp over two, under two; shaded, twisted, slightly uneven yarns."""
    unit = min(shape) / 200
    y, x = _axes(shape)
    tilt, pitch = rng.normal(0, 0.035), rng.uniform(9.2, 10.8) * unit
    wobble = 0.16 * _noise(rng, shape, 30 * unit), 0.16 * _noise(rng, shape, 30 * unit)
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
    fibre = np.where(on_top, _noise(rng, shape, 0.7, 4), _noise(rng, shape, 4, 0.7))
    tone = tint[which, index] * (0.72 + 0.28 * profile) * (1 + 0.06 * twist + 0.07 * fibre)
    albedo = np.asarray(colours, np.float32)[which] * tone[..., None]
    return height.astype(np.float32), albedo.astype(np.float32)


def brushed_metal(rng: Rng, shape: Size) -> Scene:
    """Brushed steel sheet: long fine grooves, a broad reflection that drifts over the sheet."""
    unit = min(shape) / 200
    side = int(np.hypot(*shape)) + 8
    big = (side, side)
    grooves = (
        0.5 * _noise(rng, big, 90 * unit, 0.8)
        + 0.35 * _noise(rng, big, 30 * unit, 0.7)
        + 0.4 * _noise(rng, big, 140 * unit, 3 * unit)
    )
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.normal(0, 2.5), 1)
    turn[:, 2] += [(shape[1] - side) / 2, (shape[0] - side) / 2]
    lines = cv2.warpAffine(grooves, turn, (shape[1], shape[0]), borderMode=cv2.BORDER_REFLECT)
    y, x = _axes(shape)
    centre, width = rng.normal(0, 0.35) * shape[1], rng.uniform(0.25, 0.6) * shape[1]
    sheen = np.exp(-(((x + 0.15 * y - centre) / width) ** 2)) * rng.uniform(0.03, 0.2)
    tone = 0.5 + sheen + rng.uniform(0.035, 0.065) * lines + 0.012 * _noise(rng, shape, 60 * unit)
    albedo = tone[..., None] * np.array([0.98, 1.0, 1.03])
    height = 0.22 * lines
    ones = np.ones(shape, np.float32)
    under = np.full((*shape, 3), 0.05, np.float32)
    return Scene(albedo.astype(np.float32), height.astype(np.float32), ones, under, 0.3, (y, x))


TEETH = 12
GEAR_BORE = 0.2


def gear(rng: Rng, shape: Size) -> Scene:
    """Machined steel gear wheel on a rubber mat: teeth, bore with keyway, turned web."""
    unit = min(shape) / 200
    y, x = _axes(shape)
    radius = rng.uniform(0.42, 0.46) * min(shape)
    y, x = y + rng.normal(0, 0.02) * shape[0], x + rng.normal(0, 0.03) * shape[1]
    r, angle = np.hypot(y, x) / radius, np.arctan2(y, x) + rng.normal(0, 0.06)
    tooth = _smooth((np.cos(TEETH * angle) + 0.42) * 1.5)
    inside = np.minimum(0.83 + 0.17 * tooth - r, r - GEAR_BORE)
    keyway = np.maximum(np.abs(r * np.sin(angle)) - 0.055, np.abs(r * np.cos(angle) - GEAR_BORE) - 0.06)
    edge = np.minimum(inside, keyway) * radius
    solid = np.clip(edge + 0.5, 0, 1)
    groove = _smooth((0.16 - np.abs(r - 0.52)) * radius / (7 * unit))
    bevel = np.minimum(edge, 4 * unit)
    rings = np.interp(r, np.linspace(0, 1.1, 400), _noise(rng, (1, 400), 1.2)[0])
    height = 0.6 * bevel - 3 * unit * groove + 0.1 * rings
    cast = 0.015 * _noise(rng, shape, 1.2) * groove
    sheen = 0.05 * np.cos(2 * (angle - rng.uniform(0, 6.3)))
    tone = 0.56 - 0.05 * groove + 0.02 * rings * (1 - groove) + cast + sheen * (1 - groove)
    albedo = tone[..., None] * np.array([1.0, 0.99, 0.96])
    mat = 0.2 + 0.02 * _noise(rng, shape, 0.9) + 0.012 * _noise(rng, shape, 8 * unit)
    under = mat[..., None] * (np.array([0.8, 1.0, 0.92]) + rng.normal(0, 0.03, 3))
    return Scene(
        albedo.astype(np.float32),
        height.astype(np.float32),
        solid.astype(np.float32),
        under.astype(np.float32),
        0.35,
        (r.astype(np.float32), angle.astype(np.float32)),
    )


# ------------------------------------------------------------------------------------------------------------- defects


def scratch(scene: Scene, rng: Rng) -> None:
    """One to three long, nearly straight gouges with a bright floor and a raised burr."""
    start, angle, length = _place(scene, rng), rng.uniform(0.5, 2.6), rng.uniform(60, 150) * scene.unit
    for _ in range(rng.integers(1, 4)):
        width = rng.uniform(2.2, 4.4) * scene.unit
        shift = start[0] + rng.normal(0, 7) * scene.unit, start[1] + rng.normal(0, 7) * scene.unit
        line = _stroke(scene.shape, _path(rng, shift, length, angle + rng.normal(0, 0.06), 0.08, 0.015), width)
        line *= scene.solid
        burr = cv2.GaussianBlur(line, (0, 0), width * 0.6)
        scene.height += (1.5 * burr - 2.2 * line) * width
        scene.albedo = _mix(scene.albedo, line * 0.75, rng.uniform(0.65, 0.95) * np.array([1, 0.99, 0.97]))


def crack(scene: Scene, rng: Rng) -> None:
    """A jagged, forking dark line."""
    start, angle = _place(scene, rng), rng.uniform(0, np.pi)
    length, width = rng.uniform(70, 160) * scene.unit, rng.uniform(2.4, 4.5) * scene.unit
    trunk = _path(rng, start, length, angle, 0.2, 0.3)
    line = _stroke(scene.shape, trunk, width)
    for _ in range(rng.integers(1, 4)):
        fork = trunk[rng.integers(6, 20)]
        branch = _path(
            rng, (fork[0], fork[1]), length * 0.6, angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1), 0.2, 0.3
        )
        line = np.maximum(line, _stroke(scene.shape, branch[12:], width * 0.7))
    line *= scene.solid
    scene.height -= cv2.GaussianBlur(line, (0, 0), scene.unit) * 3 * scene.unit
    scene.albedo = _mix(scene.albedo, line * rng.uniform(0.75, 0.95), [0.09, 0.085, 0.08])


def dent(scene: Scene, rng: Rng) -> None:
    """A pressed-in hollow: one flank in the light, the other in shadow."""
    radius = float(np.exp(rng.uniform(np.log(12), np.log(36))))
    field_ = _blob(scene, rng, radius, 1.8, 0.05)
    floor = np.exp(-2.5 * (1 - field_) ** 2) * scene.solid
    scene.height -= floor * radius * scene.unit * rng.uniform(0.6, 0.95)
    scene.albedo *= (1 - 0.15 * floor)[..., None]


def rust(scene: Scene, rng: Rng) -> None:
    """A patch of scaly corrosion with ragged edge."""
    radius = float(np.exp(rng.uniform(np.log(14), np.log(42))))
    patch = _blob(scene, rng, radius, 2.2, 0.3) + 0.28 * _noise(rng, scene.shape, 3 * scene.unit)
    amount = _smooth(patch * 4) * scene.solid * rng.uniform(0.65, 0.95)
    scale = _noise(rng, scene.shape, 1.8 * scene.unit)
    colour = np.array([0.42, 0.27, 0.16]) * (1 + 0.22 * scale[..., None])
    scene.height += amount * scale * 0.9 * scene.unit
    scene.albedo = _mix(scene.albedo, amount, colour)


def pits(scene: Scene, rng: Rng) -> None:
    """A nest of touching round craters (pitting), dense where dust is scattered."""
    radius = float(np.exp(rng.uniform(np.log(14), np.log(38))))
    centre, count = _place(scene, rng), int(radius * rng.uniform(0.8, 1.4))
    floor = np.zeros(scene.shape, np.float32)
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    for _ in range(count):
        row, column = (c + rng.normal(0, radius * 0.45) * scene.unit for c in centre)
        size = rng.uniform(2.2, 5) * scene.unit
        floor = np.maximum(floor, np.sqrt(np.clip(1 - ((x - column) ** 2 + (y - row) ** 2) / size**2, 0, 1)))
    scene.height -= floor * 3.2 * scene.unit
    scene.albedo *= (1 - rng.uniform(0.35, 0.6) * floor)[..., None]


def stain(scene: Scene, rng: Rng) -> None:
    """A dried liquid: brownish, soft inside, darker at the rim."""
    radius = float(np.exp(rng.uniform(np.log(14), np.log(42))))
    field_ = _blob(scene, rng, radius, 1.8, 0.12)
    body = _smooth(field_ * 9)
    rim = np.exp(-(((field_ - 0.08) / 0.07) ** 2))
    amount = np.clip(body * rng.uniform(0.5, 0.75) + rim * 0.35, 0, 0.95)
    scene.albedo *= 1 - amount[..., None] * np.array([0.55, 0.72, 0.9])


def hole(scene: Scene, rng: Rng) -> None:
    """Torn out: one sees through; broken yarn ends stand into the opening."""
    field_ = _blob(scene, rng, float(np.exp(rng.uniform(np.log(11), np.log(34)))), 1.6, 0.14)
    fray = 0.12 * np.sign(np.sin(2 * np.pi * scene.grid[0])) + 0.12 * np.sign(np.sin(2 * np.pi * scene.grid[1]))
    gone = _smooth((field_ + fray * (field_ < 0.3)) * 12 - 0.5)
    scene.height += 5 * scene.unit * np.exp(-(((field_ + 0.1) / 0.15) ** 2))
    scene.solid *= 1 - gone


def cut(scene: Scene, rng: Rng) -> None:
    """A knife slit that gapes in the middle, with lifted lips."""
    start, angle = _place(scene, rng), rng.uniform(0, np.pi)
    length, width = rng.uniform(45, 120) * scene.unit, rng.uniform(6, 13) * scene.unit
    slit = _stroke(scene.shape, _path(rng, start, length, angle, rng.uniform(0, 0.25), 0.01), width)
    scene.height += 1.2 * width * cv2.GaussianBlur(slit, (0, 0), width * 0.6)
    scene.solid *= 1 - slit


def missing_thread(scene: Scene, rng: Rng) -> None:
    """One to three neighbouring yarns are absent over a length: only the crossing yarns are left, flat, with gaps."""
    row, column = (int(c) for c in _place(scene, rng, 20))
    across, along = scene.grid if rng.random() < 0.5 else scene.grid[::-1]
    count, length = int(rng.integers(1, 4)), rng.uniform(5, 11)
    first = np.floor(across[row, column])
    inside = (across >= first) & (across < first + count) & (np.abs(along - along[row, column]) < length)
    inside_soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), scene.unit * 0.7)
    part = along - np.floor(along)
    profile = np.sqrt(np.clip(1 - ((2 * part - 1) / 0.62) ** 2, 0, 1)).astype(np.float32)
    colour = np.median(scene.albedo[inside], axis=0) * (0.55 + 0.45 * profile[..., None])
    scene.albedo = _mix(scene.albedo, inside_soft, colour)
    scene.height += inside_soft * (5 * scene.unit * profile - scene.height - 2 * scene.unit)
    scene.solid *= 1 - inside_soft * (profile < 0.15)


def misweave(scene: Scene, rng: Rng) -> None:
    """Yarns pushed aside: they bunch up on one side of a spot and leave a gap on the other."""
    radius = float(np.exp(rng.uniform(np.log(26), np.log(50))))
    bump = _smooth(_blob(scene, rng, radius, 1.6, 0.05))
    angle, push = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.4, 0.62) * scene.unit
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    rows, columns = y - bump * push * np.float32(np.sin(angle)), x - bump * push * np.float32(np.cos(angle))
    scene.albedo = cv2.remap(scene.albedo, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    scene.height = cv2.remap(scene.height, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    slope = cv2.Sobel(bump, cv2.CV_32F, 1, 0) * np.cos(angle) + cv2.Sobel(bump, cv2.CV_32F, 0, 1) * np.sin(angle)
    stretch = np.clip(slope / 8 * push, 0, 1)
    scene.albedo *= (1 - 0.75 * stretch)[..., None]
    scene.height += bump * 0.3 * radius * scene.unit


def broken_tooth(scene: Scene, rng: Rng) -> None:
    """One to three teeth are broken off; the ragged fracture is bright and grainy."""
    r, angle = scene.grid
    count, at = int(rng.integers(1, 4)), int(rng.integers(TEETH))
    away = np.abs((angle - (at + (count - 1) / 2) * 2 * np.pi / TEETH + np.pi) % (2 * np.pi) - np.pi)
    ragged = 0.022 * _noise(rng, scene.shape, 2.5 * scene.unit) + 0.02 * _noise(rng, scene.shape, 8 * scene.unit)
    depth = r - rng.uniform(0.72, 0.83) + ragged
    inside = np.minimum(depth, count * np.pi / TEETH + 0.02 - away)
    face = _smooth((inside + 0.07) * 30) * scene.solid
    grain = _noise(rng, scene.shape, 1.6 * scene.unit)
    scene.albedo = _mix(scene.albedo, face * 0.8, (0.72 + 0.16 * grain)[..., None])
    scene.height += face * grain * scene.unit
    scene.solid *= 1 - _smooth(inside * 60)


# ----------------------------------------------------------------------------------------------------------- nuisances


def dust(image: Float, rng: Rng, most: float = 0.016) -> Float:
    """Scattered dark and bright specks of dirt: up to a share `most` of the image of either."""
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
    """Thin curly fibres lying on the part: up to `most` dark and as many bright ones."""
    height, width = image.shape[:2]
    unit = min(height, width) / 200
    for low, high in ((0.05, 0.25), (0.65, 0.95)):
        layer = np.zeros((2 * height, 2 * width), np.uint8)
        for _ in range(int(rng.integers(most + 1))):
            start, length = tuple(rng.uniform(0, (2 * height, 2 * width))), rng.uniform(60, 180) * unit
            points = _path(rng, start, length, rng.uniform(0, 6.3), rng.uniform(0.8, 2.6), 0.15, 40)
            fixed = np.round(points[:, ::-1] * 16).astype(np.int32)
            cv2.polylines(layer, [fixed], False, 255, 2, cv2.LINE_AA, 4)
        image = _overlay(image, layer, rng.uniform(low, high) * (1 + rng.normal(0, 0.06, 3)), rng.uniform(0.5, 0.95))
    return image


def _overlay(image: Float, layer: ImageArray, colour: npt.ArrayLike, opacity: float) -> Float:
    """Things of one colour (`layer`, 0…255, twice the size) laid on the image, their soft shadow to the lower right."""
    amount = cv2.resize(layer, image.shape[1::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    shadow = cv2.GaussianBlur(np.roll(amount, (2, 2), (0, 1)), (0, 0), 1.6)
    return _mix(image * (1 - 0.3 * shadow[..., None]), amount * opacity, colour)


def light(image: Float, rng: Rng) -> Float:
    """Uneven lighting: a slope over the image and a vignette or a lighter middle."""
    y, x = _axes((image.shape[0], image.shape[1]))
    y, x = y / image.shape[0], x / image.shape[1]
    angle = rng.uniform(0, 2 * np.pi)
    field_ = 1 + rng.uniform(0, 0.4) * (x * np.cos(angle) + y * np.sin(angle)) - rng.uniform(-0.15, 0.5) * (x**2 + y**2)
    return np.asarray(image * field_[..., None], np.float32)


def exposure(image: Float, rng: Rng, span: float = 0.22) -> Float:
    """Brightness (±`span`), contrast, gamma and white balance differ from picture to picture."""
    gain = rng.uniform(1 - span, 1 + span) * (
        1 + rng.uniform(-0.06, 0.06) * np.array([1, 0.1, -1]) + rng.normal(0, 0.01, 3)
    )
    grey, contrast = 0.42, rng.uniform(1 - 1.1 * span, 1 + 0.9 * span)
    image = np.clip((image * gain - grey) * contrast + grey, 0, 1) ** rng.uniform(1 - 0.9 * span, 1 + 1.1 * span)
    return np.asarray(image, np.float32)


def focus(image: Float, rng: Rng) -> Float:
    """Sharp to slightly out of focus."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.95)), np.float32)


NUISANCES: Mapping[str, Nuisance] = {"dust": dust, "lint": lint, "light": light, "exposure": exposure, "focus": focus}
"""What happens to every picture after rendering, in this order; sensor noise comes last."""

CLEAN_ROOM: Mapping[str, Nuisance] = {
    **NUISANCES,
    "dust": partial(dust, most=0.005),
    "lint": partial(lint, most=1),
    "exposure": partial(exposure, span=0.12),
}
"""Less of it, for a part whose own edges make it hard enough."""


@dataclass(frozen=True)
class Subset:
    """One product.

    Attributes:
        surface: makes the part.
        defects: what can be wrong with it.
        size: ``(height, width)`` of its pictures.
        area: smallest and largest share of the image that a defect may cover.
        nuisances: what disturbs good and defective parts alike.
    """

    surface: Surface
    defects: Mapping[str, Defect]
    size: Size
    area: tuple[float, float] = (0.015, 0.16)
    nuisances: Mapping[str, Nuisance] = field(default_factory=lambda: NUISANCES)


def _named(*defects: Defect) -> dict[str, Defect]:
    """The defects under their function names."""
    return {getattr(defect, "__name__", ""): defect for defect in defects}


SUBSETS: Mapping[str, Subset] = {
    "brushed_metal": Subset(brushed_metal, _named(crack, dent, pits, rust, scratch), (208, 272)),
    "fabric": Subset(fabric, _named(cut, hole, missing_thread, misweave, stain), (192, 256)),
    "gear": Subset(gear, _named(broken_tooth, crack, pits, rust, scratch), (224, 240), (0.02, 0.16), CLEAN_ROOM),
}
"""The subsets by name; a subset's folder has the same name."""

DEMO_SUBSET = "brushed_metal"
"""The subset that shows weakspot best."""


# ----------------------------------------------------------------------------------------------------------- rendering


def shade(scene: Scene, rng: Rng) -> Float:
    """RGB image 0…1 of a scene under one lamp from the upper left, with the part's shadow on what lies under it."""
    azimuth, slope = rng.normal(-2.2, 0.25), rng.uniform(0.75, 1.05)
    lx, ly, lz = (float(c) for c in (np.cos(azimuth) * np.cos(slope), np.sin(azimuth) * np.cos(slope), np.sin(slope)))
    gx, gy = (
        cv2.Sobel(scene.height, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(scene.height, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    norm = np.sqrt(gx * gx + gy * gy + 1)
    diffuse = np.clip((lz - gx * lx - gy * ly) / norm, 0, 1)
    half = float(np.sqrt(lx * lx + ly * ly + (lz + 1) ** 2))
    highlight = np.clip((lz + 1 - gx * lx - gy * ly) / norm / half, 0, 1)
    for _ in range(5):
        highlight *= highlight
    colour = scene.albedo * (0.35 + 0.75 * diffuse)[..., None] + (scene.gloss * 0.5 * highlight)[..., None]
    if scene.solid.min() >= 1:
        return np.asarray(colour, np.float32)
    move = np.float32([[1, 0, -lx * 9 * scene.unit], [0, 1, -ly * 9 * scene.unit]])
    shadow = cv2.warpAffine(scene.solid, move, scene.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    below = scene.under * (1 - 0.65 * cv2.GaussianBlur(shadow, (0, 0), 2.5 * scene.unit))[..., None]
    return np.asarray(below + scene.solid[..., None] * (colour - below), np.float32)


def _photograph(scene: Scene, size: Size, nuisances: Mapping[str, Nuisance], key: tuple[object, ...]) -> Float:
    """RGB image 0…1 of the final size with every nuisance but sensor noise; the same key disturbs in the same way."""
    image = cv2.resize(shade(scene, _rng(*key, "lamp")), size[::-1], interpolation=cv2.INTER_AREA)
    for name, nuisance in nuisances.items():
        image = nuisance(image, _rng(*key, name))
    return np.asarray(np.clip(image, 0, 1), np.float32)


def _visible(image: Float, twin: Float) -> npt.NDArray[np.bool_]:
    """Where two images (h, w, 3) differ to the eye: small gaps closed, single pixels dropped."""
    change = cv2.blur(np.abs(image - twin).max(axis=2), (3, 3)) > VISIBLE
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(change.astype(np.uint8), cv2.MORPH_CLOSE, disk)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 12
    large[0] = False
    return np.asarray(large[labels])


def render(subset: str, defect: str, index: int, *, seed: int = 0, size: Size | None = None) -> Rendered:
    """Draw one picture.

    Args:
        subset: a name in :data:`SUBSETS`.
        defect: a defect of the subset, or ``good``.
        index: number of the picture within its class; another number is another part.
        seed: with subset, defect and index it decides everything.
        size: ``(height, width)`` of the image, at least 64 each; None takes the subset's own.

    Returns:
        Image, defect-free twin and mask. They satisfy ``(image == twin)[mask == 0].all()``.

    Raises:
        WeakspotError: for an unknown subset or defect, or a size that is too small.
    """
    recipe = _recipe(subset)
    size = _checked(size or recipe.size)
    if defect != GOOD and defect not in recipe.defects:
        known = [GOOD, *recipe.defects]
        raise WeakspotError(
            f"{subset} has no defect {defect!r}{did_you_mean(defect, known)}; it has {', '.join(known)}"
        )
    key = (seed, subset, defect, index)
    scene = recipe.surface(_rng(*key, "surface"), (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING))
    twin = _photograph(scene, size, recipe.nuisances, key)
    changed, mask = twin, np.zeros(size, bool)
    for attempt in range(30 if defect != GOOD else 0):
        flawed = scene.copy()
        recipe.defects[defect](flawed, _rng(*key, "defect", attempt))
        changed = _photograph(flawed, size, recipe.nuisances, key)
        mask = _visible(changed, twin)
        if recipe.area[0] <= mask.mean() <= recipe.area[1] and np.abs(changed - twin)[mask].mean() > 0.07:
            break
    noise_rng = _rng(*key, "sensor")
    noise = noise_rng.uniform(0.006, 0.022) * noise_rng.standard_normal((*size, 3), np.float32)
    image = _expose(np.where(mask[..., None], changed, twin), noise)
    return Rendered(image, _expose(twin, noise), np.where(mask, 255, 0).astype(np.uint8))


def _expose(image: Float, noise: Float) -> ImageArray:
    """8-bit image with sensor noise that grows with the root of the light."""
    return np.round(np.clip(image + noise * np.sqrt(0.15 + image), 0, 1) * 255).astype(np.uint8)


def _recipe(subset: str) -> Subset:
    """The subset of that name, or a WeakspotError that suggests one."""
    if subset not in SUBSETS:
        hint = did_you_mean(subset, SUBSETS)
        raise WeakspotError(f"no synthetic subset {subset!r}{hint}; there are {', '.join(SUBSETS)}")
    return SUBSETS[subset]


# ------------------------------------------------------------------------------------------------------------ on disk


def ensure(
    root: Path,
    subset: str,
    *,
    seed: int = 0,
    good: int = 120,
    defect: int = 16,
    size: Size | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Return the data set's folder, generating it when it is not there yet.

    Takes the arguments of :func:`generate`. Returns at once when a complete data set with the same parameters is there.
    Two processes may do this at once: one of them publishes its folder, the other discards its own.

    Raises:
        WeakspotError: as :func:`generate`; in particular when the folder holds something else.
    """
    wanted = _parameters(subset, seed, good, defect, size)
    if _is_ours(Path(root) / subset, wanted):
        return Path(root) / subset
    return generate(root, subset, seed=seed, good=good, defect=defect, size=size, progress=progress)


def generate(
    root: Path,
    subset: str,
    *,
    seed: int = 0,
    good: int = 120,
    defect: int = 16,
    size: Size | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write ``root/subset`` in MVTec AD layout: whole or not at all, the same bytes for the same parameters.

    Args:
        root: folder of the data set; made when it is missing.
        subset: a name in :data:`SUBSETS`.
        seed: another seed makes other pictures.
        good: number of Good images; three quarters of them go to ``train/good``, the others to ``test/good``.
        defect: number of images of each defect type.
        size: ``(height, width)`` of the images; None takes the subset's own, which is not square.
        progress: called with (images done, images in all) after every image.

    Returns:
        ``root/subset``.

    Raises:
        WeakspotError: for an unknown subset or parameters out of range, when ``root/subset`` holds something else
            already, and when it cannot be written.
    """
    root = Path(root)
    target = root / subset
    wanted = _parameters(subset, seed, good, defect, size)
    _refuse_foreign(target, wanted)
    scratch_folder = root / f".{subset}-{uuid.uuid4().hex}"
    try:
        scratch_folder.mkdir(parents=True)
        try:
            _write(scratch_folder, subset, seed, good, defect, size, progress)
            (scratch_folder / "dataset.json").write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
            _publish(scratch_folder, target, wanted)
        finally:
            shutil.rmtree(scratch_folder, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise WeakspotError(
            f"cannot write the synthetic data set to {target}: {reason}; choose another root"
        ) from error
    return target


def _parameters(subset: str, seed: int, good: int, defect: int, size: Size | None) -> dict[str, object]:
    """Everything that decides the bytes of a data set, as it stands in ``dataset.json``; checks the ranges."""
    recipe = _recipe(subset)
    if good < 1 or defect < 1:
        raise WeakspotError(
            f"a synthetic data set needs at least 1 image of each class, not good={good}, defect={defect}"
        )
    height, width = _checked(size or recipe.size)
    made = {"generator": __name__, "version": GENERATOR_VERSION, "subset": subset, "seed": seed}
    return {**made, "good": good, "defect": defect, "size": [height, width]}


def _checked(size: Size) -> Size:
    """`size` itself when it is large enough."""
    if min(size) < 64:
        raise WeakspotError(f"synthetic images must be at least 64 pixels high and wide, not {size[0]} x {size[1]}")
    return size


def _is_ours(target: Path, wanted: dict[str, object]) -> bool:
    """True when `target` holds a complete data set with the wanted parameters."""
    try:
        return bool(json.loads((target / "dataset.json").read_text(encoding="utf-8")) == wanted)
    except (OSError, ValueError):
        return False


def _refuse_foreign(target: Path, wanted: dict[str, object]) -> None:
    """Raise when `target` exists with something in it."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    way_out = "delete it or choose another root"
    try:
        found = json.loads((target / "dataset.json").read_text(encoding="utf-8"))
        other = [f"{key}={found.get(key)}" for key in wanted if found.get(key) != wanted[key]]
    except (OSError, ValueError, AttributeError):
        raise WeakspotError(f"{target} exists and is not a synthetic data set; {way_out}") from None
    what = f"another synthetic data set ({', '.join(other)})" if other else "this synthetic data set already"
    raise WeakspotError(f"{target} holds {what}; {way_out}")


def _write(
    folder: Path,
    subset: str,
    seed: int,
    good: int,
    defect: int,
    size: Size | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Render every picture into `folder`."""
    train = good - good // 4
    jobs = [(Path("train" if i < train else "test"), GOOD, i, i if i < train else i - train) for i in range(good)]
    jobs += [(Path("test"), name, i, i) for name in SUBSETS[subset].defects for i in range(defect)]
    for done, (part, name, index, number) in enumerate(jobs, 1):
        picture = render(subset, name, index, seed=seed, size=size)
        _save(folder / part / name / f"{number:03d}.png", cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR))
        if name != GOOD:
            _save(folder / "ground_truth" / name / f"{number:03d}_mask.png", picture.mask)
        if progress is not None:
            progress(done, len(jobs))


def _save(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write a PNG file; OpenCV's own writer would swallow a full disk and stumble over some names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _publish(made: Path, target: Path, wanted: dict[str, object]) -> None:
    """Rename `made` to `target`; when somebody else was faster with the same data set, theirs stays."""
    try:
        made.rename(target)
    except OSError:
        if not _is_ours(target, wanted):
            _refuse_foreign(target, wanted)
            raise
