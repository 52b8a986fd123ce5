"""From logits and maps to predictions, and predictions on disk. NumPy only: exported models use it as it is."""

from __future__ import annotations

import csv
import heapq
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from weakspot.boxes import BoxRule, find_boxes, upsample
from weakspot.data.preprocess import Preprocess
from weakspot.decision import Decision
from weakspot.errors import WeakspotError
from weakspot.files import atomic_path, jsonable
from weakspot.heatmaps import Maps, class_map, margin_map, visible
from weakspot.trust import GREEN, level, with_trust
from weakspot.types import GOOD, Box, ClassConfidence, ImageMaps, Prediction, Size

CSV_COLUMNS = (
    "path", "status", "message", "height", "width", "target", "label", "probability",
    "x0", "y0", "x1", "y1", "score", "box_label", "trust", "doubt",
)  # fmt: skip


FINEST = 1024
"""Longest side, in pixels, that refined evidence is brought to; more would only be interpolation."""


def make_prediction(
    name: Path,
    size: Size,
    said: ImageMaps,
    classes: Sequence[str],
    preprocess: Preprocess,
    rule: BoxRule,
    decision: Decision,
    *,
    target: str | None = None,
) -> Prediction:
    """Decide the class of one image and, unless it is Good, draw its boxes.

    Args:
        name: the file, or what to call an image without one.
        size: ``(height, width)`` of the original image.
        said: what the model says of it.
        classes: class names, ``good`` first.
        preprocess: what brought the image to the network's input; class maps are up-sampled to that size before the
            threshold.
        rule: from evidence to boxes.
        decision: from logits to the class.
        target: true class where known.
    """
    said = visible(said, size, preprocess)
    probabilities = decision.probabilities(said.logits)
    decided = decision.decide(probabilities)
    boxes = draw_boxes(said, decided, size, preprocess.input_size(size), rule, classes[decided])
    if boxes:
        boxes = with_trust(
            boxes,
            *_evidence(said, decided, size, preprocess.input_size(size), rule),
            margin_map(said.maps, decided),
            size,
            rule,
            in_logits=said.extent is not None,
        )
    order = np.argsort(-probabilities, kind="stable")
    return Prediction(
        path=name,
        height=size[0],
        width=size[1],
        target=target,
        label=classes[decided],
        classes=tuple(ClassConfidence(classes[k], float(probabilities[k])) for k in order),
        probability=float(1.0 - probabilities[0]),
        message="" if decided == 0 or boxes else "no box: evidence below threshold",
        boxes=tuple(boxes),
        said=said,
    )


def draw_boxes(said: ImageMaps, index: int, size: Size, input_size: Size, rule: BoxRule, label: str) -> list[Box]:
    """Boxes of class `index` on one image; none for Good (class 0).

    Arguments as in :func:`make_prediction`, with `said` after :func:`~weakspot.heatmaps.visible`.

    With refinement, boxes go round the extent and are scored by :func:`place_scores`. Without, a relative threshold
    looks at the class's own map (the seed's rule), an absolute one at its margin over Good; scores are of the margin
    then, so that they can be compared between images.
    """
    if index == 0:
        return []
    evidence, scores = _evidence(said, index, size, input_size, rule)
    return find_boxes(evidence, size, rule, score_map=scores, label=label)


def _evidence(said: ImageMaps, index: int, size: Size, input_size: Size, rule: BoxRule) -> tuple[Maps, Maps]:
    """What boxes go round, and what they are scored by."""
    if said.extent is not None and said.where is not None:
        grid = evidence_grid(size)
        return upsample(said.extent, grid), place_scores(upsample(said.where, grid), said.logits)
    scores = upsample(margin_map(said.maps, index), input_size)
    relative = rule.threshold_kind == "relative"
    return upsample(class_map(said.maps, index), input_size) if relative else scores, scores


def place_scores(where: Maps, logits: npt.NDArray[np.float32]) -> Maps:
    """What refined boxes are scored by: a place is no surer than the picture it is in.

    Args:
        where: log-odds that a defect is here, ``(h, w)``.
        logits: of the classes, Good first.

    Returns:
        The lower of a place's log-odds and the image's; minus infinity, so that no box is drawn, where a place cannot
        rival the surest (:data:`RIVALS`).
    """
    of_image = np.float32(logsumexp(logits[1:]) - logits[0])
    scores: Maps = np.where(where >= where.max() - RIVALS, np.minimum(where, of_image), -np.inf).astype(np.float32)
    return scores


