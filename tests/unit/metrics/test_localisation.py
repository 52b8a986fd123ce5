"""Metrics: exact answers on tiny cases, independent formulas and libraries on random ones."""

import json
import math
import time
import warnings

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binomtest
from sklearn import metrics as sk

from weakspot.errors import WeakspotError
from weakspot.metrics import (
    Estimate,
    as_good_or_not,
    best_iou,
    bootstrap,
    box_accuracy,
    box_iou,
    centre_box,
    classification_metrics,
    intervals,
    localisation_metrics,
    mask_boxes,
    max_box_accuracy,
    pixel_metrics,
    pointing_hit,
    proportion,
    random_box,
    size_class,
    whole_image_box,
)
from weakspot.metrics.aupro import aupro
from weakspot.metrics.classification import class_scores, macro_scores, ranker
from weakspot.metrics.intervals import percentile_estimate
from weakspot.metrics.localisation import _grid
from weakspot.types import GOOD

NAMES = ["good", "anomaly"]
NO_BOX = np.zeros((0, 4))


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # NumPy's 0/0
        warnings.simplefilter("error", UserWarning)  # scikit-learn's UndefinedMetricWarning
        yield


def is_undefined(estimate, n):
    return estimate["n"] == n and all(math.isnan(estimate[key]) for key in ("value", "low", "high"))


# ---------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),  # Clopper and Pearson's own table, 95 %
        (10, 10, 0.6915, 1.0),
        (5, 10, 0.1871, 0.8129),
        (81, 263, 0.2527, 0.3676),  # the example of Newcombe, Statistics in Medicine 17 (1998)
        (1, 1, 0.025, 1.0),
    ],
)
def test_proportion_known_intervals(k, n, low, high):
    estimate = proportion(k, n)
    assert (estimate.value, estimate.n) == (k / n, n)
    assert estimate.low == pytest.approx(low, abs=1e-4)
    assert estimate.high == pytest.approx(high, abs=1e-4)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=40, deadline=None)
def test_proportion_against_the_beta_formula(pair):
    k, n = pair
    estimate = proportion(k, n)
    assert estimate.low == pytest.approx(beta.ppf(0.025, k, n - k + 1) if k else 0.0, abs=1e-6)
    assert estimate.high == pytest.approx(beta.ppf(0.975, k + 1, n - k) if k < n else 1.0, abs=1e-6)


def test_proportion_of_nothing_and_of_nonsense():
    assert is_undefined(proportion(0, 0).as_dict(), 0)
    for k, n in [(3, 2), (-1, 2)]:
        with pytest.raises(ValueError, match="successes"):
            proportion(k, n)


def test_estimate_is_ready_for_json():
    estimate = proportion(np.int64(1), np.int64(2))
    assert list(estimate.as_dict()) == ["value", "n", "low", "high"]
    assert json.loads(json.dumps(estimate.as_dict())) == estimate.as_dict()


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval():
    values = np.random.default_rng(0).normal(3, 2, 400)
    estimate = bootstrap(np.mean, [values], n_resamples=4000)
    half = 1.96 * values.std() / 20
    assert estimate.value == values.mean()
    assert estimate.n == 400
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)


def test_bootstrap_draws_arrays_together():
    values = np.arange(20.0)
    estimate = bootstrap(lambda a, b: float(np.abs(2 * a - b).max()), [values, 2 * values], n_resamples=50)
    assert estimate == Estimate(0.0, 20, 0.0, 0.0)


def test_bootstrap_keeps_each_stratum_at_its_size():
    strata = np.array(["a"] * 3 + ["b"] * 17)
    assert bootstrap(lambda s: float((s == "a").sum()), [strata], 200, strata=strata) == Estimate(3.0, 20, 3.0, 3.0)
    free = bootstrap(lambda s: float((s == "a").sum()), [strata], 200)
    assert free.low < 3 < free.high


def test_bootstrap_repeats_with_its_seed():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(np.mean, [values], seed=1) == bootstrap(np.mean, [values], seed=1)
    assert bootstrap(np.mean, [values], seed=1) != bootstrap(np.mean, [values], seed=2)


def test_bootstrap_undefined_statistics():
    assert is_undefined(bootstrap(np.mean, [np.zeros(0)]).as_dict(), 0)
    assert is_undefined(bootstrap(lambda a: math.nan, [np.zeros(5)]).as_dict(), 5)
    sometimes = bootstrap(lambda a: 1.0 if 0 in a else math.nan, [np.arange(4)])
    assert sometimes == Estimate(1.0, 4, 1.0, 1.0)


def test_bootstrap_refuses_lengths_that_differ():
    for arrays, strata in [([np.zeros(3), np.zeros(4)], None), ([np.zeros(3)], np.zeros(4)), ([], None)]:
        with pytest.raises(ValueError, match="length"):
            bootstrap(np.mean, arrays, strata=strata)


def test_percentiles_of_what_is_defined():
    resamples = np.r_[np.arange(101.0), np.nan, np.inf]
    assert percentile_estimate(0.5, 3, resamples) == Estimate(0.5, 3, 2.5, 97.5)
    assert is_undefined(percentile_estimate(math.nan, 3, resamples).as_dict(), 3)
    nowhere = percentile_estimate(0.5, 3, np.array([math.nan]))
    assert (nowhere.value, nowhere.n, math.isnan(nowhere.low), math.isnan(nowhere.high)) == (0.5, 3, True, True)


