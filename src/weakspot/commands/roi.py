"""Choose the pictures of a data set that its region of interest is drawn on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from weakspot.data.images import inspect_images
from weakspot.data.loading import pictures_in
from weakspot.errors import WeakspotError
from weakspot.types import Size
from weakspot.utils import console
from weakspot.utils.spread import spread_evenly

SHOWN = 12
"""So many pictures, evenly over the folder, can be looked at on the page."""

INSPECTED = 60
"""So many are opened to find out which size is the most common."""


def pictures_to_draw_on(folder: Path) -> tuple[list[Path], Size, list[str]]:
    """Choose pictures of one size, evenly over a folder.

    Args:
        folder: of a data set, or of pictures.

    Returns:
        The pictures, their ``(height, width)``, and remarks, one sentence each.

    Raises:
        WeakspotError: when the folder holds no picture that can be read.
    """
    found = spread_evenly(pictures_in(folder), INSPECTED)
    with console.progress_bar("reading images", len(found)) as progress:
        sound = [info for info in inspect_images(found, progress=progress) if info.error is None]
    if not sound:
        raise WeakspotError(f"{folder} holds no image that can be read; give the folder of a data set")
    sizes = Counter((info.height, info.width) for info in sound)
    size, count = sizes.most_common(1)[0]
    remarks = []
    if len(sizes) > 1:
        remarks.append(
            f"warning: {count} of {len(sound)} pictures looked at are {size[0]}×{size[1]} (height×width) and the "
            "others are not; one region fits pictures of one shape"
        )
    return spread_evenly([info.path for info in sound if (info.height, info.width) == size], SHOWN), size, remarks
