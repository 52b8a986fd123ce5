"""A model's outputs for a set of images, on disk: logits and raw maps. Measuring needs nothing else from the model."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.types import ModelOutput
from weakspot.utils.files import atomic_path
from weakspot.utils.untrusted import check_npz

PLANES = ("mask_logits", "location_logits", "flipped")
"""Arrays that not every model gives."""

OLD_NAMES = {"mask_logits": "extent", "location_logits": "where", "flipped": "again"}
"""What the same arrays are called in files from before version 0.2."""


@dataclass(frozen=True)
class OutputStore:
    """A model's outputs for n images; the run folder's ``maps.npz`` and ``calibration.npz``.

    Attributes:
        paths: the image files.
        sizes: int64 ``(n, 2)``, original ``(height, width)``.
        logits: float32 ``(n, classes)``.
        maps: float32 ``(n, classes, map height, map width)``, raw. Without evidence heads ``maps.mean((2, 3)) + bias ==
            logits``; with them the logits depend on the evidence too (:func:`weakspot.models.model.agree`).
        bias: float32 ``(classes,)``.
        mask_logits, location_logits: float16 ``(n, h, w)`` and ``(n, h', w')``, see
            :class:`~weakspot.types.ModelOutput`; None without evidence heads.
        flipped: float16, of the shape of `mask_logits`, or of `maps` without evidence heads; None without flip
            test-time augmentation.
    """

    paths: Sequence[Path]
    sizes: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    mask_logits: npt.NDArray[np.float16] | None = None
    location_logits: npt.NDArray[np.float16] | None = None
    flipped: npt.NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        n, k = self.logits.shape
        fits = (
            len(self.paths) == n
            and self.sizes.shape == (n, 2)
            and (self.maps.shape[:2], self.maps.ndim) == ((n, k), 4)
            and self.bias.shape == (k,)
            and all(e.ndim == 3 for e in (self.mask_logits, self.location_logits) if e is not None)
            and (
                self.flipped is None
                or self.flipped.shape == (self.maps if self.mask_logits is None else self.mask_logits).shape
            )
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
        return self.mask_logits, self.location_logits, self.flipped

    @classmethod
    def of(
        cls,
        paths: Sequence[Path],
        sizes: npt.NDArray[np.int64],
        outputs: Sequence[ModelOutput],
        bias: npt.NDArray[np.float32],
    ) -> OutputStore:
        """Stack the outputs for single images.

        Args:
            paths: the image files.
            sizes: int64 ``(n, 2)``, original ``(height, width)``.
            outputs: one for each image, all with the same optional maps.
            bias: float32 ``(classes,)``.
        """
        logits, maps, *optional = zip(*outputs, strict=True)
        planes = (None if plane[0] is None else np.stack(plane).astype(np.float16) for plane in optional)
        return cls(paths, sizes, np.stack(logits), np.stack(maps), bias, *planes)

    @classmethod
    def join(cls, stores: Sequence[OutputStore]) -> OutputStore:
        """Append several stores to each other; their maps must have one size. The bias is that of the first."""

        def together(name: str) -> Any:  # noqa: ANN401 - one of several array types
            arrays = [getattr(store, name) for store in stores]
            return None if arrays[0] is None else np.concatenate(arrays)

        joined = {name: together(name) for name in ("sizes", "logits", "maps", *PLANES)}
        return cls([path for store in stores for path in store.paths], bias=stores[0].bias, **joined)

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, rows: slice) -> OutputStore:
        """Select some of the images."""
        planes = (None if plane is None else plane[rows] for plane in self._planes)
        return OutputStore(self.paths[rows], self.sizes[rows], self.logits[rows], self.maps[rows], self.bias, *planes)

    def __getitem__(self, index: int) -> ModelOutput:
        planes = (None if plane is None else plane[index] for plane in self._planes)
        return ModelOutput(self.logits[index], self.maps[index], *planes)

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
    def load(cls, path: Path) -> OutputStore:
        """Read what :meth:`save` wrote.

        Raises:
            WeakspotError: when the file is missing, damaged or something else.
        """
        try:
            check_npz(path)
            with np.load(path, allow_pickle=False) as file:
                paths = [Path(str(p)) for p in file["paths"]]
                planes = [file.get(name, file.get(OLD_NAMES[name])) for name in PLANES]
                return cls(paths, file["sizes"], file["logits"], file["maps"], file["bias"], *planes)
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, WeakspotError) as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else "is damaged"
            raise WeakspotError(f"{path} {why}; train again or give a finished run folder") from error
