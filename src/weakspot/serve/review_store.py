"""What a person said of pictures, kept in one COCO file: written whole at every change, and never over newer work."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from weakspot._version import __version__
from weakspot.errors import WeakspotError
from weakspot.serve.review_file import CONFIRMED, FILE_MARK, UNCONFIRMED, WRITTEN_GOOD, SavedFile, read_saved
from weakspot.types import GOOD, Box, Size
from weakspot.utils.files import atomic_path, jsonable, shown

State = Literal["todo", "draft", "skipped", "labelled", "reviewed"]
"""``draft``: changed and not confirmed; ``labelled``: the class alone is confirmed, and nothing is marked."""


@dataclass(frozen=True)
class QueuedPicture:
    """One picture to look at, and what the model says of it.

    Attributes:
        name: what the file calls it: relative to the folder of the data set, or absolute.
        path: the picture.
        size: ``(height, width)`` in pixels as a person sees it.
        given: class that the data set gives it; None where that is not known.
        predicted: class that the model gives it.
        probability: of not-Good, 0…1.
        boxes: the model's.
        why: why it stands where it does in the queue, a sentence.
        subset: ``train``, ``val`` or ``test``; empty for pictures that belong to no data set.
    """

    name: str
    path: Path
    size: Size
    given: str | None
    predicted: str
    probability: float
    boxes: tuple[Box, ...]
    why: str
    subset: str = ""


@dataclass(frozen=True)
class Mark:
    """A box that a person confirmed or drew.

    Attributes:
        x0, y0, x1, y1: half-open, in pixels of the picture as a person sees it.
        label: name of its class.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    label: str

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """The corners."""
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True)
class Review:
    """What is known of a picture.

    A version is the number of a save, counted over all pictures and rounds of a review and never used twice. It serves
    three things. Who saves says which version they saw, and is refused where the picture has another one by then
    (optimistic locking, :meth:`ReviewStore.save`). Versions tell in which order pictures were saved. And those up to
    :attr:`ReviewStore.before` are of earlier rounds.

    Attributes:
        label: its class; ``good`` has no boxes.
        boxes: of its defects.
        state: how far the person is with it.
        version: number of the save that it comes from; 0 for one that was never saved.
        sha256: hash of the file's bytes; empty before the first save.
    """

    label: str
    boxes: tuple[Mark, ...]
    state: State = "todo"
    version: int = 0
    sha256: str = ""


class StaleError(Exception):
    """Somebody else saved the same picture in the meantime.

    Attributes:
        current: what is saved.
    """

    def __init__(self, current: Review) -> None:
        super().__init__("this picture was changed in another window")
        self.current = current


