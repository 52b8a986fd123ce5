"""What a folder holds, found from names alone: its layout, its classes, and which of them is Good."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from weakspot.data.class_level import folder_labels
from weakspot.data.classes import DEFECT_WORDS, GOOD_WORDS, likely_good, plain
from weakspot.data.csv_tables import header
from weakspot.data.images import EXTENSIONS, list_images, subfolders
from weakspot.data.manifest import read_rows
from weakspot.data.public_trees import PUBLIC, recognised
from weakspot.errors import WeakspotError
from weakspot.types import GOOD
from weakspot.utils.files import shown
from weakspot.utils.patterns import found_text

NAME_THEN_NUMBER = r"^(.*?)[-_. \d]*\.[^.]*$"
"""``crack_012.png`` and ``crack-20260101_3.png`` are labelled crack."""

TABLES = ("manifest.csv", "manifest.jsonl")
"""Names of a table that are looked for first, and that count even beside folders whose names tell the classes."""

MOST_LABELS = 30
"""More labels than this in file names are no labels."""

OF_MVTEC = ("train", "test", "ground_truth")
"""The folders of MVTec AD's layout."""

SUBSET_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
"""What people call the folders of a split of their own, in lower case."""


@dataclass(frozen=True)
class Recognised:
    """What was found in a folder.

    Attributes:
        folder: of the data set; below the one that was given where that holds a single data set in a folder of its own.
        layout: a name in :data:`weakspot.data.registry.READERS`.
        words: the layout, for people; of a public data set its title and licence.
        labels: the classes as written, sorted.
        good_class: which of them is Good; None where their names leave it open.
        options: of the layout.
        remarks: what the data set holds that is not read, or not read as one may expect; a sentence each.
    """

    folder: Path
    layout: str
    words: str
    labels: tuple[str, ...]
    good_class: str | None
    options: Mapping[str, object] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def recognise(
    folder: Path, layout: str = "auto", options: Mapping[str, object] | None = None, good_class: str | None = None
) -> Recognised:
    """Find out what a folder holds; only names are read, and a table where there is one.

    Args:
        folder: of a data set.
        layout: its layout where that is known, or ``auto``.
        options: of the layout, where some are known.
        good_class: what Good images are called, where that is known.

    Raises:
        WeakspotError: when it holds no images, several data sets or images without any label; the message says what
            to do.
    """
    given = dict(options or {})
    datasets = find_datasets(folder, layout)
    public = datasets[0][1] in PUBLIC
    table = _table(folder, given.get("file")) if layout in ("auto", "manifest") and not public else None
    if table is None:
        return _of_folders(folder, datasets, layout, given, good_class)
    certain = layout == "manifest" or "file" in given or table.name in TABLES
    if certain or not _told_by_folders(*datasets[0]):
        return _of_table(folder, table, given)
    found = _of_folders(folder, datasets, layout, given, good_class)
    stray = f"{table.name} is not read, as the names of the folders tell the classes; data.layout=manifest reads it"
    return replace(found, remarks=(*found.remarks, stray))


def _of_folders(
    folder: Path,
    datasets: Sequence[tuple[Path, str]],
    layout: str,
    given: Mapping[str, object],
    good_class: str | None,
) -> Recognised:
    """What names of folders and files tell, without a table."""
    if len(datasets) > 1:
        names = ", ".join(shown(each) for each, _ in datasets)
        raise WeakspotError(f"{shown(folder)} holds {len(datasets)} data sets; give one of them: {names}")
    base, name = datasets[0]
    if name in PUBLIC:
        return Recognised(base, name, PUBLIC[name].words, PUBLIC[name].labels, GOOD, given)
    if name == "mvtec":
        if not _has_class_parts(base):
            raise WeakspotError(
                f"{shown(base)} has neither train nor test with a folder per class in it, so it is not laid out like "
                "MVTec AD; leave the layout out, and it is found"
            )
        found = _made(base, name, "folders train and test with one folder per class in each", _of_parts(base), given)
        return replace(found, remarks=_unread_beside(base))
    images = list_images(base)
    if not images:
        raise WeakspotError(
            f"{shown(base)} holds no images ({', '.join(EXTENSIONS)}); give the folder of your pictures"
        )
    if name == "filename" or (layout == "auto" and all(image.parent == base for image in images)):
        return _from_names(base, images, given, certain=name == "filename")
    labels = set(folder_labels(images, base, good_class or GOOD))
    above = all(image.parent.name not in labels for image in images)
    words = "one folder per class, with other folders in it" if above else "one folder per class"
    return replace(_made(base, name, words, labels, given), remarks=_split_of_folders(base, labels))


