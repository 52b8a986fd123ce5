"""Annotations that come as a folder, a file for each picture: Ultralytics' YOLO labels and Pascal VOC's XML."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence, Set
from pathlib import Path

import numpy as np
from yaml import YAMLError, safe_load

from weakspot.data.annotation_matching import is_usual, match_names
from weakspot.data.annotations import Annotation
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, Size
from weakspot.utils.untrusted import read_bounded

MOST_LABELS = 2**24
"""Bytes of the annotation file of one picture."""


def read_annotation_folder(folder: Path, paths: Sequence[Path], sizes: Sequence[Size], key: str) -> list[Annotation]:
    """Read a folder of YOLO labels (``*.txt``) or of Pascal VOC's XML, at any depth.

    YOLO's files give shares of the picture, so the picture must be known. Its lines are ``class x y width height`` of a
    box (centre and size) or ``class x y x y x y …`` of a polygon, 0…1 (https://docs.ultralytics.com/datasets). VOC
    counts pixels from 1 and names the last one inside.

    Args:
        folder: with the files in it.
        paths: the image files that may be annotated.
        sizes: ``(height, width)`` of each.
        key: of the configuration that named the folder, for messages.

    Returns:
        The annotations; a YOLO file that belongs to none of `paths` comes without what is drawn in it.

    Raises:
        WeakspotError: when the folder holds neither, or a file is damaged; the message names it.
    """
    xml, labels = sorted(_files_below(folder, "*.xml")), sorted(_label_files(folder))
    if not xml and not labels:
        raise WeakspotError(
            f"{key}={folder} holds neither YOLO labels (*.txt) nor Pascal VOC files (*.xml); give the folder of the "
            "one or the other, or a COCO or Label Studio file"
        )
    if xml:
        known = {part for path in paths for part in path.parts[:-1]}
        return [_read_voc(file, _folders_below(folder, file), known, key) for file in xml]
    names = _class_names(folder)
    annotations = [Annotation(_yolo_name(file, folder, paths), (0, 0), reviewed=True) for file in labels]
    files = {id(annotation): file for annotation, file in zip(annotations, labels, strict=True)}
    stems = [path.parent / path.stem for path in paths]
    matched, _ = match_names(stems, annotations)
    for position, annotation in matched.items():
        annotation.size = sizes[position]
        file = files[id(annotation)]
        for line in _lines(file, key):
            _add_line(annotation, line, names, f"{key}={file}")
        annotation.name = str(paths[position])
    return annotations


def _folders_below(folder: Path, file: Path) -> list[str]:
    """The folders of an annotation file that are those of its picture, without ``labels``, ``train`` and their like."""
    return [part for part in file.relative_to(folder).parts[:-1] if not is_usual(part)]


def _files_below(folder: Path, pattern: str) -> Iterator[Path]:
    """Files at any depth, without those that macOS lays beside each of them (``._a.xml``, ``__MACOSX/``)."""
    for path in folder.rglob(pattern):
        if not path.name.startswith("._") and "__MACOSX" not in path.relative_to(folder).parts:
            yield path


def _label_files(folder: Path) -> Iterator[Path]:
    """Label files: those below a folder ``labels`` where there is one; lists of pictures beside it are none."""
    base = folder / "labels" if (folder / "labels").is_dir() else folder
    return (path for path in _files_below(base, "*.txt") if path.name.lower() not in ("classes.txt", "readme.txt"))


def _yolo_name(file: Path, folder: Path, paths: Sequence[Path]) -> str:
    """The picture's name without its extension; ``a__b`` is ``a/b`` as ``weakspot export boxes`` writes it."""
    stem = file.stem if any(path.stem == file.stem for path in paths) else file.stem.replace("__", "/")
    return "/".join([*_folders_below(folder, file), stem])


def _class_names(folder: Path) -> dict[int, str]:
    """Names of the classes by number, of ``data.yaml`` or ``classes.txt``; empty where there is neither."""
    for place in (folder, folder.parent):
        try:
            if (place / "data.yaml").is_file():
                content = safe_load(read_bounded(place / "data.yaml", MOST_LABELS))
                names = content["names"]
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name).strip() for number, name in pairs}
            if (place / "classes.txt").is_file():
                lines = read_bounded(place / "classes.txt", MOST_LABELS).decode("utf-8-sig").splitlines()
                return {number: name.strip() for number, name in enumerate(lines)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, YAMLError) as error:
            raise WeakspotError(f"the class names in {place} are damaged ({type(error).__name__})") from error
    return {}


