"""Every heat-map method on one picture, side by side, with the time it takes and how faithful it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from weakspot.data.images import Progress, read_image
from weakspot.errors import WeakspotError
from weakspot.explain.explanation import write_maps
from weakspot.heatmaps.faithfulness import road
from weakspot.heatmaps.methods import METHODS, Maps, Settings
from weakspot.heatmaps.subject import Subject
from weakspot.types import ImageArray
from weakspot.utils.files import write_json


@dataclass(frozen=True)
class Compared:
    """One method on one picture.

    Attributes:
        method: its name.
        map: raw ``(h, w)``; None where the method cannot serve this network.
        over: the map over the picture; None without a map.
        seconds: time that the map took.
        road: how faithful the map is, see :func:`~weakspot.heatmaps.faithfulness.road`; NaN without a map, or where it
            was not measured.
        why_not: why there is no map; empty where there is one.
    """

    method: str
    map: Maps | None
    over: Maps | None
    seconds: float = float("nan")
    road: float = float("nan")
    why_not: str = ""


@dataclass(frozen=True)
class Comparison:
    """All methods on one picture.

    Attributes:
        path, image: the picture.
        target: name of the explained class.
        methods: one result for each method.
    """

    path: Path
    image: ImageArray
    target: str
    methods: tuple[Compared, ...]

    def save(self, folder: Path, name: str) -> None:
        """Write ``NAME.json``, and the raw maps under method and class in ``NAME.npz``.

        Args:
            folder: where to write.
            name: file name without suffix, for ``NAME`` above.
        """
        table = [{key: getattr(each, key) for key in ("method", "seconds", "road", "why_not")} for each in self.methods]
        write_json(folder / f"{name}.json", {"path": str(self.path), "target": self.target, "methods": table})
        maps = {f"{each.method}/{self.target}": each.map for each in self.methods if each.map is not None}
        write_maps(folder / f"{name}.npz", maps)


SLOW_LAST = tuple(sorted(METHODS, key=lambda name: METHODS[name].slow))
"""All methods; those that run the network hundreds of times come at the end."""


def compare_all(
    subject: Subject,
    path: Path,
    target: str | None = None,
    settings: Settings | None = None,
    methods: Sequence[str] = SLOW_LAST,
    *,
    faithfulness: bool = True,
    progress: Progress | None = None,
    so_far: Callable[[Comparison], None] | None = None,
) -> Comparison:
    """Every method on one picture, timed, and how faithful its map is.

    Args:
        subject: the model.
        path: the picture.
        target: name or id of the class to explain; None for the one the model decides for.
        settings: each method takes of it what it takes.
        methods: their names.
        faithfulness: also measure ROAD, which takes longer than most maps.
        progress: called with how many methods are done, and of how many.
        so_far: called after each method with what there is, so that it can be written before the slow ones come.

    Raises:
        WeakspotError: for a picture, class or layer that is not there.
    """
    image = read_image(path)
    subject = subject.for_picture(image, path)
    chosen = subject.ask([image])[0].label if target is None else subject.class_id(target)
    pixels, found, wanted = subject.pixels([image]), list[Compared](), settings or Settings()
    subject.layers(pixels).resolve(wanted.target_layer, wanted.activation)  # a wrong one is not nine methods' fault
    for name in methods:
        own = Settings(**{key: getattr(wanted, key) for key in METHODS[name].takes})
        found.append(_timed(subject, image, pixels, chosen, name, own, faithfulness))
        if progress:
            progress(len(found), len(methods))
        if so_far:
            so_far(Comparison(path, image, subject.classes[chosen], tuple(found)))
    return Comparison(path, image, subject.classes[chosen], tuple(found))


def _timed(
    subject: Subject,
    image: ImageArray,
    pixels: torch.Tensor,
    target: int,
    method: str,
    settings: Settings,
    faithfulness: bool,
) -> Compared:
    start = time.perf_counter()
    try:
        map_ = subject.maps(pixels, [target], method, settings)[0]
    except WeakspotError as error:
        return Compared(method, None, None, why_not=str(error))
    seconds = time.perf_counter() - start
    faithful = float(road(subject.module, pixels, map_[None], [target])[0]) if faithfulness else float("nan")
    return Compared(method, map_, subject.over_picture(map_, image), seconds, faithful)
