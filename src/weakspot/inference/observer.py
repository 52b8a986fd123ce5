"""Who sees every prediction of a service or a watcher, for instance to notice that the world has changed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Protocol

from weakspot.data.loading import Loaded
from weakspot.types import Prediction


class Observer(Protocol):
    """Sees predictions one by one, in the order in which they are given out, from one thread at a time."""

    def see(self, prediction: Prediction, loaded: Loaded) -> Sequence[Mapping[str, str]]:
        """See a prediction.

        Args:
            prediction: of a picture that may also be one that could not be read (``status`` is ``error``).
            loaded: what was predicted; its ``image`` is there in ``weakspot watch`` and not in the service.

        Returns:
            Alarms that it raises, usually none: each says what was ``seen``, ``why`` it matters and what to ``do``.
        """

    def gauges(self) -> Mapping[str, float]:
        """Numbers to show at ``/metrics``, by name (letters, digits and underscores); asked at any time."""


def show_to(observers: Sequence[Observer], prediction: Prediction, loaded: Loaded, log: logging.Logger) -> None:
    """Show a prediction to observers; their alarms go to the log, and so does an observer that fails.

    Args:
        observers: in turn; one that fails keeps the prediction from nobody.
        prediction: of a picture, or of one that could not be read.
        loaded: what was predicted.
        log: of the service or the watcher.
    """
    for observer in observers:
        try:
            for alarm in observer.see(prediction, loaded):
                text = f"alarm: {alarm['seen']}; {alarm['why']}. {alarm['do']}"
                log.warning("%s", text, extra={"fields": dict(alarm)})
        except Exception:  # whoever looks on stops neither a service nor a line
            log.exception("an observer failed on %s", prediction.path)
