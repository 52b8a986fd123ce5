"""The test subsets of finished runs, read back from their folders: that of one run, or those of a cross-validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.errors import WeakspotError
from weakspot.evaluation.subsets import EvaluatedImages, EvaluatedSubset
from weakspot.evaluation.truth import levels_reached
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
