"""Run folders: where a run's files are, and how a run is found again by what it computes rather than by its name."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from weakspot.config.schema import TrainConfig, read_config
from weakspot.data.splits import read_split
from weakspot.errors import WeakspotError
from weakspot.models.bundle_meta import META_FILE
from weakspot.models.output_store import OutputStore
from weakspot.types import Sample
from weakspot.utils.files import OUTPUTS, atomic_path, is_temporary, new_folder, shown, write_json
from weakspot.utils.untrusted import expect, read_json

CHECKPOINT = "last.ckpt"

OUT_OF_FOLD = "out_of_fold.json"
"""What models that were trained without a training picture say of it."""

CORRECTED = "corrections"
"""Stage of the evidence heads that learns from what a person drew, in the names of its files."""


@dataclass(frozen=True)
class RunFolder:
    """Paths of the files in a run folder."""

    path: Path

    @property
    def identity(self) -> Path:
        """What the run computes: hashes of fit, run, data and split, and its training summary once there is one."""
        return self.path / "run.json"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """Which image is in which subset."""
        return self.path / "split.csv"

    @property
    def checkpoint(self) -> Path:
        """Lightning's own, to resume from."""
        return self.path / "checkpoints" / CHECKPOINT

    @property
    def bundle(self) -> Path:
        """The deployable model."""
        return self.path / "bundle"

    @property
    def maps(self) -> Path:
        """Logits and maps of the test subset."""
        return self.path / "maps.npz"

    @property
    def calibration(self) -> Path:
        """Logits and maps of the Good images that thresholds are set on; there where images were held out."""
        return self.path / "calibration.npz"

    @property
    def imitations(self) -> Path:
        """Logits and maps of defects imitated on those images, that trust is calibrated on."""
        return self.path / "imitations.npz"

    @property
    def drawn(self) -> Path:
        """The same of training pictures that a person drew in."""
        return self.path / "drawn.npz"

    @property
    def validation(self) -> Path:
        """Logits and classes of held-out images, that probabilities are calibrated on; there where there are some."""
        return self.path / "validation.json"

    @property
    def out_of_fold(self) -> Path:
        """Probabilities of training pictures from models without them; there where a statistics head was fitted."""
        return self.path / OUT_OF_FOLD

    @property
    def metrics(self) -> Path:
        """Every number of the run; written last, so that what has it is whole."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """The test subset's predictions."""
        return self.path / "predictions.jsonl"

    @property
    def log(self) -> Path:
        """What was done, line by line."""
        return self.path / "run.log"

    @property
    def figures(self) -> Path:
        """PNG figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The page to open first."""
        return self.path / "report.html"

    @property
    def audit(self) -> Path:
        """What ``weakspot audit`` found of the predictions."""
        return self.path / "audit.json"

    @property
    def evaluation(self) -> Path:
        """Of an evaluation: which run it measures, and with which changes."""
        return self.path / "evaluation.json"

    def evaluated(self) -> tuple[Path, list[str]] | None:
        """The run that an evaluation measures, and the changed keys as ``key=value``; None for a run itself.

        Where nothing was kept of it, or the file is damaged, it is the run that the evaluation lies in.
        """
        if self.identity.is_file():
            return None
        try:
            content = read_json(self.evaluation)
            expect(content, run=str, changes=list)
            return Path(content["run"]), [str(change) for change in content["changes"]]
        except (OSError, ValueError, TypeError):
            return self.path.parent.parent, []

    @property
    def erasure_due(self) -> bool:
        """True where measuring includes erasing boxes: for a run with a model of its own, not one taken over."""
        return self.read_identity().get("fitted_by") is None

    def unfinish(self) -> None:
        """Take away what says that the run is measured, and what was found of predictions that will be replaced."""
        self.metrics.unlink(missing_ok=True)
        self.audit.unlink(missing_ok=True)

    @property
    def fitted(self) -> bool:
        """True where the model and its maps are complete."""
        return (self.bundle / META_FILE).is_file() and self.maps.is_file()

    def read_identity(self) -> dict[str, Any]:
        """Content of ``run.json``; empty where there is none or it is damaged."""
        try:
            content = read_json(self.identity)
        except (OSError, ValueError):
            return {}
        return _with_new_names(content) if isinstance(content, dict) else {}

    def read_metrics(self) -> dict[str, Any]:
        """Content of ``metrics.json``.

        Raises:
            WeakspotError: when it is missing or damaged.
        """
        try:
            content = read_json(self.metrics)
        except (OSError, ValueError) as error:
            raise WeakspotError(f"{self.metrics} is missing or damaged; give a finished run folder") from error
        if not isinstance(content, dict):
            raise WeakspotError(f"{self.metrics} is damaged; give a finished run folder")
        return content

    def last_logged(self, name: str) -> float | None:
        """What the last epoch of training logged under `name`; None where it logged no such thing."""
        value = ((self.read_identity().get("train") or {}).get("history") or [{}])[-1].get(name)
        return None if value is None else float(value)

    def update_identity(self, **values: Any) -> None:  # noqa: ANN401 - anything that JSON can hold
        """Add to ``run.json``."""
        write_json(self.identity, self.read_identity() | values)


