"""From features of boxes to a probability, and the limits that few pictures may not promise."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from weakspot.postprocess.promises import CONFIDENCE, FALSE_GREEN, FIRST, WANTED, false_limit, precision_limit
from weakspot.postprocess.trust_calibration import FEATURES, BoxExamples, TrustCalibration, fit_trust

WIDTH = len(FEATURES) - 1


def examples(features: np.ndarray, right: np.ndarray, first: int = 0) -> BoxExamples:
    """One box a picture, each picture of its own photograph."""
    numbers = np.arange(first, first + len(right))
    return BoxExamples(features, right, np.arange(len(right)), numbers)


def drawn(n: int, share: float, seed: int = 0, lift: float = 3.0) -> BoxExamples:
    """Boxes whose second feature tells right from wrong, apart from noise."""
    rng = np.random.default_rng(seed)
    right = rng.random(n) < share
    features = rng.normal(size=(n, WIDTH))
    features[:, 1] += lift * right
    return examples(features, right)


def good(n: int, seed: int = 1) -> BoxExamples:
    return examples(np.random.default_rng(seed).normal(size=(n, WIDTH)), np.zeros(n, dtype=bool))


def upper(k: int, n: int) -> float:
    """Clopper–Pearson, by SciPy's own quantile."""
    return 1.0 if k == n else float(beta.ppf(CONFIDENCE, k + 1, n - k))


def lower(k: int, n: int) -> float:
    return 0.0 if k == 0 else float(beta.ppf(1 - CONFIDENCE, k, n - k + 1))


@given(st.lists(st.integers(0, 50), max_size=150))
@settings(max_examples=80)
def test_the_share_of_false_boxes_above_the_limit_is_bounded(tenths: list[int]) -> None:
    """Against an independent bound; and the limit is the lowest one that it allows."""
    tops = np.array(tenths) / 50
    limit, n = false_limit(tops), len(tops)
    if n == 0 or upper(0, n) > FALSE_GREEN:
        assert limit is None
        return
    assert limit is not None
    reach = int((tops >= limit).sum())
    assert upper(reach, n) <= FALSE_GREEN + 1e-9
    lower_limit = tops[tops < limit].max(initial=-math.inf)
    if lower_limit > -math.inf:
        assert upper(int((tops >= lower_limit).sum()), n) > FALSE_GREEN


@given(st.integers(0, 31))
def test_few_good_pictures_promise_nothing(n: int) -> None:
    assert false_limit(np.zeros(n)) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.booleans(), st.integers(0, 30)), max_size=90), st.floats(0, 1))
@settings(max_examples=80)
def test_what_is_promised_of_right_boxes_holds_on_the_pictures(
    boxes: list[tuple[int, bool, int]], floor: float
) -> None:
    trust = np.array([one / 20 for one, _, _ in boxes])
    right = np.array([one for _, one, _ in boxes], dtype=bool)
    picture = np.array([one for _, _, one in boxes], dtype=np.int64)
    found = precision_limit(trust, right, picture, floor)
    if found is None:
        return
    limit, hits, n = found
    reach = {p for t, p in zip(trust, picture, strict=True) if t >= limit}
    spoilt = {p for t, r, p in zip(trust, right, picture, strict=True) if t >= limit and not r}
    assert (n, hits) == (len(reach), len(reach - spoilt))
    assert limit >= floor
    assert n >= FIRST
    assert lower(hits, n) >= WANTED - 1e-9


def test_the_sequence_of_limits_ends_at_the_first_that_fails() -> None:
    trust = np.linspace(1, 0, 100)
    right = np.ones(100, dtype=bool)
    right[30:40] = False  # after these, forty right ones could not mend it
    limit, hits, n = precision_limit(trust, right, np.arange(100), 0.0) or (0, 0, 0)
    assert (hits, n) == (30, next(k for k in range(30, 41) if lower(30, k + 1) < WANTED))
    assert limit == trust[n - 1]
    assert precision_limit(trust[: FIRST - 1], right[: FIRST - 1], np.arange(FIRST - 1), 0.0) is None
    assert precision_limit(trust, right, np.arange(100), 0.95) is None  # too few above the floor


def test_trust_is_calibrated_and_rises_with_every_feature() -> None:
    found = fit_trust(drawn(400, 0.5), good(200), good(200))
    assert isinstance(found, TrustCalibration)
    assert min(found.weights) >= 0
    fresh = drawn(4000, 0.5, seed=5).and_more(good(2000, seed=6))
    trust = found.probabilities(fresh.features)
    for tenth in np.array_split(np.argsort(trust), 10):
        assert abs(trust[tenth].mean() - fresh.right[tenth].mean()) < 0.08
    assert found.green is not None
    green = trust >= found.green
    assert fresh.right[green].mean() >= WANTED
    assert green[~fresh.right].mean() <= FALSE_GREEN
    assert (found.why, "with 80% confidence" in found.origin) == ("", True)


