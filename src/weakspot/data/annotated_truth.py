"""What a person drew in pictures that are measured: the true boxes, instead of those of the data set's masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from weakspot.data.annotation_matching import match_names
from weakspot.data.annotations import read_annotations
from weakspot.errors import WeakspotError
from weakspot.types import Sample
from weakspot.utils.files import atomic_path


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
            has none.
        drawn: what was drawn in each picture, by path.
        elsewhere: names of annotated pictures that are not among the samples.
        file: the annotation file.
    """

    samples: list[Sample]
    drawn: dict[Path, DrawnBoxes]
    elsewhere: list[str]
    file: Path

    @property
    def described(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        return {
            "file": str(self.file),
            "images": len(self.drawn),
            "boxes": sum(len(one.boxes) for one in self.drawn.values()),
        }

    @property
    def remarks(self) -> list[str]:
        """What a user should know about the annotations, one line each."""
        bare = sum(not sample.is_good and sample.mask is None for sample in self.samples)
        lines = [f"{bare} images of defects are not marked in {self.file.name} and count for the class only"]
        if self.elsewhere:
            others = f"{len(self.elsewhere)} pictures of {self.file.name} are not measured here"
            lines.append(f"{others}, {self.elsewhere[0]} for one")
        return lines[not bare :]


def correct(samples: Sequence[Sample], sizes: npt.NDArray[np.int64], file: Path, folder: Path) -> Corrected:
    """Replace the masks of samples by what a person drew.

    Args:
        samples: of the images that are measured.
        sizes: their ``(height, width)``, shape ``(n, 2)``.
        file: for :func:`read_annotations`.
        folder: where the new masks are written.

    Raises:
        WeakspotError: when no name fits a sample, a name fits several, sizes differ, or something is drawn in a picture
            that is labelled Good.
    """
    annotations = read_annotations(file)
    of_sample, elsewhere = match_names([sample.path for sample in samples], annotations)
    if not of_sample:
        raise WeakspotError(
            f"none of the {len(annotations)} annotated pictures is one that is measured, {annotations[0].name} for one"
        )
    result, drawn = [], dict[Path, DrawnBoxes]()
    for i, sample in enumerate(samples):
        mask_path = None
        annotation = of_sample.get(i)
        if annotation is not None and annotation.boxes:
            if sample.is_good:
                raise WeakspotError(
                    f"{sample.path} is labelled good, but a defect is marked in it; mend one of the two"
                )
            size = int(sizes[i][0]), int(sizes[i][1])
            if annotation.size != size:
                raise WeakspotError(f"{annotation.name} is {annotation.size} (height, width) as annotated, not {size}")
            mask_path = folder / f"{i:05d}_{sample.path.stem[:80]}.png"
            with atomic_path(mask_path) as temporary:
                Image.fromarray(annotation.mask().astype(np.uint8) * 255).save(temporary)
            boxes = np.array(annotation.boxes, dtype=np.int64).reshape(-1, 4)
            drawn[sample.path] = DrawnBoxes(boxes, tuple(annotation.kinds))
        result.append(replace(sample, mask=mask_path))
    return Corrected(result, drawn, elsewhere, file)
