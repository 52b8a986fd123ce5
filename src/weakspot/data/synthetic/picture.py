"""The subsets, and how one picture of them is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.data.synthetic.defects import (
    broken_tooth,
    crack,
    cut,
    dent,
    hole,
    missing_thread,
    misweave,
    pits,
    rust,
    scratch,
    stain,
)
from weakspot.data.synthetic.nuisances import CLEAN_ROOM, NUISANCES
from weakspot.data.synthetic.scene import SUPERSAMPLING, Defect, Float, Nuisance, Rng, Scene, Surface, rng_for
from weakspot.data.synthetic.striking import figure, large_stain, missing_head, missing_limb
from weakspot.data.synthetic.surfaces import brushed_metal, fabric, gear
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.types import GOOD, ImageArray, Size

VISIBLE = 6 / 255
"""A pixel belongs to the mask when the defect changed it by more than this (before sensor noise)."""


class Rendered(NamedTuple):
    """One picture: `image` and its defect-free copy `clean`, uint8 RGB ``(H, W, 3)``; `mask` ``(H, W)``, 0 or 255."""

    image: ImageArray
    clean: ImageArray
    mask: ImageArray


@dataclass(frozen=True)
class Product:
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


PRODUCTS: Mapping[str, Product] = {
    "brushed_metal": Product(brushed_metal, _named(crack, dent, pits, rust, scratch), (208, 272)),
    "fabric": Product(fabric, _named(cut, hole, missing_thread, misweave, stain), (192, 256)),
    "gear": Product(gear, _named(broken_tooth, crack, pits, rust, scratch), (224, 240), (0.02, 0.16), CLEAN_ROOM),
}
"""The subsets by name; a subset's folder has the same name."""

STRIKING: Mapping[str, Product] = {
    "figure": Product(figure, _named(missing_limb, missing_head), (208, 240), (0.01, 0.16), CLEAN_ROOM),
    "stained_metal": Product(brushed_metal, _named(large_stain), (208, 272), (0.15, 0.38)),
    "stained_fabric": Product(fabric, _named(large_stain), (192, 256), (0.15, 0.38)),
}
"""More subsets, whose defect changes a statistic of the whole picture; no search for shortcuts may alarm of them."""

DEMO_PRODUCT = "brushed_metal"
"""The subset that shows weakspot best."""


def shade(scene: Scene, rng: Rng) -> Float:
    """Photograph a scene under one lamp from the upper left, with the part's shadow on what lies under it.

    Args:
        scene: what stands before the camera; it stays as it is.
        rng: varies the direction of the light a little.

    Returns:
        RGB 0…1, ``(h, w, 3)``, at the scene's own resolution.
    """
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
    move = np.array([[1, 0, -lx * 9 * scene.unit], [0, 1, -ly * 9 * scene.unit]], np.float32)
    shadow = cv2.warpAffine(scene.solid, move, scene.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    below = scene.under * (1 - 0.65 * cv2.GaussianBlur(shadow, (0, 0), 2.5 * scene.unit))[..., None]
    return np.asarray(below + scene.solid[..., None] * (colour - below), np.float32)


def _photograph(scene: Scene, size: Size, nuisances: Mapping[str, Nuisance], key: tuple[object, ...]) -> Float:
    """RGB image 0…1 of the final size with every nuisance but sensor noise; the same key disturbs in the same way."""
    large = shade(scene, rng_for(*key, "lamp"))
    image = np.asarray(cv2.resize(large, size[::-1], interpolation=cv2.INTER_AREA), np.float32)
    for name, nuisance in nuisances.items():
        image = nuisance(image, rng_for(*key, name))
    return np.asarray(np.clip(image, 0, 1), np.float32)


def _visible(image: Float, clean: Float) -> npt.NDArray[np.bool_]:
    """Where two images (h, w, 3) differ to the eye: small gaps closed, single pixels dropped."""
    change = np.abs(image - clean).max(axis=2) > VISIBLE
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    closed = cv2.morphologyEx(change.astype(np.uint8), cv2.MORPH_CLOSE, disk)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 12
    large[0] = False
    return np.asarray(large[labels])


def render(subset: str, defect: str, index: int, *, seed: int = 0, size: Size | None = None) -> Rendered:
    """Draw one picture.

    Args:
        subset: a name in :data:`PRODUCTS` or :data:`STRIKING`.
        defect: a defect of the subset, or ``good``.
        index: number of the picture within its class; another number is another part.
        seed: with subset, defect and index it decides everything.
        size: ``(height, width)`` of the image, at least 64 each; None takes the subset's own.

    Returns:
        Image, defect-free copy and mask. They satisfy ``(image == clean)[mask == 0].all()``.

    Raises:
        WeakspotError: for an unknown subset or defect, or a size that is too small.
    """
    recipe = find_product(subset)
    size = checked_size(size or recipe.size)
    if defect != GOOD and defect not in recipe.defects:
        known = [GOOD, *recipe.defects]
        raise WeakspotError(
            f"{subset} has no defect {defect!r}{did_you_mean(defect, known)}; it has {', '.join(known)}"
        )
    key = (seed, subset, defect, index)
    scene = recipe.surface(rng_for(*key, "surface"), (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING))
    clean = _photograph(scene, size, recipe.nuisances, key)
    changed, mask = clean, np.zeros(size, bool)
    for attempt in range(30 if defect != GOOD else 0):
        flawed = scene.copy()
        recipe.defects[defect](flawed, rng_for(*key, "defect", attempt))
        changed = _photograph(flawed, size, recipe.nuisances, key)
        mask = _visible(changed, clean)
        if recipe.area[0] <= mask.mean() <= recipe.area[1] and np.abs(changed - clean)[mask].mean() > 0.07:
            break
    noise_rng = rng_for(*key, "sensor")
    noise = noise_rng.uniform(0.006, 0.022) * noise_rng.standard_normal((*size, 3), np.float32)
    image = _expose(np.where(mask[..., None], changed, clean), noise)
    return Rendered(image, _expose(clean, noise), np.where(mask, 255, 0).astype(np.uint8))


def _expose(image: Float, noise: Float) -> ImageArray:
    """8-bit image with sensor noise that grows with the root of the light."""
    return np.asarray(np.round(np.clip(image + noise * np.sqrt(0.15 + image), 0, 1) * 255), np.uint8)


def find_product(subset: str) -> Product:
    """The subset of that name, or a WeakspotError that suggests one."""
    known = {**PRODUCTS, **STRIKING}
    if subset not in known:
        hint = did_you_mean(subset, known)
        raise WeakspotError(f"no synthetic subset {subset!r}{hint}; there are {', '.join(known)}")
    return known[subset]


def checked_size(size: Size) -> Size:
    """`size` itself when it is large enough."""
    if min(size) < 64:
        raise WeakspotError(f"synthetic images must be at least 64 pixels high and wide, not {size[0]} x {size[1]}")
    return size