def _of_table(folder: Path, table: Path, given: Mapping[str, object]) -> Recognised:
    """What a table tells, and how many pictures it leaves out."""
    rows = read_rows(table, folder, outside=given.get("outside") is True)
    name = str(given.get("file", table.name))
    found = _made(folder, "manifest", f"the table {name}", {row.label for row in rows}, {**given, "file": name})
    named = {_place(path) for row in rows for path in (row.path, row.mask) if path is not None}
    others = [image for image in list_images(folder) if _place(image) not in named]
    if not others:
        return found
    pictures = "1 picture is" if len(others) == 1 else f"{len(others)} pictures are"
    way_out = "; data.layout=folder reads the folders" if any(image.parent != folder for image in others) else ""
    return replace(found, remarks=(f"{pictures} not in {name} and left out{way_out}",))


def _place(path: Path) -> str:
    """Where a file stands, links as they are: the same for the same place, however it is written."""
    return os.path.normpath(path.absolute())


def _told_by_folders(base: Path, layout: str) -> bool:
    """Whether the names of a data set's folders say what is Good and what is not."""
    if layout == "mvtec":
        labels = _of_parts(base)
    else:
        images = list_images(base)
        labels = set() if any(image.parent == base for image in images) else set(folder_labels(images, base))
    good = likely_good(labels)
    of_split = any(label.casefold() in SUBSET_FOLDERS for label in labels)
    return len(labels) > 1 and good is not None and plain(good) in GOOD_WORDS and not of_split


def find_datasets(folder: Path, layout: str = "auto") -> list[tuple[Path, str]]:
    """Return the data sets at or right below a folder, each with the name of its layout.

    Args:
        folder: a data set, or a folder of several such as the subsets of MVTec AD.
        layout: a known layout, or ``auto``: a public data set where it is laid out as its makers ship it, MVTec AD
            where there is a ``train`` or ``test`` folder with class folders in it and no further one such as ``val``,
            several data sets where that holds one level down, else a folder per class.

    Raises:
        WeakspotError: when the folder does not exist.
    """
    if not folder.is_dir():
        raise WeakspotError(f"{shown(folder)} is not a folder; give the folder of a data set")
    if layout in PUBLIC and PUBLIC[layout].missing(folder):
        objects = [(child, layout) for child in subfolders(folder) if not PUBLIC[layout].missing(child)]
        return objects or [(folder, layout)]
    if layout == "mvtec" and not _has_class_parts(folder):
        return [(child, layout) for child in subfolders(folder) if _has_class_parts(child)] or [(folder, layout)]
    if layout != "auto":
        return [(folder, layout)]
    if public := recognised(folder):
        return public
    sets = [folder] if _has_class_parts(folder) else [child for child in subfolders(folder) if _has_class_parts(child)]
    return [(one, "folder" if further_parts(one) else "mvtec") for one in sets] or [(folder, "folder")]


def further_parts(folder: Path) -> list[Path]:
    """Folders beside ``train`` and ``test`` with the same classes in them, such as ``val``.

    MVTec AD's layout has none, so that its reader would leave their pictures out.

    Args:
        folder: of a data set.

    Returns:
        The folders, sorted; none where there are masks in ``ground_truth``, which no other layout has.
    """
    if (folder / "ground_truth").is_dir():
        return []
    classes = _of_parts(folder)
    others = [child for child in subfolders(folder) if child.name not in OF_MVTEC]
    return [child for child in others if any(one.name in classes and list_images(one) for one in subfolders(child))]


