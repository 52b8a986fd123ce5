"""Typed results as dictionaries, so that exact expectations can be written down as such."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import wraps
from typing import Any

from weakspot import metrics


def as_dictionary(function: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """The same function, whose frozen result comes as nested dictionaries (NaN stays NaN)."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> dict[str, Any]:
        return asdict(function(*args, **kwargs))

    return wrapped


classification_metrics = as_dictionary(metrics.classification_metrics)
localisation_metrics = as_dictionary(metrics.localisation_metrics)
box_accuracy = as_dictionary(metrics.box_accuracy)
max_box_accuracy = as_dictionary(metrics.max_box_accuracy)
pixel_metrics = as_dictionary(metrics.pixel_metrics)
detection_metrics = as_dictionary(metrics.detection_metrics)
