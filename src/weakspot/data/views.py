"""Finite augmentation: an image in a few fixed views, so that the frozen layers are run only once on each of them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

AS_IS: Final = "turn0"
MIRRORED: Final = "turn0_mirrored"

VIEWS: Final[dict[str, tuple[int, bool]]] = {
    f"turn{90 * turns}{'_mirrored' if mirrored else ''}": (turns, mirrored)
    for turns in range(4)
    for mirrored in (False, True)
}
"""``(quarter turns anticlockwise, then mirrored left to right)`` by name."""

AUGMENTATIONS: Final[dict[str, tuple[str, ...]]] = {
    "none": (AS_IS,),
    "flips": (AS_IS, "turn0_mirrored", "turn180", "turn180_mirrored"),
    "turns": tuple(VIEWS),
}
"""Views that ``trainer.augment`` trains on. All eight need a square network input."""


def apply_view(pixels: npt.NDArray[np.float32], view: str) -> npt.NDArray[np.float32]:
    """Turn and mirror a preprocessed image.

    Args:
        pixels: ``(3, height, width)``.
        view: a key of :data:`VIEWS`.

    Returns:
        A NumPy view ``(3, height, width)``, height and width exchanged after an odd number of quarter turns.
    """
    turns, mirrored = VIEWS[view]
    turned = np.rot90(pixels, turns, axes=(1, 2))
    return turned[:, :, ::-1] if mirrored else turned
