"""A model's outputs for imitated defects whose place is known, on disk; trust is calibrated on them."""

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
class ImitationStore:
    """A model's outputs for defects imitated on Good pictures that it was not trained on.

    Attributes:
        outputs: one for each imitation; its path is that of the Good picture.
        boxes: int64 ``(m, 4)`` of each, boxes of the imitated regions in pixels of the original picture.
    """

    outputs: OutputStore
    boxes: Sequence[npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def join(cls, stores: Sequence[ImitationStore]) -> ImitationStore:
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
    def load(cls, path: Path) -> ImitationStore:
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
