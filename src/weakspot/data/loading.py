"""Load and preprocess images in threads, in order, a bounded number ahead of the consumer."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.images import decode_image, is_image, list_images, read_image, to_rgb
from weakspot.data.looks import measure_look
from weakspot.data.preprocess import Preprocess, fit_within
from weakspot.errors import WeakspotError
from weakspot.types import BoolArray, ImageArray, Look
from weakspot.utils.files import shown
from weakspot.utils.threads import MOST, in_order

T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """An image file that is not on this machine's disks.

    Attributes:
        name: its URL.
        fetch: reads its content; may raise anything.
    """

    name: str
    fetch: Callable[[], bytes]


ImageSource = Path | str | ImageArray | Image.Image | Stored
"""A file, a uint8 array ``(H, W)``, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA, a PIL image, or a file elsewhere."""


@dataclass(frozen=True)
class Loaded:
    """One image, ready for the network, or the reason why it is not.

    Attributes:
        name: the file, or ``array-<n>`` for the n-th image that came without one.
        size: ``(height, width)`` of the original image.
        pixels: float32 ``(3, h, w)``, preprocessed, channels last in memory, or uint8 ``(h, w, 3)``, only resized;
            None on error.
        region: bool ``(h, w)``, which of the pixels lie in the region of interest; None where all of them count.
        image: the picture, shrunk to the longest side that was requested; None where no picture was requested.
        error: empty, or one line.
        look: of the picture; None where it was not asked for.
    """

    name: Path
    size: tuple[int, int] = (0, 0)
    pixels: npt.NDArray[Any] | None = None
    region: BoolArray | None = None
    image: ImageArray | None = None
    error: str = ""
    look: Look | None = None


def load_images(
    sources: Iterable[ImageSource],
    preprocess: Preprocess,
    *,
    keep_longest: int | None = None,
    workers: int | None = None,
    normalise: bool = True,
    looks: bool = False,
) -> Iterator[Loaded]:
    """Load images in threads and yield them in order; one that cannot be read comes with its error and raises nothing.

    At most ``4 × workers`` images are in memory ahead of the consumer, however many there are.

    Args:
        sources: files, arrays or PIL images.
        preprocess: brings each image to the network's input.
        keep_longest: also keep each picture, shrunk so that no side is longer than this many pixels; None keeps none.
        workers: number of threads; by default one per core, at most 8.
        normalise: False only resizes: uint8 ``(h, w, 3)`` in place of float32 ``(3, h, w)``.
        looks: also measure what each picture looks like.

    Yields:
        One :class:`Loaded` for each source.
    """
    workers = workers or min(MOST, os.cpu_count() or 1)

    def load(item: tuple[int, ImageSource]) -> Loaded:
        index, source = item
        name = _name(source, index)
        try:
            image = as_rgb(source)
            loaded = prepared(name, image, preprocess, normalise=normalise, looks=looks)
        except WeakspotError as error:
            return Loaded(name, error=str(error))
        except (OSError, ValueError) as error:  # a PIL image is decoded only now
            return Loaded(name, error=f"{name} cannot be read ({error})")
        return loaded if keep_longest is None else replace(loaded, image=fit_within(image, keep_longest))

    return in_order(load, enumerate(sources), workers=workers, ahead=4 * workers)


def prepared(
    name: Path, image: ImageArray, preprocess: Preprocess, *, normalise: bool = True, looks: bool = False
) -> Loaded:
    """Bring one picture to the network's input; the picture itself is not kept.

    Args:
        name: the file, or what to call an image without one.
        image: uint8 RGB ``(H, W, 3)``.
        preprocess: brings it to the network's input.
        normalise: False only resizes.
        looks: also measure what the picture looks like.

    Raises:
        WeakspotError: when the region of interest is not for this picture.
    """
    resized, region = preprocess.resize_within(image, name)
    pixels = preprocess.normalise(resized) if normalise else resized
    look = measure_look(image, None if preprocess.roi is None else preprocess.roi.mask(image, name)) if looks else None
    return Loaded(name, image.shape[:2], pixels, region, look=look)


def _name(source: ImageSource, index: int) -> Path:
    if isinstance(source, Stored):
        return Path(source.name)
    return Path(source) if isinstance(source, str | Path) else Path(f"array-{index}")


def pictures_in(folder: Path) -> list[Path]:
    """List every image in a folder, sorted; of a data set in MVTec AD layout, masks are left out."""
    images = list_images(folder)
    if (folder / "train").is_dir() or (folder / "test").is_dir():
        images = [path for path in images if path.relative_to(folder).parts[0] != "ground_truth"]
    return images


def find_sources(source: str) -> list[Path]:
    """List the image files that a path or a glob pattern stands for, sorted.

    An existing path is never taken for a pattern.

    Raises:
        WeakspotError: when there is none.
    """
    if not source:
        raise WeakspotError("the source is empty; give a file, a folder or a glob pattern")
    path = Path(source).expanduser()
    if path.is_dir():
        found = pictures_in(path)
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if is_image(Path(p)))  # noqa: PTH207 - any pattern
    if not found:
        raise _no_image(source, "holds no images" if path.is_dir() else "is no file or folder and matches no image")
    return found


def _no_image(source: Path | str, why: str) -> WeakspotError:
    return WeakspotError(f"{source} {why} (png, jpg, jpeg, bmp, tif, tiff, webp)")


def each_source(images: ImageSource | Iterable[ImageSource]) -> Iterator[ImageSource]:
    """Give the pictures of whatever a caller may name: one or many, folders opened.

    Args:
        images: a picture, the path of one or of a folder, or any number of these.

    Raises:
        WeakspotError: when a folder holds no picture.
    """
    single = isinstance(images, str | Path | Image.Image | np.ndarray | Stored)
    for image in [images] if single else images:  # type: ignore[union-attr]
        if isinstance(image, str | Path) and Path(image).is_dir():
            found = pictures_in(Path(image))
            if not found:
                raise _no_image(image, "holds no images")
            yield from found
        else:
            yield image  # type: ignore[misc]


def as_rgb(source: ImageSource) -> ImageArray:
    """Read a source's picture as a person sees it, as uint8 RGB ``(H, W, 3)``.

    Raises:
        WeakspotError: when a file cannot be read, or an array is not a uint8 image.
    """
    if isinstance(source, str | Path):
        return read_image(Path(source))
    if isinstance(source, Stored):
        return _decode_stored(source)
    if isinstance(source, Image.Image):
        return to_rgb(source)
    array = np.asarray(source)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or 0 in array.shape:
        raise WeakspotError(f"an array of {array.dtype} {array.shape} is not an image; give uint8 (H, W) or (H, W, 3)")
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if array.shape[2] == 4:
        return to_rgb(Image.fromarray(array))
    if array.shape[2] != 3:
        raise WeakspotError(f"an array of shape {array.shape} is not an image; give (H, W), (H, W, 3) or (H, W, 4)")
    return array


def _decode_stored(source: Stored) -> ImageArray:
    try:
        data = source.fetch()
    except Exception as error:  # what a storage service's library raises is its own affair
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise WeakspotError(f"{shown(source.name)} cannot be fetched ({reason})") from error
    return decode_image(data, source.name)


def stack_pixels(images: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Stack preprocessed images ``(3, H, W)`` to ``(n, 3, H, W)``; in memory channels come last."""
    return np.stack([image.transpose(1, 2, 0) for image in images]).transpose(0, 3, 1, 2)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield `items` in lists of `size`; the last may be shorter.

    Args:
        items: any number of them; they are taken one by one as lists are needed.
        size: length of a list, at least 1.

    Yields:
        Lists of `size` items, in order.
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
