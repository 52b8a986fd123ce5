"""A batch prediction cut into shards: which pictures, which model, what is done already, and one shard's work.

A shard is a run of the sorted listing and becomes one part, written whole or not at all, so that whoever repeats a
shard (a scheduler after a worker died, the same command after its process died) neither loses nor doubles a row.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weakspot._version import __version__
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.inference.exported import EXPORTED
from weakspot.inference.localizer import Localizer
from weakspot.inference.shards.files import FORMATS, Record, Tally, arrow
from weakspot.inference.shards.places import Pictures, Store, is_url, local_path
from weakspot.models.bundle_meta import META_FILE, WEIGHTS_FILE, find_bundle, read_meta
from weakspot.postprocess.prediction_files import to_record
from weakspot.utils.files import jsonable
from weakspot.utils.untrusted import parse_json

MANIFEST, SUMMARY = "manifest.json", "summary.json"

SETTINGS = ("file_format", "shard_size", "threshold", "batch_size", "flip_tta", "roi")
"""What of a job its results depend on, beside model and pictures."""

Files = dict[str, bytes]
"""A model's files, by name."""


@dataclass(frozen=True)
class Job:
    """What to predict, with which model, and where the results go.

    Attributes:
        run: run folder, bundle, or exported model.
        source: pictures, as :class:`~weakspot.inference.shards.places.Pictures` takes them.
        output: folder or URL for the shards' files.
        file_format: of those files, a key of :data:`~weakspot.inference.shards.files.FORMATS`.
        shard_size: number of pictures in a result file.
        threshold: of the box rule; None for the model's own.
        batch_size: number of pictures in a forward pass; None for what suits the device.
        device: as :meth:`~weakspot.inference.localizer.Localizer.load` takes it.
        flip_tta: whether to run the mirrored pictures too, for the trust of boxes; None for the model's own setting.
        roi: folder with a mask of its region of interest for each picture, which every worker can read; None for what
            the model knows.
    """

    run: Path
    source: str
    output: str
    file_format: str = "jsonl"
    shard_size: int = 256
    threshold: float | None = None
    batch_size: int | None = None
    device: str = "auto"
    flip_tta: bool | None = None
    roi: str | None = None

    def __post_init__(self) -> None:
        if self.file_format not in FORMATS:
            hint = did_you_mean(self.file_format, FORMATS)
            raise WeakspotError(f"--format {self.file_format} is unknown{hint}; choose: {', '.join(FORMATS)}")
        if self.file_format == "parquet":
            arrow()
        if self.shard_size < 1:
            raise WeakspotError(f"--shard-size {self.shard_size} must be at least 1")
        if not is_url(self.output) and (local_path(self.output) / "run.json").is_file():
            raise WeakspotError(f"{self.output} is a run folder; its predictions are its test subset's, choose another")

    def part(self, shard: int) -> str:
        """The name of a shard's part below :attr:`output`."""
        return f"parts/part-{shard:06d}.{self.file_format}"


@dataclass(frozen=True)
class Shard:
    """A run of consecutive pictures of the listing.

    Attributes:
        number: counted from 0.
        names: of the pictures, as :meth:`Pictures.names` gives them.
    """

    number: int
    names: list[str]


@dataclass(frozen=True)
class Receipt:
    """What a worker reports of a shard.

    Attributes:
        number: of the shard.
        tally: counts of what its part holds.
        problems: one line for every picture that could not be read.
        failed: why the shard could not be done; empty where it was done.
        seconds: time that the worker spent on it, without loading the model.
    """

    number: int
    tally: Tally
    problems: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class ShardPlan:
    """A job that was checked and can be started.

    Attributes:
        job: what to do.
        files: the model's files.
        shards: those that are still to be done.
        done: counts of what finished shards hold.
        images: number of all pictures.
    """

    job: Job
    files: Files
    shards: list[Shard]
    done: Tally
    images: int


def plan_shards(job: Job) -> ShardPlan:
    """List the pictures, read the model, and find out what an earlier start of the same job has finished.

    Raises:
        WeakspotError: for a model that cannot be used, a source without pictures, or an output folder with the results
            of another model, other settings or other pictures.
    """
    files = _read_model(job)
    names = Pictures(job.source).names()
    store = Store(job.output)
    _agree(store, _manifest(job, files, names))
    starts = range(0, len(names), job.shard_size)
    shards = [Shard(number, names[start : start + job.shard_size]) for number, start in enumerate(starts)]
    finished = {shard.number: tally for shard in shards if (tally := _finished(store, job, shard))}
    left = [shard for shard in shards if shard.number not in finished]
    return ShardPlan(job, files, left, Tally.total(finished.values()), len(names))


