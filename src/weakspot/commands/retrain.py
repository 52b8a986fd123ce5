"""Train a run again with what a person corrected, and compare before with after on the untouched test subset."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from weakspot.commands.review import learnt_files
from weakspot.commands.train import train
from weakspot.config.schema import TrainConfig, read_config, with_values
from weakspot.evaluation.comparison import Comparison, compare
from weakspot.report.compare_page import write_comparison
from weakspot.runs.folder import RunFolder
from weakspot.serve.review_file import made_by_review
from weakspot.serve.review_training import DONE, PAGE
from weakspot.utils.files import write_json


def retrain(run: Path, annotations: Path, folder: Path) -> RunFolder:
    """Train with the configuration of a run and a file of annotations, then write the comparison.

    The same call goes on from where it was interrupted.

    Args:
        run: folder of a finished run.
        annotations: COCO file to learn from.
        folder: gets ``run/`` with the new run, ``compare.html`` and, last, ``done.json``.

    Returns:
        The new run.

    Raises:
        WeakspotError: for anything the user can mend.
    """
    config = learning_from(read_config(RunFolder(run).config), annotations, folder / "run")
    (folder / DONE).unlink(missing_ok=True)
    new = train(config, RunFolder(run))
    found = compare(run, new.path)
    page = write_comparison(folder / PAGE, run, new.path, found)
    write_json(folder / DONE, _result(run, new, found, page))
    return new


def learning_from(config: TrainConfig, annotations: Path, output: Path) -> TrainConfig:
    """The configuration of a run with a file to learn from, in place of that of an earlier review.

    Args:
        config: of the run.
        annotations: COCO file.
        output: folder of the new run.
    """
    others = [str(file) for file in learnt_files(config) if not made_by_review(file)]
    values: dict[str, Any] = {
        "data.annotations": [*others, str(annotations.resolve())],
        "output": str(output),
        "cv": None,
    }
    return with_values(config, values)


def _result(run: Path, new: RunFolder, found: Comparison, page: Path) -> dict[str, Any]:
    """What the page of the review tells at the end."""
    return {
        "before": str(run),
        "after": str(new.path),
        "page": str(page),
        "images": found.images,
        "same_test": found.only_first == found.only_second == 0,
        "differences": {name: asdict(each) for name, each in found.differences.items()},
    }
