"""What can be wrong with a part: one function for each defect.

Each takes ``(scene, rng)`` and changes the scene in place; ``rng`` decides place, size and look. Lengths are in pixels
of a 200-pixel-high image times ``scene.unit``.
"""

from __future__ import annotations

import cv2
import numpy as np

from weakspot.data.synthetic.scene import Rng, Scene, blob, mix, noise, place, smooth_step, stroke, wander
from weakspot.data.synthetic.surfaces import TEETH


def scratch(scene: Scene, rng: Rng) -> None:
    """One to three long, nearly straight gouges with a bright floor and a raised burr."""
    start, angle, length = place(scene, rng), rng.uniform(0.5, 2.6), rng.uniform(60, 150) * scene.unit
    for _ in range(rng.integers(1, 4)):
        width = rng.uniform(2.2, 4.4) * scene.unit
        shift = start[0] + rng.normal(0, 7) * scene.unit, start[1] + rng.normal(0, 7) * scene.unit
        line = stroke(scene.shape, wander(rng, shift, length, angle + rng.normal(0, 0.06), 0.08, 0.015), width)
        line *= scene.solid
        burr = cv2.GaussianBlur(line, (0, 0), width * 0.6)
        scene.height += (1.5 * burr - 2.2 * line) * width
        scene.albedo = mix(scene.albedo, line * 0.75, rng.uniform(0.65, 0.95) * np.array([1, 0.99, 0.97]))


def crack(scene: Scene, rng: Rng) -> None:
    """A jagged, forking dark line."""
    start, angle = place(scene, rng), rng.uniform(0, np.pi)
    length, width = rng.uniform(70, 160) * scene.unit, rng.uniform(2.4, 4.5) * scene.unit
    trunk = wander(rng, start, length, angle, 0.2, 0.3)
    line = stroke(scene.shape, trunk, width)
    for _ in range(rng.integers(1, 4)):
        fork = trunk[rng.integers(6, 20)]
        branch = wander(
            rng, (fork[0], fork[1]), length * 0.6, angle + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1), 0.2, 0.3
        )
        line = np.maximum(line, stroke(scene.shape, branch[12:], width * 0.7))
    line *= scene.solid
    scene.height -= cv2.GaussianBlur(line, (0, 0), scene.unit) * 3 * scene.unit
    scene.albedo = mix(scene.albedo, line * rng.uniform(0.75, 0.95), [0.09, 0.085, 0.08])


def dent(scene: Scene, rng: Rng) -> None:
    """A pressed-in hollow: one flank in the light, the other in shadow."""
    radius = float(np.exp(rng.uniform(np.log(12), np.log(36))))
    field_ = blob(scene, rng, radius, 1.8, 0.05)
    floor = np.exp(-2.5 * (1 - field_) ** 2) * scene.solid
    scene.height -= floor * radius * scene.unit * rng.uniform(0.6, 0.95)
    scene.albedo *= (1 - 0.15 * floor)[..., None]


def rust(scene: Scene, rng: Rng) -> None:
    """A patch of scaly corrosion with ragged edge."""
    radius = float(np.exp(rng.uniform(np.log(14), np.log(42))))
    patch = blob(scene, rng, radius, 2.2, 0.3) + 0.28 * noise(rng, scene.shape, 3 * scene.unit)
    amount = smooth_step(patch * 4) * scene.solid * rng.uniform(0.65, 0.95)
    scale = noise(rng, scene.shape, 1.8 * scene.unit)
    colour = np.array([0.42, 0.27, 0.16]) * (1 + 0.22 * scale[..., None])
    scene.height += amount * scale * 0.9 * scene.unit
    scene.albedo = mix(scene.albedo, amount, colour)


def pits(scene: Scene, rng: Rng) -> None:
    """A nest of touching round craters (pitting), dense where dust is scattered."""
    radius = float(np.exp(rng.uniform(np.log(14), np.log(38))))
    centre, count = place(scene, rng), int(radius * rng.uniform(0.8, 1.4))
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
    field_ = blob(scene, rng, radius, 1.8, 0.12)
    body = smooth_step(field_ * 9)
    rim = np.exp(-(((field_ - 0.08) / 0.07) ** 2))
    amount = np.clip(body * rng.uniform(0.5, 0.75) + rim * 0.35, 0, 0.95)
    scene.albedo *= 1 - amount[..., None] * np.array([0.55, 0.72, 0.9])


