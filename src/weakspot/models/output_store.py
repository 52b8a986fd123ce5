"""What the network says about a set of images, on disk: logits and raw maps. Evaluation needs nothing else of it."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.types import ImageMaps
from weakspot.utils.files import atomic_path
from weakspot.utils.untrusted import check_npz

PLANES = ("extent", "where", "again")
"""Arrays that not every model gives."""


@dataclass(frozen=True)
class MapStore:
    """What the model says of n images; the run folder's ``maps.npz`` and ``calibration.npz``.

    Attributes:
        paths: the image files.
        sizes: int64 ``(n, 2)``, original ``(height, width)``.
        logits: float32 ``(n, classes)``.
        maps: float32 ``(n, classes, map height, map width)``, raw. Without refinement ``maps.mean((2, 3)) + bias ==
            logits``; with it the evidence has a say in the logits (:func:`weakspot.models.model.agree`).
        bias: float32 ``(classes,)``.
        extent, where: float16 ``(n, h, w)`` and ``(n, h', w')``, see :class:`~weakspot.types.ImageMaps`; None without
            refinement.
        again: float16, as `extent` or as `maps`; None without a second look.
    """

    paths: Sequence[Path]
    sizes: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    extent: npt.NDArray[np.float16] | None = None
    where: npt.NDArray[np.float16] | None = None
    again: npt.NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        n, k = self.logits.shape
        fits = (
            len(self.paths) == n
            and self.sizes.shape == (n, 2)
            and (self.maps.shape[:2], self.maps.ndim) == ((n, k), 4)
            and self.bias.shape == (k,)
            and all(e.ndim == 3 for e in (self.extent, self.where) if e is not None)
            and (self.again is None or self.again.shape == (self.maps if self.extent is None else self.extent).shape)
        )
        if not fits:
            raise WeakspotError("logits, maps and sizes do not belong together")
        if not (np.isfinite(self.logits).all() and np.isfinite(self.maps).all()):
            raise WeakspotError("the network gave NaN or infinity; lower model.optimizer.lr and train again")
        if not all(len(e) == n and np.isfinite(e).all() for e in self._planes if e is not None):
            raise WeakspotError("the evidence holds NaN or infinity; lower refine.learning_rate and train again")

    @property
    def _planes(self) -> tuple[npt.NDArray[np.float16] | None, ...]:
        """What not every model gives, in the order of the fields."""
        return self.extent, self.where, self.again

    @classmethod
    def of(
        cls,
        paths: Sequence[Path],
        sizes: npt.NDArray[np.int64],
        said: Sequence[ImageMaps],
        bias: npt.NDArray[np.float32],
    ) -> MapStore:
        """Stack what the model says of single images; all have the same of refinement and second look."""
        logits, maps, *optional = zip(*said, strict=True)
        planes = (None if plane[0] is None else np.stack(plane).astype(np.float16) for plane in optional)
        return cls(paths, sizes, np.stack(logits), np.stack(maps), bias, *planes)

    @classmethod
    def join(cls, stores: Sequence[MapStore]) -> MapStore:
        """Several stores of maps of one size behind each other; of several models' biases the first is kept."""

        def together(name: str) -> Any:  # noqa: ANN401 - one of several array types
            arrays = [getattr(store, name) for store in stores]
            return None if arrays[0] is None else np.concatenate(arrays)

        joined = {name: together(name) for name in ("sizes", "logits", "maps", *PLANES)}
        return cls([path for store in stores for path in store.paths], bias=stores[0].bias, **joined)

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, rows: slice) -> MapStore:
        """Some of the images."""
        planes = (None if plane is None else plane[rows] for plane in self._planes)
        return MapStore(self.paths[rows], self.sizes[rows], self.logits[rows], self.maps[rows], self.bias, *planes)

    def __getitem__(self, index: int) -> ImageMaps:
        planes = (None if plane is None else plane[index] for plane in self._planes)
        return ImageMaps(self.logits[index], self.maps[index], *planes)

    def save(self, path: Path) -> None:
        """Write the store as an ``.npz`` file, whole or not at all."""
        arrays: dict[str, Any] = {
            "paths": np.array([str(p) for p in self.paths], dtype=np.str_),
            "sizes": self.sizes,
            "logits": self.logits,
            "maps": self.maps,
            "bias": self.bias,
            **dict(zip(PLANES, self._planes, strict=True)),
        }
        with atomic_path(path) as temporary:
            np.savez(temporary, **{name: array for name, array in arrays.items() if array is not None})

    @classmethod
    def load(cls, path: Path) -> MapStore:
        """Read what :meth:`save` wrote.

        Raises:
            WeakspotError: when the file is missing, damaged or something else.
        """
        try:
            check_npz(path)
            with np.load(path, allow_pickle=False) as file:
                paths = [Path(str(p)) for p in file["paths"]]
                planes = [file.get(name) for name in PLANES]
                return cls(paths, file["sizes"], file["logits"], file["maps"], file["bias"], *planes)
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, WeakspotError) as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else "is damaged"
            raise WeakspotError(f"{path} {why}; train again or give a finished run folder") from error
