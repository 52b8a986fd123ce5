"""Classification: by hand, and against scikit-learn."""

import json
import math
import time

import numpy as np
import pytest
from helpers.estimates import is_undefined
from helpers.results import classification_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from weakspot.metrics import as_good_or_not, bootstrap, proportion
from weakspot.metrics.classification import class_scores, macro_scores, ranker
from weakspot.types import GOOD

pytestmark = pytest.mark.usefixtures("warnings_are_errors")

NAMES = ["good", "anomaly"]


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
    predicted = probabilities.argmax(axis=1)
    expected = sk.classification_report(targets, predicted, target_names=names, output_dict=True, zero_division=np.nan)
    for name in names:
        row = result["per_class"][name]
        found_row = [row["precision"], row["recall"], row["f1"], row["n"]]
        report = [expected[name][key] for key in ("precision", "recall", "f1-score", "support")]
        assert found_row == pytest.approx(report, nan_ok=True)
    matrix = result["confusion_matrix"]
    assert (matrix["labels"], matrix["counts"]) == (names, sk.confusion_matrix(targets, predicted).tolist())


def test_of_equally_probable_classes_the_first_is_guessed_first():
    result = classification_metrics(np.array([0, 1, 2]), np.full((3, 3), 1 / 3), ["good", "a", "b"], ["good", "a", "b"])
    assert [result["top_k_error"][k]["value"] for k in ("1", "2")] == [pytest.approx(2 / 3), pytest.approx(1 / 3)]
    empty = classification_metrics(np.zeros(0, int), np.zeros((0, 3)), ["good", "a", "b"], [])
    assert is_undefined(empty["top_k_error"]["2"], 0)


def test_good_or_not_takes_all_types_for_one():
    targets, predicted = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 2, 2, 0])  # not what is most probable
    probabilities = np.array([[0.6, 0.1, 0.3], [0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.4, 0.3, 0.3], [0.3, 0.3, 0.4]])
    defects = ["good", "good", "a", "b", "b"]
    true, shares, decided = as_good_or_not(targets, probabilities, predicted)
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
    assert result["auroc"] == {"value": 1.0, "n": 2, "low": pytest.approx(0.0125**2), "high": 1.0}
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
    start = time.process_time()  # not the clock on the wall, as other tests run at the same time
    result = two_class(targets, scores)
    assert time.process_time() - start < 3
    assert result["auroc"]["low"] < 0.5 < result["auroc"]["high"]
