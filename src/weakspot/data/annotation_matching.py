"""Which picture an annotation belongs to: by the name and the folders that its file gives, and by the content."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlparse

from weakspot.data.annotations import Annotation
from weakspot.data.classes import DEFECT_WORDS, GOOD_WORDS, plain
from weakspot.errors import WeakspotError
from weakspot.utils.files import shown

USUAL_FOLDERS = frozenset(
    (
        *("annotations", "data", "default", "image", "images", "img", "imgs", "jpegimages", "labels", "pictures"),
        *("obj_test_data", "obj_train_data", "obj_valid_data", "test", "testing", "train", "training", "upload"),
        *("val", "valid", "validation"),
    )
)
"""Folders that annotation tools put round pictures, in lower case; they say nothing of which picture it is."""


@dataclass(frozen=True)
class Matched:
    """The annotations of a file, by the picture that they belong to.

    Attributes:
        found: by position of the picture.
        elsewhere: those that belong to no picture.
        remarks: what a user should know, one sentence each.
    """

    found: dict[int, Annotation] = field(default_factory=dict)
    elsewhere: list[Annotation] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def match_annotations(
    annotations: Sequence[Annotation], paths: Sequence[Path], sha256s: Sequence[str], file: Path, key: str
) -> Matched:
    """Find the picture that each annotation belongs to: by its content where the file gives it, else by its name.

    Args:
        annotations: what was read from the annotation file.
        paths: the image files.
        sha256s: of each of them, hexadecimal; may be empty where no annotation gives one.
        file: the annotation file, for messages.
        key: of the configuration that named it, likewise.

    Raises:
        WeakspotError: as :func:`match_names`, and when the content of a picture is not what was annotated.
    """
    by_hash: dict[str, list[int]] = defaultdict(list)
    for i, sha256 in enumerate(sha256s):
        by_hash[sha256].append(i)
    matched, named = dict[int, Annotation](), list[Annotation]()
    for one in annotations:
        # A copy under another name goes by that name; of copies under the same one, the folders say which.
        same = [i for i in by_hash.get(one.sha256 or "", ()) if paths[i].name == _Name.read(one.name).file]
        if len(same) != 1:
            named.append(one)
        elif same[0] in matched:
            raise WeakspotError(f"{key}={file}: {one.name} is annotated twice; keep one of the two")
        else:
            matched[same[0]] = one
    of_names, names_elsewhere = match_names(paths, named)
    for i, one in of_names.items():
        if one.sha256 is not None and one.sha256 != sha256s[i]:
            raise WeakspotError(
                f"{key}={file}: {shown(paths[i])} is not the picture that was annotated, its content differs; annotate "
                "it again"
            )
        if i in matched:
            raise WeakspotError(f"{key}={file}: {one.name} is annotated twice; keep one of the two")
    left = set(names_elsewhere)
    elsewhere = [one for one in named if one.name in left]
    return Matched(matched | of_names, elsewhere, _remarks_on_prefixes(paths, of_names, file))


def match_names(paths: Sequence[Path], annotations: Sequence[Annotation]) -> tuple[dict[int, Annotation], list[str]]:
    """Find the image file that each annotation belongs to, by its name and by as many folders as it gives.

    Of several files of the name it is the one with the most folders in common, counted from the name upwards. A folder
    that says of which other picture an annotation is (that of another picture of `paths`, another class's, or one that
    is neither the picture's nor usual in annotation files) makes it none of these. Of absolute paths and addresses,
    which may be of another machine, unknown folders do not count.

    Args:
        paths: the image files.
        annotations: what was read from the annotation file.

    Returns:
        The annotations by position of their path in `paths`, and the names of annotations that fit no path.

    Raises:
        WeakspotError: when a name fits several paths equally well, or two annotations one path.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        by_name[path.name].append(i)
    tree = _Tree.of(paths)
    found: dict[int, Annotation] = {}
    elsewhere = []
    for annotation in annotations:
        name = _Name.read(annotation.name)
        best = _best(name, by_name.get(name.file) or by_name.get(name.without_prefix) or [], paths)
        best = [i for i in best if tree.may_be(name, paths[i])]
        if len(best) > 1:
            raise WeakspotError(
                f"{annotation.name} fits {paths[best[0]]} and {paths[best[1]]}; name it with its folder"
            )
        if not best:
            elsewhere.append(annotation.name)
        elif best[0] in found:
            raise WeakspotError(f"{paths[best[0]]} is annotated twice, as {found[best[0]].name} and {annotation.name}")
        else:
            found[best[0]] = annotation
    return found, elsewhere


def is_usual(folder: str) -> bool:
    """Whether a folder is one that annotation tools put round pictures, whatever these are called."""
    return folder.casefold() in USUAL_FOLDERS


class _Name(NamedTuple):
    """A picture's name in an annotation file.

    Attributes:
        folders: from the outermost to the picture's own.
        file: name of the file.
        foreign: whether it is an absolute path or an address, whose outer folders may be those of another machine.
    """

    folders: tuple[str, ...]
    file: str
    foreign: bool

    @classmethod
    def read(cls, name: str) -> _Name:
        """Read a COCO file name, a path of any system, or an address of Label Studio's."""
        name = name.replace("\\", "/")
        address = urlparse(name)
        foreign = name.startswith("/") or re.match("[A-Za-z]:/", name) is not None
        if "d" in (query := parse_qs(address.query)):
            name, foreign = query["d"][0].replace("\\", "/"), True
        elif address.scheme in ("http", "https", "s3", "gs", "file") or name.startswith("/data/"):
            name, foreign = unquote(address.path), True
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        if foreign and len(parts) == 4 and parts[:2] == ["data", "upload"]:  # Label Studio's own, for each project
            parts = parts[-1:]
        return cls(tuple(parts[:-1]), parts[-1] if parts else "", foreign)

    @property
    def without_prefix(self) -> str:
        """The file's name without what Label Studio puts before that of an uploaded file."""
        return re.sub(r"^[0-9a-f]{8}-", "", self.file)

    def in_common(self, path: Path) -> int:
        """How many folders, from the innermost outwards, are those of a path."""
        count = 0
        for mine, other in zip(reversed(self.folders), reversed(path.parts[:-1]), strict=False):
            if mine != other:
                break
            count += 1
        return count


def _best(name: _Name, candidates: Sequence[int], paths: Sequence[Path]) -> list[int]:
    """Those of the candidates with the most folders in common with a name."""
    common = {i: name.in_common(paths[i]) for i in candidates}
    return [i for i in candidates if common[i] == max(common.values())]


@dataclass(frozen=True)
class _Tree:
    """The folders that pictures lie in.

    Attributes:
        folders: names of all of them.
        shared: how many folders all pictures have in common, from the outermost.
    """

    folders: frozenset[str]
    shared: int

    @classmethod
    def of(cls, paths: Sequence[Path]) -> _Tree:
        above = {path.parent.parts for path in paths}
        shared = 0
        for level in zip(*above, strict=False):
            if len(set(level)) > 1:
                break
            shared += 1
        return cls(frozenset(part for parts in above for part in parts), shared)

    def may_be(self, name: _Name, path: Path) -> bool:
        """Whether no folder of a name says that it is of another picture than a path that has its file name."""
        own, common = path.parent.parts, name.in_common(path)
        if common and common >= len(own) - self.shared:
            return True  # all folders that tell pictures from one another agree
        for folder in reversed(name.folders[: len(name.folders) - common]):
            if folder in own:
                return True
            if folder in self.folders:
                return False
            if not is_usual(folder):
                return name.foreign and plain(folder) not in (*GOOD_WORDS, *DEFECT_WORDS)
        return True


def _remarks_on_prefixes(paths: Sequence[Path], found: dict[int, Annotation], file: Path) -> list[str]:
    """Say which annotations name a folder, round those that agree, that is not the picture's."""
    others = [i for i, one in found.items() if _has_other_prefix(_Name.read(one.name), paths[i])]
    if not others:
        return []
    first = f"{found[others[0]].name} taken for {shown(paths[others[0]])}"
    return [f"{file.name} has {len(others)} of the pictures in folders that are not here, {first}"]


def _has_other_prefix(name: _Name, path: Path) -> bool:
    beyond = name.folders[: len(name.folders) - name.in_common(path)]
    return not name.foreign and any(not is_usual(folder) and folder not in path.parts for folder in beyond)
