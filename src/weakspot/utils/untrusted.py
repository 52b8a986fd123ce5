"""Reading files that somebody else may have made: bounded in size, plain data, never code; ``SECURITY.md`` lists them.

Problems are ValueErrors and OSErrors; the caller knows what to tell the user about the file.
"""

from __future__ import annotations

import json
import math
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import yaml

MOST_JSON = 64 * 2**20
"""Bytes of a JSON file that describes a model or a run; real ones have a few thousand."""

MOST_YAML = 2**20
"""Bytes of a configuration."""

MOST_ANNOTATIONS = 2 * 2**30
"""Bytes of an annotation file; COCO's largest has half a gigabyte."""

MOST_PIXELS = 2**28
"""Of a picture that an annotation file claims; Pillow refuses to decode smaller ones."""


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file of limited size.

    Args:
        path: the file.
        most: largest number of bytes it may have.

    Raises:
        OSError: when it cannot be read.
        ValueError: when it is no regular file (a pipe would be waited for, a device has no end), or is larger.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > most:
        raise ValueError(f"{status.st_size / 2**20:.0f} MB are more than the {most // 2**20} MB it may have")
    return path.read_bytes()


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON
    """The value of a JSON text.

    Raises:
        ValueError: when it is none, or nested so deeply that no sound file is.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, most: int = MOST_JSON) -> Any:  # noqa: ANN401 - any JSON
    """Read a JSON file of limited size.

    Args:
        path: the file, in UTF-8.
        most: largest number of bytes it may have.

    Raises:
        OSError: when it cannot be read.
        ValueError: as :func:`read_bounded` and :func:`parse_json`.
    """
    return parse_json(read_bounded(path, most).decode("utf-8"))


def read_plain_yaml(path: Path) -> str:
    """The text of a configuration that refers to nothing.

    ``config.yaml`` is written with its values, so a reference is somebody else's: an interpolation may read the
    environment, and a few lines of aliases stand for more than memory holds.

    Raises:
        OSError: when it cannot be read.
        ValueError: as :func:`read_bounded`, and when it refers to something or is nested too deeply.
        yaml.YAMLError: when it is none.
    """
    text = read_bounded(path, MOST_YAML).decode("utf-8")
    if "${" in text:
        raise ValueError("it holds an interpolation")
    try:
        if "*" in text and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text, yaml.SafeLoader)):
            raise ValueError("it holds an alias")
        yaml.compose(text, yaml.SafeLoader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return text


def check_npz(path: Path) -> None:
    """Look at the headers of an ``.npz`` file before NumPy believes them.

    Arrays lie there uncompressed, as :func:`numpy.savez` writes them, so that together they are no larger than the
    file; none holds Python objects; and each has the bytes that its shape says.

    Raises:
        OSError: when it cannot be read.
        ValueError, zipfile.BadZipFile: when it is something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path.stat().st_size)
    except (RuntimeError, EOFError) as error:  # encrypted, cut off, or what zipfile does not know: a later version
        raise ValueError(str(error)) from error


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed")
    if sum(member.file_size for member in members) > size:
        raise ValueError("it would be larger unpacked than it is")
    for member in members:
        with archive.open(member) as file:
            check_npy(file, member.file_size)


def check_npy(file: IO[bytes], size: int) -> None:
    """Look at the header of an array as :func:`numpy.save` writes it.

    Args:
        file: at its start; is left behind the header.
        size: its bytes.

    Raises:
        ValueError: when it is something else, holds objects, or its shape does not fit its size.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array of format {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or dtype.fields is not None:
        raise ValueError("an array of Python objects")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != size - file.tell():
        raise ValueError(f"an array {shape} of {dtype} cannot have {size} bytes")


def read_npy(path: Path) -> npt.NDArray[Any]:
    """An array that :func:`numpy.save` wrote.

    Raises:
        OSError, ValueError: when it cannot be read or is something else.
    """
    with path.open("rb") as file:
        check_npy(file, path.stat().st_size)
        file.seek(0)
        return np.asarray(np.load(file, allow_pickle=False))


def expect(values: object, **types: type | tuple[type, ...]) -> None:
    """Check the types of an object's entries; what is missing is not looked at, true and false are no numbers.

    Raises:
        ValueError: naming the entry, or when there are none since `values` is something else.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{_short(values)} is not an object")
    for name, wanted in types.items():
        value = values.get(name)
        if name in values and not (isinstance(value, wanted) and (type(value) is not bool or wanted is bool)):
            raise ValueError(f"{name} is {_short(value)}")


def _short(value: object) -> str:
    text = repr(value)
    return f"{text[:40]}…" if len(text) > 40 else text
