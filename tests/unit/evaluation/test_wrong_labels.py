"""Labels that are probably wrong: found by cleanlab from out-of-fold probabilities of a run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from weakspot.commands import results
from weakspot.errors import WeakspotError
from weakspot.evaluation import wrong_labels as module
from weakspot.evaluation.wrong_labels import probably_wrong, wrong_labels
from weakspot.postprocess.decision import Decision
from weakspot.postprocess.review import ReviewQueue
from weakspot.runs.folder import RunFolder


def test_labels_that_contradict_sure_probabilities_are_found() -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not installed (pip install 'weakspot[labels]')")
    rng = np.random.default_rng(0)
    defective = np.arange(80) % 4 == 0
    probabilities = np.where(defective, rng.uniform(0.7, 0.99, 80), rng.uniform(0.01, 0.3, 80))
    probabilities[[5, 8]] = 0.02, 0.97  # surer than is usual of either class
    labelled = defective.copy()
    labelled[[5, 8]] = ~labelled[[5, 8]]
    assert sorted(probably_wrong(probabilities, labelled)) == [5, 8]
    assert probably_wrong(probabilities, defective) == []
    assert probably_wrong(probabilities[:12], labelled[:12]) == []  # too few to say


def test_models_that_hardly_tell_the_classes_apart_contradict_no_label() -> None:
    """Of 64 pictures of grass 30 labels were once called wrong, by probabilities from 0.49 to 0.51."""
    pytest.importorskip("cleanlab", reason="cleanlab is not installed (pip install 'weakspot[labels]')")
    rng = np.random.default_rng(0)
    defective = np.arange(64) % 2 == 0
    assert probably_wrong(0.5 + 0.015 * rng.standard_normal(64), defective) == []
    assert probably_wrong(rng.uniform(0.02, 0.98, 64), defective) == []  # sure, and wrong as often as right


def test_a_run_names_them_with_the_reason(tmp_path: Path) -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not installed (pip install 'weakspot[labels]')")
    run = RunFolder(tmp_path)
    assert wrong_labels(run) == []
    defects = ["good" if i % 2 else "crack" for i in range(40)]
    values = [0.1 if i % 2 else 0.9 for i in range(40)]
    values[7] = 0.97
    run.out_of_fold.write_text(
        json.dumps({"paths": [f"{i}.png" for i in range(40)], "defects": defects, "probabilities": values})
    )
    (found,) = wrong_labels(run) or ()
    assert (found.path, found.defect) == ("7.png", "good")
    assert found.why.endswith("labelled good, and models trained without it give a defect 0.97")
    run.out_of_fold.write_text(json.dumps({"paths": ["a"], "defects": [], "probabilities": [2]}))
    with pytest.raises(WeakspotError, match=r"out_of_fold\.json is damaged"):
        wrong_labels(run)


def test_without_the_extra_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    run.out_of_fold.write_text("{}")
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert wrong_labels(run) is None


def test_a_training_does_not_advertise_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(results, "wrong_labels", lambda run: None)
    run = SimpleNamespace(config=SimpleNamespace(data=SimpleNamespace(root="photos")))
    results._add_wrong_labels(ReviewQueue(Decision()), RunFolder(tmp_path), run)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