@pytest.mark.parametrize(("chunk", "rows"), [(11, [2, 2, 1]), (8, [2, 2, 1]), (1, [1] * 5), (100, [5])])
def test_resamples_are_drawn_a_few_at_a_time(monkeypatch, chunk, rows):
    monkeypatch.setattr(intervals, "_CHUNK", chunk)
    draws = list(intervals.draw_indices(np.array([1, 0, 1, 1]), 5, 0))
    assert [len(some) for some in draws] == rows
    drawn = np.concatenate(draws)
    assert set(drawn[:, 0]) == {1}
    assert set(drawn[:, 1:].ravel()) == {0, 2, 3}


def test_bootstrap_s_own_seed_is_0():
    values = np.random.default_rng(1).normal(size=30)
    assert bootstrap(np.mean, [values]) == bootstrap(np.mean, [values], 1000, seed=0)


# ---------------------------------------------------------------- classification


def two_class(targets, scores, **options):
    """Classification metrics of a two-class problem from its not-Good probabilities."""
    targets, scores = np.asarray(targets, dtype=int), np.asarray(scores, dtype=float)
    defects = ["crack" if target else "good" for target in targets]
    return classification_metrics(targets, np.stack([1 - scores, scores], axis=1), NAMES, defects, **options)


def test_halcon_example():
    """68 of the 68 predicted apples are apples, of 92: precision 1.00, recall 0.74, F1 0.85."""
    targets = np.array([1] * 92 + [0] * 50)
    result = two_class(targets, [0.9] * 68 + [0.1] * 74)
    assert round(result["precision"]["value"], 2) == 1.00
    assert round(result["recall"]["value"], 2) == 0.74
    assert round(result["f1"]["value"], 2) == 0.85
    assert (result["precision"]["n"], result["recall"]["n"], result["f1"]["n"]) == (68, 92, 142)
    assert result["recall"] == proportion(68, 92).as_dict()
    assert result["precision"] == proportion(68, 68).as_dict()
    assert result["confusion_matrix"] == {"labels": NAMES, "counts": [[50, 0], [24, 68]]}
    assert result["accuracy"] == proportion(118, 142).as_dict()
    assert result["balanced_accuracy"]["value"] == pytest.approx((1 + 68 / 92) / 2)
    assert result["recall_per_defect"] == {"crack": proportion(68, 92).as_dict()}


def test_two_classes_by_hand():
    result = two_class([0, 0, 0, 1, 1], [0.1, 0.6, 0.2, 0.7, 0.4])
    assert result["confusion_matrix"]["counts"] == [[2, 1], [1, 1]]
    assert result["auroc"]["value"] == pytest.approx(5 / 6)  # of 6 pairs, only (0.4, 0.6) is the wrong way round
    assert result["average_precision"]["value"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    for name, share, n in (("good", 2 / 3, 3), ("anomaly", 1 / 2, 2)):
        exact = binomtest(round(share * n), n).proportion_ci(0.95, method="exact")
        expected = {
            "precision": share,
            "recall": share,
            "f1": share,
            "recall_low": exact.low,
            "recall_high": exact.high,
        }
        assert result["per_class"][name] == pytest.approx({**expected, "n": n})
    for name in ("precision", "recall", "f1"):
        assert result[name]["value"] == result["per_class"]["anomaly"][name]


def test_intervals_hold_their_values_and_are_not_empty():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 80)
    result = two_class(targets, np.clip(0.5 + 0.3 * (targets - 0.5) + rng.normal(0, 0.2, 80), 0, 1))
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "average_precision"):
        estimate = result[name]
        assert 0 <= estimate["low"] < estimate["value"] < estimate["high"] <= 1, name


def test_bootstrapped_intervals_agree_with_resampling_images_one_by_one():
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, 60)
    scores = np.round(np.clip(0.5 + 0.3 * (targets - 0.5) + rng.normal(0, 0.2, 60), 0, 1), 1)  # rounded: many ties
    scores[scores == 0.5] = 0.6
    result = two_class(targets, scores)
    slow = {
        "balanced_accuracy": lambda t, s: sk.balanced_accuracy_score(t, s > 0.5),
        "f1": lambda t, s: sk.f1_score(t, s > 0.5),
        "auroc": sk.roc_auc_score,
        "average_precision": sk.average_precision_score,
    }
    for name, statistic in slow.items():
        reference = bootstrap(statistic, [targets, scores], 250, seed=5, strata=targets)
        assert result[name]["value"] == pytest.approx(reference.value), name
        assert result[name]["low"] == pytest.approx(reference.low, abs=0.02), name
        assert result[name]["high"] == pytest.approx(reference.high, abs=0.02), name


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_ranking_of_many_resamples_equals_sklearn_with_weights(seed):
    rng = np.random.default_rng(seed)
    positive, scores = np.arange(25) % 3 == 0, rng.integers(0, 8, 25) / 7
    times = rng.integers(0, 4, (3, 25))
    times[:, :2] += 1  # both sides are drawn
    result = ranker(positive, scores)(times)
    for i, weights in enumerate(times):
        assert result["auroc"][i] == pytest.approx(sk.roc_auc_score(positive, scores, sample_weight=weights))
        expected = sk.average_precision_score(positive, scores, sample_weight=weights)
        assert result["average_precision"][i] == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_scores_of_many_confusion_matrices_equal_sklearn(seed):
    rng = np.random.default_rng(seed)
    targets, predicted = rng.integers(0, 3, 12), rng.integers(0, 4, 12)  # class 3 never occurs, but is predicted
    counts = sk.confusion_matrix(targets, predicted, labels=range(4))[None]
    occurring = np.unique(targets)
    per_class = sk.precision_recall_fscore_support(targets, predicted, labels=range(4), zero_division=0)
    macro = sk.precision_recall_fscore_support(targets, predicted, labels=occurring, average="macro", zero_division=0)
    for i, name in enumerate(["precision", "recall", "f1"]):
        np.testing.assert_allclose(class_scores(counts)[name][0], per_class[i], err_msg=name)
        assert macro_scores(counts)[name][0] == pytest.approx(macro[i]), name


