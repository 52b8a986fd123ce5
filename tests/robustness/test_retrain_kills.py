"""A training with what was corrected, killed at one moment after the other: what was confirmed is learnt in the end."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.dying import dying
from helpers.runs import ALL_ANOMALY, DETERMINISTIC, FEW_STEPS, TINY, train_config

from weakspot.commands.review import ReviewRequest, prepare_review
from weakspot.commands.train import train
from weakspot.serve.review_store import Mark

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="forks and kills"),
    pytest.mark.usefixtures("tiny"),
]

LEARNING = (
    "experiment=recommended", *TINY, *ALL_ANOMALY, *FEW_STEPS, "refine.correction_steps=3", "boxes.threshold=-4",
    "boxes.false_boxes=60", "split.val_size=0.3",
)  # fmt: skip
MOMENTS = (
    ("weakspot.training.evidence.correct", "Corrector._location", 2),
    ("pathlib", "Path.replace", 4),
    ("weakspot.commands.retrain", "write_comparison", 1),
)
"""In the middle of learning from boxes, while a file is put in its place, and before the comparison."""


def started(*arguments: object) -> int | None:
    """Train in a process of its own; how it ended."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.dying"])
    process = context.Process(target=dying, args=arguments, daemon=True)
    process.start()
    process.join()
    return process.exitcode


def test_what_was_confirmed_is_learnt_however_often_the_training_is_killed(fabric: Path, here: Path) -> None:
    run = train(train_config(f"data.root={fabric}", "data.subset=fabric", "output=outputs/photos", *LEARNING)).path
    store = prepare_review(ReviewRequest(run)).store
    defects = [i for i, each in enumerate(store.pictures) if (each.subset, each.given) == ("train", "anomaly")]
    for i in defects[:3]:
        store.save(i, replace(store.review(i), boxes=(Mark(8, 8, 40, 30, "anomaly"),), state="reviewed"), based_on=0)
    corrected, before = store.file.read_bytes(), contents(run)
    for where, what, count in MOMENTS:
        assert started(run, store.file, here / "killed", where, what, count) == -signal.SIGKILL, what
        assert not (here / "killed" / "done.json").exists()
        assert (store.file.read_bytes(), contents(run)) == (corrected, before)
    for folder in ("killed", "whole"):
        assert started(run, store.file, here / folder, "", "", 0) == 0
    done = json.loads((here / "killed" / "done.json").read_text())
    assert done["same_test"] is True
    learnt = json.loads((here / "killed" / "run" / "metrics.json").read_text())["data"]["learnt_from"]
    assert (learnt["boxes"], learnt["pictures"]) == (3, 3)
    killed, whole = (here / name / "run" for name in ("killed", "whole"))
    assert [(killed / name).read_bytes() for name in DETERMINISTIC] == [
        (whole / name).read_bytes() for name in DETERMINISTIC
    ]


def contents(run: Path) -> dict[str, bytes]:
    """Everything of the run that was corrected, but for what the review itself keeps."""
    files = [path for path in run.rglob("*") if path.is_file() and "review" not in path.parts]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in files}
