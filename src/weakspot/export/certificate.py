"""Does an exported model predict the same as the run it was made from? Measured on real pictures, kept beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from weakspot.data.images import Progress
from weakspot.data.loading import batched
from weakspot.errors import WeakspotError
from weakspot.evaluation.measure import measure_some
from weakspot.evaluation.serialise import to_json
from weakspot.inference.fastest import machine
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.familiarity import Familiarity
from weakspot.types import Prediction, Sample

TOLERANCE = 1e-4
"""How far probabilities may differ at full precision."""

DISTANCE_TOLERANCE = 1e-2
"""How far the distances that familiarity is made of may differ at full precision; held-out pictures lie around 0 with a
spread of about 1."""

TURN = 16
"""Pictures that one model predicts before it is the other's turn."""


@dataclass(frozen=True)
class Certificate:
    """The comparison of an exported model with the original on the same pictures.

    Attributes:
        images: number of pictures.
        precision: ``fp32``, ``fp16`` or ``int8``.
        largest_difference: of any class's probability.
        same_class, same_boxes: number of pictures with the same class, and with the same boxes to the pixel.
        tolerance: largest difference of probabilities that is allowed; None where they were only measured.
        speed: seconds for each picture from file to boxes, ``pytorch`` and ``exported``, turn by turn in one process;
            their ``ratio``; ``threads`` and ``machine``.
        accuracy: balanced accuracy and V2 of both on these pictures, where they are labelled.
        bundle: SHA-256 of the original's ``model.json``, which names the tensors' hash.
        same_levels: number of pictures whose boxes have the same colours; None in certificates from before they were
            compared.
        familiarity_difference: largest difference of the distances that familiarity is made of; NaN where only one of
            the two has them. None without familiarity, and in certificates from before it was compared.
        same_familiarity: number of pictures whose familiarity is that of a distance so near; None as above.
    """

    images: int
    precision: str
    largest_difference: float
    same_class: int
    same_boxes: int
    tolerance: float | None
    speed: dict[str, Any]
    accuracy: dict[str, Any]
    bundle: str
    same_levels: int | None = None
    familiarity_difference: float | None = None
    same_familiarity: int | None = None

    @property
    def failure(self) -> str:
        """Why the two are not the same; empty where they are, and where no sameness was required."""
        return "" if self.tolerance is None else self._other_class(self.tolerance) or self._unfamiliar()

    def _other_class(self, tolerance: float) -> str:
        if not self.largest_difference <= tolerance:
            return f"probabilities differ by up to {self.largest_difference:.2g} (at most {tolerance:g} is allowed)"
        if self.same_class < self.images:
            return f"{self.images - self.same_class} of {self.images} pictures get another class"
        if self.same_boxes < self.images:
            return f"{self.images - self.same_boxes} of {self.images} pictures get other boxes"
        if self.same_levels is not None and self.same_levels < self.images:
            return f"{self.images - self.same_levels} of {self.images} pictures get boxes of another colour"
        return ""

    def _unfamiliar(self) -> str:
        if self.familiarity_difference is not None and not self.familiarity_difference <= DISTANCE_TOLERANCE:
            return (
                f"the distances of familiarity differ by up to {self.familiarity_difference:.2g} "
                f"(at most {DISTANCE_TOLERANCE:g} is allowed)"
            )
        if self.same_familiarity is not None and self.same_familiarity < self.images:
            return f"{self.images - self.same_familiarity} of {self.images} pictures get another familiarity"
        return ""

    def to_dict(self) -> dict[str, Any]:
        """For the file beside the model."""
        return {**asdict(self), "passed": not self.failure}


