"""From logits and maps to predictions, and predictions on disk. NumPy only: exported models use it as it is."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from weakspot.data.preprocess import Preprocess
from weakspot.errors import WeakspotError
from weakspot.ops.maps import Maps, class_map, margin_map, visible
from weakspot.postprocess.boxes import BoxRule, find_boxes, upsample
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.trust import level, with_trust
from weakspot.types import Box, ClassConfidence, ImageMaps, Prediction, Size
from weakspot.utils.files import atomic_path, jsonable
from weakspot.utils.spreadsheet import inert, inert_path
from weakspot.utils.untrusted import expect, parse_json

CSV_COLUMNS = (
    "path", "status", "message", "height", "width", "target", "label", "probability",
    "x0", "y0", "x1", "y1", "score", "box_label", "trust", "doubt",
)  # fmt: skip


FINEST = 1024
"""Longest side, in pixels, that refined evidence is brought to; more would only be interpolation."""

SteppedKey = Literal["threshold", "min_score"]
"""Keys of a box rule that a slider may move."""

RIVALS = 3.0
"""Places whose odds of a defect are more than e³ = 20 times lower than those of the picture's surest get no box."""


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
        boxes = trusted(boxes, said, decided, size, preprocess.input_size(size), rule)
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


def trusted(
    boxes: Sequence[Box], said: ImageMaps, index: int, size: Size, input_size: Size, rule: BoxRule
) -> list[Box]:
    """Boxes of class `index` with their trust; arguments as of :func:`draw_boxes`."""
    evidence, scores = _evidence(said, index, size, input_size, rule)
    again = said.second_look
    return with_trust(
        boxes,
        evidence,
        scores,
        margin_map(said.maps, index),
        size,
        rule,
        in_logits=said.extent is not None,
        again=None if again is None else _evidence(again, index, size, input_size, rule)[0],
    )


def draw_boxes(said: ImageMaps, index: int, size: Size, input_size: Size, rule: BoxRule, label: str) -> list[Box]:
    """Boxes of class `index` on one image; none for Good (class 0).

    Arguments as in :func:`make_prediction`, with `said` after :func:`~weakspot.ops.maps.visible`.

    With refinement, boxes go round the extent and are scored by :func:`place_scores`. Without, a relative threshold
    looks at the class's own map (the seed's rule), an absolute one at its margin over Good; scores are of the margin
    then, so that they can be compared between images.
    """
    if index == 0:
        return []
    evidence, scores = _evidence(said, index, size, input_size, rule)
    return find_boxes(evidence, size, rule, score_map=scores, label=label)


def draw_boxes_at(
    said: ImageMaps,
    index: int,
    size: Size,
    input_size: Size,
    rule: BoxRule,
    key: SteppedKey,
    steps: Sequence[float],
    label: str,
) -> list[list[Box]]:
    """:func:`draw_boxes` at many values of one key of the rule; what does not change with it is done once.

    Args:
        said: as in :func:`draw_boxes`, as are the others that are not explained.
        index: not 0.
        size: of the original image.
        input_size: of the network's input.
        rule: the rule but for `key`.
        key: ``threshold``, or ``min_score``. Boxes have their trust with the latter, as it does not depend on it.
        steps: values of `key`, any order.
        label: of every box.

    Returns:
        The boxes at each step.
    """
    evidence, scores = _evidence(said, index, size, input_size, rule)

    def at(step: float) -> list[Box]:
        moved = replace(rule, threshold=step) if key == "threshold" else replace(rule, min_score=step)
        return find_boxes(evidence, size, moved, score_map=scores, label=label)

    if key == "threshold":
        return [at(step) for step in steps]
    # Boxes differ only where another region is left out, so they are drawn once for each number of regions.
    every = replace(rule, min_score=None, merge=None, max_boxes=sys.maxsize, outlines=False)
    peaks = np.array([box.score for box in find_boxes(evidence, size, every, score_map=scores)])
    left = [int((peaks >= step).sum()) for step in steps]
    drawn = {count: at(step) for count, step in dict(zip(left, steps, strict=True)).items()}
    distinct = list({box.xyxy: box for boxes in drawn.values() for box in boxes}.values())
    trust = {box.xyxy: (box.trust, box.doubt) for box in trusted(distinct, said, index, size, input_size, rule)}
    for count, boxes in drawn.items():
        drawn[count] = [replace(box, trust=trust[box.xyxy][0], doubt=trust[box.xyxy][1]) for box in boxes]
    return [drawn[count] for count in left]


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


def to_line(record: dict[str, Any]) -> str:
    """One line of ``predictions.jsonl`` as text, without its end.

    Args:
        record: what :func:`to_record` and then :func:`~weakspot.utils.files.jsonable` made.
    """
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def from_record(record: dict[str, Any]) -> Prediction:
    """Read what :func:`to_record` made.

    Raises:
        KeyError, TypeError, ValueError: when it is something else.
    """
    expect(record, path=str, status=str, message=str, height=int, width=int, target=_TEXT, label=_TEXT)
    expect(record, probability=_NUMBER, classes=list, boxes=list)
    for known in record["classes"]:
        expect(known, name=str, confidence=(int, float))
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
    expect(record, x0=int, y0=int, x1=int, y1=int, score=_NUMBER, label=_TEXT, trust=_NUMBER, doubt=str)
    outlines = tuple(tuple((x, y) for x, y in polygon) for polygon in record.get("outlines", ()))
    known = {key: value for key, value in record.items() if key != "level"}
    trust = math.nan if known.get("trust") is None else known["trust"]
    return Box(**{**known, "trust": trust, "outlines": outlines})


_TEXT, _NUMBER = (str, type(None)), (int, float, type(None))


class PredictionSink(Protocol):
    """Takes predictions one by one."""

    def __call__(self, prediction: Prediction) -> None:
        """Write one prediction."""


@contextmanager
def prediction_writer(folder: Path) -> Iterator[PredictionSink]:
    """Write ``predictions.jsonl`` and ``predictions.csv`` into `folder` as predictions come, in constant memory.

    The files get their names when the block ends, ``predictions.jsonl`` last; an image with several boxes has several
    lines in the CSV, one without any has one with the box columns empty. Names that a spreadsheet would take for
    formulas are made :func:`~weakspot.utils.spreadsheet.inert` in the CSV.
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
            jsonl.write(to_line(record) + "\n")
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
                predictions.append(from_record(parse_json(line)))
            except (ValueError, KeyError, TypeError) as error:
                raise WeakspotError(f"{path} line {number} is not a prediction ({error})") from error
    return predictions


def _csv_rows(record: dict[str, Any]) -> list[list[Any]]:
    head = [inert_path(record["path"]), *(inert(record[name]) for name in CSV_COLUMNS[1:8])]
    boxes = [
        [inert(box[name]) for name in ("x0", "y0", "x1", "y1", "score", "label", "trust", "doubt")]
        for box in record["boxes"]
    ]
    return [head + box for box in boxes or [[None] * 8]]
