"""Prepare the queue of ``weakspot review``: predict its pictures once, and put first what is most worth a look."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from weakspot.config.schema import TrainConfig, read_config
from weakspot.data.classes import target_of
from weakspot.data.loading import pictures_in
from weakspot.data.splits import portable, read_split
from weakspot.errors import WeakspotError
from weakspot.models.bundle_meta import META_FILE, BundleMeta, find_bundle, read_meta
from weakspot.postprocess.prediction_files import prediction_writer, read_predictions
from weakspot.postprocess.review import worth_a_look
from weakspot.report.picture_records import map_of_pages, map_scale
from weakspot.runs.folder import RunFolder
from weakspot.serve.review_app import HeatMaps, ReviewSession
from weakspot.serve.review_file import made_by_review
from weakspot.serve.review_store import QueuedPicture, ReviewStore
from weakspot.serve.review_training import Trainings, retrain_command
from weakspot.types import Prediction, Sample, Subset
from weakspot.utils import console
from weakspot.utils.files import atomic_path, shown, write_json
from weakspot.utils.untrusted import check_npz, read_json

MAP_SIDE = 96
"""Maps are kept at this height and width, stretched over their pictures on the page."""

MADE, MAPS = "made.json", "maps.npz"

TEST_ONLY = (
    "these are test pictures: what is drawn here is to measure with (weakspot evaluate run=… truth=FILE), and never to "
    "learn from"
)
FOREIGN = (
    "these pictures are none of the run's data set; put them into it, with labels, to learn from them, or measure with "
    "what is drawn here (weakspot evaluate run=… truth=FILE)"
)


@dataclass(frozen=True)
class ReviewRequest:
    """What is to be reviewed.

    Attributes:
        run: run folder.
        pictures: folder of other pictures; None takes the run's own training and validation pictures.
        test: the run's test pictures instead, to measure with.
        output: COCO file; None puts it into the run.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    run: Path
    pictures: Path | None = None
    test: bool = False
    output: Path | None = None
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """Where everything of the run's reviews lies."""
        return self.run / "review"

    @property
    def kind(self) -> str:
        """Names the queue, in names of files."""
        if self.pictures is not None:
            return "-" + hashlib.sha256(str(self.pictures.resolve()).encode(errors="surrogateescape")).hexdigest()[:8]
        return "-test" if self.test else ""

    @property
    def file(self) -> Path:
        """The COCO file."""
        return self.output or self.folder / f"annotations{self.kind}.json"


def prepare_review(request: ReviewRequest) -> ReviewSession:
    """Predict the pictures unless that was done before, order them, and read what was said of them.

    Args:
        request: what is to be reviewed.

    Raises:
        WeakspotError: when the run, its pictures or the COCO file cannot be used; nothing is changed then.
    """
    run = RunFolder(request.run)
    meta, config = read_meta(find_bundle(run.path)), _config(run)
    root = Path(config.data.root or ".")
    samples, subsets = _samples(request, run, root)
    names = [portable(sample.path, root) for sample in samples]
    if request.file.exists():  # before minutes of work: what the file cannot be is said at once
        ReviewStore(
            request.file, _unpredicted(samples, names, request.file), meta.classes, refused=_refused(run, root, request)
        )
    predictions, maps = _predicted(request, meta, samples)
    rated = [worth_a_look(prediction, meta.decision) for prediction in predictions]
    sound = [i for i, prediction in enumerate(predictions) if prediction.status == "ok"]
    order = sorted(sound, key=lambda i: (-rated[i][0], i))
    queue = [_queued(names[i], samples[i].path, predictions[i], rated[i][1], subsets[i]) for i in order]
    if not queue:
        raise WeakspotError(f"none of the {len(samples)} pictures can be read, {shown(samples[0].path)} for one")
    store = ReviewStore(
        request.file, queue, meta.classes, refused=_refused(run, root, request), earlier=_earlier(request, config)
    )
    unread = len(samples) - len(sound)
    remarks = [f"{unread} picture{'' if unread == 1 else 's'} could not be read; left out"][: bool(unread)]
    why = TEST_ONLY if request.test else FOREIGN if request.pictures else ""
    trainings = None if why else _trainings(request, run, root)
    return ReviewSession(
        run=request.run.name or str(request.run), store=store, maps=_in_order(maps, order), trainings=trainings,
        no_training=why, remarks=remarks,
    )  # fmt: skip