def _lines(file: Path, key: str) -> list[list[float]]:
    try:
        text = read_bounded(file, MOST_LABELS).decode("utf-8-sig")
        return [[float(value) for value in line.split()] for line in text.splitlines() if line.strip()]
    except OSError as error:
        raise WeakspotError(f"{key}={file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise WeakspotError(
            f"{key}={file} holds no YOLO labels ({error}); a line is: class x y width height"
        ) from error


def _add_line(annotation: Annotation, values: list[float], names: dict[int, str], where: str) -> None:
    number, shares = values[0], np.array(values[1:])
    if len(shares) not in (4, 5) and (len(shares) < 6 or len(shares) % 2):
        raise WeakspotError(f"{where}: {len(values)} numbers are neither a box (class x y width height) nor a polygon")
    if not ((shares >= -0.01) & (shares <= 1.01)).all() or number != int(number) or number < 0:
        raise WeakspotError(f"{where}: coordinates are not shares of the picture, 0 to 1; export it as YOLO again")
    kind = names.get(int(number))
    if kind is not None and kind.casefold() == GOOD:  # no defect
        return
    height, width = annotation.size
    if len(shares) < 6:
        x, y, across, down = shares[:4] * (width, height, width, height)
        annotation.add_box(x - across / 2, y - down / 2, x + across / 2, y + down / 2, kind)
    else:
        annotation.add_polygons([shares.reshape(-1, 2) * (width, height)], kind)


def _read_voc(file: Path, folders: Sequence[str], known: Set[str], key: str) -> Annotation:
    """Read a file of Pascal VOC's.

    Args:
        file: the file.
        folders: of it, below the folder of all annotations, that are the picture's too.
        known: the folders that pictures lie in; any other in ``<folder>`` says nothing, tools write many things there.
        key: of the configuration, for messages.
    """
    try:
        content = read_bounded(file, MOST_LABELS)
        if b"<!" in content.replace(b"<!--", b""):
            raise ValueError("it declares entities")  # which could take all memory there is
        root = ET.fromstring(content)  # noqa: S314 - what makes XML dangerous was refused
        if root.tag != "annotation":
            raise ValueError(f"its root is {root.tag}")
        size = int(_text(root, "size/height")), int(_text(root, "size/width"))
        if min(size) < 1:
            raise ValueError(f"a picture of {size} (height, width)")
        *above, name = (root.findtext("filename") or "").replace("\\", "/").split("/")
        given = [part for part in (root.findtext("folder") or "").replace("\\", "/").split("/") if part in known]
        name = file.stem + Path(name).suffix if Path(name).stem != file.stem else name
        found = Annotation("/".join([*(folders or above or given), name]), size, reviewed=True)
        for item in root.iter("object"):
            kind = item.findtext("name") or None
            if kind is None or kind.casefold() != GOOD:
                x0, y0, x1, y1 = (float(_text(item, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
                found.add_box(x0 - 1, y0 - 1, x1, y1, kind)
    except OSError as error:
        raise WeakspotError(f"{key}={file} cannot be read ({error.strerror})") from error
    except (ValueError, OverflowError, ET.ParseError) as error:
        raise WeakspotError(f"{key}={file} is no Pascal VOC annotation ({error}); export it again") from error
    return found


def _text(element: ET.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"{path} is missing")
    return text
