"""Why does a model decide as it does? Class, map, evidence by region, and what would change the decision.

A region's evidence is measured, not read off the map: the region is replaced as
:func:`weakspot.evaluation.erasure.erase` does it, and the model is run again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from weakspot.data.images import read_image
from weakspot.evaluation.erasure import erase
from weakspot.heatmaps.methods import METHODS, Maps, Settings
from weakspot.heatmaps.subject import Answer, Subject
from weakspot.ops.regions import label_regions
from weakspot.ops.resize import upsample
from weakspot.types import Box, ImageArray
from weakspot.utils.files import atomic_path, write_json

EVIDENCE = "evidence"
"""Name of the map that boxes are drawn by; not one of the classifier's."""

REGIONS = 5
"""Number of regions of a picture whose evidence is measured."""

TOGETHER = 8
"""Largest number of regions that are erased at once; those with most of the map are taken."""

LARGEST = 0.6
"""Share of the picture beyond which hiding it would explain nothing."""


@dataclass(frozen=True)
class Region:
    """A connected region where the map has at least half its highest value.

    Attributes:
        box: round it, in pixels of the picture; its class and score are not used.
        share: of the map's positive values that lie in the region, 0…1.
        confidence: in the explained class when the box is erased.
        label: class that the model decides for then.
    """

    box: Box
    share: float
    confidence: float
    label: str


@dataclass(frozen=True)
class Change:
    """The smallest erased part of the picture, along the map, that changes the decision.

    Attributes:
        boxes: what is erased.
        area: share of the picture that they cover, 0…1.
        label: class that the model decides for then.
        confidence: in that class.
        picture: with the boxes erased.
    """

    boxes: tuple[Box, ...]
    area: float
    label: str
    confidence: float
    picture: ImageArray


@dataclass(frozen=True)
class Explanation:
    """All about one picture; :meth:`save` writes it.

    Attributes:
        path: the picture's file.
        image: the picture.
        classes: ``(name, id, confidence)`` in decreasing confidence.
        decided: id of the class that the model decides for.
        target, target_id: the explained class.
        method: of the map.
        layer: that the map was taken at; empty for methods without one.
        map: raw ``(h, w)`` over the network's input.
        over: ``(H, W)``, the map over the picture.
        regions: in decreasing share.
        change: None where nothing changes the decision, or the decision is for another class than the explained.
        seconds: that the map took.
        remark: what to know before the decision is believed; empty for nothing.
        part_log_odds: log-odds of not being Good by each part of the model, whose mean makes the class; empty where the
            classifier alone decides.
    """

    path: Path
    image: ImageArray
    classes: tuple[tuple[str, int, float], ...]
    decided: int
    target: str
    target_id: int
    method: str
    layer: str
    map: Maps
    over: Maps
    regions: tuple[Region, ...]
    change: Change | None
    seconds: float
    remark: str = ""
    part_log_odds: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the pictures and the map."""
        change = self.change
        return {
            "path": str(self.path),
            "classes": [{"name": name, "id": k, "confidence": value} for name, k, value in self.classes],
            "decided": self.decided,
            "remark": self.remark,
            "part_log_odds": dict(self.part_log_odds),
            "target": {"name": self.target, "id": self.target_id},
            "heatmap": {"method": self.method, "layer": self.layer, "seconds": self.seconds},
            "regions": [{**vars(region), "box": region.box.xyxy} for region in self.regions],
            "change": change
            and {
                "boxes": [box.xyxy for box in change.boxes],
                "area": change.area,
                "label": change.label,
                "confidence": change.confidence,
            },
        }

    def save(self, folder: Path, name: str) -> None:
        """Write ``NAME.json``, and the raw map under method and class in ``NAME.npz``.

        Args:
            folder: where to write.
            name: file name without suffix, for ``NAME`` above.
        """
        write_json(folder / f"{name}.json", self.to_dict())
        write_maps(folder / f"{name}.npz", {f"{self.method}/{self.target}": self.map})


# --- what can be explained ----------------------------------------------------------------------------------------


def write_maps(path: Path, maps: dict[str, Any]) -> None:
    """Write maps as an ``.npz`` file, whole or not at all.

    Args:
        path: the file; an older one is replaced.
        maps: arrays by the name that they get in the file.
    """
    with atomic_path(path) as temporary:
        np.savez(temporary, **maps)


# --- explaining ---------------------------------------------------------------------------------------------------


def explain(
    subject: Subject,
    path: Path,
    method: str = "cam",
    target: str | None = None,
    settings: Settings | None = None,
    donor: ImageArray | None = None,
) -> Explanation:
    """Explain a model's decision on a picture.

    Args:
        subject: the model.
        path: the picture.
        method: a key of :data:`~weakspot.heatmaps.methods.METHODS`, or :data:`EVIDENCE`; that one is of defects, so
            that ``cam`` takes its place where Good is explained, and for a model without evidence heads.
        target: name or id of the class to explain; None for the one the model decides for.
        settings: of the map.
        donor: what erased places are replaced by; None for a blur of the picture itself.

    Raises:
        WeakspotError: for anything that is not there, or does not go together.
    """
    image = read_image(path)
    subject = subject.for_picture(image, path)
    (answer,) = subject.ask([image])
    chosen = answer.label if target is None else subject.class_id(target)
    pixels = subject.pixels([image])
    start = time.perf_counter()
    if method == EVIDENCE and subject.evidence is not None and chosen != 0:
        map_ = subject.evidence(image, subject.preprocess)
        over, places = (upsample(map_, (image.shape[0], image.shape[1])),) * 2
        layer = ""
    else:
        method = "cam" if method == EVIDENCE else method
        map_ = subject.maps(pixels, [chosen], method, settings)[0]
        over = subject.over_picture(map_, image)
        places = as_places(over) if METHODS[method].pixelwise else over
        layer = _layer_of(subject, pixels, method, settings or Settings())
    seconds = time.perf_counter() - start
    donor = blurred(image) if donor is None else donor
    return Explanation(
        path=path,
        image=image,
        classes=tuple(
            (subject.classes[k], int(k), float(answer.confidences[k]))
            for k in np.argsort(-answer.confidences, kind="stable")
        ),
        decided=answer.label,
        target=subject.classes[chosen],
        target_id=chosen,
        method=method,
        layer=layer,
        map=map_,
        over=over,
        regions=evidence_by_region(subject, image, places, chosen, donor),
        change=smallest_change(subject, image, places, answer.label, donor) if chosen == answer.label else None,
        seconds=seconds,
        remark=answer.remark,
        part_log_odds=answer.part_log_odds,
    )


def _layer_of(subject: Subject, pixels: Tensor, method: str, settings: Settings) -> str:
    """The layer that a map is taken at; empty for methods without one."""
    if "target_layer" not in METHODS[method].takes:
        return ""
    return subject.layers(pixels).resolve(settings.target_layer, settings.activation)


def blurred(image: ImageArray) -> ImageArray:
    """The picture without anything smaller than a quarter of it."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), max(1.0, min(image.shape[:2]) / 8)), dtype=np.uint8)


