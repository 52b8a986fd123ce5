"""Masks that a data set does not ship as pictures: drawn once, and kept as PNG in the user's cache folder.

A mask is named by a hash of what it was drawn from, so that one that lies there is never out of date.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
from PIL import Image

from weakspot.errors import WeakspotError
from weakspot.types import BoolArray, Size
from weakspot.utils.files import atomic_path, shown

_VERSION = "1"
"""Counted up when the same content is drawn in another way."""


def made_mask(content: bytes, draw: Callable[[], BoolArray]) -> Path:
    """The file of a mask, drawn where it is not there yet.

    Args:
        content: all that the mask depends on.
        draw: makes the mask, bool ``(height, width)``.

    Returns:
        A PNG file, 255 on the defect and 0 elsewhere.
    """
    name = hashlib.sha256(_VERSION.encode() + b" " + content).hexdigest()[:40]
    path = Path(platformdirs.user_cache_dir("weakspot")) / "masks" / name[:2] / f"{name}.png"
    if not path.is_file():
        with atomic_path(path) as temporary:
            Image.fromarray(draw().astype(np.uint8) * 255).save(temporary)
    return path


def joined_mask(files: Sequence[Path]) -> Path:
    """A mask of whatever is not 0 in any of some mask files; a value there may be the number of a defect's type.

    Args:
        files: of one image, at least one.

    Raises:
        WeakspotError: when a file cannot be read, or they differ in size.
    """
    contents = [_bytes(file) for file in files]
    digests = b"joined " + b" ".join(hashlib.sha256(content).digest() for content in contents)

    def draw() -> BoolArray:
        parts = [marked(file) for file in files]
        if len({part.shape for part in parts}) > 1:
            raise WeakspotError(f"{shown(files[0])} and the other masks of its image differ in size; get them anew")
        return np.asarray(np.logical_or.reduce(parts))

    return made_mask(digests, draw)


def marked(file: Path) -> BoolArray:
    """The pixels of a mask file that are not 0.

    Args:
        file: a mask as a picture.

    Raises:
        WeakspotError: when it cannot be read.
    """
    try:
        with Image.open(file, formats=("PNG", "BMP", "JPEG", "TIFF")) as picture:
            values = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WeakspotError(f"{shown(file)}: cannot be read as a mask ({error}); get it anew") from error
    return np.asarray(values.any(axis=2) if values.ndim == 3 else values != 0)


def picture_size(file: Path) -> Size:
    """The ``(height, width)`` of an image file as it is stored.

    Args:
        file: an image.

    Raises:
        WeakspotError: when it cannot be read.
    """
    try:
        with Image.open(file, formats=("PNG", "BMP", "JPEG", "TIFF")) as picture:
            return picture.height, picture.width
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WeakspotError(f"{shown(file)}: cannot be read ({error}); get it anew") from error


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WeakspotError(f"{shown(file)}: cannot be read ({error.strerror}); get it anew") from error