def test_three_classes():
    targets, predicted = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([0, 0, 2, 1, 0, 2, 1, 2])
    probabilities = np.eye(3)[predicted] * 0.8 + 0.1 * (np.arange(3) != predicted[:, None])
    defects = ["good", "good", "good", "cut", "cut", "hole", "hole", "scratch"]
    result = classification_metrics(targets, probabilities, ["good", "cut", "hole"], defects)
    expected = sk.precision_recall_fscore_support(targets, predicted, average="macro")
    for i, name in enumerate(["precision", "recall", "f1"]):
        assert result[name]["value"] == pytest.approx(expected[i])
        assert result[name]["n"] == 8
        assert result[name]["low"] < expected[i] < result[name]["high"]
    assert result["balanced_accuracy"]["value"] == pytest.approx((2 / 3 + 1 / 2 + 2 / 3) / 3)
    assert result["auroc"]["value"] == pytest.approx(sk.roc_auc_score(targets > 0, 1 - probabilities[:, 0]))
    assert list(result["recall_per_defect"]) == ["cut", "hole", "scratch"]
    assert result["recall_per_defect"]["hole"]["value"] == 1.0, "called cut, which is not Good: found"
    assert result["recall_per_defect"]["cut"]["value"] == 0.5
    assert result["confusion_matrix"]["counts"] == [[2, 0, 1], [1, 1, 0], [0, 1, 2]]
    assert [row["n"] for row in result["per_class"].values()] == [3, 2, 3]


def test_a_perfect_balanced_accuracy_is_as_sure_as_its_recalls():
    targets = np.array([0] * 24 + [1] * 16)
    probabilities = np.stack([1.0 - targets, targets], axis=1).astype(float)
    found = classification_metrics(targets, probabilities, ["good", "bad"], ["x"] * 40)["balanced_accuracy"]
    exact = [binomtest(n, n).proportion_ci(0.95, method="exact").low for n in (24, 16)]
    assert (found["value"], found["high"]) == (1.0, 1.0)
    assert found["low"] == pytest.approx(np.mean(exact))


def test_a_perfect_balanced_accuracy_over_many_classes_leaves_out_those_without_images():
    targets = np.array([0] * 24 + [2] * 16)
    found = classification_metrics(targets, np.eye(4)[targets], ["good", "a", "b", "c"], ["x"] * 40)[
        "balanced_accuracy"
    ]
    assert (found["value"], found["n"], found["high"]) == (1.0, 40, 1.0)
    assert found["low"] == pytest.approx((proportion(24, 24).low + proportion(16, 16).low) / 2)
    wrong = classification_metrics(targets, np.eye(4)[2 - targets], ["good", "a", "b", "c"], ["x"] * 40)
    assert (wrong["balanced_accuracy"]["value"], wrong["balanced_accuracy"]["low"]) == (0.0, 0.0)
    assert wrong["balanced_accuracy"]["high"] == pytest.approx((proportion(0, 24).high + proportion(0, 16).high) / 2)


def test_the_same_images_have_the_same_intervals():
    rng = np.random.default_rng(4)
    targets, scores = rng.integers(0, 2, 30), rng.random(30)
    assert two_class(targets, scores) == two_class(targets, scores)


def test_class_without_images_is_left_out_of_means_over_many():
    probabilities = np.eye(3)[[0, 0, 1, 2]]
    result = classification_metrics(
        np.array([0, 0, 1, 1]), probabilities, ["good", "cut", "hole"], ["good", "good", "cut", "cut"]
    )
    assert result["balanced_accuracy"]["value"] == 0.75
    assert result["precision"]["value"] == 1.0
    assert result["per_class"]["hole"] == pytest.approx(
        {"precision": 0.0, **dict.fromkeys(("recall", "recall_low", "recall_high", "f1"), math.nan), "n": 0},
        nan_ok=True,
    )


@pytest.mark.parametrize("k", [2, 3, 5, 7])
def test_top_k_error_and_classes_one_by_one_are_scikit_learn_s(k: int):
    rng = np.random.default_rng(k)
    probabilities, targets = rng.dirichlet(np.ones(k), 60), rng.integers(0, k, 60)
    names = [GOOD, *(f"type {i}" for i in range(1, k))]
    result = classification_metrics(targets, probabilities, names, [names[t] for t in targets])
    assert list(result["top_k_error"]) == [str(guesses) for guesses in (1, 2, 5) if guesses < k]
    for guesses, found in result["top_k_error"].items():
        scores = probabilities if k > 2 else probabilities[:, 1]
        right = sk.top_k_accuracy_score(targets, scores, k=int(guesses), labels=range(k), normalize=False)
        assert found == proportion(60 - right, 60).as_dict()
    assert result["top_k_error"]["1"]["value"] == pytest.approx(1 - result["accuracy"]["value"])
    said = probabilities.argmax(axis=1)
    expected = sk.classification_report(targets, said, target_names=names, output_dict=True, zero_division=np.nan)
    for name in names:
        row = result["per_class"][name]
        found_row = [row["precision"], row["recall"], row["f1"], row["n"]]
        report = [expected[name][key] for key in ("precision", "recall", "f1-score", "support")]
        assert found_row == pytest.approx(report, nan_ok=True)
    matrix = result["confusion_matrix"]
    assert (matrix["labels"], matrix["counts"]) == (names, sk.confusion_matrix(targets, said).tolist())


