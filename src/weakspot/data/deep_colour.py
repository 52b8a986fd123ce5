"""Colour pictures of 16 bits, of which Pillow keeps the high byte alone: how much of their range they use."""

from __future__ import annotations

import numpy as np
from PIL import Image, TiffImagePlugin

_PNG_DEPTH = 24
"""Position of the bits of a value in a PNG file, in the header that it begins with."""


def brightest_of_colour(image: Image.Image, data: bytes) -> int | None:
    """The highest value of a colour picture of 16 bits; its low byte, which is lost, is taken for 255.

    Args:
        image: the decoded picture.
        data: the content of its file.

    Returns:
        255, 511, … 65535; None for any other picture than a PNG or TIFF of 16 bits in colour.
    """
    if image.mode not in ("RGB", "RGBA") or not _has_16_bits(image, data):
        return None
    return int(np.asarray(image)[..., :3].max()) << 8 | 255


def _has_16_bits(image: Image.Image, data: bytes) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, ())
        return bool(bits) and min(bits) == 16
    return image.format == "PNG" and data[_PNG_DEPTH] == 16
