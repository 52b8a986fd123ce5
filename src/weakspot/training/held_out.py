"""What models say of images that they were not trained on; every threshold is set on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.models.located_outputs import LocatedOutputs
from weakspot.models.output_store import OutputStore
from weakspot.utils.files import write_json
from weakspot.utils.untrusted import read_json

GOOD, IMITATED, DRAWN, WHOLE = "good.npz", "imitated.npz", "drawn.npz", "held_out.json"


@dataclass(frozen=True)
class HeldOut:
    """What a model, or several with different images left out, says of held-out images.

    Attributes:
        logits: float32 ``(n, classes)`` of all of them, Good images first.
        distances: of all of them, how unusual they are; empty where that is not known.
        good: outputs for the Good ones; None where there are none.
        imitated: outputs for defects imitated on Good ones; None where there are none.
        drawn: outputs for those that a person drew in; None where there are none.
    """

    logits: npt.NDArray[np.float32]
    distances: list[float]
    good: OutputStore | None
    imitated: LocatedOutputs | None
    drawn: LocatedOutputs | None = None

    @classmethod
    def join(cls, parts: Sequence[HeldOut], goods: Sequence[int]) -> HeldOut:
        """Append what several models say, each of its own images: first all Good images, then all others.

        Args:
            parts: at least one.
            goods: number of Good images of each.
        """

        def good_first(values: Sequence[npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
            split = [np.split(of_part, [good]) for of_part, good in zip(values, goods, strict=True)]
            return np.concatenate([*(first for first, _ in split), *(rest for _, rest in split)])

        stores = [part.good for part in parts if part.good is not None]
        imitated = [part.imitated for part in parts if part.imitated is not None]
        drawn = [part.drawn for part in parts if part.drawn is not None]
        known = all(part.distances for part in parts)
        distances = good_first([np.array(part.distances) for part in parts]).tolist() if known else []
        return cls(
            good_first([part.logits for part in parts]).astype(np.float32),
            distances,
            OutputStore.join(stores) if stores else None,
            LocatedOutputs.join(imitated) if imitated else None,
            LocatedOutputs.join(drawn) if drawn else None,
        )

    @staticmethod
    def is_kept(folder: Path) -> bool:
        """Whether :meth:`save` came to its end in a folder.

        Args:
            folder: may be missing.
        """
        return (folder / WHOLE).is_file()

    def save(self, folder: Path) -> None:
        """Write it to a folder, whole or not at all.

        Args:
            folder: made where it is missing; what it holds of an earlier try is written over.
        """
        folder.mkdir(parents=True, exist_ok=True)
        stores = {GOOD: self.good, IMITATED: self.imitated, DRAWN: self.drawn}
        parts = {name: store for name, store in stores.items() if store is not None}
        for name, store in parts.items():
            store.save(folder / name)
        content = {"logits": self.logits.tolist(), "distances": self.distances, "parts": list(parts)}
        write_json(folder / WHOLE, content)  # last: what has it is whole

    @classmethod
    def load(cls, folder: Path) -> HeldOut:
        """Read what :meth:`save` wrote.

        Args:
            folder: where it lies.

        Raises:
            WeakspotError: when a file is missing or damaged.
        """
        try:
            content = read_json(folder / WHOLE)
            logits = np.array(content["logits"], dtype=np.float32)
            distances, parts = [float(one) for one in content["distances"]], list(content["parts"])
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise WeakspotError(f"{folder / WHOLE} is damaged ({error}); delete it, and train again") from error
        good = OutputStore.load(folder / GOOD) if GOOD in parts else None
        imitated, drawn = (LocatedOutputs.load(folder / name) if name in parts else None for name in (IMITATED, DRAWN))
        return cls(logits, distances, good, imitated, drawn)