def test_of_equally_probable_classes_the_first_is_guessed_first():
    result = classification_metrics(np.array([0, 1, 2]), np.full((3, 3), 1 / 3), ["good", "a", "b"], ["good", "a", "b"])
    assert [result["top_k_error"][k]["value"] for k in ("1", "2")] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    empty = classification_metrics(np.zeros(0, int), np.zeros((0, 3)), ["good", "a", "b"], [])
    assert is_undefined(empty["top_k_error"]["2"], 0)


def test_good_or_not_takes_all_types_for_one():
    targets, said = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 2, 0])  # not what is most probable
    probabilities = np.array([[0.6, 0.1, 0.3], [0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
    defects = ["good", "good", "a", "b", "b"]
    true, shares, decided = as_good_or_not(targets, probabilities, said)
    result = classification_metrics(true, shares, NAMES, defects, predicted=decided)
    two = np.array([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])
    assert result == classification_metrics(
        np.array([0, 0, 1, 1, 1]), two, NAMES, defects, predicted=np.array([0, 1, 1, 1, 0])
    )
    assert result["balanced_accuracy"]["value"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result["top_k_error"]["1"]["value"] == 0


def test_predicted_may_come_from_a_threshold():
    plain = two_class([0, 1, 1], [0.1, 0.4, 0.9])
    moved = two_class([0, 1, 1], [0.1, 0.4, 0.9], predicted=np.array([0, 1, 1]))
    assert (plain["recall"]["value"], moved["recall"]["value"]) == (0.5, 1.0)
    assert plain["auroc"] == moved["auroc"]


def test_no_defect_image():
    result = two_class([0, 0, 0], [0.1, 0.9, 0.2])
    assert result["accuracy"] == proportion(2, 3).as_dict()
    assert result["precision"] == proportion(0, 1).as_dict()
    assert is_undefined(result["recall"], 0)
    for name in ("balanced_accuracy", "f1", "auroc", "average_precision"):
        assert is_undefined(result[name], 3), name
    assert result["recall_per_defect"] == {}


def test_no_good_image():
    result = two_class([1, 1, 1], [0.1, 0.9, 0.8])
    assert result["recall"] == proportion(2, 3).as_dict()
    assert result["f1"]["value"] == pytest.approx(0.8)
    for name in ("balanced_accuracy", "auroc", "average_precision"):
        assert is_undefined(result[name], 3), name


def test_nothing_called_defect():
    result = two_class([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4])
    assert is_undefined(result["precision"], 0)
    assert (result["recall"]["value"], result["f1"]["value"], result["auroc"]["value"]) == (0.0, 0.0, 1.0)
    assert math.isnan(result["per_class"]["anomaly"]["precision"])


def test_no_image_at_all():
    result = classification_metrics(np.zeros(0, int), np.zeros((0, 2)), NAMES, [])
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc", "average_precision"):
        assert is_undefined(result[name], 0), name
    assert result["confusion_matrix"]["counts"] == [[0, 0], [0, 0]]
    nothing = dict.fromkeys(("precision", "recall", "recall_low", "recall_high", "f1"), math.nan) | {"n": 0}
    assert str(result["per_class"]) == str({"good": nothing, "anomaly": nothing})
    assert str(classification_metrics(np.zeros(0, int), np.zeros(0), NAMES, [])) == str(result)
    json.dumps(result)


def test_one_image_of_each_class():
    result = two_class([0, 1], [0.2, 0.7])
    assert result["auroc"] == {"value": 1.0, "n": 2, "low": 1.0, "high": 1.0}
    assert result["accuracy"]["low"] < 0.2, "two images prove little"


def test_images_in_another_order_give_the_same_values():
    rng = np.random.default_rng(3)
    targets, scores = rng.integers(0, 2, 50), rng.random(50)
    order = rng.permutation(50)
    first, second = two_class(targets, scores), two_class(targets[order], scores[order])
    for name in ("balanced_accuracy", "f1", "auroc", "average_precision"):
        assert first[name]["value"] == pytest.approx(second[name]["value"]), name
    assert first["confusion_matrix"] == second["confusion_matrix"]


def test_classification_output_is_ready_for_json():
    result = two_class(np.array([0, 1, 1]), np.array([0.25, 0.5, 1.0]))
    assert json.loads(json.dumps(result)) == result


def test_classification_refuses_input_that_does_not_fit():
    good = {"targets": np.array([0, 1]), "probabilities": np.eye(2), "class_names": NAMES, "defects": ["good", "cut"]}
    for change in [
        {"targets": np.array([0, 2])},
        {"targets": np.array([0.5, 1.0])},
        {"targets": np.array([0, 1, 1])},
        {"probabilities": np.array([[np.nan, 1], [1, 0]])},
        {"probabilities": np.array([[3.0, -2.0], [1, 0]])},
        {"probabilities": np.array([[1.1, 0.0], [1, 0]])},
        {"probabilities": np.array([[1.0, -0.1], [1, 0]])},
        {"probabilities": np.eye(2)[:, :1]},
        {"defects": ["good"]},
        {"class_names": ["good"]},
        {"class_names": ["good", "good"]},
        {"predicted": np.array([0, -1])},
        {"predicted": np.array([0])},
    ]:
        with pytest.raises(ValueError, match=r"classes|class names|targets|probabilities"):
            classification_metrics(**{**good, **change})


def test_five_thousand_images_take_less_than_three_seconds():
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(0, 2, 5000), rng.random(5000)
    start = time.perf_counter()
    result = two_class(targets, scores)
    assert time.perf_counter() - start < 3
    assert result["auroc"]["low"] < 0.5 < result["auroc"]["high"]


# ---------------------------------------------------------------- IoU

coordinates = st.integers(-1000, 1000)
sides = st.integers(1, 500)
int_boxes = st.builds(lambda x, y, w, h: [x, y, x + w, y + h], coordinates, coordinates, sides, sides)
box_lists = st.lists(int_boxes, min_size=1, max_size=5).map(np.array)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 4, 2], [0, 0, 4, 2], 1.0),
        ([0, 0, 4, 2], [2, 0, 6, 2], 4 / 12),
        ([0, 0, 4, 2], [4, 0, 8, 2], 0.0),  # half-open: neighbours share nothing
        ([0, 0, 4, 2], [10, 10, 11, 11], 0.0),
        ([0, 0, 10, 10], [3, 4, 4, 5], 0.01),
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),  # a pixel
        ([0, 0, 10, 2], [0, 0, 2, 10], 4 / 36),  # swapping height and width would make these equal
    ],
)
def test_iou_by_hand(a, b, expected):
    assert box_iou(np.array([a]), np.array([b])) == pytest.approx(expected)


