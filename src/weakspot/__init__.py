"""weakspot: finds defects and draws boxes round them after training on nothing but image-level labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weakspot.data.readers import read_samples
from weakspot.errors import WeakspotError
from weakspot.types import Box, Prediction, Sample

if TYPE_CHECKING:
    from weakspot.inference.localizer import Localizer

from weakspot._version import __version__ as __version__
from weakspot.utils.threads import sleep_while_waiting

sleep_while_waiting()  # nothing above loads torch, which reads the setting when it is loaded

__all__ = ["Box", "Localizer", "Prediction", "Sample", "WeakspotError", "read_samples"]


def __getattr__(name: str) -> object:
    if name == "Localizer":  # torch is imported only by those who need it
        from weakspot.inference.localizer import Localizer

        return Localizer
    raise AttributeError(f"module 'weakspot' has no attribute {name!r}")
