"""What a person drew in pictures that are measured: the true boxes and labels, instead of those of the data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.annotation_matching import Matched, match_annotations
from weakspot.data.annotations import Annotation, nothing_annotated, read_annotations
from weakspot.data.corrections import corrected_label, relabelled
from weakspot.errors import WeakspotError
from weakspot.types import GOOD, Sample, Size
from weakspot.utils.files import atomic_path
from weakspot.utils.threads import each

KEY = "truth"


class DrawnBoxes(NamedTuple):
    """What a person drew in one picture.

    Attributes:
        boxes: int64 ``(n, 4)`` half-open ``[x0, y0, x1, y1]`` in pixels of the picture, one for each object; objects
            that touch stay apart.
        kinds: the class that the file gives each of them; None where it gives none.
    """

    boxes: npt.NDArray[np.int64]
    kinds: tuple[str | None, ...]


@dataclass(frozen=True)
class Corrected:
    """Samples with the true boxes that a person drew.

    Attributes:
        samples: their masks show what was drawn and lie in a folder of their own; a sample that the file does not name
            has none. Their labels are those that a person gave where the file says them.
        drawn: what was drawn in each picture, by path.
        matched: which annotation is of which sample, and those that are of none.
        labels: how many labels the file corrects.
        file: the annotation file.
    """

    samples: list[Sample]
    drawn: dict[Path, DrawnBoxes]
    matched: Matched
    labels: int
    file: Path

    @property
    def described(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return {
            "file": str(self.file),
            "images": len(self.drawn),
            "boxes": sum(len(one.boxes) for one in self.drawn.values()),
            "corrected_labels": self.labels,
        }

    @property
    def remarks(self) -> list[str]:
        """What a user should know about the annotations, one line each."""
        lines = list(self.matched.remarks)
        if self.labels:
            lines.append(f"measured against {self.labels} labels as {self.file.name} corrects them")
        if bare := sum(not sample.is_good and sample.mask is None for sample in self.samples):
            lines.append(f"{bare} images of defects are not marked in {self.file.name} and count for the class only")
        if others := self.matched.elsewhere:
            number = f"{len(others)} pictures of {self.file.name} are not measured here"
            lines.append(f"{number}, {others[0].name} for one")
        return lines


def correct(
    samples: Sequence[Sample], sizes: npt.NDArray[np.int64], file: Path, folder: Path, good_class: str = GOOD
) -> Corrected:
    """Replace the masks of samples by what a person drew, and their labels by those that a person gave.

    Args:
        samples: of the images that are measured.
        sizes: their ``(height, width)``, shape ``(n, 2)``.
        file: for :func:`read_annotations`; pictures that nobody looked at (``weakspot_reviewed: false``) do not count.
        folder: where the new masks are written.
        good_class: what the file may call Good, besides ``good``.

    Raises:
        WeakspotError: when nobody looked at any picture of the file, no name fits a sample, a name fits several, sizes
            or contents differ, or something is drawn in a picture that is labelled Good.
    """
    annotations = [one for one in read_annotations(file, KEY) if one.reviewed is not False]
    if not annotations:
        raise nothing_annotated(file, KEY)
    paths = [sample.path for sample in samples]
    sha256s = each(_sha256, paths) if any(one.sha256 is not None for one in annotations) else []
    matched = match_annotations(annotations, paths, sha256s, file, KEY)
    if not matched.found:
        raise WeakspotError(
            f"{KEY}={file}: none of the {len(annotations)} annotated pictures is one that is measured, "
            f"{annotations[0].name} for one; names and folders must be those of the pictures"
        )
    given = {
        i: corrected_label(one.label, samples[i], good_class)
        for i, one in matched.found.items()
        if one.label is not None
    }
    labels = {i: label for i, label in given.items() if label != samples[i].defect}
    result, drawn = [], dict[Path, DrawnBoxes]()
    for i, sample in enumerate(relabelled(samples, labels)):
        mask = None
        annotation = matched.found.get(i)
        if annotation is not None and annotation.boxes:
            _check_drawn(annotation, sample, (int(sizes[i][0]), int(sizes[i][1])))
            mask = folder / f"{i:05d}_{sample.path.stem[:80]}.png"
            with atomic_path(mask) as temporary:
                Image.fromarray(annotation.mask().astype(np.uint8) * 255).save(temporary)
            boxes = np.array(annotation.boxes, dtype=np.int64).reshape(-1, 4)
            drawn[sample.path] = DrawnBoxes(boxes, tuple(annotation.kinds))
        result.append(replace(sample, mask=mask))
    return Corrected(result, drawn, matched, len(labels), file)


def _check_drawn(annotation: Annotation, sample: Sample, size: Size) -> None:
    if sample.is_good:
        raise WeakspotError(f"{sample.path} is labelled good, but a defect is marked in it; mend one of the two")
    if annotation.size != size:
        raise WeakspotError(f"{annotation.name} is {annotation.size} (height, width) as annotated, not {size}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
