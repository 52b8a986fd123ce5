"""Cells of the comparison (data, split, fold, method), and the files that each leaves in a folder of its own.

A fold's folder holds ``split.csv`` as weakspot writes it, ``groups.json`` and ``speed.jsonl``; below it each method has
a folder with ``maps.npz``, ``predictions.json`` and, written last, ``cell.json``: a cell that has one is finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from peer_tools.scoring import Findings, Tested
from weakspot.config import hydra_app
from weakspot.config.schema import TrainConfig, typed, with_values
from weakspot.data.splits import read_split, write_split
from weakspot.evaluation.truth import Truth
from weakspot.ops.resize import upsample
from weakspot.training.dataset import index_and_split
from weakspot.types import Sample, Size, Subset
from weakspot.utils.files import atomic_path, write_json
from weakspot.utils.spread import spread_evenly

COMMON: Size = (128, 128)
"""Resolution that every tool's maps are saved at; no map of these tools is computed at a finer one."""

VAL_SIZE = 0.15
"""Share of the pictures that are not tested on which thresholds are set with, as in ``fast``."""


class LeftOutError(Exception):
    """A method that cannot run here, with the reason, which goes into the table."""


@dataclass(frozen=True)
class DataSet:
    """A data set and one way to split it.

    Attributes:
        name: of the set, as the table has it.
        root: its folder, in MVTec AD layout.
        split: ``grouped``: each part on one side; ``random``: whatever the parts.
        folds: number of folds; None for a hold-out.
        fold: which of them is tested.
    """

    name: str
    root: Path
    split: str
    folds: int | None = None
    fold: int | None = None

    @property
    def title(self) -> str:
        """The set and its split, which folds have in common."""
        return f"{self.name}-{self.split}"

    @property
    def folder(self) -> str:
        """Name of the fold's folder."""
        return f"{self.title}-fold{self.fold}" if self.folds else self.title


@dataclass(frozen=True)
class Fold:
    """A data set that was split, with what lies in its folder.

    Attributes:
        folder: of the fold.
        root: of the data set.
    """

    folder: Path
    root: Path

    @cached_property
    def _split(self) -> tuple[list[Sample], list[Subset]]:
        return read_split(self.split_file, self.root)

    @property
    def split_file(self) -> Path:
        """Which image is in which subset."""
        return self.folder / "split.csv"

    @property
    def near_duplicates(self) -> str:
        """The value of ``split.near_duplicates`` that the split was made with."""
        return str(self._about["near_duplicates"])

    @cached_property
    def _about(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.folder / "groups.json").read_text(encoding="utf-8"))
        return content

    def subset(self, *names: Subset) -> list[Sample]:
        """The samples of some subsets, in the order of the split."""
        return [sample for sample, subset in zip(*self._split, strict=True) if subset in names]

    def good(self, *names: Subset) -> list[Sample]:
        """Their Good samples."""
        return [sample for sample in self.subset(*names) if sample.is_good]

    @property
    def test_groups(self) -> list[int]:
        """The number of the group that each test image belongs to."""
        groups = self._about["groups"]
        return [group for group, subset in zip(groups, self._split[1], strict=True) if subset == "test"]

    def without_validation(self) -> Path:
        """A split file in which the validation subset is trained on too, for methods that need none."""
        samples, subsets = self._split
        path = self.folder / "split-without-validation.csv"
        write_split(path, samples, ["test" if subset == "test" else "train" for subset in subsets], self.root)
        return path


def timed_pictures(fold: Fold, images: int) -> list[Path]:
    """So many pictures of the test subset, evenly over all of it, so that Good and defective ones are among them.

    Args:
        fold: that a tool was trained on.
        images: how many; where the subset has fewer, it is gone through again.
    """
    paths = [sample.path for sample in fold.subset("test")]
    return list(islice(cycle(spread_evenly(paths, images)), images))


def open_fold(data: DataSet, results: Path) -> Fold:
    """The split of a data set: read where it was made before, else made by weakspot's own function and written down.

    Args:
        data: the data set and how to split it.
        results: folder of all results.
    """
    fold = Fold(results / data.folder, data.root)
    if not (fold.folder / "groups.json").is_file():
        policy = "together" if data.split == "grouped" else "report"
        config = typed(hydra_app.compose("train", ["experiment=recommended"]), TrainConfig)
        keys = {"data.root": str(data.root), "split.near_duplicates": policy, "split.val_size": VAL_SIZE}
        config = with_values(config, keys)
        settings = replace(config.split, folds=data.folds, fold=data.fold)
        found = index_and_split(config.data, settings)
        write_split(fold.split_file, found.samples, found.subsets, found.root)
        write_json(fold.folder / "groups.json", {"near_duplicates": policy, "groups": found.groups})
    return fold


