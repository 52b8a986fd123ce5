"""A picture on its way from a source to a verdict, and reading it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Protocol

from weakspot.data.images import decode_image
from weakspot.data.loading import Loaded
from weakspot.data.preprocess import fit_within
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.report.overlays import LONGEST_SIDE
from weakspot.types import ImageArray
from weakspot.utils.files import shown
from weakspot.utils.untrusted import read_bounded

MOST_BYTES = 2**30
"""Of a picture's file."""

TRIES, PAUSE = 3, 0.3
"""How often, and after how many seconds again, a file is read that a network drive does not give."""


@dataclass(frozen=True)
class Picture:
    """What a source gives.

    Attributes:
        name: what the journal knows it by: the path below the watched folder, or stream and number of a frame.
        path: what results call it.
        seen: when it was there, in seconds since 1970.
        stamp: time of change (ns) and bytes of a file, by which a file that was answered is known without reading it.
        image: uint8 RGB ``(H, W, 3)`` of a frame; None for a file.
    """

    name: str
    path: Path
    seen: float
    stamp: tuple[int, int] = (0, 0)
    image: ImageArray | None = None


class Source(Protocol):
    """Where pictures come from."""

    repeats: bool
    """Whether pictures that were taken and not answered come again after a restart."""

    def pictures(self, stop: Event) -> Iterator[Picture]:
        """Pictures in order, waiting for more, until `stop` is set or there are none any more."""

    def taken(self, picture: Picture) -> None:
        """Say that a picture's verdict is in the journal."""

    @property
    def waiting(self) -> int:
        """Pictures known of and not given out yet, about."""

    @property
    def dropped(self) -> int:
        """Frames that were left out since a newer one was there."""

    @property
    def reachable(self) -> bool:
        """Whether the folder, file or camera is there."""


def read(picture: Picture, localizer: Localizer) -> tuple[Loaded, str]:
    """Read a picture and bring it to the form that the model takes.

    Args:
        picture: from a source.
        localizer: the model.

    Returns:
        What was loaded, with the picture shrunk for an overlay, or the reason why it cannot be read; and what its
        content is known by.
    """
    if picture.image is not None:
        return _prepared(picture, picture.image, localizer), "frame"
    try:
        data = _bytes_of(picture.path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        digest = f"unread {picture.stamp[0]} {picture.stamp[1]}"
        return Loaded(picture.path, error=f"{shown(picture.path)} cannot be read ({why})"), digest
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    try:
        return _prepared(picture, decode_image(data, picture.path), localizer), digest
    except WeakspotError as error:
        return Loaded(picture.path, error=str(error)), digest
    except Exception as error:  # no file may stop the line, again and again after every restart
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Loaded(picture.path, error=f"{shown(picture.path)} cannot be read ({why})"), digest


def _prepared(picture: Picture, image: ImageArray, localizer: Localizer) -> Loaded:
    loaded = localizer.prepare(picture.path, image)
    return loaded if loaded.error else replace(loaded, image=fit_within(image, LONGEST_SIDE))


def _bytes_of(path: Path) -> bytes:
    for _ in range(TRIES - 1):
        try:
            return read_bounded(path, MOST_BYTES)
        except (FileNotFoundError, PermissionError, IsADirectoryError):
            raise
        except OSError:  # a drive that is away for a moment
            time.sleep(PAUSE)
    return read_bounded(path, MOST_BYTES)
