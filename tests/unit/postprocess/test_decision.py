"""Probabilities that mean something, decisions by cost or recall, and what to look at."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, logit
from scipy.stats import binom, binomtest, norm
from sklearn.linear_model import LogisticRegression

from weakspot.config.rules import DecisionCosts as DecisionCosts
from weakspot.errors import WeakspotError
from weakspot.postprocess.decision import (
    Decision,
    Validation,
    fit_decision,
    fit_scaling,
    recall_threshold,
)


def two_classes(margin: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros_like(margin), margin], axis=1)


def held_out(margin: np.ndarray, targets: list[int], groups: list[int] | None = None) -> Validation:
    return Validation(
        two_classes(margin), np.array(targets), np.array(range(len(targets)) if groups is None else groups)
    )


# --- temperature and bias -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "shift"), [(0.3, 0.0), (1.0, 1.5), (4.0, -2.0)])
def test_the_scale_and_shift_that_spoilt_logits_are_found(factor: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2.5, 4000)
    targets = (rng.random(4000) < expit(honest)).astype(int)
    temperature, bias = fit_scaling(two_classes((honest - shift) * factor), targets)
    assert temperature == pytest.approx(factor, rel=0.1)
    assert bias == pytest.approx(shift, abs=0.15)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_two_classes_are_scaled_as_platt_does_with_a_prior_on_the_bias(seed: int) -> None:
    """Against scikit-learn's logistic regression on smoothed targets: each image twice, weighted as Good and as not."""
    rng = np.random.default_rng(seed)
    targets = np.repeat([0, 1], 20)
    margin = rng.normal(2 * targets - 3, 1)
    sure = np.where(targets == 1, 21 / 22, 1 / 22)
    # C=1 is a normal prior of deviation 1 on both weights; that of the column made large is next to none.
    columns = np.stack([1e4 * margin, np.ones(40)], axis=1)
    reference = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000, solver="newton-cholesky")
    reference.fit(np.r_[columns, columns], np.repeat([1, 0], 40), np.r_[sure, 1 - sure])
    slope, intercept = reference.coef_[0] * [1e4, 1]
    temperature, bias = fit_scaling(two_classes(margin), targets)
    assert (1 / temperature, bias) == pytest.approx((slope, intercept), abs=2e-3)


@pytest.mark.parametrize(("good", "defect"), [(60, 10), (100, 5), (14, 10), (10, 60)])
def test_few_images_do_not_move_the_cut_of_a_balanced_network_at_will(good: int, defect: int) -> None:
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], [good, defect])
    rates = []
    for _ in range(60):
        margin = rng.normal(4 * targets - 2, 2)
        decision = fit_decision(held_out(margin, targets.tolist()), DecisionCosts()).decision
        cut = decision.temperature * (logit(decision.threshold) - decision.bias)
        rates.append([norm.sf(cut, -2, 2), norm.cdf(cut, 2, 2)])  # false alarms, misses; at best 0.159 of both
    assert np.mean(rates, axis=0) == pytest.approx([0.159, 0.159], abs=0.06)
    assert np.mean(rates) < 0.175


def test_impossible_kinds_of_defect_change_nothing() -> None:
    rng = np.random.default_rng(5)
    targets = np.repeat([0, 1], [60, 25])
    two = two_classes(rng.normal(3 * targets - 4, 1.5))
    five = np.insert(two, 2, np.full((3, 85), -1e5), axis=1)
    assert fit_scaling(five, targets) == fit_scaling(two, targets)
    moved = np.array(five)
    moved[:, [1, 4]] = five[:, [4, 1]]
    assert fit_scaling(moved, targets * 4) == fit_scaling(two, targets)


def test_several_kinds_of_defect_are_found_as_one_kind_is() -> None:
    """The same log-odds of not-Good, by a network that is too sure of Good."""
    rng = np.random.default_rng(6)
    targets = np.repeat([0, 1], [200, 60])
    margin = rng.normal(6 * targets - 3, 1.5) - 2.5
    odds = rng.normal(0, 1, (260, 3))
    several = np.c_[np.zeros(260), margin[:, None] + log_softmax(odds, axis=1)]  # whose log-odds are the margin's
    kinds = np.where(targets == 1, 1 + odds.argmax(axis=1), 0)
    shares = {}
    for name, logits, truth in (("one", two_classes(margin), targets), ("three", several, kinds)):
        fitted = fit_decision(Validation(logits, truth, np.arange(260)), DecisionCosts())
        assert fitted.decision.threshold == pytest.approx(0.3 / 1.3)  # 60 defects for 200 Good
        shares[name] = [fitted.held_out[key]["value"] for key in ("recall", "false_alarm_rate")]
    assert shares["three"] == pytest.approx(shares["one"], abs=0.02)
    assert shares["three"] == pytest.approx([norm.cdf(2), norm.sf(2)], abs=0.035)
    validation = Validation(several, kinds, np.arange(260))
    of_any_kind = replace(validation, targets=np.where(targets == 1, 1, 0))  # as of a picture of several kinds
    assert fit_decision(of_any_kind, DecisionCosts()) == fit_decision(validation, DecisionCosts())
    equal, hardly_dearer = (fit_decision(validation, DecisionCosts(miss=miss)).decision for miss in (1, 1.0001))
    assert hardly_dearer.threshold == pytest.approx(equal.threshold, rel=1e-4)
    called = [np.array([d.decide(p) for p in d.probabilities(several)]) for d in (equal, hardly_dearer)]
    np.testing.assert_array_equal(called[0], called[1])
    defective = called[0] != 0
    np.testing.assert_array_equal(called[0][defective], 1 + odds.argmax(axis=1)[defective])


