"""The test subsets of finished runs, read back from their folders: that of one run, or those of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.evaluation.records import MetricsRecord
from weakspot.evaluation.schema import Alarm
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset
from weakspot.evaluation.truth import levels_reached
from weakspot.metrics.detection import hits_of_images
from weakspot.models.bundle_meta import find_bundle, read_meta
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.runs.folder import RunFolder, finished_run, own_test_subset
from weakspot.utils.files import shown
from weakspot.utils.untrusted import read_json

MEMBERS = "folds.json"
"""Names the runs that a cross-validation consists of."""


@dataclass(frozen=True)
class Pooled(EvaluatedImages):
    """The test subsets of one run or of several, taken together.

    Attributes:
        runs: the run that each subset comes from.
    """

    runs: Sequence[RunFolder] = ()

    @classmethod
    def read(cls, runs: Sequence[RunFolder]) -> Pooled:
        """Read the test subsets of finished runs.

        Args:
            runs: no image may have been tested in two of them.

        Raises:
            WeakspotError: when a run is not finished, its predictions do not fit its outputs, or an image was tested in
                two.
        """
        subsets = []
        for run in runs:
            store, samples = own_test_subset(run)
            predictions = read_predictions(run.predictions)
            if len(predictions) != len(samples):
                raise WeakspotError(f"{run.predictions} and {run.maps} do not belong together; run 'weakspot evaluate'")
            subsets.append(EvaluatedSubset(samples, store, predictions, read_meta(find_bundle(run.path))))
        pooled, seen = cls(subsets, runs=list(runs)), set[Path]()
        for sample in pooled.samples:
            if sample.path in seen:
                raise WeakspotError(
                    f"{shown(sample.path)} was tested in two of these runs; give the folds of one split"
                )
            seen.add(sample.path)
        return pooled

    def right(self, classes: Sequence[str] | None = None) -> npt.NDArray[np.float64]:
        """Mark the images that were given their true class.

        Args:
            classes: names of the classes to tell apart; None takes :attr:`classes`. With Good and Anomaly, an image of
                one defect type that was given another counts as right.

        Returns:
            float64 ``(n,)``, 1 for a right image, else 0.
        """
        return np.asarray(self.decided(classes) == self.targets(classes), dtype=np.float64)

    @cached_property
    def max_box_acc_v2(self) -> npt.NDArray[np.float64]:
        """Share of the IoU levels that each image's three best boxes reach, ``(n,)``; NaN without a true box."""
        return np.array([levels_reached(boxes, true) for boxes, true in zip(self.boxes, self.truth.boxes, strict=True)])

    @cached_property
    def box_hits(self) -> npt.NDArray[np.int64]:
        """For each image, how many of its boxes match a true one at IoU 0.3, and how many boxes it has, ``(n, 2)``.

        Both are 0 for a defect without a true box: which of its boxes are right is not known.
        """
        known = self.truth.fully_labelled
        boxes = [self.boxes[i] for i in known]
        found = np.zeros((len(self.samples), 2), dtype=np.int64)
        found[known, 1] = [len(each) for each in boxes]
        found[known, 0] = hits_of_images(
            boxes,
            [np.array([box.score for box in self.predictions[i].boxes]) for i in known],
            [self.truth.boxes[i].astype(np.float64) for i in known],
            [(int(height), int(width)) for height, width in self.truth.sizes[known]],
        )
        return found


def runs_of(path: Path) -> list[RunFolder]:
    """Find the run in a folder, or the runs that a cross-validation's folder names.

    Raises:
        WeakspotError: when the folder is neither, or is not finished.
    """
    if (path / MEMBERS).is_file():
        try:
            return [RunFolder(Path(run)) for run in read_json(path / MEMBERS)]
        except (OSError, ValueError, TypeError) as error:
            raise WeakspotError(f"{path / MEMBERS} is damaged ({error}); run the cross-validation again") from error
    return [finished_run(path)]


def shortcuts_of(runs: Sequence[RunFolder]) -> tuple[list[Alarm], list[str]]:
    """What but the defect tells the classes of a data set apart, as its folds found it, each cause once.

    All folds see the same images, so what goes with the label is the same in each of them; only what a fold's network
    follows, or its boxes explain, may differ. What one fold has to warn of is a warning.

    Args:
        runs: the folds.

    Returns:
        Alarms with their words as the folds' own reports have them, the strongest first of those that go with the
        label and then of those that the confidence goes with; ``fold`` among their details is the position of the run
        whose picture of it is kept. And the differences that are the defect's own, a sentence each.

    Raises:
        WeakspotError: when a fold's ``metrics.json`` is missing or damaged.
    """
    measured = [MetricsRecord.read(run.metrics).measurement for run in runs]
    found = [
        replace(alarm, details={**alarm.details, "fold": fold})
        for fold, measurement in enumerate(measured)
        for alarm in measurement.alarms
        if "goes_with" in alarm.details
    ]
    found.sort(key=_weight)
    kept: list[Alarm] = []
    for alarm in found:
        if not any(_same_cause(alarm, other) for other in kept):
            kept.append(alarm)
    warned = tuple(str(alarm.details["what"]) for alarm in kept if alarm.details.get("what"))
    notes = dict.fromkeys(note for measurement in measured for note in measurement.notes)
    return kept, [note for note in notes if not note.startswith(warned)]


def _weight(alarm: Alarm) -> tuple[bool, bool, float]:
    """Key to sort alarms by: label first, then what the confidence follows as well, then the strongest."""
    details = alarm.details
    return (
        details["goes_with"] != "label",
        not details.get("also_confidence"),
        -abs(float(details.get("correlation") or 0.0)),
    )


def _same_cause(alarm: Alarm, other: Alarm) -> bool:
    """Whether two alarms are one finding; places may be one for the label and another one for the confidence."""
    one, two = alarm.details, other.details
    if (one.get("cause"), one.get("kind")) != (two.get("cause"), two.get("kind")):
        return False
    if one["goes_with"] == two["goes_with"] or one.get("kind") != "place":
        return True
    places = [{tuple(place) for place in each.get("places") or ()} for each in (one, two)]
    return bool(places[0] & places[1])