def _config(run: RunFolder) -> TrainConfig:
    if not run.split.is_file():
        raise WeakspotError(
            f"{shown(run.path)} is no run folder of 'weakspot train' (it has no split.csv); give the folder of a run"
        )
    return read_config(run.config)


def _samples(request: ReviewRequest, run: RunFolder, root: Path) -> tuple[list[Sample], list[Subset | None]]:
    """The pictures, and the subset of each."""
    if request.pictures is not None:
        found = pictures_in(request.pictures)
        if not found:
            raise WeakspotError(f"{shown(request.pictures)} holds no image; give a folder of pictures")
        return [Sample(path, "") for path in found], [None] * len(found)
    samples, subsets = read_split(run.split, root)
    wanted = ("test",) if request.test else ("train", "val")
    chosen = [(sample, subset) for sample, subset in zip(samples, subsets, strict=True) if subset in wanted]
    if not chosen:
        raise WeakspotError(f"{shown(run.split)} names no picture of {' or '.join(wanted)}; train again")
    return [sample for sample, _ in chosen], [subset for _, subset in chosen]


def _trainings(request: ReviewRequest, run: RunFolder, root: Path) -> Trainings:
    """The trainings of this review, whose comparisons show the test pictures."""
    samples, subsets = read_split(run.split, root)
    tested = [sample.path for sample, subset in zip(samples, subsets, strict=True) if subset == "test"]
    return Trainings(request.folder / "trainings", retrain_command(request.run), tested)


def _refused(run: RunFolder, root: Path, request: ReviewRequest) -> dict[str, str]:
    """Pictures that a file to learn from must not name."""
    if request.test:
        return {}
    samples, subsets = read_split(run.split, root)
    why = "is a test picture of this run, which is never learnt from"
    return {portable(s.path, root): why for s, subset in zip(samples, subsets, strict=True) if subset == "test"}


def _unpredicted(samples: Sequence[Sample], names: Sequence[str], file: Path) -> list[QueuedPicture]:
    """The pictures with the sizes that the file itself gives, as nothing is known of them yet."""
    try:
        images = read_json(file)["images"]
        sizes = {image["file_name"]: (image["height"], image["width"]) for image in images}
    except (OSError, ValueError, KeyError, TypeError):
        sizes = {}
    return [
        QueuedPicture(name, sample.path, sizes.get(name, (1, 1)), None, "", 0.0, (), "")
        for name, sample in zip(names, samples, strict=True)
    ]


def _queued(name: str, path: Path, prediction: Prediction, why: str, subset: Subset | None) -> QueuedPicture:
    return QueuedPicture(
        name=name, path=path, size=prediction.size, given=prediction.target, predicted=prediction.label,
        probability=prediction.probability, boxes=prediction.boxes, why=why, subset=subset or "",
    )  # fmt: skip


def _earlier(request: ReviewRequest, config: TrainConfig) -> Path | None:
    """The file that this run learnt from, where the next round goes on from it."""
    if request.pictures is not None or request.test:
        return None
    return next((file for file in reversed(learnt_files(config)) if made_by_review(file)), None)


def learnt_files(config: TrainConfig) -> list[Path]:
    """Files of annotations that a run learnt from.

    Args:
        config: of the run.
    """
    learnt = config.data.annotations
    return [Path(file) for file in ([learnt] if isinstance(learnt, str) else learnt or [])]


