"""Addresses of cameras and streams, and what of them may be shown."""

from __future__ import annotations


def is_stream(source: str) -> bool:
    """Whether a source is a camera's number or an address, rather than a file or folder."""
    return source.isdigit() or "://" in source


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