# --- what a tool finds --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """What a tool finds in one image.

    Attributes:
        score: higher is less Good.
        called: whether the tool itself calls the image defective.
        boxes: ``(k, 5)``: x0, y0, x1, y1 in original pixels, half-open, and a score.
        evidence: ``(h, w)`` map over the whole image.
        size: ``(height, width)`` of the image in pixels.
    """

    score: float
    called: bool
    boxes: npt.NDArray[np.float64]
    evidence: npt.NDArray[np.float32]
    size: Size


class Predict(Protocol):
    """A trained tool, from files to boxes."""

    def __call__(self, paths: Sequence[Path]) -> Iterable[Found]:
        """What it finds in each file, in order."""


class Tool(Protocol):
    """A method: how it is trained, and how a trained one is loaded."""

    def train(self, fold: Fold, folder: Path) -> str:
        """Train on the fold, leave in `folder` what :meth:`load` needs, and say how thresholds and weights came about.

        Raises:
            LeftOutError: where it cannot run here.
        """

    def load(self, folder: Path) -> Predict:
        """The tool that was trained there."""


@dataclass(frozen=True)
class Cost:
    """What is known of a cell beside its predictions, ``cell.json``.

    Attributes:
        status: ``ok``, ``left out`` or ``failed``.
        note: how thresholds and weights came about, or the reason why there are no figures.
        train_minutes: wall time of training, what the method does to set its thresholds included.
        processor_minutes: time of all cores in it, which other work on the machine hardly changes.
        peak_mb: highest memory of the process that trained and predicted, in MB.
        training_images: number of images that training may look at.
        test_images: number of images tested on.
    """

    status: str
    note: str
    train_minutes: float = float("nan")
    processor_minutes: float = float("nan")
    peak_mb: float = float("nan")
    training_images: int = 0
    test_images: int = 0


def save_found(folder: Path, samples: Sequence[Sample], root: Path, found: Iterable[Found]) -> int:
    """Write ``maps.npz`` and ``predictions.json``.

    Args:
        folder: of the cell.
        samples: the images, in order.
        root: paths are written relative to it.
        found: of each image.

    Returns:
        Number of images.
    """
    rows, maps = list[dict[str, Any]](), list[npt.NDArray[np.float32]]()
    for sample, one in zip(samples, found, strict=True):
        rows.append(
            {
                "path": sample.path.relative_to(root).as_posix(),
                "score": one.score,
                "called": one.called,
                "size": list(one.size),
                "boxes": one.boxes.tolist(),
            }
        )
        maps.append(upsample(one.evidence, COMMON))
    with atomic_path(folder / "maps.npz") as temporary:
        np.savez(temporary, maps=np.stack(maps))
    write_json(folder / "predictions.json", rows)
    return len(rows)


def read_tested(fold: Fold, method: str) -> Tested:
    """What a finished cell found, with what is true of its test subset.

    Raises:
        ValueError: when the cell's images are not those of the fold's split.
    """
    folder = fold.folder / method
    rows = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    samples = fold.subset("test")
    if [row["path"] for row in rows] != [sample.path.relative_to(fold.root).as_posix() for sample in samples]:
        raise ValueError(f"{folder} and {fold.split_file} do not belong together; remove the folder and run again")
    with np.load(folder / "maps.npz") as file:
        maps = file["maps"]
    findings = Findings(
        np.array([row["score"] for row in rows], np.float64),
        np.array([row["called"] for row in rows], bool),
        [np.array(row["boxes"], np.float64).reshape(-1, 5) for row in rows],
        maps,
    )
    truth = Truth.read(samples, np.array([row["size"] for row in rows], np.int64))
    return Tested(truth, fold.test_groups, findings)


def read_cost(folder: Path) -> Cost | None:
    """What ``cell.json`` says; None for a cell that is not finished."""
    path = folder / "cell.json"
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = {key: float("nan") if value is None else value for key, value in content.items()}
    return Cost(**values)


def write_cost(folder: Path, cost: Cost) -> None:
    """Say that a cell is finished."""
    write_json(folder / "cell.json", asdict(cost))
