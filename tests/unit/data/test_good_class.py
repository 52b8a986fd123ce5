"""A question where the class called Good may be the wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from weakspot.data.good_class import doubt
from weakspot.data.measurements import COLUMNS
from weakspot.types import GOOD, Sample


def asked(good_class: str, other: str, counts: tuple[int, int], spreads: tuple[float, float] = (1, 1)) -> str | None:
    """The question for a set with so many Good pictures and others, that vary by so much."""
    rng = np.random.default_rng(0)
    samples = [Sample(Path(f"{n}.png"), GOOD if n < counts[0] else other) for n in range(sum(counts))]
    scale = np.repeat(np.array(spreads, float), counts)[:, None]
    return doubt(samples, scale * rng.normal(size=(sum(counts), len(COLUMNS))), good_class)


def test_a_known_name_is_doubted_only_when_rarer_and_more_varied() -> None:
    assert asked("good", "scratch", (40, 20)) is None
    assert asked("OK", "ng", (20, 40)) is None
    assert asked("ok", "ng", (20, 40), (2, 1)) is not None


def test_another_class_with_a_known_name_is_proposed() -> None:
    question = asked("NG", "Ok", (40, 20))
    assert question is not None
    assert "--good-class Ok" in question


@pytest.mark.parametrize(("counts", "spreads"), [((20, 40), (1, 1)), ((40, 20), (2, 1))])
def test_an_unknown_name_is_doubted_when_rarer_or_more_varied(
    counts: tuple[int, int], spreads: tuple[float, float]
) -> None:
    assert asked("typ_a", "typ_b", counts, spreads) is not None
    assert asked("typ_a", "typ_b", (40, 20)) is None


def test_a_single_class_is_not_asked_about() -> None:
    assert asked("typ_a", "typ_b", (10, 0)) is None
    assert asked("typ_a", "typ_b", (5, 9), (3, 1)) is not None  # rarer; too few to say how they vary
