"""What training announces: all of it, and nothing that an earlier run has left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.runs import settings

from weakspot.commands.resolve import resolve, with_backbone
from weakspot.runs.folder import CHECKPOINT
from weakspot.training import announce
from weakspot.training.announce import agenda_of, announcement
from weakspot.training.estimate import Costs
from weakspot.training.evidence.fit import FEATURES, STAGES, checkpoints_of_fold, note_of, stage_file
from weakspot.training.evidence.heads import LOCATION, LOCATION_AGAIN, MASK
from weakspot.training.held_out import WHOLE
from weakspot.training.lightning_fit import CLASSIFIER
from weakspot.training.prepare import PreparedRun, prepare

FOLDS = 3
COUNTED = (CLASSIFIER, FEATURES, LOCATION, MASK, LOCATION_AGAIN)


@pytest.fixture
def prepared(fabric: Path, tiny: None) -> PreparedRun:
    overrides = ("experiment=recommended", "split.near_duplicates=ignore", "cache.enabled=false")
    return prepare(resolve(with_backbone(settings(fabric, *overrides))))


def leave(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_only_what_is_still_to_be_done_is_announced(
    prepared: PreparedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "measure_costs", lambda *_, **__: Costs(1.0, 1.0, 1.0, 1.0, 1.0))

    def names() -> list[str]:
        return [stage.name for stage in agenda_of(prepared, tmp_path).stages]

    every = names()
    assert [every.count(name) for name in COUNTED] == [1 + FOLDS, 1, 1, 1, 1]
    assert announcement(prepared, agenda_of(prepared, tmp_path), tmp_path).startswith("training on 44 images, up to")

    location, mask, again = (stage_file(tmp_path, name) for name in STAGES)
    leave(location, mask)  # interrupted in the third stage
    assert [names().count(name) for name in COUNTED] == [FOLDS, 1, 0, 0, 1]
    said = announcement(prepared, agenda_of(prepared, tmp_path), tmp_path)
    assert said.startswith("training goes on from what is there already: about")

    folds = [checkpoints_of_fold(tmp_path, k) for k in range(FOLDS)]
    leave(again, *(stage_file(fold, name) for fold in folds for name in STAGES))
    left = names()
    assert FEATURES not in left
    assert not any(LOCATION + note_of(k, FOLDS) in left for k in range(FOLDS))
    leave(folds[0] / CHECKPOINT)  # its classifier is trained, the other's is not
    assert names().count(CLASSIFIER) == FOLDS - 1
    rest = agenda_of(prepared, tmp_path).seconds
    leave(*(fold / WHOLE for fold in folds))
    assert names().count(CLASSIFIER) == 0
    assert agenda_of(prepared, tmp_path).seconds < rest
