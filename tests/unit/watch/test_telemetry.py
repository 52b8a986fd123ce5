"""Numbers for Prometheus: what is counted of a prediction."""

from __future__ import annotations

from pathlib import Path

from weakspot.types import ClassConfidence, Prediction
from weakspot.watch.telemetry import Telemetry


def test_familiarity_is_counted_where_it_is_known() -> None:
    telemetry = Telemetry("model")
    sure = (ClassConfidence("good", 0.97),)
    for familiarity, unlike in ((0.005, True), (0.3, False), (float("nan"), False)):
        found = Prediction(Path("a.png"), label="good", classes=sure, familiarity=familiarity, unlike_training=unlike)
        telemetry.note(found, 0.1)
    telemetry.note(Prediction(Path("b.png"), status="error", message="damaged"), 0.1)
    said = telemetry.text().decode().splitlines()
    for line in (
        'weakspot_familiarity_bucket{le="0.01"} 1.0',
        'weakspot_familiarity_bucket{le="0.3"} 2.0',
        "weakspot_familiarity_count 2.0",
        "weakspot_unlike_training_total 1.0",
        'weakspot_pictures_total{verdict="good"} 3.0',
        'weakspot_pictures_total{verdict="unreadable"} 1.0',
        "weakspot_confidence_count 3.0",
    ):
        assert line in said, line