@given(box_lists, box_lists)
@settings(deadline=None)
def test_iou_equals_torchvision(a, b):
    expected = torchvision.ops.box_iou(torch.from_numpy(a).double(), torch.from_numpy(b).double())
    np.testing.assert_allclose(box_iou(a, b), expected.numpy(), rtol=1e-12)


@given(box_lists, box_lists, coordinates, coordinates)
@settings(deadline=None)
def test_iou_properties(a, b, dx, dy):
    overlap = box_iou(a, b)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_array_equal(overlap, box_iou(b, a).T)
    shift = np.array([dx, dy, dx, dy])
    np.testing.assert_array_equal(overlap, box_iou(a + shift, b + shift))
    np.testing.assert_array_equal(overlap == 1, (a[:, None] == b[None]).all(axis=-1))
    np.testing.assert_array_equal(np.diag(box_iou(a, a)), 1)


def test_iou_of_no_boxes():
    assert box_iou(NO_BOX, np.array([[0, 0, 1, 1]])).shape == (0, 1)
    assert box_iou(np.array([[0, 0, 1, 1]]), NO_BOX).shape == (1, 0)
    assert box_iou(np.array([]), np.array([])).shape == (0, 0)


@pytest.mark.parametrize("bad", [[[0, 0, 0, 1]], [[3, 0, 1, 1]], [[0, 0, 1]], [[0, 0, np.nan, 1]], [0, 0, 1, 1]])
def test_iou_refuses_what_is_no_box(bad):
    with pytest.raises(ValueError, match="boxes must be"):
        box_iou(np.array(bad, dtype=float), np.array([[0, 0, 1, 1]]))


def test_best_iou():
    truth = np.array([[0, 0, 4, 2], [10, 10, 14, 12]])
    assert best_iou(np.array([[50, 50, 60, 60], [10, 10, 14, 11]]), truth) == 0.5
    assert best_iou(truth[::-1], truth) == 1.0
    assert best_iou(NO_BOX, truth) == 0.0
    assert math.isnan(best_iou(truth, NO_BOX))
    assert math.isnan(best_iou(NO_BOX, NO_BOX))


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("row", [0, 2, 4])
@pytest.mark.parametrize("column", [0, 3, 6])
def test_mask_of_one_pixel_is_a_box_of_area_one(row, column):
    mask = np.zeros((5, 7), dtype=bool)
    mask[row, column] = True
    np.testing.assert_array_equal(mask_boxes(mask), [[column, row, column + 1, row + 1]])


def test_mask_boxes_one_per_component_touching_corners_joined():
    mask = np.array(
        [
            [1, 0, 0, 0, 0, 1],
            [0, 1, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 1, 1, 1, 0],
        ],
        dtype=bool,
    )
    expected = [[0, 0, 2, 2], [5, 0, 6, 2], [2, 3, 5, 4]]
    np.testing.assert_array_equal(mask_boxes(mask), expected)
    np.testing.assert_array_equal(mask_boxes(mask.astype(np.uint8) * 255), expected)
    np.testing.assert_array_equal(mask_boxes(np.asfortranarray(mask)), expected)


def test_mask_boxes_of_empty_full_and_smallest_masks():
    assert mask_boxes(np.zeros((3, 5), dtype=bool)).shape == (0, 4)
    np.testing.assert_array_equal(mask_boxes(np.ones((3, 5), dtype=bool)), [[0, 0, 5, 3]])
    np.testing.assert_array_equal(mask_boxes(np.ones((1, 1), dtype=bool)), [[0, 0, 1, 1]])
    for bad in (np.ones((3, 5, 1), dtype=bool), np.ones((0, 5), dtype=bool)):
        with pytest.raises(ValueError, match="mask"):
            mask_boxes(bad)


# ---------------------------------------------------------------- box accuracy


def test_box_accuracy_by_hand_levels_are_inclusive():
    result = box_accuracy(np.array([0.0, 0.3, 0.5, 0.7, 1.0]))
    assert result["n"] == 5
    assert result["box_accuracy_30"] == proportion(4, 5).as_dict()
    assert result["box_accuracy_50"] == proportion(3, 5).as_dict()
    assert result["box_accuracy_70"] == proportion(2, 5).as_dict()
    assert result["v2"]["value"] == pytest.approx(0.6)
    assert result["v2"]["low"] < 0.6 < result["v2"]["high"]
    assert result["mean_iou"]["value"] == pytest.approx(0.5)
    assert json.loads(json.dumps(result)) == result


