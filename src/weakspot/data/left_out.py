"""Files that hold pictures for a person and none for weakspot: named, so that nobody takes them for read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePath

from weakspot.data.images import EXTENSIONS, subfolders
from weakspot.errors import WeakspotError
from weakspot.utils.files import shown

UNSUPPORTED = frozenset(
    {
        *("pdf", "doc", "docx", "ppt", "pptx", "odt", "odp", "xls", "xlsx", "ps", "eps", "ai", "svg", "psd", "xcf"),
        *("heic", "heif", "avif", "gif", "jp2", "j2k", "jfif", "jpe", "jxl", "tga", "pcx", "dcm", "pgm", "ppm", "pbm"),
        *("raw", "dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "mp4", "avi", "mov", "mkv", "zip", "rar", "7z"),
    }
)
"""Extensions of documents, of pictures in formats that are not read, of videos and of archives."""

NAMED = 3
"""So many are named."""


def left_out(folder: Path) -> list[Path]:
    """Files below a folder that are no pictures here although a person may take them for some, sorted.

    Args:
        folder: any folder; one that cannot be listed has none.
    """
    found = list[Path]()
    try:
        waiting = [folder]
        while waiting:
            one = waiting.pop(0)
            found += [entry for entry in one.iterdir() if is_left_out(entry) and entry.is_file()]
            waiting += [inner for inner in subfolders(one) if not inner.is_symlink()]  # a link may lead to one above
    except (OSError, WeakspotError):
        return []
    return sorted(found)


def is_left_out(path: PurePath) -> bool:
    """Whether a file's name is that of a document or of a picture in another format.

    Args:
        path: of the file.
    """
    return path.suffix[1:].lower() in UNSUPPORTED and not path.name.startswith(".")


def left_out_words(paths: Iterable[Path]) -> str | None:
    """A warning that counts and names files which are not read; None without any.

    Args:
        paths: from :func:`left_out`.
    """
    files = list(paths)
    if not files:
        return None
    names = ", ".join(shown(path) for path in files[:NAMED]) + (" …" if len(files) > NAMED else "")
    what = "1 file is left out, as it is" if len(files) == 1 else f"{len(files)} files are left out, as they are"
    kinds = ", ".join(EXTENSIONS)
    return f"warning: {what} no picture of a kind that is read ({kinds}): {names}; export what matters as PNG or JPEG"
