"""Find image files and decode them safely.

Pillow decodes, since it knows orientation, palettes, transparency and 16-bit files. Colour profiles are not applied.
"""

from __future__ import annotations

import hashlib
import io
import re
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from weakspot.data.deep_colour import brightest_of_colour
from weakspot.errors import WeakspotError
from weakspot.types import BoolArray, ImageArray, Size
from weakspot.utils.files import shown
from weakspot.utils.threads import each

if TYPE_CHECKING:
    from weakspot.data.roi import RegionOfInterest

__all__ = [
    "EXTENSIONS",
    "ImageInfo",
    "Progress",
    "decode_image",
    "holds_image",
    "inspect_image",
    "inspect_images",
    "is_image",
    "list_images",
    "read_image",
    "read_mask",
    "subfolders",
    "to_rgb",
]

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp")
"""File name extensions taken for images, in any letter case."""

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""Formats that are tried whatever the extension says; no others, since some of Pillow's start external programs."""

_NOT_DATA = frozenset({"__MACOSX", "@eaDir"})
"""Folders that archivers and network drives leave behind, with thumbnails in them."""

_PILLOW_WARNINGS = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""The filter that silences Pillow, as it stands in ``warnings.filters``."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


def is_image(path: PurePath) -> bool:
    """Return whether the name is that of an image: a known extension, and not hidden (``._x.png``)."""
    return path.suffix[1:].lower() in EXTENSIONS and not path.name.startswith(".")


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in `folder` that may hold data, sorted by name."""
    return [entry for entry in _entries(folder) if entry.is_dir()]


def list_images(folder: Path) -> list[Path]:
    """Return every image file below `folder`, sorted folder by folder.

    Hidden files and folders are skipped. Links are followed, but never back into a folder that is being listed. A link
    whose target is missing is listed too, so that reading it reports the problem.

    Raises:
        WeakspotError: when `folder` is no folder or may not be read.
    """
    return sorted(_walk(folder, frozenset()), key=lambda path: path.parts)


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in above:
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(entry, above | {real})
        elif is_image(entry):
            yield entry


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        reason = (error.strerror or "cannot be listed").lower()
        raise WeakspotError(f"{shown(folder)}: {reason}; give a folder that exists and may be read") from error
    return [entry for entry in entries if not entry.name.startswith(".") and entry.name not in _NOT_DATA]


def read_image(path: Path) -> ImageArray:
    """Read an image file as a person sees it.

    Orientation from EXIF is applied, transparency is laid over white, 16-bit values are cut to their high byte (65535
    becomes 255; a dark 16-bit image stays dark), and of an animation or a multi-page file the first picture is taken.

    Args:
        path: an image file; its content decides the format, not its name.

    Returns:
        uint8 RGB of shape ``(height, width, 3)``, writable.

    Raises:
        WeakspotError: when it cannot be read; the message is one line with the file, the problem and what to do.
    """
    return decode_image(_read_bytes(path), path)


def decode_image(data: bytes, name: Path | str, *, most_pixels: int | None = None) -> ImageArray:
    """Decode an image file's content as :func:`read_image` does.

    Args:
        data: the file's content.
        name: what to call it in an error.
        most_pixels: larger pictures are refused before they are decoded.

    Raises:
        WeakspotError: as :func:`read_image`.
    """
    with _explained(name):
        if most_pixels is not None and data:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
                if picture.width * picture.height > most_pixels:
                    raise _UnreadableError(f"more than {most_pixels / 1e6:g} million pixels; make it smaller")
        return _rgb(_load(data))


def holds_image(path: Path) -> bool:
    """Return whether a file begins as an image does, whatever its name; it may still be damaged."""
    try:
        with _explained(path), Image.open(path, formats=_FORMATS):
            return True
    except WeakspotError:
        return False


def to_rgb(image: Image.Image) -> ImageArray:
    """Return a Pillow image as :func:`read_image` returns a file; the image itself stays as it is.

    Raises:
        WeakspotError: for floating-point pixels, or values beyond 16 bit.
    """
    return _rgb(ImageOps.exif_transpose(image))


def read_mask(path: Path, size: Size) -> BoolArray:
    """Read a defect mask.

    Defect is what is brighter than half: above 127, above 32767 where a 16-bit file uses its range, above 0 where the
    values are only 0 and 1. Half rather than 0, because masks that were once stored lossily hold a noise of 1…5.
    A coloured mask counts by its brightest channel (pure red is defect), a transparent part is not defect.

    Args:
        path: the mask file.
        size: ``(height, width)`` of its image.

    Returns:
        bool of shape `size`; without any True where the mask marks nothing (callers count that as no mask).

    Raises:
        WeakspotError: when the file cannot be read or its size is not that of the image.
    """
    data = _read_bytes(path)
    with _explained(path):
        values = _mask_values(_load(data))
    if values.shape != tuple(size):
        raise WeakspotError(
            f"{shown(path)}: the mask is {_hxw(values.shape)} (height×width) but its image is {_hxw(size)}; "
            "make the mask anew at the size of the image, or remove it"
        )
    highest = int(values.max())
    threshold = 0 if highest <= 1 else 127 if highest <= 255 else 32767
    mask: BoolArray = values > threshold
    return mask


def _hxw(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]}"


def _read_bytes(path: Path) -> bytes:
    with _explained(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise _UnreadableError("this is a folder, not an image file; give the files in it")
        if not stat.S_ISREG(mode):  # reading a pipe would wait for ever
            raise _UnreadableError("not a regular file; give an image file")
        return path.read_bytes()


class _UnreadableError(WeakspotError):
    """What is wrong with an image and the way out, before the file is named."""


@contextmanager
def _explained(path: Path | str) -> Iterator[None]:
    """Turn whatever goes wrong inside into one line that names the file."""
    try:
        yield
    except Exception as error:  # decoders raise anything: OSError, SyntaxError, struct.error, ZeroDivisionError, …
        raise WeakspotError(f"{shown(path)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Say in one line what is wrong and what to do about it."""
    text = " ".join(str(error).split())
    match error:
        case _UnreadableError():
            return text
        case FileNotFoundError():
            return "no such file; check the name"
        case PermissionError():
            return "no permission to read it; change the permissions of the file"
        case UnidentifiedImageError():
            return "not an image in a known format, or damaged at its start; save it as PNG or JPEG, or remove it"
        case Image.DecompressionBombError():
            return f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels; cut it into tiles"
        case MemoryError():
            return "not enough memory to decode it; cut it into tiles"
        case _:
            return f"damaged or cut short ({text or type(error).__name__}); copy it again or remove it"


