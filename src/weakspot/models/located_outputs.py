"""A model's outputs for defects whose place is known, on disk; trust is calibrated on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.models.output_store import OutputStore
from weakspot.utils.files import write_json
from weakspot.utils.untrusted import read_json


@dataclass(frozen=True)
class LocatedOutputs:
    """A model's outputs for defects that it was not trained on: imitated on Good pictures, or drawn by a person.

    Attributes:
        outputs: one for each imitation, whose path is that of the Good picture, or for each picture that was drawn in.
        boxes: int64 ``(m, 4)`` of each, boxes of the defects in pixels of the original picture.
    """

    outputs: OutputStore
    boxes: Sequence[npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def join(cls, stores: Sequence[LocatedOutputs]) -> LocatedOutputs:
        """Append several stores to each other; their maps must have one size."""
        joined = OutputStore.join([store.outputs for store in stores])
        return cls(joined, [boxes for store in stores for boxes in store.boxes])

    def save(self, path: Path) -> None:
        """Write an ``.npz`` file, and before it a ``.json`` file of the same name with the boxes.

        Args:
            path: of the ``.npz`` file.
        """
        write_json(path.with_suffix(".json"), {"boxes": [boxes.tolist() for boxes in self.boxes]})
        self.outputs.save(path)

    @classmethod
    def load(cls, path: Path) -> LocatedOutputs:
        """Read what :meth:`save` wrote.

        Args:
            path: of the ``.npz`` file.

        Raises:
            WeakspotError: when a file is missing, damaged or something else.
        """
        outputs, beside = OutputStore.load(path), path.with_suffix(".json")
        try:
            boxes = [np.array(one, dtype=np.int64).reshape(-1, 4) for one in read_json(beside)["boxes"]]
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise WeakspotError(f"{beside} is damaged ({error}); train again") from error
        if len(boxes) != len(outputs):
            raise WeakspotError(f"{beside} and {path.name} do not belong together; train again")
        return cls(outputs, boxes)
