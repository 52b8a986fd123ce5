"""Threads that run the model on waiting pictures: several at once through an export's streams, or in batches."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from weakspot.data.loading import Loaded
from weakspot.inference.localizer import Localizer
from weakspot.types import Prediction

Waiting = tuple[Loaded, "Future[Prediction]"]


class Batcher:
    """Predicts pictures that come one by one.

    A PyTorch model is run by one thread, on as many waiting pictures at once as suit it. An exported model answers
    several pictures at once, each in a thread of its own; a picture that comes alone gets all threads of the machine.

    Args:
        localizer: used by these threads only.
        streams: pictures to answer at once; None for what suits the model and the machine.

    Attributes:
        answered: pictures predicted so far.
        streams: how many are answered at once.
    """

    def __init__(self, localizer: Localizer, streams: int | None = None) -> None:
        self._size = localizer.batch_size
        self.streams = localizer.streams if streams is None else min(streams, localizer.streams)
        self._alone, self._many = localizer, localizer.for_many() if self.streams > 1 else localizer
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._counting, self._busy = threading.Lock(), 0
        self.answered = 0
        self._threads = [threading.Thread(target=self._work, name="model", daemon=True) for _ in range(self.streams)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Pictures that no batch has taken yet, about."""
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        """Whether its threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def submit(self, loaded: Loaded) -> Future[Prediction]:
        """Queue a picture; its prediction comes later."""
        future: Future[Prediction] = Future()
        self._queue.put((loaded, future))
        return future

    def close(self) -> None:
        """Answer what is queued and end."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        last = False
        while not last:
            first = self._queue.get()
            if first is None:
                return
            batch = [first]
            while len(batch) < self._size and not last:
                try:
                    more = self._queue.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    last = True
                else:
                    batch.append(more)
            with self._counting:
                self._busy += 1
                alone = self._busy == 1 and self._queue.empty()
            try:
                self._answer(batch, self._alone if alone else self._many)
            finally:
                with self._counting:
                    self._busy -= 1

    def _answer(self, batch: list[Waiting], localizer: Localizer) -> None:
        try:
            predictions = localizer.predict_batch([loaded for loaded, _ in batch])
        except Exception as error:  # the service goes on
            if len(batch) > 1:  # pictures of several requests: only the guilty one's is to fail
                for one in batch:
                    self._answer([one], localizer)
            else:
                batch[0][1].set_exception(error)
            return
        with self._counting:
            self.answered += len(batch)
        for (_, future), prediction in zip(batch, predictions, strict=True):
            future.set_result(prediction)
