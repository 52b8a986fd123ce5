"""A model's outputs for a set of images, on disk: logits and raw maps. Measuring needs nothing else from the model."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.types import MODEL_PARTS, BoolArray, Look, ModelOutput
from weakspot.utils.files import atomic_path
from weakspot.utils.untrusted import check_npz

PLANES = ("mask_logits", "location_logits", "flipped")
"""Arrays that not every model gives."""

BY_IMAGE = ("distances", "part_log_odds")
"""Rows of numbers, one for each image, that not every model gives."""

LOOK_ARRAYS = ("look_values", "look_thumbnails")
"""What the parts of looks are called in files."""

OLD_NAMES = {"mask_logits": "extent", "location_logits": "where", "flipped": "again"}
"""What the same arrays are called in files from before version 0.2."""


@dataclass(frozen=True)
class PackedMasks:
    """Masks of one size, eight pixels in a byte.

    Attributes:
        bits: uint8 ``(n, height, ⌈width / 8⌉)``, from :func:`numpy.packbits`.
        width: in pixels.
    """

    bits: npt.NDArray[np.uint8]
    width: int

    def __post_init__(self) -> None:
        if self.bits.ndim != 3 or self.bits.dtype != np.uint8 or self.bits.shape[2] != -(-self.width // 8):
            raise WeakspotError("masks of the region of interest do not have the width that they should")
        if not self.bits.any(axis=(1, 2)).all():
            raise WeakspotError("a mask of the region of interest is empty")

    @classmethod
    def of(cls, masks: Sequence[BoolArray]) -> PackedMasks:
        """Pack masks ``(height, width)``, at least one."""
        return cls(np.packbits(np.stack(masks), axis=2), masks[0].shape[1])

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, index: int) -> BoolArray:
        return np.unpackbits(self.bits[index], axis=1, count=self.width).astype(bool)


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
        regions: of each image which pixels of the network's input lie in the region of interest; None where all count.
        distances: float32 ``(n, taps)``, from training pictures; None for a model without statistics of familiarity.
        looks: float64 ``(n, measures)`` and uint8 ``(n, side, side)``, the parts of a
            :class:`~weakspot.types.Look`; None where they were not measured.
        part_log_odds: float32 ``(n, 3)``, as in :class:`~weakspot.types.ModelOutput`; None where the classifier alone
            decides, and in files from before they were kept.
    """

    paths: Sequence[Path]
    sizes: npt.NDArray[np.int64]
    logits: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    mask_logits: npt.NDArray[np.float16] | None = None
    location_logits: npt.NDArray[np.float16] | None = None
    flipped: npt.NDArray[np.float16] | None = None
    regions: PackedMasks | None = None
    distances: npt.NDArray[np.float32] | None = None
    looks: tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]] | None = None
    part_log_odds: npt.NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        n, k = self.logits.shape
        fits = (
            len(self.paths) == n
            and self.sizes.shape == (n, 2)
            and (self.maps.shape[:2], self.maps.ndim) == ((n, k), 4)
            and self.bias.shape == (k,)
            and (self.regions is None or len(self.regions) == n)
            and (self.distances is None or (self.distances.ndim, len(self.distances)) == (2, n))
            and (self.part_log_odds is None or self.part_log_odds.shape == (n, len(MODEL_PARTS)))
            and (self.looks is None or [(a.ndim, len(a)) for a in self.looks] == [(2, n), (3, n)])
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

        def stacked(name: str) -> Any:  # noqa: ANN401 - one of several array types
            arrays = [getattr(one, name) for one in outputs]
            return None if arrays[0] is None else np.stack(arrays)

        optional: dict[str, Any] = {name: stacked(name) for name in (*PLANES, *BY_IMAGE)}
        for name in PLANES:
            optional[name] = None if optional[name] is None else optional[name].astype(np.float16)
        regions = [one.region for one in outputs if one.region is not None]
        looks = [one.look for one in outputs if one.look is not None]
        if looks:
            optional["looks"] = tuple(np.stack(part) for part in zip(*looks, strict=True))
        return cls(
            paths, sizes, stacked("logits"), stacked("maps"), bias,
            regions=PackedMasks.of(regions) if regions else None,
            **optional,
        )  # fmt: skip

    @classmethod
    def join(cls, stores: Sequence[OutputStore]) -> OutputStore:
        """Append several stores to each other.

        What not all of them have is left out: a model of few pictures measures no familiarity, and others do.

        Args:
            stores: at least one; their maps must have one size. The bias is that of the first.
        """

        def together(name: str) -> Any:  # noqa: ANN401 - one of several array types
            arrays = [getattr(store, name) for store in stores]
            return None if any(array is None for array in arrays) else np.concatenate(arrays)

        joined = {name: together(name) for name in ("sizes", "logits", "maps", *PLANES, *BY_IMAGE)}
        looks = [store.looks for store in stores if store.looks is not None]
        if len(looks) == len(stores):
            joined["looks"] = np.concatenate([a for a, _ in looks]), np.concatenate([b for _, b in looks])
        if (first := stores[0].regions) is not None:
            bits = [store.regions.bits for store in stores if store.regions is not None]
            joined["regions"] = PackedMasks(np.concatenate(bits), first.width)
        return cls([path for store in stores for path in store.paths], bias=stores[0].bias, **joined)

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, rows: slice) -> OutputStore:
        """Select some of the images."""
        regions = None if self.regions is None else PackedMasks(self.regions.bits[rows], self.regions.width)
        planes = {
            name: None if plane is None else plane[rows] for name, plane in zip(PLANES, self._planes, strict=True)
        }
        changed: dict[str, Any] = {"logits": self.logits[rows], "maps": self.maps[rows], "regions": regions, **planes}
        for name in BY_IMAGE:
            array = getattr(self, name)
            changed[name] = None if array is None else array[rows]
        changed["looks"] = None if self.looks is None else (self.looks[0][rows], self.looks[1][rows])
        return replace(self, paths=self.paths[rows], sizes=self.sizes[rows], **changed)

    def __getitem__(self, index: int) -> ModelOutput:
        planes = (None if plane is None else plane[index] for plane in self._planes)
        output = ModelOutput(self.logits[index], self.maps[index], *planes)._replace(
            distances=None if self.distances is None else self.distances[index],
            look=None if self.looks is None else Look(self.looks[0][index], self.looks[1][index]),
            part_log_odds=None if self.part_log_odds is None else self.part_log_odds[index],
        )
        return output if self.regions is None else output._replace(region=self.regions[index])

    def save(self, path: Path) -> None:
        """Write the store as an ``.npz`` file, whole or not at all."""
        arrays: dict[str, Any] = {
            "paths": np.array([str(p) for p in self.paths], dtype=np.str_),
            "sizes": self.sizes,
            "logits": self.logits,
            "maps": self.maps,
            "bias": self.bias,
            **dict(zip(PLANES, self._planes, strict=True)),
            **{name: getattr(self, name) for name in BY_IMAGE},
        }
        if self.looks is not None:
            arrays |= dict(zip(LOOK_ARRAYS, self.looks, strict=True))
        if self.regions is not None:
            arrays |= {"region_bits": self.regions.bits, "region_width": np.array(self.regions.width)}
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
                looks = (file[LOOK_ARRAYS[0]], file[LOOK_ARRAYS[1]]) if LOOK_ARRAYS[0] in file else None
                arrays = file["sizes"], file["logits"], file["maps"], file["bias"], *planes
                store = replace(cls(paths, *arrays), looks=looks, **{name: file.get(name) for name in BY_IMAGE})
                if "region_bits" not in file:
                    return store
                return replace(store, regions=PackedMasks(file["region_bits"], int(file["region_width"])))
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, WeakspotError) as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else "is damaged"
            raise WeakspotError(f"{path} {why}; train again or give a finished run folder") from error
