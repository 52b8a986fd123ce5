"""Numbers for Prometheus, of a watcher and of the service (the ``watch`` and ``serve`` extras)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from weakspot._version import __version__
from weakspot.types import Prediction
from weakspot.watch.verdicts import UNREADABLE, VERDICTS, verdict_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
FAMILIARITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Telemetry:
    """Counts predictions and asks others for their numbers when they are wanted.

    Args:
        model: name of the model, which ``weakspot_info`` carries beside the version.
    """

    def __init__(self, model: str) -> None:
        self._registry = CollectorRegistry()
        at = self._registry
        self._pictures = Counter("weakspot_pictures", "Pictures answered, by verdict.", ["verdict"], registry=at)
        for verdict in VERDICTS:
            self._pictures.labels(verdict)
        self._seconds = Histogram(
            "weakspot_latency_seconds",
            "From when a picture was there until it was answered.",
            buckets=SECONDS,
            registry=at,
        )
        self._confidence = Histogram(
            "weakspot_confidence", "Probability of the class that a picture got.", buckets=CONFIDENCES, registry=at
        )
        self._familiarity = Histogram(
            "weakspot_familiarity", "How familiar pictures are: a p-value, evenly spread while nothing changes.",
            buckets=FAMILIARITIES, registry=at,
        )  # fmt: skip
        self._unlike = Counter("weakspot_unlike_training", "Pictures unlike those of training.", registry=at)
        self._boxes = Counter("weakspot_boxes", "Boxes drawn.", registry=at)
        info = Gauge("weakspot_info", "What runs; always 1.", ["version", "model"], registry=at)
        info.labels(__version__, model).set(1)

    def note(self, prediction: Prediction, seconds: float) -> None:
        """Count a prediction.

        Args:
            prediction: that was given out.
            seconds: since the picture was there.
        """
        verdict = verdict_of(prediction)
        self._pictures.labels(verdict).inc()
        self._seconds.observe(max(0.0, seconds))
        if verdict != UNREADABLE:
            self._confidence.observe(max((known.confidence for known in prediction.classes), default=0.0))
            self._boxes.inc(len(prediction.boxes))
            self._unlike.inc(prediction.unlike_training)
            if not math.isnan(prediction.familiarity):
                self._familiarity.observe(prediction.familiarity)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Show a number that is asked for when it is wanted."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def ask(self, read: Callable[[], Sequence[tuple[str, str, str, Mapping[str, float]]]]) -> None:
        """Show numbers with one label.

        Args:
            read: gives ``(name, text, label, {value of the label: number})`` when they are wanted; names that end in
                ``_total`` only grow.
        """
        self._registry.register(_Asked(read))

    def ask_for_gauges(self, read: Callable[[], Mapping[str, float]]) -> None:
        """Show an observer's numbers, ``weakspot_NAME`` each."""
        self._registry.register(_Gauges(read))

    def text(self) -> bytes:
        """All of it in Prometheus' text format, of :data:`CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Asked(Collector):
    def __init__(self, read: Callable[[], Sequence[tuple[str, str, str, Mapping[str, float]]]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, text, label, values in self._read():
            grows = name.endswith("_total")
            family = (CounterMetricFamily if grows else GaugeMetricFamily)(name, text, labels=[label])
            for value, number in values.items():
                family.add_metric([value], number)
            yield family


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Mapping[str, float]]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, value in self._read().items():
            yield GaugeMetricFamily(f"weakspot_{name}", "of the observer", value=value)
