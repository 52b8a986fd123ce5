"""Work in threads that ends when its caller does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def threads(workers: int | None = None) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads; what has not begun when the block ends, as by Ctrl-C, is not begun any more.

    Args:
        workers: how many threads; None for one a core, at most 8.
    """
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
