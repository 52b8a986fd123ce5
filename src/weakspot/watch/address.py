"""Addresses of cameras and streams, and what of them may be shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from weakspot.errors import WeakspotError


def is_stream(source: str) -> bool:
    """Whether a source is a camera's number or an address, rather than a file or folder.

    A folder or file whose name is a number, such as one of a day, is no camera.
    """
    return "://" in source or (source.isdigit() and not Path(source).exists())


def without_password(address: str) -> str:
    """An address without the user's name and password that it may carry.

    Args:
        address: of a stream; anything else stays as it is.

    Examples:
        >>> without_password("rtsp://user:secret@camera/1"), without_password("folder")
        ('rtsp://camera/1', 'folder')
    """
    scheme, found, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{found}{place.rsplit('@', 1)[-1]}{slash}{path}"


def port_of(option: str, address: str) -> int | None:
    """The port in an address; None where there is none.

    Args:
        option: of the command line that has it, for the message.
        address: with or without a port.

    Raises:
        WeakspotError: for a port that is no number from 0 to 65535.
    """
    try:
        return urlsplit(address).port
    except ValueError as error:
        raise WeakspotError(f"{option} {without_password(address)}: {error}; give a port from 1 to 65535") from error
