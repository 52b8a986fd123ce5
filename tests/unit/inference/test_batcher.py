"""Several pictures at once through an export's streams, each answered once and as alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from weakspot.data.loading import Loaded
from weakspot.inference.batcher import Batcher
from weakspot.types import Prediction


class Export:
    """Stands for an exported model with three streams."""

    batch_size, streams = 1, 3

    def __init__(self, name: str = "alone") -> None:
        self.name = name
        self.many = self if name == "many" else Export("many")
        self.asked: list[str] = []
        self.gate = threading.Barrier(3, timeout=5)
        self.together = False

    def for_many(self) -> Export:
        return self.many

    def predict_batch(self, batch: list[Loaded]) -> list[Prediction]:
        self.asked += [one.name.name for one in batch]
        if self.together:
            self.gate.wait()
        time.sleep(0.02)
        if batch[0].name.name == "bad":
            raise RuntimeError("bad")
        return [Prediction(one.name, label=self.name) for one in batch]


def test_as_many_as_there_are_streams_are_answered_at_once() -> None:
    export = Export()
    export.many.together = True
    batcher = Batcher(export)  # type: ignore[arg-type]
    assert batcher.streams == 3
    batcher._busy = 1  # as if one was being answered already
    futures = [batcher.submit(Loaded(Path(str(n)))) for n in range(9)]
    assert [future.result(10).path.name for future in futures] == [str(n) for n in range(9)]  # or the barrier breaks
    assert (batcher.answered, batcher.waiting, batcher.alive) == (9, 0, True)
    batcher.close()
    assert not batcher.alive
    assert export.asked == []


def test_a_picture_that_comes_alone_gets_all_threads_and_a_failure_is_its_own() -> None:
    export = Export()
    batcher = Batcher(export)  # type: ignore[arg-type]
    assert batcher.submit(Loaded(Path("a"))).result(10).label == "alone"
    futures = [batcher.submit(Loaded(Path(name))) for name in ("bad", "b", "c", "d")]
    assert isinstance(futures[0].exception(10), RuntimeError)
    assert [future.result(10).path.name for future in futures[1:]] == ["b", "c", "d"]
    batcher.close()


@pytest.mark.parametrize(("wanted", "streams"), [(1, 1), (2, 2), (99, 3)])
def test_fewer_streams_may_be_asked_for(wanted: int, streams: int) -> None:
    batcher = Batcher(Export(), wanted)  # type: ignore[arg-type]
    assert batcher.streams == streams
    batcher.close()
