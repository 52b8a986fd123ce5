"""Where pictures come from and where results go: this machine's disks, or whatever fsspec reaches (``s3://…``)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from weakspot.data.images import EXTENSIONS, is_image
from weakspot.data.loading import ImageSource, Stored, find_sources
from weakspot.errors import WeakspotError
from weakspot.utils.files import atomic_path

LOCAL = ("file://", "local://")


def is_url(place: str) -> bool:
    """Tell whether fsspec has to open a place: ``s3://bucket/folder``, ``zip://*.png::batch.zip``."""
    return "://" in place and not place.startswith(LOCAL)


def local_path(place: str) -> Path:
    """A place on this machine as a path; ``file:///data`` is ``/data``."""
    for prefix in LOCAL:
        place = place.removeprefix(prefix)
    return Path(place).expanduser()


def open_place(url: str) -> tuple[Any, str]:
    """Find the file system that a URL is on, and the path there.

    Raises:
        WeakspotError: when fsspec does not know the protocol, or its package is missing.
    """
    from fsspec.core import url_to_fs

    try:
        found: tuple[Any, str] = url_to_fs(url)
    except ImportError as error:  # names the package to install
        raise WeakspotError(f"{url}: {error}") from error
    except Exception as error:  # each file system has errors of its own
        raise WeakspotError(f"{url} cannot be opened ({_short(error)})") from error
    return found


class Pictures:
    """The image files that a path, a folder, a pattern or a URL stands for.

    Args:
        source: as ``weakspot predict`` takes it. Of a folder in MVTec AD layout, masks are left out.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    def names(self) -> list[str]:
        """List every file, sorted as ``weakspot predict`` sorts them; on another file system, paths there.

        Raises:
            WeakspotError: when there is none, or the place cannot be listed.
        """
        if not is_url(self.source):
            path = local_path(self.source) if self.source.startswith(LOCAL) else self.source
            return [str(path) for path in find_sources(str(path))]
        system, root = self._place
        try:
            if any(sign in root for sign in "*?["):
                found = [path for path in system.glob(root) if is_image(PurePosixPath(path))]
            elif system.isdir(root) or not root:
                found = _visible(system.find(root), root)
            else:
                found = [root] if system.exists(root) else []
        except Exception as error:  # the network, credentials, …
            raise WeakspotError(f"{self.source} cannot be listed ({_short(error)})") from error
        if not found:
            raise WeakspotError(f"{self.source} holds no images ({', '.join(EXTENSIONS)})")
        return sorted(found, key=lambda path: PurePosixPath(path).parts)

    def shown_as(self, name: str) -> str:
        """The name of a picture in results: its path, or its URL."""
        return str(self._place[0].unstrip_protocol(name)) if is_url(self.source) else Path(name).as_posix()

    def open(self, names: Sequence[str]) -> list[ImageSource]:
        """Make sources for pictures that a :class:`~weakspot.inference.localizer.Localizer` takes."""
        if not is_url(self.source):
            return [Path(name) for name in names]
        system = self._place[0]
        return [Stored(self.shown_as(name), partial(system.cat_file, name)) for name in names]

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return open_place(self.source)


class Store:
    """A folder for results whose files appear whole or not at all.

    Args:
        place: a path, or a URL. Object stores show a file when all of it is there, as a local rename does.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def has(self, name: str) -> bool:
        """Tell whether there is a file of a name, such as ``parts/part-000000.jsonl``."""
        return self._call("exists", name) if self._remote else (self._folder / name).is_file()

    def read(self, name: str) -> bytes:
        """The content of a file."""
        data: bytes = self._call("cat_file", name) if self._remote else (self._folder / name).read_bytes()
        return data

    def write(self, name: str, data: bytes) -> None:
        """Write a file; one of that name that is there already is replaced.

        Args:
            name: path below the store's folder, as ``parts/part-000000.jsonl``.
            data: the content.

        Raises:
            WeakspotError: when a file elsewhere than on this machine's disks cannot be written.
        """
        if self._remote:
            system, root = self._opened
            path = f"{root}/{name}"
            try:
                system.makedirs(path.rpartition("/")[0], exist_ok=True)
                system.pipe_file(path, data)
            except Exception as error:
                raise WeakspotError(f"{self.place}/{name} cannot be written ({_short(error)})") from error
        else:
            with atomic_path(self._folder / name) as temporary:
                temporary.write_bytes(data)

    @property
    def _remote(self) -> bool:
        return is_url(self.place)

    @property
    def _folder(self) -> Path:
        return local_path(self.place)

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        system, root = open_place(self.place)
        return system, root.rstrip("/")

    def _call(self, method: str, name: str) -> Any:  # noqa: ANN401 - whatever fsspec's method returns
        system, root = self._opened
        try:
            return getattr(system, method)(f"{root}/{name}")
        except Exception as error:
            raise WeakspotError(f"{self.place}/{name} cannot be read ({_short(error)})") from error


def _visible(paths: Sequence[str], root: str) -> list[str]:
    """Images that no hidden folder and no folder of thumbnails or masks holds."""
    below = {path: PurePosixPath(path).relative_to(root).parts if root else PurePosixPath(path).parts for path in paths}
    data_set = any(parts[0] in ("train", "test") and len(parts) > 1 for parts in below.values())
    left_out = {"__MACOSX", "@eaDir"}
    return [
        path
        for path, parts in below.items()
        if is_image(PurePosixPath(path))
        and not any(part.startswith(".") or part in left_out for part in parts[:-1])
        and not (data_set and parts[0] == "ground_truth")
    ]


def _short(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