def test_perfect_answers_do_not_make_it_certain() -> None:
    margin = np.r_[np.full(20, -3.0), np.full(20, 3.0)]
    targets = (margin > 0).astype(int)
    temperature, bias = fit_scaling(two_classes(margin), targets)
    decision = Decision(temperature, bias=bias)
    # Platt's targets: with 20 of 20 right, 21 in 22 is as sure as one may be.
    assert decision.probabilities(two_classes(margin))[-1, 1] == pytest.approx(21 / 22, abs=0.002)


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=4), st.floats(0.05, 20))
def test_a_temperature_never_changes_the_most_probable_class(logits: list[float], temperature: float) -> None:
    array = np.array(logits)
    probabilities = Decision(temperature).probabilities(array)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[array.argmax()] == pytest.approx(probabilities.max())


@given(st.lists(st.floats(-20, 20), min_size=2, max_size=4), st.floats(0.5, 20), st.floats(-9, 9))
def test_a_bias_is_about_good_or_not_and_the_types_keep_their_odds(
    logits: list[float], temperature: float, bias: float
) -> None:
    array = np.array(logits) / temperature
    before = log_softmax(array)
    after = np.log(Decision(temperature, bias=bias).probabilities(np.array(logits)))
    assert after[1:] - after[0] == pytest.approx(before[1:] - before[0] + bias, abs=1e-6)


# --- thresholds ---------------------------------------------------------------------------------------------------


def test_decide() -> None:
    assert Decision().decide(np.array([0.4, 0.35, 0.25])) == 0
    assert Decision(threshold=0.5).decide(np.array([0.4, 0.35, 0.25])) == 1
    assert Decision(threshold=0.5).decide(np.array([0.4, 0.25, 0.35])) == 2
    assert Decision(threshold=0.6).decide(np.array([0.4, 0.6])) == 1  # at the threshold
    assert Decision(threshold=0.61).decide(np.array([0.4, 0.6])) == 0


@pytest.mark.parametrize(("miss", "shift"), [(1, -1.0), (9, -1.0), (0.5, 2.0)])
def test_the_threshold_of_costs_is_the_cheapest_for_as_many_defects_as_good(miss: float, shift: float) -> None:
    rng = np.random.default_rng(1)
    margin = rng.normal(shift, 2, 30_000)
    targets = (rng.random(30_000) < expit(margin)).astype(int)
    fitted = fit_decision(held_out(margin + 3, targets.tolist()), DecisionCosts(miss=miss, false_alarm=1))
    odds = targets.mean() / (1 - targets.mean()) / miss
    assert fitted.decision.threshold == pytest.approx(odds / (1 + odds))
    p = fitted.decision.probabilities(two_classes(margin + 3))[:, 1]

    def cost(threshold: float) -> float:
        return float(miss * (p < threshold)[targets == 1].mean() + (p >= threshold)[targets == 0].mean())

    assert cost(fitted.decision.threshold or 0) <= 1.01 * min(cost(t) for t in np.linspace(0.02, 0.9, 45))


