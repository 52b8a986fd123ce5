"""Predict images from files and write the results to files. No torch, as exported models use it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from weakspot.data.loading import ImageSource
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.parts import PartDecisions
from weakspot.postprocess.prediction_files import HEATMAPS, UniqueNames, prediction_writer, read_predictions
from weakspot.postprocess.review import ReviewQueue
from weakspot.report.overlays import LONGEST_SIDE, write_heatmap, write_overlay
from weakspot.types import Prediction
from weakspot.utils.locks import only_one


def predict(
    localizer: Localizer,
    images: Iterable[ImageSource],
    output: Path,
    *,
    overlays: bool = True,
    heatmaps: bool = False,
    batch_size: int | None = None,
    append: bool = False,
    group: str | None = None,
) -> Iterator[Prediction]:
    """Predict images and write ``predictions.jsonl``, ``predictions.csv`` and ``overlays/`` as they come.

    At the end ``review.csv`` names the images that a person should check first, and ``parts.csv`` decides each part.

    Args:
        localizer: a loaded model.
        images: files, or whatever :meth:`Localizer.predict` takes.
        output: folder for the results; made if missing.
        overlays: write a picture with map and boxes for every image.
        heatmaps: write the map of every image as a grey PNG into ``heatmaps/``, for other tools.
        batch_size: images in one forward pass; None for what suits the device.
        append: keep the predictions of an earlier call that finished in the same folder, and add these behind them.
        group: regular expression on the path; images it gives the same text are photographs of one part, which are
            decided together in ``parts.csv``. None writes no such file.

    Yields:
        Every prediction after it was written; the files get their names when the iterator is exhausted,
        ``predictions.jsonl`` last.

    Raises:
        WeakspotError: when `group` is no regular expression, `output` is a run folder or holds predictions and `append`
            is False, or another process is writing to it.
    """
    if (output / "run.json").is_file():
        raise WeakspotError(f"{output} is a run folder; its predictions are its test subset's, choose another folder")
    names, review, finished = UniqueNames(), ReviewQueue(localizer.meta.decision), output / "predictions.jsonl"
    parts = None if group is None else PartDecisions(group, localizer.meta.classes, localizer.meta.decision)
    with only_one(output):
        earlier = read_predictions(finished) if finished.is_file() else []
        if earlier and not append:
            raise WeakspotError(
                f"{output} holds {len(earlier)} predictions already; choose another --output, or keep them and add "
                "these with --append"
            )
        with prediction_writer(output) as write:
            for prediction in earlier:
                write(prediction)
                review.add(prediction)
                names(prediction.path)
                if parts is not None:
                    parts.add(prediction)
            for prediction, loaded in localizer.stream(
                images, batch_size=batch_size, keep_longest=LONGEST_SIDE if overlays else None
            ):
                write(prediction)
                review.add(prediction)
                if parts is not None:
                    parts.add(prediction)
                name = names(prediction.path)
                if loaded.image is not None:
                    write_overlay(output / "overlays" / f"{name}.jpg", loaded.image, prediction)
                if heatmaps:
                    write_heatmap(output / HEATMAPS / f"{name}.png", prediction)
                yield prediction
            review.write(output / "review.csv")
            if parts is not None:
                parts.write(output / "parts.csv")
