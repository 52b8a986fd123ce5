"""Predict images from files and write the results to files. No torch, as exported models use it too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from weakspot.data.loading import ImageSource
from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.postprocess.prediction_files import prediction_writer
from weakspot.postprocess.review import ReviewQueue
from weakspot.report.overlays import LONGEST_SIDE, UniqueNames, write_overlay
from weakspot.types import Prediction
from weakspot.utils.locks import only_one


def predict(
    localizer: Localizer,
    images: Iterable[ImageSource],
    output: Path,
    *,
    overlays: bool = True,
    batch_size: int | None = None,
) -> Iterator[Prediction]:
    """Predict images and write ``predictions.jsonl``, ``predictions.csv`` and ``overlays/`` as they come.

    At the end ``review.csv`` names the images that a person should check first. Results of an earlier prediction that
    finished in the same folder are replaced: overlays that were not written anew are removed, and all of them are
    removed without `overlays`.

    Args:
        localizer: a loaded model.
        images: files, or whatever :meth:`Localizer.predict` takes.
        output: folder for the results; made if missing.
        overlays: write a picture with map and boxes for every image.
        batch_size: images in one forward pass; None for what suits the device.

    Yields:
        Every prediction after it was written; the files get their names when the iterator is exhausted,
        ``predictions.jsonl`` last.

    Raises:
        WeakspotError: when `output` is a run folder, or another process is writing to it.
    """
    if (output / "run.json").is_file():
        raise WeakspotError(f"{output} is a run folder; its predictions are its test subset's, choose another folder")
    names, review = UniqueNames(), ReviewQueue(localizer.meta.decision)
    with only_one(output):
        earlier = _overlays(output) if (output / "predictions.jsonl").is_file() else {}
        with prediction_writer(output) as write:
            for prediction, loaded in localizer.stream(
                images, batch_size=batch_size, keep_longest=LONGEST_SIDE if overlays else None
            ):
                write(prediction)
                review.add(prediction)
                if loaded.image is not None:
                    write_overlay(output / "overlays" / names(prediction.path), loaded.image, prediction)
                yield prediction
            review.write(output / "review.csv")
        for name, file in earlier.items():
            with suppress(OSError):  # open elsewhere; no reason to lose what was predicted
                if _file(output / "overlays" / name) == file:
                    (output / "overlays" / name).unlink()


def _overlays(output: Path) -> dict[str, tuple[int, int]]:
    """Names of the overlays in a folder, each with what tells the file from one that replaces it."""
    return {path.name: _file(path) for path in (output / "overlays").glob("*.jpg")}


def _file(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_ino, status.st_mtime_ns
