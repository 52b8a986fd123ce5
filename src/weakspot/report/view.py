"""A finished run, for a notebook or a script: hits, misses, false alarms, and other thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.figure import Figure

from weakspot.evaluation.measure import measure
from weakspot.evaluation.schema import Measurement
from weakspot.evaluation.subsets import EvaluatedSubset
from weakspot.models.bundle_meta import BundleMeta, find_bundle, read_meta
from weakspot.models.output_store import OutputStore
from weakspot.report.figures import gallery_figure, maps_figure, threshold_figure
from weakspot.runs.folder import RunFolder, own_test_subset
from weakspot.types import Prediction, Sample


@dataclass(frozen=True)
class RunView:
    """The test subset of a run: its samples, its maps, and the boxes that a rule draws on them.

    Attributes:
        subset: labels, outputs and predictions, and the description of the model with its box rule.
        measurement: of the boxes that this rule draws.
    """

    subset: EvaluatedSubset
    measurement: Measurement

    @property
    def samples(self) -> Sequence[Sample]:
        """The label and mask of every image."""
        return self.subset.samples

    @property
    def predictions(self) -> Sequence[Prediction]:
        """One prediction for each image, in the order of :attr:`samples`; without its output, which is in `subset`."""
        return self.subset.predictions

    @classmethod
    def load(cls, run: str | Path) -> RunView:
        """Load a run folder; the network itself is not needed.

        Raises:
            WeakspotError: when it is not a finished run, or its images have moved.
        """
        folder = RunFolder(Path(run))
        meta = read_meta(find_bundle(folder.path))
        store, samples = own_test_subset(folder)
        return cls._make(samples, store, meta)

    @classmethod
    def _make(cls, samples: Sequence[Sample], store: OutputStore, meta: BundleMeta) -> RunView:
        subset = EvaluatedSubset.predict(samples, store, meta)
        return cls(subset, measure([subset]))

    def with_rule(self, **changes: object) -> RunView:
        """Draw and measure the boxes of the same maps by another rule, for instance ``with_rule(threshold=0.5)``.

        Raises:
            WeakspotError: for a value out of range.
        """
        meta = self.subset.meta
        rule = replace(meta.boxes, **changes)  # type: ignore[arg-type]
        return self._make(self.samples, self.subset.store, replace(meta, boxes=rule))

    @property
    def hits(self) -> list[int]:
        """Positions of the defects that were found, highest probability first."""
        return self._where(defective=True, called_defective=True)

    @property
    def misses(self) -> list[int]:
        """Positions of the defects called Good, lowest probability of not-Good first."""
        return self._where(defective=True, called_defective=False)[::-1]

    @property
    def false_alarms(self) -> list[int]:
        """Positions of the Good images called defective, highest probability first."""
        return self._where(defective=False, called_defective=True)

    def show(self, positions: list[int], columns: int = 4) -> Figure:
        """Show pictures with map, predicted boxes and true outlines.

        Args:
            positions: of the images in :attr:`samples`.
            columns: pictures in a row.
        """
        shown = (self.subset.with_output(i) for i in positions)
        return gallery_figure(shown, [self.samples[i] for i in positions], columns)

    @property
    def quiet(self) -> list[int]:
        """Positions of the Good images called Good, highest probability of not-Good first."""
        return self._where(defective=False, called_defective=False)

    def show_maps(self, positions: list[int]) -> Figure:
        """Show every map of a forward pass beside its picture."""
        shown = [self.subset.with_output(i) for i in positions]
        return maps_figure(shown, [self.samples[i] for i in positions])

    def threshold_curve(self) -> Figure | None:
        """Box accuracy against the threshold; None where there are no masks."""
        return threshold_figure(self.measurement, self.subset.meta.boxes) if self.measurement.curve else None

    def _where(self, *, defective: bool, called_defective: bool) -> list[int]:
        predictions, good = self.predictions, self.subset.meta.classes[0]
        found = [
            i
            for i, (prediction, sample) in enumerate(zip(predictions, self.samples, strict=True))
            if sample.is_good != defective and (prediction.label != good) == called_defective
        ]
        return sorted(found, key=lambda i: -predictions[i].probability)
