"""The prediction files that a stream is read from: of one call of ``predict``, or of many days."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weakspot.errors import WeakspotError
from weakspot.postprocess.prediction_files import read_predictions
from weakspot.types import Prediction
from weakspot.utils.files import shown


def prediction_files(source: Path) -> list[Path]:
    """The files of a stream, in order.

    Args:
        source: a file of predictions, or a folder with ``predictions.jsonl`` or ``predictions-YYYY-MM-DD.jsonl``.

    Raises:
        WeakspotError: when there are none.
    """
    if source.is_file():
        return [source]
    found = sorted(path for path in source.glob("predictions*.jsonl") if path.is_file())
    if not found:
        raise WeakspotError(
            f"{shown(source)} holds no predictions.jsonl and no predictions-YYYY-MM-DD.jsonl; give a folder that "
            "'weakspot predict' wrote, or one of its files"
        )
    return found


def predictions_of(files: list[Path]) -> Iterator[Prediction]:
    """Every prediction of a stream, file by file.

    Args:
        files: from :func:`prediction_files`.

    Yields:
        Predictions in order, those of pictures that could not be read among them.

    Raises:
        WeakspotError: when a file cannot be read or a line is no prediction.
    """
    for path in files:
        yield from read_predictions(path)