def as_places(over: Maps) -> Maps:
    """A map of pixels as one of places: smoothed, so that neighbouring pixels make one region."""
    return np.asarray(cv2.GaussianBlur(over, (0, 0), max(1.0, min(over.shape) / 30)), dtype=np.float32)


def hot_boxes(over: Maps, level: float) -> list[tuple[Box, float]]:
    """Boxes round the connected regions where a map reaches `level` times its highest value.

    Args:
        over: ``(H, W)``.
        level: 0…1.

    Returns:
        Boxes with their share of the map's positive values, highest share first; none for a map without any.
    """
    positive = np.maximum(over, 0).astype(np.float64)
    highest = positive.max()
    if highest <= 0:
        return []
    corners, _, labels = label_regions(positive >= level * highest)
    sums = np.bincount(labels.ravel(), weights=positive.ravel(), minlength=len(corners) + 1)[1:] / positive.sum()
    order = np.argsort(-sums, kind="stable")
    found = [(corners[i].tolist(), float(sums[i])) for i in order]
    return [(Box(x0, y0, x1, y1), share) for (x0, y0, x1, y1), share in found]


def evidence_by_region(
    subject: Subject, image: ImageArray, over: Maps, target: int, donor: ImageArray
) -> tuple[Region, ...]:
    """Measure what each of the hottest regions contributes to the confidence in a class, by erasing one at a time.

    Args:
        subject: the model.
        image: the picture, uint8 RGB ``(H, W, 3)``.
        over: the map over it, ``(H, W)``.
        target: id of the class whose confidence is measured.
        donor: uint8 RGB; what an erased region is filled with, see :func:`~weakspot.evaluation.erasure.erase`.

    Returns:
        At most :data:`REGIONS` regions, highest share of the map first; none where nothing in the map is above 0.
    """
    found = hot_boxes(over, 0.5)[:REGIONS]
    answers = subject.ask([erase(image, [box], donor) for box, _ in found]) if found else []
    return tuple(
        Region(box, share, float(answer.confidences[target]), subject.classes[answer.label])
        for (box, share), answer in zip(found, answers, strict=True)
    )


def smallest_change(subject: Subject, image: ImageArray, over: Maps, decided: int, donor: ImageArray) -> Change | None:
    """Erase ever more of the picture, hottest first, until the decision changes; then leave out what is not needed.

    Args:
        subject: the model.
        image: the picture.
        over: the map over it, ``(H, W)``.
        decided: the class that the model decides for.
        donor: what erased places are replaced by.
    """
    for level in np.arange(0.95, 0.04, -0.1):
        boxes = [box for box, _ in hot_boxes(over, float(level))[:TOGETHER]]
        if not boxes or _covered(boxes, image) > LARGEST:
            return None
        if _asked_without(subject, image, boxes, donor).label == decided:
            continue
        for box in boxes[::-1]:  # the least first
            fewer = [other for other in boxes if other is not box]
            if fewer and _asked_without(subject, image, fewer, donor).label != decided:
                boxes = fewer
        answer = _asked_without(subject, image, boxes, donor)
        return Change(
            tuple(boxes),
            _covered(boxes, image),
            subject.classes[answer.label],
            float(answer.confidences[answer.label]),
            erase(image, boxes, donor),
        )
    return None


def _asked_without(subject: Subject, image: ImageArray, boxes: Sequence[Box], donor: ImageArray) -> Answer:
    return subject.ask([erase(image, boxes, donor)])[0]


def _covered(boxes: Sequence[Box], image: ImageArray) -> float:
    hidden = np.zeros(image.shape[:2], dtype=bool)
    for box in boxes:
        hidden[box.y0 : box.y1, box.x0 : box.x1] = True
    return float(hidden.mean())
