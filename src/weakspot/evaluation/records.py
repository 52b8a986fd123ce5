"""``metrics.json`` of a run, an evaluation or a cross-validation: the measurement, and what data and model it is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cattrs

from weakspot.errors import WeakspotError
from weakspot.evaluation.schema import Measurement
from weakspot.evaluation.serialise import structure, to_json, with_new_names
from weakspot.metrics.intervals import Estimate
from weakspot.utils.files import jsonable, shown, write_json
from weakspot.utils.untrusted import read_json

Thresholds = dict[str, dict[str, Any]]
"""``{name: {"value", "origin"}}``: every number that decides something, and how it was chosen."""

UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, cattrs.BaseValidationError,
)  # fmt: skip
"""What reading a file raises that is no ``metrics.json``."""


@dataclass(frozen=True)
class DataRecord:
    """Which images were measured.

    Attributes:
        layout, root, subset, task: keys of the ``data`` group of the configuration.
        classes: class names, ``good`` first.
        hash: over the content and the label of every image; None where other images than the run's own were measured.
        truth: the file that the true boxes come from; None where they come from the data set's masks.
        n_test_per_defect: number of images by defect type.
        roi: the region of interest, as ``data.roi`` names it; None where all of every image counts.
        learnt_from: number of ``boxes``, ``masks``, ``pictures`` with any, and ``corrected_labels`` that the model was
            trained on; empty where it was trained on labels alone.
    """

    layout: str
    root: str | None
    subset: str | None
    task: str
    classes: list[str]
    hash: str | None = None
    truth: Any = None
    n_test_per_defect: dict[str, int] = field(default_factory=dict)
    roi: str | None = None
    learnt_from: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What to call the data set: its subset, or its folder's name."""
        return self.subset or Path(self.root or "data").name


@dataclass(frozen=True)
class Leakage:
    """Near-duplicates between the subsets.

    Attributes:
        images: number of images compared.
        repeated: number of images that certainly show the same part as another one.
        groups: number of groups that those form.
        limit: agreement from which on two images are near-duplicates, up to 1.
        usual: median agreement of pairs drawn by lot.
        held_out_of_trained_groups: number of measured images whose group was trained on too.
        possible: number of further pairs that may show the same part; they are in no group.
    """

    images: int
    repeated: int
    groups: int
    limit: float
    usual: float
    held_out_of_trained_groups: int
    possible: int = 0


@dataclass(frozen=True)
class SplitRecord:
    """How the images were divided into subsets.

    Attributes:
        note: a sentence in place of a split, where other images than the run's own were measured.
        leakage: near-duplicates; None where none were searched for.
        hash: over which image is in which subset.
        n_train, n_val, n_test: number of images in each subset.
        identical_across_subsets: number of held-out images that are exact copies of training images.
        seed, test_size, val_size, folds, fold, near_duplicates, file: keys of the ``split`` group of the configuration.
    """

    note: str | None = None
    leakage: Leakage | None = None
    hash: str | None = None
    n_train: int | None = None
    n_val: int | None = None
    n_test: int | None = None
    identical_across_subsets: int | None = None
    seed: int | None = None
    test_size: float | None = None
    val_size: float | None = None
    folds: int | None = None
    fold: int | None = None
    near_duplicates: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class FoldRecord:
    """One fold of a cross-validation.

    Attributes:
        run: its run folder.
        balanced_accuracy: on the fold's own test subset.
        max_box_acc_v2: on the fold's own test subset; None without masks.
        thresholds: those of the fold's model.
    """

    run: str
    balanced_accuracy: Estimate
    max_box_acc_v2: Estimate | None
    thresholds: Thresholds


@dataclass(frozen=True)
class MetricsRecord:
    """Content of ``metrics.json``.

    Attributes:
        name: of the experiment.
        data, split: which images were measured, and how they were held out.
        measurement: what was measured.
        settings: hash over every setting but seeds and folds; None for a cross-validation, as are those below.
        run: hash that identifies the run.
        seed: of the training.
        heatmap, flip_tta: settings of the maps.
        boxes: the box rule in use, by key.
        thresholds: every number that decides something.
        train: number of images and epochs, seconds, and ``history``; None where it was not trained here.
        model: ``weights``, ``backbone``, ``versions``.
        folds: of a cross-validation; empty for a single run.
    """

    name: str
    data: DataRecord
    split: SplitRecord
    measurement: Measurement
    settings: str | None = None
    run: str | None = None
    seed: int | None = None
    heatmap: str | None = None
    flip_tta: bool = False
    boxes: dict[str, Any] = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=dict)
    train: dict[str, Any] | None = None
    model: dict[str, Any] = field(default_factory=dict)
    folds: list[FoldRecord] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        own = {
            key: getattr(self, key)
            for key in ("settings", "run", "seed", "heatmap", "flip_tta", "boxes", "thresholds", "train", "model")
        }
        split = to_json(self.split)
        if self.split.note is None:
            del split["note"]
        else:
            split = {key: value for key, value in split.items() if value is not None}
        head = {"name": self.name, "data": to_json(self.data), "split": split}
        if self.folds:
            return {**head, "folds": [to_json(fold) for fold in self.folds], **self.measurement.to_dict()}
        return {**head, **self.measurement.to_dict(), **{key: jsonable(value) for key, value in own.items()}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> MetricsRecord:
        """Read what :meth:`to_dict` made, or a file from before version 0.2 of weakspot.

        Raises:
            KeyError, TypeError, ValueError, cattrs.BaseValidationError: when it is something else.
        """
        record = with_new_names(record)
        plain = ("settings", "run", "seed", "heatmap", "flip_tta", "boxes", "thresholds", "train", "model")
        return cls(
            record["name"],
            structure(record["data"], DataRecord),
            structure(record["split"], SplitRecord),
            Measurement.from_dict(record),
            **{key: record[key] for key in plain if key in record},
            folds=[structure(fold, FoldRecord) for fold in record.get("folds") or []],
        )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, self.to_dict())

    @classmethod
    def read(cls, path: Path) -> MetricsRecord:
        """Read a ``metrics.json``.

        Raises:
            WeakspotError: when the file is missing or damaged; the message names it.
        """
        try:
            return cls.from_dict(read_json(path))
        except UNREADABLE as error:
            raise WeakspotError(f"{shown(path)} is missing or damaged; give a finished run folder") from error


def pooled_record(name: str, measurement: Measurement, folders: Sequence[Path]) -> MetricsRecord:
    """The record of a cross-validation.

    Args:
        name: of the experiment.
        measurement: of all folds together.
        folders: run folders of the folds.

    Raises:
        WeakspotError: when a fold's ``metrics.json`` is missing or damaged.
    """
    of_folds = [MetricsRecord.read(folder / "metrics.json") for folder in folders]
    folds = []
    for folder, fold in zip(folders, of_folds, strict=True):
        test = fold.measurement.test
        v2 = None if test.localisation is None else test.localisation.max_box_acc_v2
        folds.append(FoldRecord(str(folder), test.classification.balanced_accuracy, v2, fold.thresholds))
    first = of_folds[0].split
    split = SplitRecord(
        seed=first.seed, folds=first.folds, near_duplicates=first.near_duplicates, leakage=first.leakage
    )
    return MetricsRecord(name, of_folds[0].data, split, measurement, folds=folds)