OLD_NAMES = {
    "identical_across_parts": "identical_across_subsets",
    "validation_clusters": "validation_groups",
    "held_out_of_trained_parts": "held_out_of_trained_groups",
    "parts": "groups",
}
"""Keys of ``run.json`` before version 0.2, and what they are called today."""


def _with_new_names(record: dict[str, Any]) -> dict[str, Any]:
    return {
        OLD_NAMES.get(key, key): _with_new_names(value) if isinstance(value, dict) else value
        for key, value in record.items()
    }


def open_run(config: TrainConfig, run_hash: str) -> RunFolder:
    """The folder for this run: a new one, or the one of the same run that was interrupted.

    Args:
        config: ``output`` names the folder; without it, it is ``outputs/<name>/<subset>/<date-time>-<hash>``.
        run_hash: identity of what the run computes.

    Raises:
        WeakspotError: when ``output`` holds something else or cannot be made.
    """
    if config.output is not None:
        folder = RunFolder(Path(config.output))
        if holds_something(folder.path) and folder.read_identity().get("run") != run_hash:
            raise WeakspotError(f"output={folder.path} already holds something else; choose another folder")
        try:
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeakspotError(
                f"output={folder.path} cannot be made ({error.strerror}); choose another folder"
            ) from error
        return folder
    parent = parent_folder(config)
    found = [RunFolder(path) for path in sorted(parent.glob(f"*-{run_hash}"))]
    unfinished = [
        run for run in found if not run.metrics.is_file() and (run.read_identity() or not holds_something(run.path))
    ]
    return unfinished[-1] if unfinished else RunFolder(new_folder(parent, f"-{run_hash}"))


def holds_something(path: Path) -> bool:
    """Whether there is anything but an empty folder, or what a process that was killed right at its start has left."""
    return path.exists() and (not path.is_dir() or not all(is_temporary(entry) for entry in path.iterdir()))


def find_finished(config: TrainConfig, run_hash: str) -> RunFolder | None:
    """The newest finished run of the same identity among the folders this run would be made in; None without one."""
    runs = [RunFolder(path) for path in sorted(parent_folder(config).glob(f"*-{run_hash}"))]
    finished = (run for run in reversed(runs) if run.fitted and run.metrics.is_file())
    # A run that was evaluated in place with another rule keeps its name but is another run.
    return next((run for run in finished if run.read_identity().get("run") == run_hash), None)


def parent_folder(config: TrainConfig) -> Path:
    """The folder that the run's own folder is in."""
    if config.output is not None:
        return Path(config.output).parent
    return OUTPUTS / config.name / (config.data.subset or Path(config.data.root or "data").resolve().name)