class ReviewStore:
    """The pictures of a queue with what was said of them, and the file that it stands in.

    Args:
        file: COCO file; made at the first save.
        pictures: of the queue, in its order.
        classes: names, ``good`` first.
        refused: names of pictures that the file must not hold, and why, as the test pictures of a run are.
        earlier: file of an earlier round to go on from where `file` is not there yet; it stays as it is.

    Attributes:
        before: number of the last save of earlier rounds, which the run has learnt from and which say nothing of it; 0
            in the first round. See :class:`Review` for versions.
        remarks: what a person should know of the file, a sentence each.

    Raises:
        WeakspotError: when the file is damaged, was made by something else, or does not fit the pictures.
    """

    def __init__(
        self,
        file: Path,
        pictures: Sequence[QueuedPicture],
        classes: Sequence[str],
        *,
        refused: Mapping[str, str] | None = None,
        earlier: Path | None = None,
    ) -> None:
        self.file, self.pictures, self.classes = file, pictures, list(classes)
        self._lock = threading.Lock()
        positions = {picture.name: i for i, picture in enumerate(pictures)}
        source = earlier if earlier is not None and not file.exists() else file
        saved = SavedFile.empty()
        if source.exists():
            saved = read_saved(source, positions, [p.size for p in pictures], self.classes, refused or {})
        self._known: dict[int, Review] = {
            i: Review(
                _plain_label(found.label),
                tuple(Mark(*corners, label) for corners, label in found.boxes),
                found.state,
                found.version,
                found.sha256,
            )
            for i, found in saved.pictures.items()
        }
        self._carried = saved.carried
        self._count = saved.count
        self.before = saved.count if source is earlier else saved.before
        self._seen = _signature(file)
        self.remarks = [_kept(len(saved.carried), file.name)][: bool(saved.carried)]

    def identity(self) -> str:
        """Hash of what positions in the queue mean: the place of the file, and the names of the pictures in order."""
        parts = [str(self.file.absolute()), *(picture.name for picture in self.pictures)]
        return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()

    def review(self, index: int) -> Review:
        """What is known of a picture: what was saved, or else where a person starts from.

        Args:
            index: position in the queue.
        """
        return self._known.get(index) or starting_point(self.pictures[index])

    def reviews(self) -> list[Review]:
        """:meth:`review` of every picture, in the order of the queue."""
        with self._lock:
            return [self.review(i) for i in range(len(self.pictures))]

    def save(self, index: int, review: Review, *, based_on: int) -> Review:
        """Write what a person says of a picture, and everything else with it, whole or not at all.

        Args:
            index: position in the queue.
            review: what to write; its version and hash do not matter. With the state ``todo`` the picture is forgotten.
            based_on: version that the person saw.

        Returns:
            What was written.

        Raises:
            StaleError: when there is a newer version; nothing is written then.
            WeakspotError: when the boxes do not fit the picture, or another program changed the file.
            OSError: when the file cannot be written.
        """
        picture = self.pictures[index]
        review = _checked(review, picture, self.classes)
        with self._lock:
            current = self.review(index)
            if current.version != based_on:
                raise StaleError(current)
            if _signature(self.file) != self._seen:
                raise WeakspotError(
                    f"{shown(self.file)} was changed by another program; end this command and start it again"
                )
            known, count = dict(self._known), self._count + 1
            if review.state == "todo":
                known.pop(index, None)
                review = starting_point(picture)
            else:
                sha256 = current.sha256 or hashlib.sha256(picture.path.read_bytes()).hexdigest()
                review = known[index] = replace(review, version=count, sha256=sha256)
            self._write(known, count)
            self._known, self._count = known, count
            return review

    def snapshot(self) -> bytes:
        """The file as it is now, for a training that must not see it change."""
        with self._lock:
            return self._text(self._known, self._count)

    def _write(self, known: Mapping[int, Review], count: int) -> None:
        with atomic_path(self.file) as temporary, temporary.open("wb") as file:
            file.write(self._text(known, count))
            file.flush()
            os.fsync(file.fileno())  # what was confirmed outlives a power cut
        self._seen = _signature(self.file)

    def _text(self, known: Mapping[int, Review], count: int) -> bytes:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        unconfirmed: list[dict[str, Any]] = []
        ids = {name: number for number, name in enumerate(self.classes)}
        for i in sorted(known):
            review = known[i]
            record, boxes = (
                _image_record(self.pictures[i], review),
                [_box_record(b, ids[b.label]) for b in review.boxes],
            )
            if review.state in CONFIRMED:
                images.append({"id": len(images) + 1, **record})
                annotations += [{"image_id": len(images), **box} for box in boxes]
            else:
                unconfirmed.append({**record, "boxes": boxes})
        for image, boxes in self._carried:
            if "boxes" in image:
                unconfirmed.append(image)
                continue
            images.append({**image, "id": len(images) + 1})
            annotations += [{**box, "image_id": len(images)} for box in boxes]
        content = {
            "info": {
                "description": "corrected in weakspot review", "version": __version__, FILE_MARK: 1,
                "weakspot_saves": count, "weakspot_before": self.before,
            },
            "images": images,
            "annotations": [{**box, "id": number} for number, box in enumerate(annotations, start=1)],
            "categories": [{"id": ids[name], "name": name} for name in self.classes if name != GOOD],
            UNCONFIRMED: unconfirmed,
        }  # fmt: skip
        text = json.dumps(jsonable(content), ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode("utf-8", "backslashreplace")


def starting_point(picture: QueuedPicture) -> Review:
    """What a person starts from: the label of the data and, unless that is Good, the model's boxes.

    Args:
        picture: of the queue.
    """
    label = picture.given or picture.predicted
    marks = tuple(Mark(*box.xyxy, box.label) for box in picture.boxes) if label != GOOD else ()
    return Review(label, marks)


def _checked(review: Review, picture: QueuedPicture, classes: Sequence[str]) -> Review:
    """The same, where it can be true of the picture."""
    height, width = picture.size
    if review.label not in classes:
        raise WeakspotError(f"{review.label!r} is not a class of this model ({', '.join(classes)})")
    if review.label == GOOD and review.boxes:
        raise WeakspotError("a Good picture has no boxes; take them away, or change its label")
    for box in review.boxes:
        if box.label not in classes or box.label == GOOD:
            raise WeakspotError(f"{box.label!r} is not a class of a defect")
        if not (0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height):
            raise WeakspotError(f"a box {list(box.xyxy)} does not lie in a picture of {width}×{height}")
    if review.state == "reviewed" and review.label != GOOD and not review.boxes:
        return replace(review, state="labelled")
    return review


def _kept(count: int, file: str) -> str:
    if count == 1:
        return f"1 picture of {file} is not in this queue; it is kept as it is"
    return f"{count} pictures of {file} are not in this queue; they are kept as they are"


def _plain_label(label: str) -> str:
    return GOOD if label == WRITTEN_GOOD else label


def _image_record(picture: QueuedPicture, review: Review) -> dict[str, Any]:
    return {
        "file_name": picture.name,
        "height": picture.size[0],
        "width": picture.size[1],
        "sha256": review.sha256,
        "weakspot_label": WRITTEN_GOOD if review.label == GOOD else review.label,
        "weakspot_reviewed": review.state in CONFIRMED,
        "weakspot_state": review.state,
        "weakspot_version": review.version,
    }


def _box_record(box: Mark, category: int) -> dict[str, Any]:
    width, height = box.x1 - box.x0, box.y1 - box.y0
    return {
        "category_id": category, "bbox": [box.x0, box.y0, width, height],
        "area": width * height, "iscrowd": 0,
    }  # fmt: skip


def _signature(file: Path) -> tuple[int, int, int] | None:
    """What changes when another program writes the file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
