"""Work in threads: in order, bounded, and no more threads than there are cores."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weakspot.utils.threads import MOST, each, in_order, shared_out, sleep_while_waiting, threads, wanted


def test_results_come_in_order_though_the_first_takes_longest() -> None:
    def work(item: int) -> int:
        time.sleep(0.02 if item == 0 else 0)
        return 10 * item

    assert list(in_order(work, range(20), workers=4, ahead=6)) == [10 * item for item in range(20)]
    assert list(in_order(work, [], ahead=3)) == []


def test_each_result_is_told_of_in_order() -> None:
    told: list[tuple[int, int]] = []

    def later(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return 10 * number

    assert each(later, [0, 1, 2], workers=2, progress=lambda done, total: told.append((done, total))) == [0, 10, 20]
    assert told == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // number, [1, 0])


def test_an_endless_source_is_taken_no_further_ahead_than_was_asked_for() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in count():
            taken.append(item)
            yield item

    results = in_order(abs, source(), workers=2, ahead=5)
    assert list(islice(results, 3)) == [0, 1, 2]
    assert len(taken) == 5 + 3
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 5 + 3


def test_an_error_comes_where_its_result_would_have_come() -> None:
    results = in_order(lambda item: 6 // item, [1, 2, 0, 3], workers=2, ahead=4)
    assert list(islice(results, 2)) == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(results)


@given(st.integers(1, 1000))
def test_threads_are_shared_out(cores: int) -> None:
    streams, each = shared_out(cores)
    assert 1 <= streams <= MOST
    assert streams * each <= cores < streams * each + each


@pytest.mark.parametrize(("text", "threads"), [("3", 3), ("0", 0), ("", 0), ("4,2", 0)])
def test_threads_wanted(monkeypatch: pytest.MonkeyPatch, text: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert wanted() == threads


def interrupted(work: Callable[[], None]) -> None:
    with threads(2) as pool:
        for _ in range(100):
            pool.submit(work)
        raise KeyboardInterrupt


def test_threads_begin_nothing_new_when_they_are_left() -> None:
    done: list[float] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: (time.sleep(0.05), done.append(time.monotonic()))[1])
    assert len(done) <= 4


def test_waiting_threads_sleep_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    code = "import os, sys, weakspot; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["PASSIVE", "False"]  # torch reads it when it is loaded
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    sleep_while_waiting()
    assert "OMP_WAIT_POLICY" not in os.environ
