"""What the network says about a set of images, on disk: logits and raw maps. Evaluation needs nothing else of it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.files import atomic_path


@dataclass(frozen=True)
class MapStore:
    """Logits and maps of n images; the run folder's ``maps.npz``.

    Attributes:
        paths: the image files.
        sizes: int64 ``(n, 2)``, original ``(height, width)``.
        logits: float32 ``(n, classes)``.
        maps: float32 ``(n, classes, map height, map width)``, raw; ``maps.mean((2, 3)) + bias == logits``.
        bias: float32 ``(classes,)``.
    """

    paths: Sequence[Path]
    sizes: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        n, k = self.logits.shape
        fits = (
            len(self.paths) == n
            and self.sizes.shape == (n, 2)
            and self.maps.shape[:2] == (n, k)
            and self.bias.shape == (k,)
        )
        if not fits:
            raise WeakspotError("logits, maps and sizes do not belong together")
        if not (np.isfinite(self.logits).all() and np.isfinite(self.maps).all()):
            raise WeakspotError("the network gave NaN or infinity; lower model.optimizer.lr and train again")

    def save(self, path: Path) -> None:
        """Write the store as an ``.npz`` file, whole or not at all."""
        with atomic_path(path) as temporary:
            np.savez(
                temporary,
                paths=np.array([str(p) for p in self.paths], dtype=np.str_),
                sizes=self.sizes,
                logits=self.logits,
                maps=self.maps,
                bias=self.bias,
            )

    @classmethod
    def load(cls, path: Path) -> MapStore:
        """Read what :meth:`save` wrote.

        Raises:
            WeakspotError: when the file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                paths = [Path(str(p)) for p in file["paths"]]
                return cls(paths, file["sizes"], file["logits"], file["maps"], file["bias"])
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, WeakspotError) as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else "is damaged"
            raise WeakspotError(f"{path} {why}; train again or give a finished run folder") from error
