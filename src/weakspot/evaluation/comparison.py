"""Compare two set-ups on the same images, each trained once or several times.

What a network gets right depends on the seed it was trained with. A sweep over seeds (``train -m … cv=3 seed=1,2,3``)
is therefore one set-up here: its scores for an image are averaged over the trainings before anything is compared, so
that the difference is one of the set-ups and not of two trainings (Bouthillier et al., "Accounting for Variance in
Machine Learning Benchmarks", MLSys 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.config.sweep import CELLS, read_cells
from weakspot.data.classes import target_of
from weakspot.data.splits import group_numbers
from weakspot.errors import WeakspotError
from weakspot.evaluation.pooled import Pooled, runs_of
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.subsets import TWO_CLASSES
from weakspot.metrics.macro import Paired
from weakspot.metrics.paired import Difference, paired_difference
from weakspot.runs.folder import RunFolder
from weakspot.types import FloatArray, Sample
from weakspot.utils.files import shown


@dataclass(frozen=True)
class SetUp:
    """One set-up, with all its trainings, on every image that it was tested on.

    Attributes:
        trainings: one for each seed; in each of them an image is tested at most once.
        samples: every tested image once, sorted by path.
        times: how often each image was tested, ``(n,)``.
    """

    trainings: list[Pooled]
    samples: list[Sample]
    times: npt.NDArray[np.intp]
    _positions: npt.NDArray[np.intp]

    @classmethod
    def read(cls, path: Path) -> SetUp:
        """Read a set-up from the folder of a run, of a cross-validation, or of a sweep over seeds or folds of either.

        Args:
            path: the folder.

        Raises:
            WeakspotError: when the folder is none of these, a run in it is not finished, or the sweep varies further
                settings.
        """
        trainings = [Pooled.read(runs_of(folder)) for folder in _cells(path)]
        if len({_settings(run) for training in trainings for run in training.runs}) > 1:
            raise WeakspotError(
                f"{shown(path)} is a sweep over more than seeds and folds; compare the runs in its summary.csv"
            )
        return cls.of(trainings)

    @classmethod
    def of(cls, trainings: list[Pooled]) -> SetUp:
        """Take trainings of the same settings together.

        Args:
            trainings: at least one.
        """
        every = [sample for training in trainings for sample in training.samples]
        _, first, positions, times = np.unique(
            [str(sample.path.resolve()) for sample in every],
            return_index=True, return_inverse=True, return_counts=True,
        )  # fmt: skip
        return cls(trainings, [every[i] for i in first], times, positions)

    def positions(self) -> list[npt.NDArray[np.intp]]:
        """For each training the positions of its images among :attr:`samples`."""
        ends = np.cumsum([len(training.samples) for training in self.trainings])
        return np.split(self._positions, ends[:-1])

    def first_tested(self) -> list[tuple[Pooled, int]]:
        """For each image, the first training that was tested on it and the image's position in that training."""
        places = [(training, i) for training in self.trainings for i in range(len(training.samples))]
        _, first = np.unique(self._positions, return_index=True)
        return [places[i] for i in first]

    def mean(self, score: Callable[[Pooled], FloatArray]) -> FloatArray:
        """Average a score over the trainings that were tested on an image.

        Args:
            score: gives a score ``(n,)`` for the images of one training.

        Returns:
            One mean for each image in :attr:`samples`, ``(n,)``; NaN where a training's score is NaN.
        """
        scores = np.concatenate([score(training) for training in self.trainings])
        return np.asarray(np.bincount(self._positions, scores) / self.times)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, if all trainings have the same ones; else Good and Anomaly."""
        known = {tuple(training.classes) for training in self.trainings}
        return list(known.pop()) if len(known) == 1 else list(TWO_CLASSES)


def _settings(run: RunFolder) -> tuple[object, object]:
    """Hashes over all settings but seeds and folds, and over the data."""
    record = MetricsRecord.read(run.metrics)
    return record.settings, record.data.hash


def _cells(path: Path) -> list[Path]:
    """The folders of a sweep's finished cells; the folder itself where it is not a sweep's.

    Raises:
        WeakspotError: when a cell failed, or what it left is damaged.
    """
    if not (path / CELLS).is_dir():
        return [path]
    try:
        done = read_cells(path)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeakspotError(f"{shown(path / CELLS)} is damaged ({error}); run the sweep again") from error
    if done.failures or not done.folders:
        raise WeakspotError(f"the sweep in {shown(path)} is not finished; run it again")
    return done.folders


@dataclass(frozen=True)
class Comparison:
    """How two set-ups differ on the images that both were tested on.

    Attributes:
        images: number of images that both were tested on.
        only_first, only_second: number of images that only one of them was tested on; they are left out.
        first_right, second_right: number of images that only the first, or only the second, classified rightly; of
            set-ups that were trained several times, number of images that it classified rightly more often.
        first_times, second_times: how often the image that was tested most often was tested.
        differences: by name of the measure.
        classes: class names that both set-ups share; Good and Anomaly where they differ.
    """

    images: int
    only_first: int
    only_second: int
    first_right: int
    second_right: int
    first_times: int
    second_times: int
    differences: dict[str, Difference]
    classes: list[str]


def compare(first: Path, second: Path) -> Comparison:
    """Compare two set-ups image by image.

    Args:
        first: folder of a run, of a cross-validation, or of a sweep over seeds or folds.
        second: of another one.

    Raises:
        WeakspotError: when no image was tested by both, or one of them is not finished.
    """
    a, b = SetUp.read(first), SetUp.read(second)
    paired = pair(a, b)
    if paired is None:
        raise WeakspotError(f"{shown(first)} and {shown(second)} were tested on no image in common")
    right = paired.scores["balanced_accuracy"]
    return Comparison(
        images=len(right.first),
        only_first=len(a.samples) - len(right.first),
        only_second=len(b.samples) - len(right.first),
        first_right=int((right.first > right.second).sum()),
        second_right=int((right.second > right.first).sum()),
        first_times=int(a.times.max()),
        second_times=int(b.times.max()),
        differences={
            name: paired_difference(one.first, one.second, one.groups.tolist(), one.strata)
            for name, one in paired.scores.items()
        },
        classes=paired.classes,
    )


@dataclass(frozen=True)
class PairedSetUps:
    """Scores of two set-ups on the images that both were tested on.

    Attributes:
        scores: by name of the measure; boxes only where an image has a true one.
        classes: as in :class:`Comparison`.
    """

    scores: dict[str, Paired]
    classes: list[str]


def pair(a: SetUp, b: SetUp) -> PairedSetUps | None:
    """Set the scores of two set-ups side by side, image by image; None where they share no image.

    Args:
        a: the first set-up.
        b: the second.
    """
    places = [{sample.path.resolve(): i for i, sample in enumerate(tested.samples)} for tested in (a, b)]
    common = sorted(places[0].keys() & places[1].keys())
    if not common:
        return None
    in_a, in_b = (np.array([place[path] for path in common]) for place in places)
    classes = a.classes if a.classes == b.classes else list(TWO_CLASSES)
    groups = _coarser(_groups(a, in_a), _groups(b, in_b))

    def paired(score: Callable[[Pooled], FloatArray], strata: npt.NDArray[np.int64]) -> Paired:
        of_a, of_b = a.mean(score)[in_a], b.mean(score)[in_b]
        known = ~np.isnan(of_a + of_b)
        return Paired(of_a[known], of_b[known], groups[known], strata[known])

    def targets(names: Sequence[str]) -> npt.NDArray[np.int64]:
        return np.array([target_of(a.samples[i], names) for i in in_a], dtype=np.int64)

    scores = {"balanced_accuracy": paired(lambda one: one.right(classes), targets(classes))}
    if len(classes) > 2:
        scores["good_or_not"] = paired(lambda one: one.right(TWO_CLASSES), targets(TWO_CLASSES))
    boxes = paired(lambda one: one.max_box_acc_v2, np.zeros(len(common), dtype=np.int64))
    if len(boxes.first):
        scores["max_box_acc_v2"] = boxes
    return PairedSetUps(scores, classes)


def _groups(tested: SetUp, images: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """The number of the group that each image belongs to."""
    return np.array(group_numbers(tested.samples))[images]


def _coarser(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The coarser of two groupings of the same images, as one of the set-ups may have no groups."""
    return a if len(set(a.tolist())) <= len(set(b.tolist())) else b
