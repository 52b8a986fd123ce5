"""One thread that runs the model, on as many waiting pictures at once as suit it."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future

from weakspot.data.loading import Loaded
from weakspot.inference.localizer import Localizer
from weakspot.serve.watch import Watch
from weakspot.types import Prediction

Waiting = tuple[Loaded, "Future[Prediction]"]


class Batcher:
    """Predicts pictures that come one by one, in batches where several wait.

    Args:
        localizer: used by one thread only.
        watch: is shown every prediction, after it was answered; None for none.

    Attributes:
        answered: pictures predicted so far.
    """

    def __init__(self, localizer: Localizer, watch: Watch | None = None) -> None:
        self._watch = watch
        self._localizer, self._size = localizer, localizer.batch_size
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self.answered = 0
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Pictures that no batch has taken yet, about."""
        return self._queue.qsize()

    def submit(self, loaded: Loaded) -> Future[Prediction]:
        """Queue a picture; its prediction comes later."""
        future: Future[Prediction] = Future()
        self._queue.put((loaded, future))
        return future

    def close(self) -> None:
        """Answer what is queued and end."""
        self._queue.put(None)
        self._thread.join()
        if self._watch is not None:
            self._watch.close()

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
            self._answer(batch)

    def _answer(self, batch: list[Waiting]) -> None:
        try:
            predictions = self._localizer.predict_batch([loaded for loaded, _ in batch])
        except Exception as error:  # the service goes on
            if len(batch) > 1:  # pictures of several requests: only the guilty one's is to fail
                for one in batch:
                    self._answer([one])
            else:
                batch[0][1].set_exception(error)
            return
        self.answered += len(batch)
        for (_, future), prediction in zip(batch, predictions, strict=True):
            future.set_result(prediction)
        if self._watch is not None:
            for prediction in predictions:
                self._watch.see(prediction)
