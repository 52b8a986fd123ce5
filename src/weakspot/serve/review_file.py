"""Read the COCO file of a review, and refuse with one line what is damaged, foreign, or of other pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from weakspot.errors import WeakspotError
from weakspot.types import Size
from weakspot.utils.files import shown
from weakspot.utils.untrusted import MOST_ANNOTATIONS, expect, read_json

FILE_MARK = "weakspot_review"
"""Key of ``info`` that says that ``weakspot review`` made a file."""

WRITTEN_GOOD = "Good"
"""How the file writes the label of a picture without a defect."""

UNCONFIRMED = "weakspot_unconfirmed"
"""Key of the pictures that are changed or skipped, and not confirmed: other tools must not take them for the truth."""

CONFIRMED = ("labelled", "reviewed")
SAVED_STATES = ("draft", "skipped", "labelled", "reviewed")
Corners = tuple[int, int, int, int]


@dataclass(frozen=True)
class SavedPicture:
    """What a file says of one picture; see :class:`~weakspot.serve.review_store.Review`.

    Attributes:
        label: as the file writes it.
        boxes: half-open corners in pixels, and class.
        state, version, sha256: likewise.
    """

    label: str
    boxes: list[tuple[Corners, str]]
    state: Literal["draft", "skipped", "labelled", "reviewed"]
    version: int
    sha256: str


@dataclass(frozen=True)
class SavedFile:
    """Content of a file.

    Attributes:
        pictures: by position in the queue.
        carried: images that are not in the queue with their annotations, as they stand in the file.
        count: of all saves so far.
        before: number of saves of earlier rounds, which say nothing of this run.
    """

    pictures: dict[int, SavedPicture] = field(default_factory=dict)
    carried: list[tuple[dict[str, Any], list[dict[str, Any]]]] = field(default_factory=list)
    count: int = 0
    before: int = 0

    @classmethod
    def empty(cls) -> SavedFile:
        """Of a file that is not there."""
        return cls()


def read_saved(
    path: Path,
    positions: Mapping[str, int],
    sizes: Sequence[Size],
    classes: Sequence[str],
    refused: Mapping[str, str],
) -> SavedFile:
    """Read what :class:`~weakspot.serve.review_store.ReviewStore` wrote.

    Args:
        path: the file.
        positions: of the pictures of the queue, by their names.
        sizes: ``(height, width)`` of the pictures of the queue.
        classes: names, ``good`` first.
        refused: names that must not be there, and why.

    Raises:
        WeakspotError: one line that names the file, what is wrong, and the way out.
    """
    try:
        content = read_json(path, MOST_ANNOTATIONS)
        mark = content.get("info", {}).get(FILE_MARK) if isinstance(content, dict) else None
    except OSError as error:
        raise WeakspotError(
            f"{shown(path)} cannot be read ({error.strerror}); choose another file with --output"
        ) from error
    except (ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    if mark != 1:
        raise WeakspotError(
            f"{shown(path)} was not made by 'weakspot review'; it stays as it is, choose another file with --output"
        )
    try:
        found = _parsed(content, positions, sizes, classes, refused)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise _damaged(path, error) from error
    except WeakspotError as error:
        raise WeakspotError(f"{shown(path)}: {error}") from error
    if not found.pictures and found.carried:
        raise WeakspotError(
            f"{shown(path)} is of other pictures, {shown(str(found.carried[0][0]['file_name']))} for one; choose "
            "another file with --output"
        )
    return found


def made_by_review(path: Path) -> bool:
    """Whether a file is one that ``weakspot review`` made; False for folders and for what cannot be read.

    Args:
        path: any file or folder.
    """
    try:
        content = read_json(path, MOST_ANNOTATIONS)
        return isinstance(content, dict) and content.get("info", {}).get(FILE_MARK) == 1
    except (OSError, ValueError, AttributeError):
        return False


def _damaged(path: Path, error: Exception) -> WeakspotError:
    text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return WeakspotError(
        f"{shown(path)} is damaged ({text}); it stays as it is: mend it, or choose another file with --output"
    )


def _parsed(
    content: Mapping[str, Any],
    positions: Mapping[str, int],
    sizes: Sequence[Size],
    classes: Sequence[str],
    refused: Mapping[str, str],
) -> SavedFile:
    names = {category["id"]: category["name"] for category in content["categories"]}
    unknown = [name for name in names.values() if name not in classes[1:]]
    if unknown:
        raise WeakspotError(f"its class {unknown[0]!r} is none of this model; choose another file with --output")
    of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        of_image[annotation["image_id"]].append(annotation)
    found = SavedFile(count=content["info"]["weakspot_saves"], before=content["info"].get("weakspot_before", 0))
    for image in [*content["images"], *content.get(UNCONFIRMED, [])]:
        expect(image, file_name=str, height=int, width=int, sha256=str, weakspot_label=str)
        expect(image, weakspot_reviewed=bool, weakspot_state=str, weakspot_version=int)
        name, boxes = image["file_name"], image["boxes"] if "boxes" in image else of_image[image["id"]]
        if name in refused:
            raise WeakspotError(f"{shown(name)} {refused[name]}; choose another file with --output")
        position = positions.get(name)
        if position is None:
            ids = {number: classes.index(label) for number, label in names.items()}
            found.carried.append((image, [{**box, "category_id": ids[box["category_id"]]} for box in boxes]))
            continue
        found.pictures[position] = _picture(image, boxes, sizes[position], names)
    return found


def _picture(
    image: Mapping[str, Any], boxes: Sequence[Mapping[str, Any]], size: Size, names: Mapping[int, str]
) -> SavedPicture:
    if (image["height"], image["width"]) != size:
        raise WeakspotError(
            f"{shown(image['file_name'])} was {image['height']}×{image['width']} (height×width) when it was reviewed, "
            f"and is {size[0]}×{size[1]} now; put the old picture back, or choose another file with --output"
        )
    state = image["weakspot_state"]
    if state not in SAVED_STATES or image["weakspot_version"] < 1:
        raise ValueError(f"{image['file_name']} has the state {state!r}")
    if (state in CONFIRMED) == ("boxes" in image):
        raise ValueError(f"{image['file_name']} is {state} and stands in the wrong place")
    label = image["weakspot_label"]
    if label not in (WRITTEN_GOOD, *names.values()):
        raise ValueError(f"{image['file_name']} has the label {label!r}")
    if label == WRITTEN_GOOD and boxes:
        raise ValueError(f"{image['file_name']} is labelled Good and has boxes")
    return SavedPicture(
        label,
        [(_corners(box["bbox"], size), names[box["category_id"]]) for box in boxes],
        cast(Any, state),
        image["weakspot_version"],
        image["sha256"],
    )


def _corners(bbox: Sequence[float], size: Size) -> Corners:
    x, y, width, height = (round(float(value)) for value in bbox)
    if not (0 <= x < x + width <= size[1] and 0 <= y < y + height <= size[0]):
        raise ValueError(f"a box {list(bbox)} in a picture of {size[1]}×{size[0]}")
    return x, y, x + width, y + height
