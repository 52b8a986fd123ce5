"""Predictions on disk: ``predictions.jsonl`` and ``predictions.csv``."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any, Protocol

from weakspot.errors import WeakspotError
from weakspot.postprocess.trust import level
from weakspot.types import LEVELS, Box, ClassConfidence, Prediction
from weakspot.utils.files import atomic_path, jsonable
from weakspot.utils.spreadsheet import inert, inert_path
from weakspot.utils.untrusted import expect, parse_json

HEATMAPS = "heatmaps"
"""Folder beside the predictions with the map of each image, named by :class:`UniqueNames`."""

CSV_COLUMNS = (
    "path", "status", "message", "height", "width", "target", "label", "probability",
    "x0", "y0", "x1", "y1", "score", "box_label", "trust", "doubt", "familiarity", "unlike_training",
)  # fmt: skip


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
        "familiarity": prediction.familiarity,
        "unlike_training": prediction.unlike_training,
        "measures": {name: float(f"{value:.6g}") for name, value in prediction.measures.items()},
        "part_log_odds": {name: float(f"{value:.6g}") for name, value in prediction.part_log_odds.items()},
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
    expect(record, familiarity=_NUMBER, unlike_training=bool, measures=dict, part_log_odds=dict)
    measures, part_log_odds = record.get("measures", {}), record.get("part_log_odds", {})
    for numbers in (measures, part_log_odds):
        expect(numbers, **dict.fromkeys(numbers, (int, float)))
    probability, familiarity = record["probability"], record.get("familiarity")
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
        familiarity=float("nan") if familiarity is None else familiarity,
        unlike_training=record.get("unlike_training", False),
        measures={name: float(value) for name, value in measures.items()},
        part_log_odds={name: float(value) for name, value in part_log_odds.items()},
    )


def _box_record(box: Box) -> dict[str, Any]:
    record = asdict(box)
    if not box.outlines:
        del record["outlines"]
    if math.isnan(box.probability):
        del record["probability"]
    return {**record, "level": level(box)}


def _box(record: dict[str, Any]) -> Box:
    expect(record, x0=int, y0=int, x1=int, y1=int, score=_NUMBER, label=_TEXT, trust=_NUMBER, doubt=str)
    expect({"probability": None, **record}, probability=_NUMBER)
    outlines = tuple(tuple((x, y) for x, y in polygon) for polygon in record.get("outlines", ()))
    if record.get("level") not in (None, *LEVELS):
        raise ValueError(f"level is {record['level']!r}")
    unknown = {name: math.nan for name in ("trust", "probability") if record.get(name) is None}
    return Box(**{**record, **unknown, "outlines": outlines})


_TEXT, _NUMBER = (str, type(None)), (int, float, type(None))


class PredictionSink(Protocol):
    """Takes predictions one by one."""

    def __call__(self, prediction: Prediction) -> None:
        """Write one prediction."""


class UniqueNames:
    """Names for files about images: the image's own stem, with its folder or a number before it where that is taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, path: Path) -> str:
        """Make a name without an ending that no other image has, in any letter case, short enough for a file system."""
        candidates = (path.stem, f"{path.parent.name}_{path.stem}")
        short = [name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore") for name in candidates]
        numbered = (f"{number}_{short[0]}" for number in count(len(self._taken)))
        name = next(name for name in chain(short, numbered) if name.casefold() not in self._taken)
        self._taken.add(name.casefold())
        return name


@contextmanager
def prediction_writer(folder: Path) -> Iterator[PredictionSink]:
    """Write ``predictions.jsonl`` and ``predictions.csv`` as predictions come, in constant memory.

    The files get their names when the block ends, ``predictions.jsonl`` last. In the CSV an image with several boxes
    has several lines, and one without a box has one line with empty box columns; names that a spreadsheet would take
    for formulas are made :func:`~weakspot.utils.spreadsheet.inert`.

    Args:
        folder: where to write; made when it is missing.

    Yields:
        A function that writes one prediction.
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
    """Write ``predictions.jsonl`` and ``predictions.csv`` into `folder`.

    Args:
        folder: where to write; made when it is missing.
        predictions: in the order of the files.
    """
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
    tail = [record["familiarity"], record["unlike_training"]]
    return [head + box + tail for box in boxes or [[None] * 8]]
