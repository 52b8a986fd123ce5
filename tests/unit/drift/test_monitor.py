"""The watch for changes: p-values are uniform, false alarms as promised, changes are found, told and remembered."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from weakspot.drift import reference as pools
from weakspot.drift.alarm import DIRECTIONS, LOOK_AT, MEASURED, Change, Drift
from weakspot.drift.monitor import TESTS, Monitor
from weakspot.drift.reference import Reference
from weakspot.drift.state import from_dict, load, save, to_dict
from weakspot.errors import WeakspotError
from weakspot.postprocess.familiarity import MEASURES
from weakspot.types import Prediction

NORMAL = dict.fromkeys(MEASURES, 0.0)


def picture(number: int, random: np.random.Generator, *, share: float = 0.1, **moved: float) -> Prediction:
    defective = random.random() < share
    measures = {name: float(random.normal()) + moved.get(name, 0.0) for name in NORMAL}
    return Prediction(
        Path(f"{number:05}.png"),
        label="anomaly" if defective else "good",
        probability=0.9 if defective else 0.2 * random.random(),
        measures=measures,
    )


def test_p_values_by_hand() -> None:
    known = Reference(2, [[1.0, np.nan], [2.0, 5.0], [2.0, 7.0]])
    p = known.compare(np.array([2.0, np.nan]), np.random.default_rng(0))
    tie = np.random.default_rng(0).random(2)[0]
    assert p[0] == pytest.approx((1 + tie * 3) / 4)
    assert math.isnan(p[1])
    p = known.compare(np.array([0.0, 6.0]), np.random.default_rng(0))
    ties = np.random.default_rng(0).random(2)
    np.testing.assert_allclose(p, [ties[0] / 5, (1 + ties[1]) / 3])
    assert len(known.values) == 5


@given(st.lists(st.sampled_from([0.0, 1.0, 1.0, 3.5]), min_size=1, max_size=20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_p_values_are_in_range_whatever_the_ties(values: list[float], seed: int) -> None:
    pool, random = Reference(1), np.random.default_rng(seed)
    found = [float(pool.compare(np.array([value]), random)[0]) for value in values]
    assert all(0 <= p <= 1 for p in found)


def test_p_values_are_independent_and_uniform_even_when_old_pictures_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values that are mostly tied, and a reference that is full nearly from the start."""
    monkeypatch.setattr(pools, "MOST", 8)
    random = np.random.default_rng(5)
    firsts, pairs = [], []
    for _ in range(300):
        pool = Reference(1)
        p = [float(pool.compare(random.integers(0, 3, 1).astype(float), random)[0]) for _ in range(40)]
        firsts += p[20::5]
        pairs.append((p[30], p[31]))
    assert kstest(firsts, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(np.array(pairs).T)[0, 1]) < 0.17  # three standard errors


def test_a_fixed_reference_would_break_the_promise() -> None:
    """Why new pictures join: p-values against 20 fixed pictures share those pictures' luck, and bets learn it."""
    random = np.random.default_rng(0)
    fixed = np.sort(random.normal(size=20))
    p = (np.searchsorted(fixed, random.normal(size=4000)) + random.random(4000)) / 21
    assert kstest(p, "uniform").pvalue < 0.001


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_promised() -> None:
    """40 streams of 300 pictures with N = 1500: each has an alarm with a chance of 1 in 5 at most."""
    alarmed = 0
    for seed in range(40):
        monitor, random = Monitor(false_alarm_in=1500, seed=seed), np.random.default_rng((9, seed))
        alarmed += any(monitor.feed(picture(i, random)) is not None for i in range(300))
    assert alarmed <= 14  # more has a chance below 1 % even at 1 in 5