def _load(data: bytes) -> Image.Image:
    """Decode the first picture, upright."""
    if not data:
        raise _UnreadableError("the file is empty; copy it again or remove it")
    # Pillow's remarks (large image, odd EXIF, …) are no news to a user, and what matters raises. One filter that stays,
    # for Pillow alone, since `catch_warnings` is not safe in the threads of `inspect_images`.
    if _PILLOW_WARNINGS not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\.")
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    image.load()
    with suppress(Exception):  # damaged EXIF in a sound image: shown as stored, as viewers do
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _rgb(image: Image.Image) -> ImageArray:
    deep = _deep(image)
    if deep is not None:
        if deep.min() < 0 or deep.max() > 65535:
            raise _UnreadableError("holds values outside 0…65535; convert it to 8 or 16 bit")
        return _grey_to_rgb((deep >> 8).astype(np.uint8))
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return _grey_to_rgb(np.asarray(image.convert("L")))  # a third of the memory of converting in Pillow
    return np.array(_flat(image, "white"))


def _mask_values(image: Image.Image) -> npt.NDArray[np.integer[Any]]:
    deep = _deep(image)
    if deep is not None:
        return deep
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return np.asarray(image.convert("L"))
    values: npt.NDArray[np.uint8] = np.asarray(_flat(image, "black")).max(axis=2)
    return values


def _deep(image: Image.Image) -> npt.NDArray[np.integer[Any]] | None:
    """Return the values of a grey image of more than 8 bits, None for any other image."""
    if image.mode == "F":
        raise _UnreadableError("holds floating-point values; convert it to 8 or 16 bit")
    return np.asarray(image) if image.mode.startswith("I") else None


def _grey_to_rgb(grey: npt.NDArray[np.uint8]) -> ImageArray:
    return np.repeat(grey[:, :, None], 3, axis=2)


def _flat(image: Image.Image, background: str) -> Image.Image:
    """Return the image as RGB, transparent parts laid over `background`."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, background)
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("RGB")


@dataclass(frozen=True)
class ImageInfo:
    """What :func:`inspect_image` found in a file.

    Attributes:
        path: the file.
        sha256: hash of its bytes in hexadecimal; empty where they could not be read.
        height, width: size in pixels as a person sees it; 0 where it could not be decoded.
        error: why it could not be read, naming the file; None for a sound image.
        mode: how the pixels are stored, in Pillow's words (``L``, ``RGB``, ``I;16``, …); empty on error.
        roi: the region of interest, outside which nothing is measured; None where all of the image counts.
        brightest: highest value of an image of more than 8 bits, 0…65535, in colour to its high byte; None for others.
    """

    path: Path
    sha256: str = ""
    height: int = 0
    width: int = 0
    error: str | None = None
    mode: str = ""
    roi: RegionOfInterest | None = None
    brightest: int | None = None


def inspect_image(path: Path) -> ImageInfo:
    """Read a file once, hash it and decode it fully; a bad file is described in ``error``, never raised."""
    sha256 = ""
    try:
        data = _read_bytes(path)
        sha256 = hashlib.sha256(data).hexdigest()
        with _explained(path):
            image = _load(data)
            height, width = _rgb(image).shape[:2]
            deep = _deep(image)
            brightest = brightest_of_colour(image, data) if deep is None else int(deep.max())
    except WeakspotError as error:
        return ImageInfo(path, sha256=sha256, error=str(error))
    return ImageInfo(path, sha256, height, width, mode=image.mode, brightest=brightest)


def inspect_images(
    paths: Sequence[Path], *, workers: int | None = None, progress: Progress | None = None
) -> list[ImageInfo]:
    """Inspect many files in threads (hashing and decoding release the interpreter lock).

    Args:
        paths: the files.
        workers: number of threads; by default one per core, at most 8.
        progress: called with (done, total) in the calling thread after each file.

    Returns:
        One :class:`ImageInfo` for each path, in order.
    """
    return each(inspect_image, paths, workers=workers, progress=progress)
