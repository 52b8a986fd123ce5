"""What training announces: all of it, and nothing that an earlier run has left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.runs import settings

from weakspot.commands.resolve import resolve, with_backbone
from weakspot.data.views import AS_IS, FLIPS
from weakspot.errors import WeakspotError
from weakspot.runs.folder import CHECKPOINT
from weakspot.training import announce, model_parts
from weakspot.training import prepare as prepare_run
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
    leave(folds[0] / "checkpoints" / CHECKPOINT)  # its classifier is trained, the other's is not
    assert names().count(CLASSIFIER) == FOLDS - 1
    rest = agenda_of(prepared, tmp_path).seconds
    leave(*(fold / WHOLE for fold in folds))
    assert names().count(CLASSIFIER) == 0
    assert agenda_of(prepared, tmp_path).seconds < rest


def test_epochs_follow_from_the_size_of_the_set_unless_they_are_named(fabric: Path, tiny: None) -> None:
    def epochs(*overrides: str) -> list[int]:
        common = ("experiment=recommended", "split.near_duplicates=ignore", "cache.enabled=false")
        run = prepare(resolve(with_backbone(settings(fabric, *common, *overrides))))
        return [run.rules.trainer.epochs, run.rules_without(run.left_out[0])[0].trainer.epochs]

    # 44 pictures are 5 steps an epoch, and 29 of them 3: 120 steps at least.
    assert epochs("trainer.max_epochs=null") == [24, 40]
    assert epochs("trainer.max_epochs=null", "trainer.batch_size=1") == [6, 5]
    assert epochs("trainer.max_epochs=null", "trainer.batch_size=1", "refine.effort=0.5") == [3, 5]
    assert epochs("trainer.max_epochs=3") == [3, 2]


def test_groups_of_both_kinds_are_left_out_so_that_both_kinds_stay(fabric: Path, tiny: None) -> None:
    run = prepare(resolve(with_backbone(settings(fabric, "experiment=recommended", "split.near_duplicates=ignore"))))
    train, targets = run.data.indices("train"), run.data.targets
    good, defect = ([i for i in train if (targets[i] == 0) == is_good] for is_good in (True, False))
    group = dict.fromkeys((*good[:-2], *defect[:2]), "a") | dict.fromkeys((*good[-2:], *defect[2:]), "b")
    samples = [replace(sample, group=group.get(i)) for i, sample in enumerate(run.data.samples)]
    mixed = replace(run, data=replace(run.data, samples=samples))
    for fold in mixed.left_out:
        rest = {targets[i] != 0 for i in train if i not in fold}
        assert rest == {True, False}
    one_each = dict.fromkeys(good, "a") | dict.fromkeys(defect[:-1], "b") | {defect[-1]: "a"}
    samples = [replace(sample, group=one_each.get(i)) for i, sample in enumerate(run.data.samples)]
    with pytest.raises(WeakspotError, match="groups hold both Good and defective pictures"):
        replace(run, data=replace(run.data, samples=samples)).left_out  # noqa: B018 - asked for its error


def test_a_small_set_is_learnt_from_its_mirrored_views_too_by_classifier_and_heads(
    fabric: Path, tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learnt_from(*overrides: str) -> tuple[list[str], list[str]]:
        common = ("experiment=recommended", "split.near_duplicates=ignore", "cache.enabled=false")
        run = prepare(resolve(with_backbone(settings(fabric, *common, *overrides))))
        train = set(run.data.indices("train"))
        assert len(train) == 44
        of_statistics = model_parts.examples_of_statistics(run)
        assert set(of_statistics) == {(i, view) for i in train for view in run.head_views}
        assert len(of_statistics) == 44 * len(run.head_views)
        return list(run.rules.trainer.views), list(run.head_views)

    assert learnt_from() == ([*FLIPS], [*FLIPS])
    assert learnt_from("trainer.augment=none") == ([AS_IS], [AS_IS])
    lit, of_heads = learnt_from("trainer.augment=photometric")
    assert (len(lit), of_heads) == (12, [*FLIPS, "turn0~light0", "turn0~light1"])
    monkeypatch.setattr(prepare_run, "MIRRORED_UP_TO", 43)
    assert learnt_from() == ([AS_IS], [AS_IS])
    assert learnt_from("trainer.augment=flips") == ([*FLIPS], [AS_IS])
    monkeypatch.setattr(prepare_run, "MIRRORED_UP_TO", 40)  # the models for thresholds learn from fewer pictures
    run = prepare(resolve(with_backbone(settings(fabric, "experiment=recommended", "trainer.augment=flips"))))
    assert len(run.without(run.left_out[0]).data.indices("train")) <= 40
    assert run.without(run.left_out[0]).head_views == run.head_views == (AS_IS,)
    assert learnt_from("trainer.augment=photometric") == (lit, [AS_IS, "turn0~light0", "turn0~light1"])


def test_an_epoch_is_announced_as_one_view_of_each_picture(
    prepared: PreparedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(announce, "measure_costs", lambda *_, **__: Costs(0.0, 1.0, 0.0, 0.0, 0.0))
    (first, *_) = [stage for stage in agenda_of(prepared, tmp_path).stages if stage.name == CLASSIFIER]
    assert first.seconds == 44 * prepared.rules.trainer.epochs


def test_all_models_of_a_run_have_a_statistics_head_or_none(
    prepared: PreparedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_out = [prepared.without(fold) for fold in prepared.left_out]
    assert all(one is not None for one in model_parts._fit_statistics(prepared, left_out))
    fitted, calls = model_parts.fit_measured, list[int]()

    def last_fails(*given: Any) -> Any:
        calls.append(1)
        return None if len(calls) == 1 + len(left_out) else fitted(*given)

    monkeypatch.setattr(model_parts, "fit_measured", last_fails)
    assert model_parts._fit_statistics(prepared, left_out) == [None] * (1 + len(left_out))
