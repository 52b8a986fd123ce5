"""Pictures of cameras with 10, 12 or 14 bits, stored in 16 without being stretched: all of them look nearly black."""

from __future__ import annotations

from collections.abc import Sequence

from weakspot.data.images import ImageInfo

DEPTHS = (8, 10, 12, 14)
"""Numbers of bits that cameras have, below the 16 of a file."""


def depth_warning(infos: Sequence[ImageInfo]) -> str | None:
    """Say it where 16-bit pictures use only the lowest bits, all of them.

    Args:
        infos: of the pictures of a data set, from :func:`~weakspot.data.images.inspect_images`.

    Returns:
        A sentence with the way out; None where there is nothing to say.

    Examples:
        >>> from pathlib import Path
        >>> depth_warning([ImageInfo(Path("a.png"), brightest=65535), ImageInfo(Path("b.png"), brightest=900)])
        >>> depth_warning([ImageInfo(Path("a.png"), brightest=4080)])[:61]
        'warning: 1 of 1 images store 12 bits in 16 (no value is above'
    """
    deep = [info.brightest for info in infos if info.brightest is not None]
    depth = next((bits for bits in DEPTHS if deep and max(deep) < 2**bits), None)
    if depth is None:
        return None
    return (
        f"warning: {len(deep)} of {len(infos)} images store {depth} bits in 16 (no value is above {max(deep)} of "
        f"65535), and so they are nearly black; multiply their values by {2 ** (16 - depth)}, or store 8 bits"
    )