def _has_class_parts(folder: Path) -> bool:
    return any(subfolders(folder / part) for part in ("train", "test") if (folder / part).is_dir())


def _unread_beside(base: Path) -> tuple[str, ...]:
    """What MVTec AD's layout does not read: pictures in folders beside its own."""
    counts = {child.name: len(list_images(child)) for child in subfolders(base) if child.name not in OF_MVTEC}
    names = ", ".join(f"{name} ({count})" for name, count in counts.items() if count)
    return (f"pictures beside train and test are not read: {names}",) if names else ()


def _split_of_folders(base: Path, labels: set[str]) -> tuple[str, ...]:
    """Say it where the folders above the classes look like a split."""
    names = [child.name for child in subfolders(base) if child.name.casefold() in SUBSET_FOLDERS]
    if len(names) < 2 or labels.intersection(names):
        return ()
    return (
        f"the folders {', '.join(names)} are not taken as the split, their pictures are split anew; to keep yours, "
        "give train a CSV with the columns path and subset (train, val, test), split.file=…",
    )


def one_class(found: Recognised) -> WeakspotError:
    """What to say where there is nothing to tell apart.

    Args:
        found: with less than two classes.
    """
    return WeakspotError(
        f"{shown(found.folder)}: only {', '.join(map(repr, found.labels)) or 'no'} images; training needs a folder of "
        "images without a defect and one of images with a defect, as in photos/good and photos/defect (to learn from "
        "Good ones alone, take an anomaly detector such as PatchCore)"
    )


def _of_parts(folder: Path) -> set[str]:
    """Names of the class folders in ``train`` and ``test``."""
    return {each.name for part in ("train", "test") if (folder / part).is_dir() for each in subfolders(folder / part)}


def _made(folder: Path, layout: str, words: str, labels: set[str], options: Mapping[str, object]) -> Recognised:
    return Recognised(folder, layout, words, tuple(sorted(labels)), likely_good(labels), options)


def _table(folder: Path, name: object) -> Path | None:
    """The table that may describe a folder: the one that is named, one with a usual name, or the only one there."""
    if name is not None:
        return folder / str(name)
    tables = [folder / each for each in TABLES if (folder / each).is_file()]
    tables = tables or [path for path in sorted(folder.glob("*.csv")) if {"path", "label"} <= set(header(path))]
    return tables[0] if len(tables) == 1 else None


def _from_names(folder: Path, images: list[Path], options: Mapping[str, object], *, certain: bool) -> Recognised:
    """Labels out of file names, where these tell at least two classes and which one is Good."""
    try:
        expression = re.compile(str(options.get("pattern", NAME_THEN_NUMBER)))
    except re.error as error:
        raise WeakspotError(f"pattern={options['pattern']} is not a regular expression ({error})") from error
    found = [found_text(expression, image.name) or "" for image in images]
    labels = set(found)
    if certain and "" in labels:
        raise WeakspotError(
            f"{shown(images[found.index('')])}: data.options.pattern={expression.pattern} finds no label in its name; "
            "mend the one or the other"
        )
    readable = "" not in labels and 1 < len(labels) <= MOST_LABELS
    if certain or (readable and likely_good(labels) is not None):
        return _made(folder, "filename", "the label stands in each file name", labels, options)
    pictures = "1 picture" if len(images) == 1 else f"{len(images)} pictures"
    if plain(folder.name) in (*GOOD_WORDS, *DEFECT_WORDS):
        raise WeakspotError(
            f"{shown(folder)} holds {pictures} of one class; training takes the folder with the folders of "
            f"all classes in it: give {shown(folder.parent)}"
        )
    raise WeakspotError(
        f"{shown(folder)} holds {pictures} and no folder per class, and their names tell no classes; put them "
        f"into {shown(folder / 'good')} and {shown(folder / 'defect')}, then type the same line again"
    )