def test_box_accuracy_meets_a_level_reached_exactly():
    tenths = best_iou(np.array([[0, 0, 3, 1]]), np.array([[0, 0, 10, 1]]))
    assert box_accuracy(np.array([tenths]))["box_accuracy_30"]["value"] == 1.0


def test_box_accuracy_of_no_image():
    result = box_accuracy(np.zeros(0))
    assert result.pop("n") == 0
    assert len(result) == 5
    assert all(is_undefined(estimate, 0) for estimate in result.values())


@pytest.mark.parametrize("bad", [[0.5, np.nan], [1.5], [-0.1], [[0.5]]])
def test_box_accuracy_refuses_nan_and_nonsense(bad):
    with pytest.raises(ValueError, match="IoUs"):
        box_accuracy(np.array(bad))


def test_max_box_accuracy_by_hand():
    ious = np.array(
        [
            [0.4, 0.4, 0.4, 0.4],  # at 0.2: all reach 0.3, none 0.5
            [0.6, 0.6, 0.6, 0.0],  # at 0.5: three reach 0.3 and 0.5, none 0.7
            [0.9, 0.9, 0.0, 0.0],  # at 0.8: two reach everything
        ]
    )
    result = max_box_accuracy(ious, np.array([0.2, 0.5, 0.8]))
    assert all("oracle" in key for key in result)
    assert result == pytest.approx(
        {
            "oracle_n": 4,
            "oracle_box_accuracy_30": 1.0,
            "oracle_box_accuracy_50": 0.75,
            "oracle_box_accuracy_70": 0.5,
            "oracle_threshold_30": 0.2,
            "oracle_threshold_50": 0.5,
            "oracle_threshold_70": 0.8,
            "oracle_v2": 0.75,
            "oracle_single_v2": 0.5,
            "oracle_single_threshold": 0.5,  # 0.5 and 0.8 both reach 0.5: the first
        }
    )
    assert json.loads(json.dumps(result)) == result


def test_max_box_accuracy_levels_are_inclusive():
    result = max_box_accuracy(np.array([[0.3, 0.5, 0.7]]), np.array([1]))
    found = [result[f"oracle_box_accuracy_{level}"] for level in (30, 50, 70)]
    assert found == pytest.approx([1.0, 2 / 3, 1 / 3])


def test_boxes_of_a_row_go_from_left_to_right():
    mask = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 0, 1, 0, 0], [0, 0, 1, 0, 0]], dtype=bool)
    mask[1, 2] = False
    row = np.array([[0, 0, 0, 1, 0], [0, 1, 0, 1, 0]], dtype=bool)
    row[0, 1] = True
    np.testing.assert_array_equal(mask_boxes(row)[:, 0], [1, 3])
    np.testing.assert_array_equal(mask_boxes(mask)[:, 1], [0, 1, 2])


def test_max_box_accuracy_is_never_below_any_single_threshold():
    ious = np.random.default_rng(0).random((9, 30))
    result = max_box_accuracy(ious, np.linspace(0.1, 0.9, 9))
    singles = [box_accuracy(row)["v2"]["value"] for row in ious]
    assert result["oracle_single_v2"] == pytest.approx(max(singles))
    assert result["oracle_single_threshold"] == pytest.approx(0.1 * (1 + int(np.argmax(singles))))
    assert result["oracle_v2"] >= result["oracle_single_v2"]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_max_box_accuracy_of_nothing(shape):
    result = max_box_accuracy(np.zeros(shape), np.zeros(shape[0]))
    assert result.pop("oracle_n") == shape[1]
    assert len(result) == 9
    assert all(math.isnan(value) for value in result.values())


def test_max_box_accuracy_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="thresholds"):
        max_box_accuracy(np.zeros((3, 4)), np.zeros(4))


def test_localisation_metrics_by_hand():
    truth = [np.array([[0, 0, 10, 4]]), np.array([[0, 0, 10, 4], [20, 20, 30, 24]]), np.array([[5, 5, 6, 6]]), NO_BOX]
    predicted = [
        np.array([[0, 0, 10, 4], [50, 50, 60, 60]]),  # IoU 1
        np.array([[20, 20, 26, 24]]),  # the second component, IoU 0.6
        NO_BOX,  # found nothing: 0
        np.array([[0, 0, 5, 5]]),  # a defect whose mask is missing
    ]
    result = localisation_metrics(
        [*predicted, NO_BOX, NO_BOX],
        [*truth, NO_BOX, NO_BOX],
        ["hole", "cut", "cut", "scratch", "good", "good"],
        ["small", "large", "medium", "small", "small", "small"],
    )
    assert result["n"] == 3
    assert result["n_without_truth"] == 1
    assert result["mean_boxes"] == 1.0
    assert result["box_accuracy_30"] == proportion(2, 3).as_dict()
    assert result["box_accuracy_50"] == proportion(2, 3).as_dict()
    assert result["box_accuracy_70"] == proportion(1, 3).as_dict()
    assert result["mean_iou"]["value"] == pytest.approx(1.6 / 3)
    assert list(result["per_defect"]) == ["cut", "hole", "scratch"]
    assert result["per_defect"]["cut"] == box_accuracy(np.array([0.6, 0.0]))
    assert result["per_defect"]["hole"]["mean_iou"]["value"] == 1.0
    assert result["per_defect"]["scratch"]["n"] == 0
    assert is_undefined(result["per_defect"]["scratch"]["v2"], 0)
    assert result["per_size"] == {
        "small": box_accuracy(np.array([1.0])),
        "medium": box_accuracy(np.array([0.0])),
        "large": box_accuracy(np.array([0.6])),
    }
    assert list(result["per_size"]) == ["small", "medium", "large"]


