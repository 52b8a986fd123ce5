"""Photographs of the same part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from helpers.runs import tiny_run, train_config
from weakspot.config.schema import TrainConfig
from weakspot.data import synthetic
from weakspot.data.images import list_images, read_image


def exposed(source: Path, target: Path, seed: int) -> None:
    """The same part again: another exposure, another crop, noise, JPEG."""
    rng = np.random.default_rng(seed)
    picture = read_image(source).astype(np.float32)
    brighter = picture * rng.uniform(0.7, 1.2) + rng.normal(size=picture.shape) * 2
    y, x = rng.integers(0, 6, size=2)
    Image.fromarray(np.clip(brighter, 0, 255).astype(np.uint8)[y:, x:]).save(target, quality=88)


def make_parts(root: Path) -> None:
    """A subset ``metal`` of 60 parts, 14 of which were photographed three times."""
    folder = synthetic.generate(root, "brushed_metal", seed=3, good=30, defect=6, size=(128, 128))
    folder = folder.rename(root / "metal")
    for kind in [*(folder / "test").iterdir(), folder / "train" / "good"]:
        for path in list_images(kind)[:2]:
            for k in (1, 2):
                exposed(path, path.with_name(f"{path.stem}_again{k}.jpg"), k)


def part_of(path: str) -> str:
    return str(Path(path).with_suffix("")).split("_again")[0]


def parts_config(parts: Path, *overrides: str) -> TrainConfig:
    """Of a tiny run on them."""
    return train_config(f"data.root={parts}", "data.subset=metal", *tiny_run(epochs=1), *overrides)