def _predicted(
    request: ReviewRequest, meta: BundleMeta, samples: Sequence[Sample]
) -> tuple[list[Prediction], HeatMaps]:
    """What the model says, computed once for the same model and the same files."""
    folder = request.folder / f"shown{request.kind}"
    identity = _identity(request, samples)
    kept = _kept(folder, identity, len(samples))
    if kept is not None:
        return kept
    (folder / MADE).unlink(missing_ok=True)
    from weakspot.inference.localizer import Localizer

    localizer = Localizer.load(request.run, request.device)
    values, ranges = list[npt.NDArray[np.uint8]](), list[tuple[float, float]]()
    done = list[Prediction]()
    with console.progress_bar("predicting the pictures", len(samples)) as progress, prediction_writer(folder) as write:
        for found, sample in zip(localizer.predict([s.path for s in samples]), samples, strict=True):
            target = meta.classes[target_of(sample, meta.classes, found.label)] if sample.defect else None
            prediction = replace(found, target=target)
            write(prediction)
            small = _small_map(prediction, meta)
            values.append(small[0])
            ranges.append(small[1])
            done.append(replace(prediction, output=None))
            progress(len(done), len(samples))
    bounds = np.array(ranges, np.float32)
    with atomic_path(folder / MAPS) as temporary:
        np.savez(temporary, values=np.stack(values), ranges=bounds)
    write_json(folder / MADE, {"identity": identity})
    return done, HeatMaps(np.stack(values), bounds, map_scale(bounds))


def _identity(request: ReviewRequest, samples: Sequence[Sample]) -> str:
    """Hash of the model's description and of the files, by name, size and time."""
    meta = find_bundle(request.run) / META_FILE
    known = hashlib.sha256(meta.read_bytes())
    for sample in samples:
        try:
            status = sample.path.stat()
            line = f"{sample.path}\0{sample.defect}\0{status.st_size}\0{status.st_mtime_ns}\n"
        except OSError:
            line = f"{sample.path}\0\n"
        known.update(line.encode(errors="surrogateescape"))
    return known.hexdigest()


def _kept(folder: Path, identity: str, count: int) -> tuple[list[Prediction], HeatMaps] | None:
    """What an earlier call left for the same model and files; None where it is not there or damaged."""
    try:
        if read_json(folder / MADE)["identity"] != identity:
            return None
        check_npz(folder / MAPS)
        with np.load(folder / MAPS, allow_pickle=False) as file:
            values, ranges = file["values"], file["ranges"]
        predictions = read_predictions(folder / "predictions.jsonl")
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, WeakspotError):
        return None
    if (len(predictions), values.shape, ranges.shape) != (count, (count, MAP_SIDE, MAP_SIDE), (count, 2)):
        return None
    return predictions, HeatMaps(values, ranges, map_scale(ranges))


def _small_map(prediction: Prediction, meta: BundleMeta) -> tuple[npt.NDArray[np.uint8], tuple[float, float]]:
    """The map that pages show, at the side it is kept at, and the values that 0 and 255 stand for."""
    output = prediction.output
    if output is None:
        return np.zeros((MAP_SIDE, MAP_SIDE), np.uint8), (0.0, 0.0)
    map_ = map_of_pages(output, meta.boxes)
    shrinks = max(map_.shape) > MAP_SIDE
    resized = cv2.resize(
        np.asarray(map_, np.float32),
        (MAP_SIDE, MAP_SIDE),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    low, high = float(resized.min()), float(resized.max())
    scaled = (resized - low) / (high - low) if high > low else np.zeros_like(resized)
    return np.rint(255 * scaled).astype(np.uint8), (low, high)


def _in_order(maps: HeatMaps, order: Sequence[int]) -> HeatMaps:
    index = np.array(order, dtype=np.intp)
    return HeatMaps(maps.values[index], maps.ranges[index], maps.scale)