def certify(
    run: Localizer, exported: Localizer, samples: Sequence[Sample], precision: str, bundle: str, progress: Progress
) -> Certificate:
    """Run both models on the same pictures, in turn, from files to boxes.

    Args:
        run: the original, on the CPU.
        exported: the model that was made from it.
        samples: pictures; those without a label have ``defect=""``.
        precision: of the exported model.
        bundle: SHA-256 of the original's ``model.json``, for the record.
        progress: called with (done, total).

    Raises:
        WeakspotError: when a picture cannot be read.
    """
    paths, first, second = [sample.path for sample in samples], list[Prediction](), list[Prediction]()
    seconds = {"pytorch": 0.0, "exported": 0.0}
    sides = (("pytorch", run, first), ("exported", exported, second))
    for _, localizer, _ in sides:  # the first call pays for warming up
        list(localizer.predict(paths[:TURN]))
    for turn in batched(paths, TURN):
        for name, localizer, found in sides:
            start = time.perf_counter()
            found += localizer.predict(turn)
            seconds[name] += time.perf_counter() - start
        progress(len(second), len(paths))
    for prediction in (*first, *second):
        if prediction.status != "ok":
            raise WeakspotError(prediction.message)
    differences = [
        abs(a[name] - b[name])
        for a, b in zip(map(_probabilities, first), map(_probabilities, second), strict=True)
        for name in a
    ]
    known = run.meta.familiarity
    return Certificate(
        images=len(paths),
        precision=precision,
        largest_difference=float(np.max(differences)),  # NaN stays NaN
        same_class=sum(a.label == b.label for a, b in zip(first, second, strict=True)),
        same_boxes=sum(_corners(a) == _corners(b) for a, b in zip(first, second, strict=True)),
        tolerance=TOLERANCE if precision == "fp32" else None,
        speed={
            **{name: value / len(paths) for name, value in seconds.items()},
            "ratio": seconds["pytorch"] / seconds["exported"],
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "machine": machine(),
        },
        accuracy=_accuracy(run.meta.classes, samples, first, second),
        bundle=bundle,
        same_levels=sum(_levels(a) == _levels(b) for a, b in zip(first, second, strict=True)),
        familiarity_difference=None if known is None else _apart(first, second),
        same_familiarity=None if known is None else _as_familiar(known, first, second),
    )


def _probabilities(prediction: Prediction) -> dict[str, float]:
    return {known.name: known.confidence for known in prediction.classes}


def _corners(prediction: Prediction) -> list[tuple[str, tuple[int, int, int, int]]]:
    return sorted((box.label, box.xyxy) for box in prediction.boxes)


def _levels(prediction: Prediction) -> list[tuple[tuple[int, int, int, int], str | None]]:
    return sorted((box.xyxy, box.level) for box in prediction.boxes)


def _distance(prediction: Prediction) -> float:
    return prediction.measures.get("distance", float("nan"))


def _apart(first: Sequence[Prediction], second: Sequence[Prediction]) -> float:
    """Largest difference of distances; NaN where one has none."""
    return float(np.max([abs(_distance(a) - _distance(b)) for a, b in zip(first, second, strict=True)]))


def _as_familiar(known: Familiarity, first: Sequence[Prediction], second: Sequence[Prediction]) -> int:
    """Pictures whose familiarity in `second` is that of a distance near theirs in `first`.

    A picture that is also among the held-out ones, perhaps photographed twice, has the distance of one of them, and the
    last digit decides on which side of it it lies.
    """
    near = [(_distance(a) + DISTANCE_TOLERANCE, _distance(a) - DISTANCE_TOLERANCE) for a in first]
    return sum(
        known.p_value(far) <= b.familiarity <= known.p_value(close)
        for (far, close), b in zip(near, second, strict=True)
    )


def _accuracy(
    classes: Sequence[str], samples: Sequence[Sample], first: Sequence[Prediction], second: Sequence[Prediction]
) -> dict[str, Any]:
    """Balanced accuracy and V2 of both; empty without labels."""
    if not all(sample.defect for sample in samples):
        return {}
    sizes, found = np.array([prediction.size for prediction in first]), dict[str, Any]()
    for name, predictions in (("pytorch", first), ("exported", second)):
        measured = measure_some(predictions, samples, sizes, classes, range(len(samples)))
        found[name] = {"balanced_accuracy": to_json(measured.classification.balanced_accuracy)}
        if measured.localisation is not None:
            found[name]["max_box_acc_v2"] = to_json(measured.localisation.max_box_acc_v2)
    return found