def find_fit(fit_hash: str, beside: RunFolder, *first: RunFolder) -> RunFolder | None:
    """A finished run whose model was fitted from the same data, split, network and settings; newest first.

    Looked for under ``outputs/`` and among the neighbours of `beside`, which comes first itself, and then `first`;
    None where there is none. A run that has held-out Good images and no defects imitated on them is passed over.
    """
    candidates = {*OUTPUTS.glob("*/*/*/run.json"), *beside.path.parent.glob("*/run.json")}
    named = [run.identity for run in (beside, *first)]
    for identity in [*named, *sorted(candidates, key=lambda path: path.parent.name, reverse=True)]:
        run = RunFolder(identity.parent)
        calibrates = run.imitations.is_file() or not run.calibration.is_file()  # others are from before trust was
        if run.fitted and calibrates and run.read_identity().get("fit") == fit_hash:
            return run
    return None


def adopt_fit(run: RunFolder, donor: RunFolder) -> None:
    """Take over the donor's model, maps and training summary; large files are hard-linked where that works."""
    if run.path.resolve() == donor.path.resolve():
        return
    run.bundle.mkdir(exist_ok=True)
    located = [path for file in (donor.imitations, donor.drawn) for path in (file.with_suffix(".json"), file)]
    outputs = (donor.maps, donor.calibration, *located, donor.validation, donor.out_of_fold)
    for source in (*donor.bundle.glob("*.safetensors"), *filter(Path.is_file, outputs)):
        with atomic_path(run.path / source.relative_to(donor.path)) as temporary:
            try:
                os.link(source, temporary)
            except OSError:
                shutil.copyfile(source, temporary)
    run.update_identity(train=donor.read_identity().get("train"), fitted_by=str(donor.path))
    with atomic_path(run.bundle / META_FILE) as temporary:  # last: a bundle with one is whole
        shutil.copyfile(donor.bundle / META_FILE, temporary)


def adopt_stages(run: RunFolder, donor: RunFolder) -> bool:
    """Copy what training came to before anything was drawn, so that only learning from what was drawn is left.

    Args:
        run: about to be trained; one that has begun already keeps what it has.
        donor: a finished run of the same data, split and settings without annotations, or one that took its model over.

    Returns:
        Whether anything was copied; a run of another machine may have left its checkpoints there.
    """
    source = RunFolder(Path(donor.read_identity().get("fitted_by") or donor.path)).checkpoint.parent
    if run.checkpoint.parent.exists() or not source.is_dir():
        return False
    found = [path for name in (CHECKPOINT, "evidence-*.safetensors") for path in source.rglob(name)]
    with atomic_path(run.checkpoint.parent) as temporary:
        for path in found:
            if path.stem != f"evidence-{CORRECTED}":
                copy = temporary / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        temporary.mkdir(exist_ok=True)
    return bool(found)


def finished_run(path: Path) -> RunFolder:
    """The run in a folder.

    Raises:
        WeakspotError: when there is none, or it is not finished.
    """
    run = RunFolder(path)
    if not run.metrics.is_file() or not run.split.is_file():
        raise WeakspotError(f"{shown(path)} is neither a finished run nor a finished cross-validation")
    read_config(run.config)
    return run


def own_test_subset(run: RunFolder) -> tuple[OutputStore, list[Sample]]:
    """Saved maps of a run's test subset, and its samples in the same order.

    Raises:
        WeakspotError: when a file is missing or damaged, or maps and split are not of the same run.
    """
    store, root = OutputStore.load(run.maps), read_config(run.config).data.root
    samples, subsets = read_split(run.split, Path(root or "."))
    test = [sample for sample, subset in zip(samples, subsets, strict=True) if subset == "test"]
    if [path.name for path in store.paths] != [sample.path.name for sample in test]:
        raise WeakspotError(f"{run.maps} and {run.split} do not belong together; train again")
    return replace(store, paths=[sample.path for sample in test]), test