def test_scores_of_single_images_and_of_a_class_alone():
    counts = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]], [[1, 0], [0, 0]]])  # rows true, columns predicted
    assert class_scores(counts)["recall"].tolist() == [[1, 1], [0, 1], [1, 0]]
    assert class_scores(counts)["precision"].tolist() == [[1, 1], [0, 0.5], [1, 0]]
    assert class_scores(counts)["f1"] == pytest.approx(np.array([[1, 1], [0, 2 / 3], [1, 0]]))
    assert macro_scores(counts)["recall"].tolist() == [1, 0.5, 1]  # over the classes that occur


def test_a_class_that_nobody_saw_or_named_keeps_its_place():
    targets, probabilities = np.array([0, 2, 2]), np.array([[0.9, 0, 0.1], [0.2, 0, 0.8], [0.7, 0, 0.3]])
    result = classification_metrics(targets, probabilities, ["good", "cut", "hole"], ["good", "hole", "hole"])
    assert result["confusion_matrix"]["counts"] == [[1, 0, 0], [0, 0, 0], [1, 0, 1]]


def test_boxes_of_a_mask_come_from_top_to_bottom_then_left_to_right():
    mask = np.zeros((3, 7), bool)
    mask[0, 3] = mask[:3, 5] = mask[2, :6] = True  # the second region starts further right and reaches further left
    assert mask_boxes(mask).tolist() == [[0, 0, 6, 3], [3, 0, 4, 1]]


def test_the_first_three_boxes_count_and_no_more():
    truth, wrong = np.array([[0, 0, 10, 4]]), np.array([[50, 50, 60, 60]])
    for place, found in ((2, 1.0), (3, 0.0)):
        boxes = np.concatenate([*[wrong] * place, truth])
        assert localisation_metrics([boxes], [truth], ["cut"], ["small"])["v2"]["value"] == found


def test_size_classes_have_their_lower_limit():
    assert [size_class(share) for share in (0.0049, 0.005, 0.0499, 0.05, 1.0)] == [
        "small", "medium", "medium", "large", "large",
    ]  # fmt: skip


def test_a_random_box_lies_in_the_image_and_repeats():
    for size in ((1, 1), (40, 1000)):
        first, again = (random_box(size, np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(first, again)
        assert (first[0, :2] >= 0).all()
        assert first[0, 2] <= size[1]
        assert first[0, 3] <= size[0]


def test_a_random_box_always_has_an_area():
    class Same:
        def uniform(self, low, high, n):
            assert low == 0
            return np.full(n, high / 2)

    assert random_box((10, 30), Same()).tolist() == [[15.0, 5.0, 15.0 + 1e-6, 5.0 + 1e-6]]


def test_localisation_metrics_of_no_image_and_of_unequal_lists():
    result = localisation_metrics([], [], [], [])
    assert (result["n"], result["n_without_truth"], result["per_defect"]) == (0, 0, {})
    assert math.isnan(result["mean_boxes"])
    with pytest.raises(ValueError, match="lengths"):
        localisation_metrics([NO_BOX], [NO_BOX, NO_BOX], ["cut"], ["small"])


def test_a_single_pixel_of_truth_counts_at_full_resolution():
    mask = np.zeros((2000, 3000), dtype=bool)
    mask[1999, 1] = True
    result = localisation_metrics([np.array([[1, 1999, 2, 2000]])], [mask_boxes(mask)], ["dot"], ["small"])
    assert result["box_accuracy_70"]["value"] == 1.0


# ---------------------------------------------------------------- pointing game


@pytest.mark.parametrize(
    ("cell", "pixel"),
    [((0, 0), (1, 1)), ((0, 4), (1, 9)), ((3, 0), (10, 1)), ((3, 4), (10, 9)), ((2, 1), (7, 3))],
)
def test_pointing_hits_the_pixel_under_the_centre_of_the_cell(cell, pixel):
    evidence = np.zeros((4, 5), np.float32)  # cells 3 high and 2 wide; the centre of the first is (1.5, 1.0)
    evidence[cell] = 3
    mask = np.zeros((12, 10), dtype=bool)
    mask[pixel] = True
    assert pointing_hit(evidence, mask) is True
    assert pointing_hit(evidence, ~mask) is False


def test_pointing_with_a_flat_map_or_an_empty_mask_misses():
    assert pointing_hit(np.full((4, 5), 2.0, np.float32), np.ones((12, 10), dtype=bool)) is False
    assert pointing_hit(np.eye(4, 5, dtype=np.float32), np.zeros((12, 10), dtype=bool)) is False


def test_pointing_refuses_nan():
    line = "the evidence holds NaN or infinity, so it cannot be measured; check weights and training"
    with pytest.raises(WeakspotError, match=f"^{line}$"):
        pointing_hit(np.array([[0.0, np.nan]]), np.ones((2, 2), dtype=bool))


@pytest.mark.parametrize("shape", [(2, 2, 1), (4,), (0, 3)])
def test_pointing_refuses_what_is_no_map_or_no_mask(shape):
    with pytest.raises(ValueError, match=r"^evidence must have shape \(height, width\) and not be empty"):
        pointing_hit(np.ones(shape), np.ones((2, 2), dtype=bool))
    with pytest.raises(ValueError, match=r"^a mask must have shape \(height, width\) and not be empty"):
        pointing_hit(np.eye(2), np.ones(shape, dtype=bool))
    assert pointing_hit(np.ones((1, 1)), np.ones((2, 2), dtype=bool)) is False


def test_pointing_into_an_image_smaller_than_the_map():
    evidence = np.zeros((14, 9), np.float32)
    evidence[13, 0] = 1
    assert pointing_hit(evidence, np.array([[0, 0], [0, 0], [1, 0]], dtype=bool)) is True


# ---------------------------------------------------------------- pixels


def test_pixel_metrics_equal_sklearn_at_equal_resolution():
    rng = np.random.default_rng(0)
    pairs = [
        (np.round(rng.normal(size=shape), 1).astype(np.float32), rng.random(shape) < share)
        for shape, share in [((20, 30), 0.2), ((11, 7), 0.5), ((13, 40), 0.0)]
    ]
    result = pixel_metrics(iter(pairs))
    scores = np.concatenate([evidence.ravel() for evidence, _ in pairs])
    truth = np.concatenate([mask.ravel() for _, mask in pairs])
    assert result["pixel_auroc"] == pytest.approx(sk.roc_auc_score(truth, scores))
    assert result["pixel_average_precision"] == pytest.approx(sk.average_precision_score(truth, scores))
    assert (result["n"], result["n_defect_images"]) == (3, 2)
    assert result["aupro"] == aupro(*zip(*pairs, strict=True))
    assert set(result) == {"pixel_auroc", "pixel_average_precision", "aupro", "n", "n_defect_images"}
    assert json.loads(json.dumps(result)) == result


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1000, 3000), (20, 60)),
        ((3000, 1000), (60, 20)),
        ((1, 3000), (1, 60)),
        ((3000, 1), (60, 1)),
        ((40, 60), (40, 60)),
    ],
)
def test_the_grid_is_no_longer_than_allowed_and_never_empty(shape, expected):
    assert _grid(shape, 60) == expected


