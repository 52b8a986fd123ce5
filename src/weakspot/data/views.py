"""Finite augmentation: an image in a few fixed views, so that the frozen layers are run only once on each of them.

A view turns and mirrors an image, and may show it in another light: a name such as ``turn180~light3``. Lights are drawn
by lot from the image and their number (:mod:`weakspot.models.photometric`), so they are always the same ones.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from weakspot.data.images import ImageInfo

AS_IS: Final = "turn0"
MIRRORED: Final = "turn0_mirrored"

VIEWS: Final[dict[str, tuple[int, bool]]] = {
    f"turn{90 * turns}{'_mirrored' if mirrored else ''}": (turns, mirrored)
    for turns in range(4)
    for mirrored in (False, True)
}
"""``(quarter turns anticlockwise, then mirrored left to right)`` by name."""

LIGHT: Final = "~light"
"""Comes before the number of a light in a view's name."""

FLIPS: Final = (AS_IS, MIRRORED, "turn180", "turn180_mirrored")

LIGHTS: Final = 2
"""Lights that each flip is also shown in, by ``photometric``."""

AUGMENTATIONS: Final[dict[str, tuple[str, ...]]] = {
    "none": (AS_IS,),
    "flips": FLIPS,
    "turns": tuple(VIEWS),
    "photometric": (
        *FLIPS,
        *(f"{flip}{LIGHT}{LIGHTS * i + k}" for i, flip in enumerate(FLIPS) for k in range(LIGHTS)),
    ),
}
"""Views that ``trainer.augment`` trains on. The eight turns need a square network input."""


class ImageView(NamedTuple):
    """An image in one of the views of :data:`AUGMENTATIONS`, or with an imitated defect on it."""

    image: ImageInfo
    view: str = AS_IS


def split_view(view: str) -> tuple[str, int | None]:
    """Split a view's name into a key of :data:`VIEWS` and the number of its light; None for the image's own light."""
    turned, marked, light = view.partition(LIGHT)
    return turned, int(light) if marked else None


def apply_view(pixels: npt.NDArray[np.float32], view: str) -> npt.NDArray[np.float32]:
    """Turn and mirror a preprocessed image; its light stays.

    Args:
        pixels: ``(3, height, width)``.
        view: one of :data:`AUGMENTATIONS`.

    Returns:
        A NumPy view ``(3, height, width)``, height and width exchanged after an odd number of quarter turns.
    """
    turns, mirrored = VIEWS[split_view(view)[0]]
    turned = np.rot90(pixels, turns, axes=(1, 2))
    return turned[:, :, ::-1] if mirrored else turned
