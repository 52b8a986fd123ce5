"""Intervals where photographs of one part are right or wrong together."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, precision_score, roc_auc_score

from weakspot.metrics import classification_metrics, widened_by_parts

NAMES = ["good", "anomaly"]


def measured(
    targets: np.ndarray, scores: np.ndarray, clusters: list[int], defects: list[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    probabilities = np.stack([1 - scores, scores], axis=1)
    predicted = (scores > 0.5).astype(np.int64)
    defects = defects or [NAMES[target] for target in targets]
    plain = classification_metrics(targets, probabilities, NAMES, defects, predicted=predicted)
    before = copy.deepcopy(plain)
    wide = widened_by_parts(plain, targets, probabilities, predicted, defects, clusters)
    assert plain == before
    return plain, wide


def width(estimate: dict[str, float]) -> float:
    return estimate["high"] - estimate["low"]


def four_looks(parts: int = 20) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Each part four times, half of them defective, each part right or wrong in all of its photographs."""
    rng = np.random.default_rng(0)
    target, right = np.arange(parts) % 2, rng.random(parts) < 0.7
    score = np.where(right == (target == 1), 0.8, 0.2) + rng.normal(0, 0.05, parts)
    return np.repeat(target, 4), np.repeat(score, 4), np.repeat(np.arange(parts), 4).tolist()


def test_values_stay_and_intervals_grow_with_what_hangs_together() -> None:
    plain, wide = measured(*four_looks())
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "average_precision"):
        assert wide[name]["value"] == plain[name]["value"]
        assert wide[name]["n"] == plain[name]["n"]
        assert width(wide[name]) > 1.3 * width(plain[name]), name
        assert wide[name]["low"] <= plain[name]["low"] <= plain[name]["high"] <= wide[name]["high"]
    assert width(wide["recall_per_defect"]["anomaly"]) > 1.3 * width(plain["recall_per_defect"]["anomaly"])
    rows = plain["per_class"]["good"], wide["per_class"]["good"]
    assert rows[1]["recall_low"] < rows[0]["recall_low"]
    assert rows[1]["precision"] == rows[0]["precision"]
    assert wide["confusion_matrix"] == plain["confusion_matrix"]
    assert wide["top_k_error"] == plain["top_k_error"]


def test_an_interval_never_gets_narrower() -> None:
    """Right every time: no resample says otherwise, the exact interval for independent images does."""
    targets = np.repeat([0, 1], 8)
    plain, wide = measured(targets, np.where(targets == 1, 0.9, 0.1), np.repeat(np.arange(8), 2).tolist())
    assert wide["accuracy"] == plain["accuracy"]
    assert wide["recall"]["low"] == plain["recall"]["low"] < 1


def test_resamples_are_scikit_learn_s_values() -> None:
    """The bounds are quantiles of scores that scikit-learn gives to the same drawn images."""
    targets, scores, clusters = four_looks(12)
    _, wide = measured(targets, scores, clusters)
    drawn = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=1000)[:, clusters]
    predicted = (scores > 0.5).astype(int)
    by_name = {
        "balanced_accuracy": lambda w: balanced_accuracy_score(targets, predicted, sample_weight=w),
        "precision": lambda w: precision_score(targets, predicted, sample_weight=w, zero_division=np.nan),
        "f1": lambda w: f1_score(targets, predicted, sample_weight=w),
        "auroc": lambda w: roc_auc_score(targets, scores, sample_weight=w),
        "average_precision": lambda w: average_precision_score(targets, scores, sample_weight=w),
    }
    both = [w for w in drawn if len(np.unique(targets[w > 0])) == 2]
    for name, statistic in by_name.items():
        low, high = np.nanquantile([statistic(w) for w in both], [0.025, 0.975])
        assert wide[name]["low"] == pytest.approx(low, abs=0.02)
        assert wide[name]["high"] == pytest.approx(high, abs=0.02)


def test_one_class_alone_stays_undefined() -> None:
    plain, wide = measured(np.zeros(4, int), np.array([0.1, 0.2, 0.7, 0.3]), [0, 0, 1, 1])
    assert np.isnan(wide["auroc"]["value"])
    assert np.isnan(wide["balanced_accuracy"]["low"])
    assert wide["accuracy"]["low"] <= plain["accuracy"]["low"]


def test_more_than_two_classes() -> None:
    targets = np.repeat([0, 1, 2, 0, 1, 2, 0, 1, 2], 4)
    probabilities = np.eye(3)[np.repeat([0, 1, 2, 0, 1, 0, 0, 2, 2], 4)]
    names = ["good", "a", "b"]
    defects = [names[target] for target in targets]
    plain = classification_metrics(targets, probabilities, names, defects)
    clusters = np.repeat(np.arange(9), 4).tolist()
    wide = widened_by_parts(plain, targets, probabilities, probabilities.argmax(1), defects, clusters)
    for name in ("accuracy", "balanced_accuracy", "f1"):
        assert width(wide[name]) > width(plain[name])
    assert set(wide) == set(plain)