def evidence_grid(size: Size) -> Size:
    """Where refined evidence is cut: at the original image's own pixels, up to :data:`FINEST` of them along a side."""
    scale = min(1.0, FINEST / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


# --- files --------------------------------------------------------------------------------------------------------


RIVALS = 3.0
"""Places whose odds of a defect are more than e³ = 20 times lower than those of the picture's surest get no box."""

REVIEW_COLUMNS = ("path", "label", "probability", "why")

SURE = 0.9
"""An image whose class is less probable than this is worth a look."""


def doubts(prediction: Prediction, decision: Decision) -> tuple[float, str] | None:
    """How much a person's look at a prediction is worth, and why; None for one that needs none.

    Args:
        prediction: of one image.
        decision: that made it.

    Returns:
        Urgency 0…1 and the reason: how close the class was (1 at the threshold), a defect without a box, or a box that
        is not trusted. Where several hold, the most urgent.
    """
    if prediction.status != "ok":
        return None
    found = []
    threshold = 0.5 if decision.threshold is None else decision.threshold
    probability = prediction.probability
    side = 1 - threshold if probability >= threshold else threshold
    margin = abs(probability - threshold) / side if side else 1.0
    if margin < 2 * SURE - 1:
        found.append((1 - margin, f"its class is a close call (probability of a defect {probability:.2f})"))
    if prediction.label != GOOD and not prediction.boxes:
        found.append((0.9, "called defective, and no box: evidence below threshold"))
    if prediction.boxes and not math.isnan(best := max(box.trust for box in prediction.boxes)) and best < GREEN:
        doubt = next(box.doubt for box in prediction.boxes if box.trust == best)
        found.append((1 - best, f"no box is trusted more than {best:.0%}: {doubt}"))
    return max(found, default=None)


class ReviewQueue:
    """The images most worth a human look, of any number, in constant memory."""

    def __init__(self, decision: Decision, most: int = 50) -> None:
        self._decision, self._most, self._count = decision, most, 0
        self._kept: list[tuple[float, int, list[str]]] = []

    def add(self, prediction: Prediction) -> None:
        """Look at one more prediction."""
        doubt = doubts(prediction, self._decision)
        if doubt is None:
            return
        self._count -= 1  # of equally urgent ones the first come first
        row = [prediction.path.as_posix(), prediction.label, f"{prediction.probability:.4f}", doubt[1]]
        heapq.heappush(self._kept, (doubt[0], self._count, row))
        if len(self._kept) > self._most:
            heapq.heappop(self._kept)

    def rows(self) -> list[list[str]]:
        """As in :data:`REVIEW_COLUMNS`, the most urgent first."""
        return [row for _, _, row in sorted(self._kept, reverse=True)]

    def write(self, path: Path) -> None:
        """Write ``review.csv``, whole or not at all."""
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
        ):
            csv.writer(file).writerows([REVIEW_COLUMNS, *self.rows()])


def to_record(prediction: Prediction) -> dict[str, Any]:
    """One line of ``predictions.jsonl`` as a dictionary."""
    return {
        "path": prediction.path.as_posix(),
        "status": prediction.status,
        "message": prediction.message,
        "height": prediction.height,
        "width": prediction.width,
        "target": prediction.target,
        "label": prediction.label,
        "classes": [asdict(confidence) for confidence in prediction.classes],
        "probability": prediction.probability,
        "boxes": [_box_record(box) for box in prediction.boxes],
    }


def from_record(record: dict[str, Any]) -> Prediction:
    """Read what :func:`to_record` made.

    Raises:
        KeyError, TypeError, ValueError: when it is something else.
    """
    probability = record["probability"]
    return Prediction(
        path=Path(record["path"]),
        status=record["status"],
        message=record["message"],
        height=record["height"],
        width=record["width"],
        target=record["target"],
        label=record["label"],
        classes=tuple(ClassConfidence(**confidence) for confidence in record["classes"]),
        probability=float("nan") if probability is None else probability,
        boxes=tuple(_box(box) for box in record["boxes"]),
    )


def _box_record(box: Box) -> dict[str, Any]:
    record = asdict(box)
    if not box.outlines:
        del record["outlines"]
    return {**record, "level": level(box.trust)}


def _box(record: dict[str, Any]) -> Box:
    outlines = tuple(tuple((x, y) for x, y in polygon) for polygon in record.get("outlines", ()))
    known = {key: value for key, value in record.items() if key != "level"}
    trust = math.nan if known.get("trust") is None else known["trust"]
    return Box(**{**known, "trust": trust, "outlines": outlines})


class PredictionSink(Protocol):
    """Takes predictions one by one."""

    def __call__(self, prediction: Prediction) -> None:
        """Write one prediction."""


@contextmanager
def prediction_writer(folder: Path) -> Iterator[PredictionSink]:
    """Write ``predictions.jsonl`` and ``predictions.csv`` into `folder` as predictions come, in constant memory.

    The files get their names when the block ends; an image with several boxes has several lines in the CSV, one
    without any has one with the box columns empty.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        paths = [stack.enter_context(atomic_path(folder / name)) for name in ("predictions.jsonl", "predictions.csv")]
        # A file name that is not valid UTF-8 must not end a batch.
        jsonl, table = (
            stack.enter_context(path.open("w", encoding="utf-8", errors="backslashreplace", newline=""))
            for path in paths
        )
        rows = csv.writer(table)
        rows.writerow(CSV_COLUMNS)

        def write(prediction: Prediction) -> None:
            record = jsonable(to_record(prediction))
            jsonl.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")
            rows.writerows(_csv_rows(record))

        yield write


def write_predictions(folder: Path, predictions: Iterable[Prediction]) -> None:
    """Write ``predictions.jsonl`` and ``predictions.csv`` into `folder`."""
    with prediction_writer(folder) as write:
        for prediction in predictions:
            write(prediction)


def read_predictions(path: Path) -> list[Prediction]:
    """Read a ``predictions.jsonl``.

    Raises:
        WeakspotError: when it is missing or a line is not a prediction; the message names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise WeakspotError(f"{path} cannot be read ({type(error).__name__}); run 'weakspot evaluate' first") from error
    predictions = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                predictions.append(from_record(json.loads(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise WeakspotError(f"{path} line {number} is not a prediction ({error})") from error
    return predictions


def _csv_rows(record: dict[str, Any]) -> list[list[Any]]:
    head = [record[name] for name in CSV_COLUMNS[:8]]
    boxes = [
        [box[name] for name in ("x0", "y0", "x1", "y1", "score", "label", "trust", "doubt")] for box in record["boxes"]
    ]
    return [head + box for box in boxes or [[None] * 8]]