def test_the_grid_has_512_pixels_if_not_told_otherwise():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((3, 1030)).astype(np.float32), rng.random((3, 1030)) < 0.1)]
    assert pixel_metrics(pairs) == pixel_metrics(pairs, longest_side=512) != pixel_metrics(pairs, longest_side=513)


def test_pixel_metrics_pool_over_images_so_that_levels_count():
    ramp = np.array([[0.0, 1.0]], np.float32)
    own = [(ramp, np.array([[False, True]])), (ramp + 5, np.array([[False, True]]))]
    assert pixel_metrics(own[:1])["pixel_auroc"] == 1.0
    assert pixel_metrics(own)["pixel_auroc"] == 0.75, "a quiet defect lies below the loud background"


def test_pixel_metrics_resize_evidence_to_the_mask():
    mask = np.zeros((8, 12), dtype=bool)
    mask[:, 6:] = True
    assert pixel_metrics([(np.array([[0.0, 1.0]], np.float32), mask)])["pixel_auroc"] > 0.95
    assert pixel_metrics([(np.array([[1.0, 0.0]], np.float32), mask)])["pixel_auroc"] < 0.05
    assert pixel_metrics([(np.array([[0.0], [1.0]], np.float32), mask)])["pixel_auroc"] == pytest.approx(0.5)


def test_pixel_metrics_grid_is_limited_and_keeps_the_place():
    mask = np.zeros((1000, 3000), dtype=bool)
    mask[:500, :1500] = True
    evidence = np.kron([[1.0, 0.0], [0.0, 0.0]], np.ones((50, 150))).astype(np.float32)
    assert pixel_metrics([(evidence, mask)], longest_side=60)["pixel_auroc"] == pytest.approx(1.0)
    lost = np.zeros((1000, 3000), dtype=bool)
    lost[0, 0] = True
    result = pixel_metrics([(evidence, lost)], longest_side=60)
    assert result["n_defect_images"] == 0
    assert math.isnan(result["pixel_auroc"])


@pytest.mark.parametrize("value", [False, True])
def test_pixel_metrics_of_one_kind_of_pixels_are_undefined(value):
    result = pixel_metrics([(np.eye(2, 3, dtype=np.float32), np.full((4, 6), value))])
    assert all(math.isnan(result[key]) for key in ("pixel_auroc", "pixel_average_precision", "aupro"))


def test_pixel_metrics_of_no_image_and_of_nan():
    result = pixel_metrics([])
    assert result["n"] == 0
    assert math.isnan(result["pixel_auroc"])
    with pytest.raises(WeakspotError, match="NaN"):
        pixel_metrics([(np.array([[np.nan]]), np.ones((1, 1), dtype=bool))])


def test_pixel_metrics_of_a_flat_map_are_chance():
    result = pixel_metrics([(np.full((3, 5), 0.1, np.float32), np.eye(30, 50, dtype=bool))])
    assert result["pixel_auroc"] == pytest.approx(0.5, abs=0.05)


# ---------------------------------------------------------------- baselines


def test_baseline_boxes():
    np.testing.assert_array_equal(whole_image_box((6, 10)), [[0, 0, 10, 6]])
    np.testing.assert_array_equal(centre_box((6, 10)), [[2.5, 1.5, 7.5, 4.5]])
    assert best_iou(centre_box((5000, 10000)), whole_image_box((5000, 10000))) == 0.25
    assert best_iou(centre_box((1, 1), 0.2), whole_image_box((1, 1))) == pytest.approx(0.04)
    for fraction in (0.0, 1.2, float("nan")):
        with pytest.raises(ValueError, match="fraction"):
            centre_box((6, 10), fraction)
