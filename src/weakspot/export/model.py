"""A trained model as one file for ONNX Runtime or OpenVINO, and proof that its predictions are the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weakspot.config.schema import read_config
from weakspot.data.images import Progress, read_image
from weakspot.data.loading import pictures_in
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError, did_you_mean
from weakspot.export.certificate import Certificate, certify
from weakspot.export.graph import halve_onnx, quantise_onnx, write_onnx, write_openvino
from weakspot.export.handover import write_handover
from weakspot.inference.fastest import bundle_hash, certificate_path
from weakspot.inference.localizer import Localizer
from weakspot.models.bundle import load_bundle
from weakspot.runs.folder import RunFolder
from weakspot.types import Sample, Subset
from weakspot.utils.files import remove, temporary_beside, write_json
from weakspot.utils.locks import only_one
from weakspot.utils.spread import spread_evenly

SUFFIX = {"onnx": ".onnx", "openvino": ".xml"}
PRECISIONS = ("fp32", "fp16", "int8")
CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Order:
    """What to export.

    Attributes:
        run: run folder or bundle.
        format: ``onnx`` or ``openvino``.
        precision: ``fp32``; ``fp16`` halves the file; ``int8`` quantises the convolutions, with scales from training
            pictures.
        output: the file; None for ``exports/model<precision>.<suffix>`` in the run.
        images: folder of pictures for the certificate; None for the run's test subset.
        count: how many of them at most.

    Raises:
        WeakspotError: for an unknown format or precision, or a file name with another suffix.
    """

    run: Path
    format: str = "onnx"
    precision: str = "fp32"
    output: Path | None = None
    images: Path | None = None
    count: int = 100

    def __post_init__(self) -> None:
        for flag, value, choices in (
            ("--format", self.format, tuple(SUFFIX)),
            ("--precision", self.precision, PRECISIONS),
        ):
            if value not in choices:
                hint = did_you_mean(value, choices)
                raise WeakspotError(f"{flag} {value} is unknown{hint}; choose: {', '.join(choices)}")
        if self.target.suffix != SUFFIX[self.format]:
            raise WeakspotError(f"--output {self.target} must end in {SUFFIX[self.format]}")

    @property
    def target(self) -> Path:
        """The file to write."""
        middle = "" if self.precision == "fp32" else f".{self.precision}"
        return self.output or self.run / "exports" / f"model{middle}{SUFFIX[self.format]}"


def export_model(order: Order, progress: Progress) -> Certificate:
    """Export a model and compare it with the original; the file gets its name only if the two agree.

    Args:
        order: what to export, how, and where to.
        progress: called with (done, total) while the two models are compared.

    Returns:
        The comparison, which is also written beside the file, with thresholds, region of interest and a model card.

    Raises:
        WeakspotError: when the two do not agree, there are no pictures to compare them on, the model's boxes are drawn
            on another heat map than ``cam``, or a library is missing.
    """
    model, meta = load_bundle(order.run)
    if meta.heatmap != "cam":
        raise WeakspotError(f"{order.run} draws boxes on {meta.heatmap}, which needs torch; train with heatmap=cam")
    samples = certificate_samples(order)
    target = order.target
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.parent), _scratch(target) as scratch:
        onnx = scratch / "model.onnx"
        write_onnx(onnx, model, meta)
        if order.precision == "int8":
            pictures = _calibration_pictures(order.run)
            quantise_onnx(onnx, lambda: _batches(pictures, Localizer(model, meta, "cpu")))
        if order.format == "openvino":
            write_openvino(onnx, scratch / "model.xml", meta, half=order.precision == "fp16")
        elif order.precision == "fp16":
            halve_onnx(onnx)
        made = scratch / f"model{SUFFIX[order.format]}"
        original, exported = Localizer(model, meta, "cpu"), Localizer.load(made)
        found = certify(original, exported, samples, order.precision, bundle_hash(order.run), progress)
        if found.failure:
            raise WeakspotError(f"the exported model is not the same: {found.failure}; nothing was written")
        # Cut off at any moment, there is no certificate of another model, nor a graph with another's weights.
        certificate_path(target).unlink(missing_ok=True)
        target.unlink(missing_ok=True)
        if order.format == "openvino":
            made.with_suffix(".bin").replace(target.with_suffix(".bin"))
        made.replace(target)
        write_json(certificate_path(target), found.to_dict())
        write_handover(target, order.run, meta, found)
    return found


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A folder beside the file, so that what is made there needs only a name."""
    folder = temporary_beside(target.with_suffix(""))
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def certificate_samples(order: Order) -> list[Sample]:
    """Pictures to compare on, evenly over the run's test subset or over a folder; those of a folder have no label.

    Raises:
        WeakspotError: when there are none.
    """
    if order.images is not None:
        found = [Sample(path, "") for path in pictures_in(order.images)]
    elif RunFolder(order.run).split.is_file():
        found = _subset_of(order.run, "test")
    else:
        raise WeakspotError(f"{order.run} is no run folder: give pictures to compare on, --images FOLDER")
    if not found:
        raise WeakspotError(f"{order.images or order.run} holds no pictures to compare on; give --images FOLDER")
    return spread_evenly(found, order.count)


def _subset_of(run: Path, wanted: Subset) -> list[Sample]:
    folder = RunFolder(run)
    samples, subsets = read_split(folder.split, Path(read_config(folder.config).data.root or "."))
    return [sample for sample, subset in zip(samples, subsets, strict=True) if subset == wanted]


def _calibration_pictures(run: Path) -> list[Path]:
    """Training pictures: scales chosen on the test subset would be chosen on what is measured."""
    if not RunFolder(run).split.is_file():
        raise WeakspotError(
            f"{run} is no run folder: int8 sets its scales on the run's training pictures; give the run"
        )
    return [sample.path for sample in spread_evenly(_subset_of(run, "train"), CALIBRATION_IMAGES)]


def _batches(paths: Sequence[Path], localizer: Localizer) -> Iterator[npt.NDArray[np.uint8]]:
    for path in paths:
        yield localizer.meta.preprocess.resize(read_image(path), path)[None]