def test_boxes_that_a_person_judged_count_beside_imitated_ones() -> None:
    """Where real defects are harder than imitated ones, trust is lower, as it should be."""
    imitated, of_good = drawn(200, 0.8), good(100)
    hard = drawn(200, 0.2, seed=7)
    real = replace(hard, source=hard.source + 1000)
    alone, both = fit_trust(imitated, of_good, of_good), fit_trust(imitated, of_good, of_good, real)
    assert isinstance(alone, TrustCalibration)
    assert isinstance(both, TrustCalibration)
    everywhere = np.random.default_rng(3).normal(size=(500, WIDTH))
    assert both.probabilities(everywhere).mean() < 0.8 * alone.probabilities(everywhere).mean()
    assert "or 0.5 where a person drew some, (" in both.origin
    assert "person" not in alone.origin
    pooled = fit_trust(imitated.and_more(real), of_good, of_good)
    assert isinstance(pooled, TrustCalibration)
    assert (pooled.weights, pooled.green) == (both.weights, both.green)


@given(st.integers(0, 2**32 - 1), st.integers(0, WIDTH - 1), st.floats(0, 10))
@settings(max_examples=30, deadline=None)
def test_a_better_feature_never_costs_trust(seed: int, which: int, more: float) -> None:
    found = fit_trust(drawn(40, 0.5, seed % 100), good(40), good(40))
    assert isinstance(found, TrustCalibration)
    features = np.random.default_rng(seed).normal(size=(1, WIDTH))
    better = features.copy()
    better[0, which] += more
    unknown = features.copy()
    unknown[0, which] = math.nan
    low, high, least = (float(found.probabilities(f)[0]) for f in (features, better, unknown))
    assert 0 <= least <= low <= high <= 1


@pytest.mark.parametrize("n", [8, 20, 31])
def test_with_few_good_pictures_nothing_is_green(n: int) -> None:
    found = fit_trust(drawn(100, 0.5), good(n), good(n))
    assert isinstance(found, TrustCalibration)
    assert (
        found.green,
        f"takes 32 held-out Good images on which some box could be drawn, and there are {n}" in found.why,
    ) == (
        None,
        True,
    )


def test_boxes_that_nothing_tells_apart_are_never_green() -> None:
    found = fit_trust(drawn(200, 0.5, lift=0.0), good(100), good(100))
    assert isinstance(found, TrustCalibration)
    assert (found.green, "no level of trust" in found.why) == (None, True)


def test_where_hardly_a_box_is_right_trust_is_their_share() -> None:
    found = fit_trust(drawn(4, 1.0), good(50), good(50))
    assert isinstance(found, TrustCalibration)
    assert (found.green, found.why) == (None, "only 4 of 54 boxes on held-out images are right")
    np.testing.assert_allclose(found.probabilities(good(3).features), 5 / 56)
    none = fit_trust(drawn(0, 0.5), good(50), good(50))
    assert isinstance(none, TrustCalibration)
    np.testing.assert_allclose(none.probabilities(good(3).features), 1 / 52)


def test_where_hardly_a_box_is_wrong_nothing_is_green_either() -> None:
    found = fit_trust(drawn(60, 1.0), good(3), good(3))
    assert isinstance(found, TrustCalibration)
    assert (found.green, "only 3 of 63" in found.why, "wrong" in found.why) == (None, True, True)


def test_without_boxes_there_is_no_calibration() -> None:
    assert fit_trust(drawn(0, 0.5), good(0), good(0)) == "there are only 0 boxes on held-out images"


def test_a_promise_may_be_taken_back_and_trust_stays() -> None:
    found = fit_trust(drawn(200, 0.6), good(100), good(100))
    assert isinstance(found, TrustCalibration)
    without = found.without_promise("another rule")
    assert (without.green, without.why, without.weights) == (None, "another rule", found.weights)


def test_it_is_written_and_read() -> None:
    found = fit_trust(drawn(200, 0.6), good(100), good(100))
    assert isinstance(found, TrustCalibration)
    assert TrustCalibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found


@pytest.mark.parametrize(
    "change",
    [
        {"features": []}, {"features": ["luck"] * WIDTH}, {"weights": [1.0]}, {"weights": [-1.0] * WIDTH},
        {"bias": "much"}, {"bias": math.inf}, {"low": [None] * WIDTH}, {"green": True}, {"why": 3}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_calibration_is_refused(change: dict[str, object]) -> None:
    found = fit_trust(drawn(200, 0.6), good(100), good(100))
    assert isinstance(found, TrustCalibration)
    with pytest.raises(ValueError, match=r".+"):
        TrustCalibration.from_dict({**found.to_dict(), **change})
    with pytest.raises(ValueError, match=r".+"):
        TrustCalibration.from_dict([])