def test_a_threshold_for_recall_by_hand() -> None:
    scores = np.arange(1, 101) / 100
    threshold, promised = recall_threshold(scores, 0.9)
    missed = round(threshold * 100) - 1
    # The most that may be missed so that a recall below 0.9 would have missed more in 80 of 100 cases.
    assert binom.cdf(missed, 100, 0.1) <= 0.2 < binom.cdf(missed + 1, 100, 0.1)
    assert promised == pytest.approx(1 - binom.cdf(missed, 100, 0.1))
    few, promised = recall_threshold(np.array([0.3, 0.8]), 0.95)
    assert (few, promised < 0.2) == (0.3, True)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_the_promised_recall_is_kept_as_often_as_promised(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = [1 - recall_threshold(rng.random(60), 0.9)[0] >= 0.9 for _ in range(200)]
    assert np.mean(kept) >= 0.7  # 0.8 less four standard errors


def test_the_origin_of_a_fit() -> None:
    margin, targets = np.r_[-np.ones(6), np.ones(6)], [0] * 6 + [1] * 6
    origin = fit_decision(held_out(margin, targets), DecisionCosts()).origin
    assert origin.startswith(
        "a miss costs 1 and a false alarm 1, with as many defects as Good (Elkan, IJCAI 2001); temperature"
    )
    few = fit_decision(held_out(margin[:8], targets[:8]), DecisionCosts())
    assert (few.decision, few.n_good, few.n_defect, few.held_out) == (Decision(), 6, 2, {})
    assert (
        "the most probable class; no temperature and bias: 6 Good and 2 defect held-out images are too few"
        in few.origin
    )
    with pytest.raises(WeakspotError, match=r"decision\.recall=0\.9: .* are too few; set split\.val_size"):
        fit_decision(held_out(margin[:8], targets[:8]), DecisionCosts(recall=0.9))


def test_what_to_expect_of_a_decision_by_hand() -> None:
    margin, targets = np.r_[-np.ones(9), 1.0, np.ones(6), -1.0, -1.0], [0] * 10 + [1] * 8
    fitted = fit_decision(held_out(margin, targets), DecisionCosts())
    for key, k, n in (("recall", 6, 8), ("false_alarm_rate", 1, 10)):
        exact = binomtest(k, n).proportion_ci(method="exact")
        by_hand = {"value": k / n, "n": n, "low": exact.low, "high": exact.high, "groups": n}
        assert fitted.held_out[key] == pytest.approx(by_hand)
    assert "finds 75% (35% – 97%) of the defects and calls 10% (0% – 45%) of the Good ones defective" in fitted.origin


def test_photographs_of_one_part_promise_less() -> None:
    margin = np.r_[-np.ones(40), np.tile([1.0, 1.0, 1.0, -1.0], 10)]
    targets, groups = [0] * 40 + [1] * 40, [*range(40), *np.tile(np.arange(4), 10) + 100]
    alone = fit_decision(held_out(margin, targets), DecisionCosts()).held_out["recall"]
    together = fit_decision(held_out(margin, targets, groups), DecisionCosts()).held_out["recall"]
    assert together["value"] == alone["value"] == 0.75
    four = binomtest(3, 4).proportion_ci(method="exact")
    assert (together["low"], together["high"]) == pytest.approx((four.low, four.high))
    assert alone["low"] > 0.55
    origin = fit_decision(held_out(margin, targets, groups), DecisionCosts(recall=0.5)).origin
    assert "confidence (less, as the defect images come from only 4 groups); temperature" in origin
    assert "come from only" not in fit_decision(held_out(margin, targets), DecisionCosts(recall=0.5)).origin


def test_percentages_do_not_pass_for_all() -> None:
    margin = np.r_[-np.ones(1000), np.ones(1999), -1.0]
    fitted = fit_decision(held_out(margin, [0] * 1000 + [1] * 2000), DecisionCosts(recall=0.995))
    assert fitted.origin.startswith("finds 99.5% of defects with ")
    plain = fit_decision(held_out(margin, [0] * 1000 + [1] * 2000), DecisionCosts())
    assert "finds 99.95% (99.72% – 100%) of the defects" in plain.origin


def test_the_interval_of_the_held_out_recall_holds_of_new_pictures() -> None:
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(100):
        margin = np.r_[rng.normal(-1, 1, 40), rng.normal(1, 1, 40)]
        fitted = fit_decision(held_out(margin, [0] * 40 + [1] * 40), DecisionCosts(recall=0.8))
        # P(not Good) >= threshold where the margin is at least this.
        least = fitted.decision.temperature * (logit(fitted.decision.threshold) - fitted.decision.bias)
        true = {"recall": norm.sf(least, 1), "false_alarm_rate": norm.sf(least, -1)}
        inside += all(e["low"] <= true[key] <= e["high"] for key, e in fitted.held_out.items())
    assert inside >= 85  # each holds in at least 19 of 20 cases


@pytest.mark.parametrize(
    ("costs", "message"),
    [
        ({"miss": 0.0}, r"decision\.miss=0\.0 is not a cost above 0"),
        ({"false_alarm": -1.0}, r"decision\.false_alarm=-1\.0"),
        ({"recall": 1.0}, r"decision\.recall=1\.0 is outside"),
        ({"recall": 0.9, "miss": 3.0}, r"leave out decision\.miss and decision\.false_alarm"),
    ],
)
def test_impossible_costs(costs: dict[str, float], message: str) -> None:
    with pytest.raises(WeakspotError, match=message):
        DecisionCosts(**costs)


@pytest.mark.parametrize(
    "values", [{"temperature": 0.0}, {"temperature": math.nan}, {"threshold": 1.2}, {"bias": math.inf}]
)
def test_impossible_decisions(values: dict[str, float]) -> None:
    with pytest.raises(WeakspotError):
        Decision(**values)