def finish(plan: ShardPlan, total: Tally) -> None:
    """Write ``summary.json``; where it stands, every part is there.

    Args:
        plan: the job, with the number of its pictures.
        total: what all parts together hold.

    Raises:
        WeakspotError: when rows are missing, which an engine that did its work cannot cause.
    """
    if total.rows != plan.images:
        raise WeakspotError(f"{plan.job.output} has {total.rows} rows for {plan.images} pictures; start again")
    record = {"images": total.rows, "unreadable": total.unreadable, "labels": total.labels}
    Store(plan.job.output).write(SUMMARY, json.dumps(record, ensure_ascii=False, indent=2).encode("utf-8") + b"\n")


class Worker:
    """Does shards one after the other; loads the model for the first one.

    Args:
        job: that the shards belong to.
        files: the model's files, which need not be on this machine.
    """

    def __init__(self, job: Job, files: Files) -> None:
        self.job, self._files = job, files
        self._pictures, self._store = Pictures(job.source), Store(job.output)
        self._localizer: Localizer | None = None

    def __call__(self, shard: Shard) -> Receipt:
        """Predict a shard and write its part; a problem that a retry would meet again is reported and not raised."""
        try:
            self._localizer = self._localizer or _load(self.job, self._files)
            start = time.perf_counter()
            records = list(self._predict(self._localizer, shard.names))
            self._store.write(self.job.part(shard.number), FORMATS[self.job.file_format].write(records))
        except (WeakspotError, OSError) as error:
            return Receipt(shard.number, Tally.of([]), failed=" ".join(str(error).split()))
        problems = tuple(record["message"] for record in records if record["status"] != "ok")
        tally = Tally.of((record["status"], record["label"]) for record in records)
        return Receipt(shard.number, tally, problems, seconds=time.perf_counter() - start)

    def _predict(self, localizer: Localizer, names: Sequence[str]) -> Iterator[Record]:
        predictions = localizer.predict(self._pictures.open(names), batch_size=self.job.batch_size)
        for name, prediction in zip(names, predictions, strict=True):
            # A prediction's path is one of this machine's, which would cut the slashes of a URL.
            yield jsonable({**to_record(prediction), "path": self._pictures.shown_as(name)})


def _load(job: Job, files: Files) -> Localizer:
    with tempfile.TemporaryDirectory(prefix="weakspot-model-", ignore_cleanup_errors=True) as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        exported = [name for name in files if Path(name).suffix.lower() in EXPORTED]
        localizer = Localizer.load(Path(folder, *exported), job.device)
    localizer = localizer.adjusted(job.threshold, job.flip_tta)
    return localizer if job.roi is None else localizer.with_masks(Path(job.roi))


def _read_model(job: Job) -> Files:
    """The model's files; reading them once means that every worker has the same, wherever it is.

    Raises:
        WeakspotError: when it cannot be used.
    """
    if job.run.suffix.lower() in EXPORTED:
        localizer = Localizer.load(job.run, "auto" if job.device == "auto" else "cpu")
        rule = localizer.rule
        paths = [job.run, *(path for path in [job.run.with_suffix(".bin")] if job.run.suffix == ".xml")]
    else:
        bundle = find_bundle(job.run)
        rule = read_meta(bundle).boxes
        paths = [bundle / META_FILE, bundle / WEIGHTS_FILE]
    if job.threshold is not None:
        replace(rule, threshold=job.threshold)  # refuses what is out of range
    try:
        return {path.name: path.read_bytes() for path in paths}
    except OSError as error:
        raise WeakspotError(f"{error.filename} cannot be read ({error.strerror}); give a finished run") from error


def _manifest(job: Job, files: Files, names: Sequence[str]) -> dict[str, Any]:
    """What must be the same for two starts to be of the same job."""
    listing = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    model = hashlib.sha256()
    for _, content in sorted(files.items()):
        model.update(hashlib.sha256(content).digest())
    settings = {key: asdict(job)[key] for key in SETTINGS}
    return {
        "weakspot": __version__,
        "model": model.hexdigest(),
        **settings,
        "images": len(names),
        "listing": listing.hexdigest(),
    }


def _agree(store: Store, manifest: dict[str, Any]) -> None:
    if not store.has(MANIFEST):
        return store.write(MANIFEST, json.dumps(manifest, indent=2).encode("utf-8") + b"\n")
    try:
        found = parse_json(store.read(MANIFEST))
        differing = [key for key, value in manifest.items() if found.get(key) != value]
    except (ValueError, AttributeError) as error:
        raise WeakspotError(f"{store.place}/{MANIFEST} is damaged ({error}); choose another --output") from error
    if differing:
        key = differing[0]
        raise WeakspotError(
            f"{store.place} holds results of another job ({key}: {found.get(key)} there, {manifest[key]} now); choose "
            "another --output, or give the command that began it to go on"
        )


def _finished(store: Store, job: Job, shard: Shard) -> Tally | None:
    """What a shard's part holds; None where it is missing or not whole, so that it is made again."""
    if not store.has(job.part(shard.number)):
        return None
    try:
        tally = FORMATS[job.file_format].tally(store.read(job.part(shard.number)))
    except (ValueError, KeyError, TypeError, OSError):  # pyarrow's errors are ValueErrors and OSErrors
        return None
    return tally if tally.rows == len(shard.names) else None
