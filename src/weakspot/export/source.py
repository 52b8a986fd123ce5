"""What is exported: predictions read back from a folder, with a portable name for every picture."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from weakspot.data.images import holds_image
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.postprocess.prediction_files import HEATMAPS, UniqueNames, read_predictions
from weakspot.types import GOOD, Prediction
from weakspot.utils.files import atomic_path

Pictures = Literal["copy", "link", "none"]


@dataclass(frozen=True)
class Exported:
    """Predictions to write out.

    Attributes:
        predictions: of the pictures that could be read, in order.
        names: of the pictures, relative to the folder that all of them lie in, with forward slashes; all different.
        classes: names of the classes but Good, in the model's order.
        model: what made the predictions, for tools that keep a model version.
        unreadable: number of pictures that could not be read; they are left out.
        groups: group of each picture by path; pictures without a known group are left out.
        heatmaps: file with the map of each picture by path, as ``weakspot predict --heatmaps`` wrote it; pictures
            without one are left out.
    """

    predictions: Sequence[Prediction]
    names: Sequence[str]
    classes: Sequence[str]
    model: str
    unreadable: int = 0
    groups: dict[Path, str] = field(default_factory=dict)
    heatmaps: dict[Path, Path] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[str, Prediction]]:
        return iter(zip(self.names, self.predictions, strict=True))

    @property
    def common_folder(self) -> Path:
        """The folder that all pictures lie in, which their names are relative to."""
        return _whole(self.predictions[0].path).parents[self.names[0].count("/")]

    @property
    def summary(self) -> str:
        """How many boxes of each class in how many pictures, in words."""
        return f"{len(self.predictions)} pictures, {count_boxes(self.predictions, self.classes)}"


def read_source(folder: Path) -> Exported:
    """Read a run folder, the folder of an evaluation, or what ``weakspot predict`` wrote.

    Raises:
        WeakspotError: when there are no predictions in it, or none of a picture that could be read.
    """
    path = folder / "predictions.jsonl"
    if not path.is_file():
        raise WeakspotError(
            f"{folder} holds no predictions.jsonl; give a run folder or the results of 'weakspot predict'"
        )
    everything = read_predictions(path)
    readable = [prediction for prediction in everything if prediction.status == "ok"]
    if not readable:
        raise WeakspotError(f"{path} holds no prediction of a picture that could be read")
    classes = sorted({known.name for prediction in readable for known in prediction.classes} - {GOOD})
    return Exported(
        readable,
        portable_names([prediction.path for prediction in readable]),
        classes,
        f"weakspot {folder.resolve().name}",
        len(everything) - len(readable),
        _groups(folder),
        _heatmaps(folder, everything),
    )


def count_boxes(predictions: Iterable[Prediction], classes: Sequence[str]) -> str:
    """How many boxes of each class in how many pictures, in words.

    Args:
        predictions: those without a box are not counted.
        classes: names of the classes to count.

    Returns:
        Such as ``3 boxes of anomaly in 2 of them``.
    """
    having = [prediction for prediction in predictions if prediction.boxes]
    counts = Counter(box.label for prediction in having for box in prediction.boxes)
    return ", ".join(f"{counts[name]} boxes of {name}" for name in classes) + f" in {len(having)} of them"


def _whole(path: Path) -> Path:
    """The path from the root on, without dots; links stay."""
    return Path(os.path.normpath(path.absolute()))


def portable_names(paths: Sequence[Path]) -> list[str]:
    """Paths relative to the folder that all of them lie in, with forward slashes.

    Raises:
        WeakspotError: when a picture occurs twice.
    """
    whole = [_whole(path) for path in paths]
    seen: set[Path] = set()
    for path in whole:
        if path in seen:
            raise WeakspotError(f"{path} was predicted twice; annotations hold a picture once, predict it once")
        seen.add(path)
    common = os.path.commonpath([path.parent for path in whole])
    return [path.relative_to(common).as_posix() for path in whole]


def _groups(folder: Path) -> dict[Path, str]:
    """Groups that a run's ``split.csv`` knows, or that of a cross-validation's first run; none elsewhere."""
    if not any((folder / name).is_file() for name in ("split.csv", "folds.json")):
        return {}
    from weakspot.config.schema import read_config
    from weakspot.evaluation.pooled import runs_of

    run = runs_of(folder)[0]
    samples, _ = read_split(run.split, Path(read_config(run.config).data.root or "."))
    return {sample.path: sample.group for sample in samples if sample.group is not None}


def _heatmaps(folder: Path, everything: Sequence[Prediction]) -> dict[Path, Path]:
    """The heat maps that lie beside predictions, which are named in their order."""
    names = UniqueNames()
    files = {one.path: folder / HEATMAPS / f"{names(one.path)}.png" for one in everything}
    return {path: file for path, file in files.items() if file.is_file()}


def place_heatmaps(exported: Exported, folder: Path) -> dict[str, str]:
    """Copy the heat maps of predictions into `folder`, each named like its picture with ``.png`` behind.

    Args:
        exported: the predictions.
        folder: where they go.

    Returns:
        The path of each within `folder`, with forward slashes, by the name of its picture; without those that have
        none.
    """
    placed = {}
    for name, prediction in exported:
        if (source := exported.heatmaps.get(prediction.path)) is not None:
            placed[name] = f"{name}.png"
            with atomic_path(folder / placed[name]) as temporary:
                shutil.copyfile(source, temporary)
    return placed


def place_picture(source: Path, target: Path, how: Pictures) -> None:
    """Copy a picture to `target`, or link it there, or do nothing.

    Args:
        source: the picture.
        target: where it goes; an older file there is replaced.
        how: ``copy``, ``link`` (a symbolic link) or ``none``.

    Raises:
        WeakspotError: when the picture has gone since it was predicted, or the file is no image.
    """
    if how == "none":
        return
    if not source.is_file():
        raise WeakspotError(
            f"{source} is no longer there; give pictures=none (--pictures none) to write annotations alone"
        )
    if not holds_image(source):  # predictions that somebody else made could name any file
        raise WeakspotError(f"{source} is not an image, so it is not copied; give pictures=none (--pictures none)")
    with atomic_path(target) as temporary:
        if how == "link":
            temporary.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, temporary)


def check_pictures(how: str) -> Pictures:
    """Return `how` if it is a choice.

    Raises:
        WeakspotError: naming the choices.
    """
    choices: tuple[Pictures, ...] = get_args(Pictures)
    for choice in choices:
        if how == choice:
            return choice
    raise WeakspotError(f"--pictures {how} is unknown{did_you_mean(how, choices)}; choose: {', '.join(choices)}")
