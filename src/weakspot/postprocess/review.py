"""Which predictions a person should check first, and why."""

from __future__ import annotations

import csv
import heapq
import math
from pathlib import Path

from weakspot.postprocess.decision import Decision
from weakspot.postprocess.familiarity import UNLIKE
from weakspot.postprocess.trust import SURE as SURE_BOX
from weakspot.types import GOOD, Prediction
from weakspot.utils.files import atomic_path
from weakspot.utils.spreadsheet import inert, inert_path

REVIEW_COLUMNS = ("path", "label", "probability", "why")

SURE = 0.9
"""An image should be checked if its class would be less probable than this with the threshold at 0.5."""

CLOSE = 0.75
"""Below this its class is a close call: its odds are within three times those of the threshold, up or down."""


def doubts(prediction: Prediction, decision: Decision) -> tuple[float, str] | None:
    """Rate how urgently a person should check a prediction, and give the reason.

    Args:
        prediction: of one image.
        decision: that the prediction was made by.

    Returns:
        Urgency 0…1 and the reason: how close the class was (1 at the threshold), a defect without a box, or a box that
        is not trusted; the most urgent where several hold. None for a prediction that needs no check.
    """
    if prediction.status != "ok":
        return None
    found = [(1.0, f"it is {UNLIKE}")] if prediction.unlike_training else []
    probability, surer = prediction.probability, _sureness(prediction, decision)
    if surer < SURE:
        threshold = decision.threshold
        at = "" if threshold is None else f"; defective from {threshold:.2f} on"
        how = "a close call" if surer < CLOSE else "not sure"
        found.append((2 - 2 * surer, f"its class is {how} (probability of a defect {probability:.2f}{at})"))
    if prediction.label != GOOD and not prediction.boxes:
        found.append((0.9, "called defective, and no box: evidence below threshold"))
    if prediction.boxes and not math.isnan(best := max(box.trust for box in prediction.boxes)) and best < SURE_BOX:
        doubt = next(box.doubt for box in prediction.boxes if box.trust == best)
        found.append((1 - best, f"no box is trusted more than {best:.0%}: {doubt}"))
    return max(found, default=None)


def worth_a_look(prediction: Prediction, decision: Decision) -> tuple[float, str]:
    """Rate how much is to be learnt from looking at a prediction, of any picture, and give the reason.

    Args:
        prediction: of one image, with its known class as target where there is one.
        decision: that the prediction was made by.

    Returns:
        A number to sort by, and a sentence. First come pictures whose label the model contradicts, the surest first
        (2…3), then those of :func:`doubts` (0…1), then defects, whose outlines teach most (below 0), then all others.
    """
    label, probability = prediction.label, prediction.probability
    if prediction.target not in (None, label):
        sure = abs(probability - 0.5)
        text = f"labelled {prediction.target}, and the model says {label}: one of the two is wrong"
        return 2 + 2 * sure, f"{text} (probability of a defect {probability:.2f})"
    doubt = doubts(prediction, decision)
    if doubt is not None:
        return doubt
    if (prediction.target or label) != GOOD:
        trust = max((box.trust for box in prediction.boxes if not math.isnan(box.trust)), default=0.5)
        return -trust, "a defect, and nothing speaks against its boxes: to confirm or mend them teaches most"
    return -2 - (1 - probability), "nothing speaks against it"


def is_close_call(prediction: Prediction, decision: Decision) -> bool:
    """Whether the probability of a defect lies near the threshold that decides the class."""
    return prediction.status == "ok" and _sureness(prediction, decision) < CLOSE


def _sureness(prediction: Prediction, decision: Decision) -> float:
    """0.5 at the threshold, 1 far from it; in odds, so that it means the same at every threshold."""
    threshold = 0.5 if decision.threshold is None else decision.threshold
    for_it, against = prediction.probability * (1 - threshold), (1 - prediction.probability) * threshold
    return max(for_it, against) / (for_it + against) if for_it + against else 0.5


class ReviewQueue:
    """Keeps the images that a person should check first, of any number of images, in constant memory."""

    def __init__(self, decision: Decision, most: int = 50) -> None:
        self._decision, self._most, self._count = decision, most, 0
        self._kept: list[tuple[float, int, list[str]]] = []
        self._first: list[list[str]] = []

    def add(self, prediction: Prediction) -> None:
        """Consider one more prediction."""
        doubt = doubts(prediction, self._decision)
        if doubt is None:
            return
        self._count -= 1  # of equally urgent ones the first come first
        row = [
            inert_path(prediction.path.as_posix()),
            inert(prediction.label),
            f"{prediction.probability:.4f}",
            doubt[1],
        ]
        heapq.heappush(self._kept, (doubt[0], self._count, row))
        if len(self._kept) > self._most:
            heapq.heappop(self._kept)

    def add_first(self, path: str, label: str, probability: float, why: str) -> None:
        """Put a picture before all others: one whose own label is doubtful.

        Args:
            path: the picture.
            label: what it should perhaps be called.
            probability: of a defect, 0…1.
            why: the reason.
        """
        self._first.append([inert_path(path), inert(label), f"{probability:.4f}", why])

    def rows(self) -> list[list[str]]:
        """Doubtful labels, then the kept images, most urgent first, with the columns of :data:`REVIEW_COLUMNS`."""
        return [*self._first, *(row for _, _, row in sorted(self._kept, reverse=True))]

    def write(self, path: Path) -> None:
        """Write ``review.csv``, whole or not at all."""
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            csv.writer(file).writerows([REVIEW_COLUMNS, *self.rows()])
