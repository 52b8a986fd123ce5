"""Intervals where photographs of one part are right or wrong together."""

from __future__ import annotations

import tracemalloc
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from weakspot.metrics import classification_metrics, paired, widened_by_groups
from weakspot.metrics.groups import share_of_images, worth
from weakspot.metrics.intervals import percentile_estimate

NAMES = ["good", "anomaly"]


def measured(
    targets: np.ndarray, scores: np.ndarray, clusters: list[int], defects: list[str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    probabilities = np.stack([1 - scores, scores], axis=1)
    predicted = (scores > 0.5).astype(np.int64)
    defects = defects or [NAMES[target] for target in targets]
    plain = classification_metrics(targets, probabilities, NAMES, defects, predicted=predicted)
    wide = widened_by_groups(plain, targets, probabilities, predicted, defects, clusters)
    return asdict(plain), asdict(wide)


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


@pytest.mark.slow
def test_resamples_are_scikit_learn_s_values() -> None:
    """The bounds are quantiles of scores that scikit-learn gives to the same drawn images."""
    targets, scores, groups = four_looks(12)
    _, wide = measured(targets, scores, groups)
    drawn = np.random.default_rng(0).multinomial(12, np.full(12, 1 / 12), size=1000)[:, groups]
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
    found = classification_metrics(targets, probabilities, names, defects)
    groups = np.repeat(np.arange(9), 4).tolist()
    widened = widened_by_groups(found, targets, probabilities, probabilities.argmax(1), defects, groups)
    plain, wide = asdict(found), asdict(widened)
    for name in ("accuracy", "balanced_accuracy", "f1"):
        assert width(wide[name]) > width(plain[name])
    assert set(wide) == set(plain)


def uneven() -> tuple[np.ndarray, np.ndarray, list[int], list[str]]:
    """Few parts, many looks at each, and another share of errors for every class and type."""
    kinds = [(0, "good", 6, 5), (1, "cut", 3, 2), (1, "hole", 4, 1), (2, "dent", 4, 2)]  # class, type, parts, right
    rows = [
        (target, target if i < right else (0 if target else 1), name)
        for target, name, parts, right in kinds
        for i in range(parts)
    ]
    targets, predicted, names = (np.repeat(np.array(column, dtype=object), 6) for column in zip(*rows, strict=True))
    clusters = np.repeat(np.arange(len(rows)), 6).tolist()
    return targets.astype(int), predicted.astype(int), clusters, names.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 3])
def test_every_interval_is_the_hull_of_two_that_are_found_in_plain_loops(k: int) -> None:
    targets, predicted, clusters, defects = uneven()
    kept = targets < k
    targets, predicted = targets[kept], predicted[kept]
    defects = [name for name, keep in zip(defects, kept, strict=True) if keep]
    clusters = [number for number, keep in zip(clusters, kept, strict=True) if keep]
    classes = ["good", "a", "b"][:k]
    probabilities = np.full((len(targets), k), 0.1)
    probabilities[np.arange(len(targets)), predicted] = 1 - 0.1 * (k - 1)
    found = classification_metrics(targets, probabilities, classes, defects)
    widened = widened_by_groups(found, targets, probabilities, predicted, defects, clusters)
    plain, wide = asdict(found), asdict(widened)
    n_parts = len(set(clusters))
    drawn = np.random.default_rng(0).multinomial(n_parts, np.full(n_parts, 1 / n_parts), size=1000)[:, clusters]
    looks = [np.repeat(np.arange(len(targets)), times) for times in drawn]
    whole = [i for i in looks if set(targets[i]) == set(range(k))]
    names, average = np.array(defects), "binary" if k == 2 else "macro"

    def check(before: dict[str, Any], after: dict[str, Any], values: list[float]) -> None:
        low, high = np.nanquantile(values, [0.025, 0.975])
        assert after["low"] == pytest.approx(min(before["low"], low))
        assert after["high"] == pytest.approx(max(before["high"], high))
        assert (after["low"], after["high"]) != (before["low"], before["high"])

    check(plain["accuracy"], wide["accuracy"], [(targets == predicted)[i].mean() for i in looks])
    balanced = [balanced_accuracy_score(targets[i], predicted[i]) for i in whole]
    check(plain["balanced_accuracy"], wide["balanced_accuracy"], balanced)
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        undefined = np.nan if name == "precision" and k == 2 else 0
        values = [score(targets[i], predicted[i], average=average, zero_division=undefined) for i in whole]
        check(plain[name], wide[name], values)
    for name in set(defects) - {"good"}:
        hits = [(predicted[i] != 0)[names[i] == name] for i in looks if (names[i] == name).any()]
        check(plain["recall_per_defect"][name], wide["recall_per_defect"][name], [hit.mean() for hit in hits])
    for number, name in enumerate(classes):
        sides = [
            {side: metrics["per_class"][name][f"recall_{side}"] for side in ("low", "high")}
            for metrics in (plain, wide)
        ]
        found = [(predicted[i] == number)[targets[i] == number] for i in looks if (targets[i] == number).any()]
        check(*sides, [hit.mean() for hit in found])


