"""Imitated prompts, made from known masks with the location head's faults: too large, shifted, blurred, partial."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Rng = np.random.Generator


def imitate_prompt(mask: Float, rng: Rng) -> Float:
    """Make an imitated prompt for a mask.

    Lengths are in units of 1/160 of the mask's shorter side.

    Args:
        mask: ``(2h, 2w)``, 0 or 1; for an empty one the prompt is empty, or has a false place.
        rng: decides everything.

    Returns:
        ``(h, w)``, 0…1.
    """
    unit = min(mask.shape) / 160
    prompt: npt.NDArray[Any] = mask
    if rng.random() < 0.5:
        prompt = _part(prompt, rng)
    if rng.random() < 0.7:
        side = 1 + round(rng.uniform(0, 15) * unit)
        prompt = cv2.dilate(prompt, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    dx, dy = 2 * unit * rng.normal(size=2)
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    prompt = cv2.warpAffine(prompt, shift, prompt.shape[::-1])
    prompt = cv2.GaussianBlur(prompt, (0, 0), max(0.3, float(rng.uniform(0.7, 5)) * unit))
    prompt = prompt * np.float32(rng.uniform(0.5, 1) / max(1e-6, float(prompt.max())))
    if rng.random() < 0.3:
        prompt = np.maximum(prompt, _false_place(mask.shape, unit, rng))
    return np.asarray(cv2.resize(prompt, (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_AREA))


def _part(mask: Float, rng: Rng) -> Float:
    """Some of the mask; all of it where nothing would be left."""
    knots = rng.normal(size=(4, 4)).astype(np.float32)
    field = cv2.resize(knots, mask.shape[::-1], interpolation=cv2.INTER_CUBIC)
    part = mask * (field > rng.uniform(-0.5, 0.8) * field.std())
    return np.asarray(part if part.any() else mask, np.float32)


def _false_place(shape: tuple[int, ...], unit: float, rng: Rng) -> Float:
    canvas = np.zeros(shape, np.float32)
    centre = (int(rng.integers(shape[1])), int(rng.integers(shape[0])))
    cv2.circle(canvas, centre, max(1, round(rng.uniform(2, 12) * unit)), 1.0, -1)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), max(0.3, 3 * unit)) * np.float32(rng.uniform(0.1, 0.8)))
