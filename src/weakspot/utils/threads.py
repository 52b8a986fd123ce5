"""Work in threads that ends when its caller does, and how many threads to take."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST = 8
"""Threads that do one and the same thing; more would only wait for memory."""


@contextmanager
def threads(workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; what has not begun when the block ends, as by Ctrl-C, is not begun any more.

    Args:
        workers: how many threads; None for one a core, at most :data:`MOST`.
    """
    pool = ThreadPoolExecutor(workers or min(MOST, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def each(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Result]:
    """`work` of every item, by threads, in the order of `items`.

    Args:
        work: called in a thread; what it raises is raised here.
        items: what to work on.
        workers: how many threads; None for one a core, at most :data:`MOST`.
        progress: called with (done, total) in the calling thread after each item.

    Returns:
        One result for each item.
    """
    results: list[Result] = []
    with threads(workers) as pool:
        for result in pool.map(work, items):
            results.append(result)
            if progress is not None:
                progress(len(results), len(items))
    return results


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None, ahead: int
) -> Iterator[Result]:
    """`work` of every item, by threads, in the order of `items`, which may be endless.

    Args:
        work: what it raises is raised where its result would have come.
        items: taken by the consumer's thread.
        workers: as of :func:`threads`.
        ahead: how many are begun before the first result is asked for, and lie in memory at most.
    """
    remaining = iter(items)
    with threads(workers) as pool:
        waiting: deque[Future[Result]] = deque(pool.submit(work, item) for item in islice(remaining, ahead))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result


def wanted() -> int:
    """How many threads numerical libraries are to take: ``OMP_NUM_THREADS``, as torch does; 0 where they may choose."""
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else 0


def sleep_while_waiting() -> None:
    """Have threads of numerical libraries that wait for each other sleep, unless the user has said otherwise.

    They spin by default (libgomp's ``OMP_WAIT_POLICY``). Beside another busy process a spinning thread keeps the core
    that the thread it waits for needs; small convolutions wait thousands of times a second, and training stalls
    (``benchmarks/busy_machine.py``). It must be called before torch is loaded, which reads the setting once.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def shared_out(cores: int) -> tuple[int, int]:
    """How many things to do at once, at most :data:`MOST`, and how many threads each of them gets.

    Example:
        >>> shared_out(2), shared_out(12)
        ((2, 1), (6, 2))
    """
    each = math.ceil(cores / MOST)
    return cores // each, each