@pytest.mark.parametrize(
    ("moved", "measure", "words", "place"),
    [
        ({"brightness": -3.0}, "brightness", "the pictures are darker", "lamp"),
        ({"sharpness": -3.0}, "sharpness", "the pictures are softer", "focus"),
        ({"across": 3.0}, "across", "moved to the right", "fixture"),
        ({"share": 0.8}, "called", "more pictures are called defective", "parts"),
    ],
)
def test_a_change_is_told_with_what_since_when_and_which_pictures(
    moved: dict[str, float], measure: str, words: str, place: str
) -> None:
    monitor, random = Monitor(), np.random.default_rng(1)
    assert not any(monitor.feed(picture(i, random)) for i in range(1, 301))
    alarm = next(found for i in range(301, 500) if (found := monitor.feed(picture(i, random, **moved))))
    assert alarm.changes[0].measure == measure or measure in {change.measure for change in alarm.changes}
    assert words in alarm.words
    assert place in ", ".join(alarm.look_at)
    assert 290 <= alarm.since <= 312
    assert alarm.pictures
    assert all(name >= f"{alarm.since:05}" for name in alarm.pictures)
    assert (monitor.alarms, monitor.status()["alarms"]) == ([alarm], 1)
    # What is there now is the new reference: no second alarm of the same change.
    assert not any(monitor.feed(picture(i, random, **moved)) for i in range(500, 700))


def test_pictures_that_differ_from_training_from_the_start_are_told_once(known_familiarity: object) -> None:
    familiarity = replace(known_familiarity, good=tuple(np.linspace(-1, 1, 60)))  # type: ignore[type-var]
    monitor, random = Monitor(familiarity), np.random.default_rng(2)  # type: ignore[arg-type]
    alarms = [found for i in range(400) if (found := monitor.feed(picture(i, random, share=0.0, distance=6.0)))]
    assert [alarm.against for alarm in alarms] == ["training"]
    assert alarms[0].picture < 40
    assert "differ from those of training" in alarms[0].words


def test_nothing_is_known_of_pictures_that_could_not_be_read_or_of_old_files() -> None:
    monitor = Monitor()
    assert monitor.feed(Prediction(Path("broken.png"), status="error", message="gone")) is None
    assert monitor.pictures == 0
    random = np.random.default_rng(0)
    old = [replace(picture(i, random, share=0.02), measures={}) for i in range(300)]
    assert not any(monitor.feed(one) for one in old)
    more = [replace(picture(i, random, share=0.9), measures={}) for i in range(300, 380)]
    assert any(monitor.feed(one) for one in more)


def test_state_goes_on_where_it_was(tmp_path: Path) -> None:
    def stream(start: int, stop: int) -> list[Prediction]:
        random = np.random.default_rng(4)
        every = [picture(i, random, brightness=-2.0 if i >= 250 else 0.0) for i in range(stop)]
        return every[start:]

    whole = Monitor(seed=7)
    expected = [whole.feed(one) for one in stream(0, 330)]
    part = Monitor(seed=7)
    for one in stream(0, 255):
        part.feed(one)
    save(tmp_path / "state.json", part)
    again = load(tmp_path / "state.json")
    assert to_dict(again) == to_dict(part)
    assert [again.feed(one) for one in stream(255, 330)] == expected[255:]
    assert again.status() == whole.status()
    assert any(expected)


@pytest.mark.parametrize(
    "spoilt",
    [
        [],
        {"version": 2},
        {"pictures": "many"},
        {"blocks": []},
        {"alarms": [{"picture": 1}]},
        {"recent": [["a.png", [1.0]]]},
        {"training": {"rows": "?"}},
        {"false_alarm_in": 0},
    ],
)
def test_a_damaged_state_is_one_line(tmp_path: Path, spoilt: object) -> None:
    path = tmp_path / "state.json"
    values = to_dict(Monitor()) | spoilt if isinstance(spoilt, dict) else spoilt
    path.write_text(json.dumps(values))
    with pytest.raises(WeakspotError, match=r"state\.json cannot be used: .*; remove it to start anew"):
        load(path)
    with pytest.raises(ValueError, match=r".+"):
        from_dict(values)


def test_alarms_survive_json_and_every_measure_has_words() -> None:
    change = Change("brightness", 50.0, 45.5, fired=True)
    alarm = Drift(12, "b.png", 9, "line", (change,), ("b.png", "a.png"))
    assert Drift.from_dict(json.loads(json.dumps(alarm.to_dict()))) == alarm
    assert alarm.words == (
        "picture 12: a change since about picture 9: the pictures are darker (median 50.0 before, 45.5 since)"
    )
    assert DIRECTIONS.keys() == LOOK_AT.keys() == set(MEASURED)
    assert len(MEASURED) * 2 + 1 == TESTS


def test_a_promise_that_is_none_is_refused() -> None:
    with pytest.raises(WeakspotError, match="one false alarm in 0 pictures"):
        Monitor(false_alarm_in=0)