def hole(scene: Scene, rng: Rng) -> None:
    """Torn out: one sees through; broken yarn ends stand into the opening."""
    field_ = blob(scene, rng, float(np.exp(rng.uniform(np.log(11), np.log(34)))), 1.6, 0.14)
    fray = 0.12 * np.sign(np.sin(2 * np.pi * scene.grid[0])) + 0.12 * np.sign(np.sin(2 * np.pi * scene.grid[1]))
    gone = smooth_step((field_ + fray * (field_ < 0.3)) * 12 - 0.5)
    scene.height += 5 * scene.unit * np.exp(-(((field_ + 0.1) / 0.15) ** 2))
    scene.solid *= 1 - gone


def cut(scene: Scene, rng: Rng) -> None:
    """A knife slit that gapes in the middle, with lifted lips."""
    start, angle = place(scene, rng), rng.uniform(0, np.pi)
    length, width = rng.uniform(45, 120) * scene.unit, rng.uniform(6, 13) * scene.unit
    slit = stroke(scene.shape, wander(rng, start, length, angle, rng.uniform(0, 0.25), 0.01), width)
    scene.height += 1.2 * width * cv2.GaussianBlur(slit, (0, 0), width * 0.6)
    scene.solid *= 1 - slit


def missing_thread(scene: Scene, rng: Rng) -> None:
    """One to three neighbouring yarns are absent over a length: only the crossing yarns are left, flat, with gaps."""
    row, column = (int(c) for c in place(scene, rng, 20))
    across, along = scene.grid if rng.random() < 0.5 else scene.grid[::-1]
    count, length = int(rng.integers(1, 4)), rng.uniform(5, 11)
    first = np.floor(across[row, column])
    inside = (across >= first) & (across < first + count) & (np.abs(along - along[row, column]) < length)
    inside_soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), scene.unit * 0.7)
    part = along - np.floor(along)
    profile = np.sqrt(np.clip(1 - ((2 * part - 1) / 0.62) ** 2, 0, 1)).astype(np.float32)
    colour = np.median(scene.albedo[inside], axis=0) * (0.55 + 0.45 * profile[..., None])
    scene.albedo = mix(scene.albedo, inside_soft, colour)
    scene.height += inside_soft * (5 * scene.unit * profile - scene.height - 2 * scene.unit)
    scene.solid *= 1 - inside_soft * (profile < 0.15)


def misweave(scene: Scene, rng: Rng) -> None:
    """Yarns pushed aside: they bunch up on one side of a spot and leave a gap on the other."""
    radius = float(np.exp(rng.uniform(np.log(26), np.log(50))))
    bump = smooth_step(blob(scene, rng, radius, 1.6, 0.05))
    angle, push = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.4, 0.62) * scene.unit
    y, x = np.mgrid[: scene.shape[0], : scene.shape[1]].astype(np.float32)
    rows, columns = y - bump * push * np.float32(np.sin(angle)), x - bump * push * np.float32(np.cos(angle))
    scene.albedo, scene.height = (
        np.asarray(cv2.remap(layer, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)
        for layer in (scene.albedo, scene.height)
    )
    slope = cv2.Sobel(bump, cv2.CV_32F, 1, 0) * np.cos(angle) + cv2.Sobel(bump, cv2.CV_32F, 0, 1) * np.sin(angle)
    stretch = np.clip(slope / 8 * push, 0, 1)
    scene.albedo *= (1 - 0.75 * stretch)[..., None]
    scene.height += bump * 0.3 * radius * scene.unit


def broken_tooth(scene: Scene, rng: Rng) -> None:
    """One to three teeth are broken off; the ragged fracture is bright and grainy."""
    r, angle = scene.grid
    count, at = int(rng.integers(1, 4)), int(rng.integers(TEETH))
    away = np.abs((angle - (at + (count - 1) / 2) * 2 * np.pi / TEETH + np.pi) % (2 * np.pi) - np.pi)
    ragged = 0.022 * noise(rng, scene.shape, 2.5 * scene.unit) + 0.02 * noise(rng, scene.shape, 8 * scene.unit)
    depth = r - rng.uniform(0.72, 0.83) + ragged
    inside = np.minimum(depth, count * np.pi / TEETH + 0.02 - away)
    face = smooth_step((inside + 0.07) * 30) * scene.solid
    grain = noise(rng, scene.shape, 1.6 * scene.unit)
    scene.albedo = mix(scene.albedo, face * 0.8, (0.72 + 0.16 * grain)[..., None])
    scene.height += face * grain * scene.unit
    scene.solid *= 1 - smooth_step(inside * 60)
