"""Finished results anywhere below a folder: each a cross-validation, or a run with a test subset of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weakspot.config.schema import TrainConfig, read_config
from weakspot.errors import WeakspotError
from weakspot.evaluation.pooled import MEMBERS, runs_of
from weakspot.evaluation.records import MetricsRecord
from weakspot.runs.folder import RunFolder
from weakspot.runs.identity import flat_settings, short_hash
from weakspot.utils.files import shown

REPEATED = {
    "name", "seed", "output", "reuse", "cache", "cv", "objective", "data.root", "data.subset", "split.seed",
    "split.fold", "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.logger",
}  # fmt: skip
"""Settings that say which experiment it is, that it is repeated over, or that change no number."""


@dataclass(frozen=True)
class Result:
    """One training that was tested: on all folds, or on the pictures that it held out.

    Attributes:
        folder: of the cross-validation or the run.
        record: its ``metrics.json``.
        runs: a run for each fold, or the one.
        config: of the first of them.
        data: short hash over pictures, labels and masks.
        finished: when, in seconds.
    """

    folder: Path
    record: MetricsRecord
    runs: Sequence[RunFolder]
    config: TrainConfig
    data: str
    finished: float

    @property
    def root(self) -> Path:
        """The folder that the pictures lie below."""
        return Path(self.config.data.root or ".")

    @property
    def folds(self) -> int | None:
        """Number of folds; None where part of the pictures was held out."""
        return self.config.split.folds

    @property
    def repeat(self) -> tuple[int, int]:
        """The seeds that tell trainings of one experiment apart."""
        return self.config.seed, self.config.split.seed

    @property
    def settings(self) -> dict[str, str]:
        """Every setting by its dotted key, but those of :data:`REPEATED`."""
        return {key: str(value) for key, value in flat_settings(asdict(self.config), REPEATED)}


def result_folders(folder: Path) -> list[Path]:
    """Folders at or below one that hold a cross-validation, or a run that is no evaluation of another run.

    Args:
        folder: where to look.
    """
    found = [path.parent for path in sorted(folder.rglob("metrics.json"))]
    return [path for path in found if (path / MEMBERS).is_file() or RunFolder(path).identity.is_file()]


def read_results(folders: Iterable[Path]) -> tuple[list[Result], list[str]]:
    """Read results, in an order that does not depend on that of the folders.

    Args:
        folders: of cross-validations and runs; one that comes twice counts once.

    Returns:
        The results, and notes on what is none: folds that no cross-validation takes together, damaged files.
    """
    results, notes, folds, members = [], list[str](), list[Result](), set[Path]()
    for folder in sorted({path.resolve() for path in folders}):
        try:
            found = _read(folder)
        except WeakspotError as error:
            notes.append(f"{shown(folder)} is left out: {error}")
            continue
        if (found.folder / MEMBERS).is_file():
            members |= {run.path.resolve() for run in found.runs}
        elif found.folds is not None:
            folds.append(found)
            continue
        results.append(found)
    alone = [fold for fold in folds if fold.folder.resolve() not in members]
    counts = Counter((fold.record.name, fold.record.data.title, fold.folds) for fold in alone)
    for (name, subset, total), count in sorted(counts.items(), key=str):
        notes.append(
            f"{name} on {subset}: {_runs(count)} of single folds (of {total}) in no finished cross-validation, so not "
            f"in the table; cv={total} runs the folds that are missing and measures all of them together"
        )
    return results, notes


def _runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _read(folder: Path) -> Result:
    runs = runs_of(folder)
    record, config = MetricsRecord.read(folder / "metrics.json"), read_config(runs[0].config)
    data = short_hash([record.data.hash, runs[0].read_identity().get("truth")])
    return Result(folder, record, runs, config, data, (folder / "metrics.json").stat().st_mtime)


def newest(results: Iterable[Result]) -> tuple[list[Result], int]:
    """Of trainings with the same seeds the newest, and how many others there are.

    Args:
        results: of one experiment on one subset.
    """
    kept: dict[tuple[int, int], Result] = {}
    ordered = sorted(results, key=lambda each: (each.finished, str(each.folder)))
    for result in ordered:
        kept[result.repeat] = result
    return [kept[key] for key in sorted(kept)], len(ordered) - len(kept)


def experiment_names(results: Sequence[Result]) -> list[str]:
    """What to call each result's experiment: its name, and what tells it from others of that name on the same subset.

    Args:
        results: of all subsets.
    """
    varied: dict[str, list[str]] = {}
    for name in {result.record.name for result in results}:
        own = [result for result in results if result.record.name == name]
        subsets = {result.record.data.title for result in own}
        keys = [_varied([each.settings for each in own if each.record.data.title == subset]) for subset in subsets]
        varied[name] = sorted({key for of_subset in keys for key in of_subset})
    return [_label(result.record.name, result.settings, varied[result.record.name]) for result in results]


def _varied(settings: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys that are not the same in all of them; the number of folds tells rows apart, not experiments."""
    keys = {key for each in settings for key in each} - {"split.folds"}
    return {key for key in keys if len({each.get(key) for each in settings}) > 1}


def _label(name: str, settings: Mapping[str, str], varied: Sequence[str]) -> str:
    mine = ", ".join(f"{key}={settings[key]}" for key in varied if key in settings)
    return f"{name} ({mine})" if mine else name
