"""Pictures of which image labels alone cannot say what is meant: a burn, and the discolouring that lies round each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE = (64, 96)
CORE, DISCOLOURED = 6, 14
"""Radii in pixels: the box of what is changed is five times as large as that of the burn."""


def make_burns(root: Path, *, seed: int, good: int = 40, defect: int = 40) -> Path:
    """Write the subset ``burns`` in MVTec AD layout, with a mask of each burn without its discolouring.

    Args:
        root: folder of the data set.
        seed: another seed makes other pictures.
        good: number of Good pictures.
        defect: number of pictures with a burn.

    Returns:
        ``root/burns``.
    """
    rng, folder = np.random.default_rng(seed), root / "burns"
    places = {name: folder / name for name in ("train/good", "test/burn", "ground_truth/burn")}
    for place in places.values():
        place.mkdir(parents=True)
    for i in range(good + defect):
        image = rng.normal(150, 8, (*SIZE, 3)) + rng.normal(0, 6)
        path = places["train/good" if i < good else "test/burn"] / f"{i:03d}.png"
        if i >= good:
            core, discoloured = _discs(rng)
            image[discoloured] -= (20, 50, 80)
            image[core] -= (90, 50, 20)
            Image.fromarray(core).save(places["ground_truth/burn"] / f"{i:03d}_mask.png")
        Image.fromarray(np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 0, 255).astype(np.uint8)).save(path)
    return folder


def _discs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A burn, anywhere in its discolouring; both anywhere in the picture."""
    height, width = SIZE
    y, x = np.mgrid[:height, :width]
    row, column = rng.uniform(DISCOLOURED, height - DISCOLOURED), rng.uniform(DISCOLOURED, width - DISCOLOURED)
    off, angle = rng.uniform(0, DISCOLOURED - CORE - 2), rng.uniform(0, 2 * np.pi)
    burn = row + off * np.sin(angle), column + off * np.cos(angle)
    return (np.hypot(y - burn[0], x - burn[1]) <= CORE), (np.hypot(y - row, x - column) <= DISCOLOURED)