@pytest.mark.parametrize(
    ("sizes", "worth_"), [([1] * 7, 7.0), ([4] * 5, 5.0), ([9], 1.0), ([30] + [1] * 10, 1600 / 910)]
)  # fmt: skip
def test_what_photographs_of_parts_are_worth(sizes: list[int], worth_: float) -> None:
    assert worth(np.repeat(np.arange(len(sizes)) * 3, sizes)) == pytest.approx(worth_)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 5))
def test_a_share_of_repeated_parts_has_the_interval_of_the_parts(hit: list[bool], times: int) -> None:
    found = share_of_images(np.repeat(hit, times), np.repeat(np.arange(len(hit)), times))
    exact = binomtest(sum(hit), len(hit)).proportion_ci(method="exact")
    assert (found.value, found.n) == (pytest.approx(np.mean(hit)), times * len(hit))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_a_share_of_nothing_is_undefined() -> None:
    none = share_of_images(np.zeros(0, bool), np.zeros(0, int))
    assert none.n == 0
    assert np.isnan([none.value, none.low, none.high]).all()


@pytest.mark.parametrize("rows", [1000, 200, 40])
def test_how_many_resamples_are_held_at_once_changes_no_digit(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, scores, groups = four_looks()
    _, usual = measured(targets, scores, groups)
    difference = paired.paired_difference(scores, scores**2, groups, targets)
    drawn = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=1000)[:, groups]
    assert np.array_equal(paired.draw_groups(groups, 1000, 0), drawn)
    assert difference.difference == percentile_estimate(
        difference.second - difference.first, 80, paired.stratum_means(drawn, scores**2 - scores, targets)
    )
    monkeypatch.setattr(paired, "ROWS", rows)
    assert measured(targets, scores, groups)[1] == usual
    assert paired.paired_difference(scores, scores**2, groups, targets) == difference


def test_many_images_take_little_memory_in_their_intervals() -> None:
    """1000 resamples of 5000 images were 40 MB, several times over."""
    rng = np.random.default_rng(0)
    targets, scores = np.arange(5000) % 2, rng.random(5000)
    groups = (np.arange(5000) // 2).tolist()
    found = classification_metrics(targets, np.stack([1 - scores, scores], axis=1), NAMES, ["x"] * 5000)
    tracemalloc.start()
    try:
        paired.group_estimate(scores, groups, targets)
        of_mean = tracemalloc.get_traced_memory()[1]
        widened_by_groups(
            found, targets, np.stack([1 - scores, scores], axis=1), (scores > 0.5) * 1, ["x"] * 5000, groups
        )
        of_groups = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    one = 8 * paired.ROWS * 5000
    assert of_mean < 5 * one  # all resamples at once were 5 of these before anything was made of them
    assert of_groups < 12 * one
