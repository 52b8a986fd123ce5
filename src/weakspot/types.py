"""The conventions of weakspot, in one file: what a sample, a box and a prediction are.

* A **box** is ``[x0, y0, x1, y1]``, half-open, in pixels of the original image as a person sees it (EXIF rotation
  applied). ``x1 - x0`` is its width; a one-pixel box has area 1.
* Arrays are indexed ``(row, column)`` and sizes are written ``(height, width)``.
* An **image** is uint8 RGB of shape ``(height, width, 3)``.
* A **map** is float32, raw (logit units), of shape ``(height, width)``; ``map_k.mean() + bias_k == logit_k``.
* Class 0 is :data:`GOOD`; class 1 is :data:`ANOMALY`, or classes 1…K are the defect types in sorted order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import supervision

GOOD = "good"
"""Name of class 0 wherever a class is written, whatever the folder on disk is called."""

ANOMALY = "anomaly"
"""Name of class 1 in the two-class task."""

FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
Size = tuple[int, int]
"""``(height, width)`` in pixels."""

Subset = Literal["train", "val", "test"]
SUBSETS: Final[tuple[Subset, ...]] = ("train", "val", "test")
Task = Literal["binary", "multiclass"]
Level = Literal["green", "amber", "red"]
"""How far a box can be trusted, in a word."""
LEVELS: Final[tuple[Level, ...]] = ("green", "amber", "red")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image file.

    Attributes:
        path: the image file.
        defect: :data:`GOOD`, or the defect type (folder name for MVTec AD and folder-per-class layouts). Splits are
            stratified by it, and recall is reported for each defect type.
        mask: the pixel mask (brighter than half = defect), measured against, and trained on only with
            ``data.use_masks``; None where there is
            none.
        group: images of one group stay in one subset; None where no group is known.
        subset: the subset that the image was put into beforehand; None where ``split.*`` decides.
        published: the subset that the makers of a public data set put it into, which ``split.file=published`` takes;
            None where they publish none with defects in training.

    Examples:
        >>> sample = Sample(Path("test/crack/007.png"), "crack", mask=Path("ground_truth/crack/007_mask.png"))
        >>> sample.is_good
        False
    """

    path: Path
    defect: str
    mask: Path | None = None
    group: str | None = None
    subset: Subset | None = None
    published: Subset | None = None

    @property
    def is_good(self) -> bool:
        """True for an image without a defect."""
        return self.defect == GOOD


@dataclass(frozen=True, slots=True)
class Box:
    """A half-open box ``[x0, y0, x1, y1]`` in pixels of the original image, with its class, score and trust.

    Attributes:
        x0, y0: first column and row inside the box.
        x1, y1: first column and row beyond it.
        score: evidence for the box, higher is surer: with evidence heads the log-odds of a defect in its picture plus
            those that a box drawn like it is right (:mod:`weakspot.postprocess.box_ranking`); without, the highest
            margin of the class's map over Good's inside it, which is in logit units but far larger than any log-odds,
            as one cell may carry a whole picture.
        label: name of the class.
        outlines: polygons of ``(x, y)`` corners round the regions that the box was drawn round, without their holes;
            empty unless ``boxes.outlines`` is set.
        trust: 0…1, see :mod:`weakspot.postprocess.trust`; NaN where it is unknown.
        doubt: why the trust is not higher; empty for a box that is trusted.
        level: the colour of the trust; None where it is unknown.
        probability: 0…1, of a box whose score is no log-odds: the probability that its picture is defective, times the
            mean inside it of the map scaled to 0…1; NaN where the score is in log-odds.

    Raises:
        ValueError: when the box has no area or starts before pixel 0.

    Examples:
        >>> box = Box(120, 80, 200, 150, score=3.2)
        >>> box.xyxy, box.area, round(box.confidence, 2)
        ((120, 80, 200, 150), 5600, 0.96)
        >>> Box(10, 10, 10, 20)
        Traceback (most recent call last):
            ...
        ValueError: not a box: x 10..10, y 10..20
    """

    x0: int
    y0: int
    x1: int
    y1: int
    score: float = 1.0
    label: str = ANOMALY
    outlines: tuple[tuple[tuple[int, int], ...], ...] = ()
    trust: float = field(default=math.nan, compare=False)
    doubt: str = field(default="", compare=False)
    level: Level | None = field(default=None, compare=False)
    probability: float = field(default=math.nan, compare=False)

    def __post_init__(self) -> None:
        if not (0 <= self.x0 < self.x1 and 0 <= self.y0 < self.y1):
            raise ValueError(f"not a box: x {self.x0}..{self.x1}, y {self.y0}..{self.y1}")

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """The corners ``(x0, y0, x1, y1)``."""
        return self.x0, self.y0, self.x1, self.y1

    @property
    def confidence(self) -> float:
        """The score that other tools expect, 0…1: :attr:`probability`, or the logistic function of the log-odds."""
        if not math.isnan(self.probability):
            return self.probability
        return 1 / (1 + math.exp(-self.score)) if self.score > -700 else 0.0

    @property
    def area(self) -> int:
        """Area in pixels."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True, slots=True)
class ClassConfidence:
    """One class and the probability (0…1) the model gives it."""

    name: str
    confidence: float


class Look(NamedTuple):
    """What a picture looks like apart from what it shows; :mod:`weakspot.data.looks` measures it.

    Attributes:
        values: float64, in the order of :data:`~weakspot.data.looks.LOOKS`.
        thumbnail: uint8 ``(THUMBNAIL, THUMBNAIL)``, its lightness, whatever its shape was.
    """

    values: npt.NDArray[np.float64]
    thumbnail: npt.NDArray[np.uint8]


MODEL_PARTS: Final = ("classifier", "statistics", "location")
"""The parts of a model that estimate whether a picture is Good; the class comes from the mean of their log-odds."""


class ModelOutput(NamedTuple):
    """The model's output for one image.

    Attributes:
        logits: float32 ``(classes,)``.
        maps: float32 ``(classes, map height, map width)``, raw class activation maps.
        mask_logits: ``(h, w)``, log-odds that a pixel belongs to a defect; None without evidence heads.
        location_logits: ``(h', w')``, log-odds that there is a defect at a place; None without evidence heads.
        flipped: the map that boxes are drawn round (`mask_logits`, or `maps` without evidence heads) of the mirrored
            image, mirrored back; None without flip test-time augmentation.
        region: bool, at the resolution of the network's input, which of its pixels lie in the region of interest; None
            where all of them count.
        distances: float32 ``(taps,)``, logarithms of how far the features at each tap lie from those of training; None
            for a model without statistics of familiarity.
        look: of the original image; None where it was not measured.
        part_log_odds: float32 ``(3,)``, log-odds of not being Good by each of :data:`MODEL_PARTS`, NaN for one that the
            model lacks; None where the classifier alone decides.
    """

    logits: npt.NDArray[np.float32]
    maps: npt.NDArray[np.float32]
    mask_logits: npt.NDArray[np.floating] | None = None
    location_logits: npt.NDArray[np.floating] | None = None
    flipped: npt.NDArray[np.floating] | None = None
    region: BoolArray | None = None
    distances: npt.NDArray[np.float32] | None = None
    look: Look | None = None
    part_log_odds: npt.NDArray[np.float32] | None = None

    @property
    def named_log_odds(self) -> dict[str, float]:
        """The log-odds by the names of the parts, without those that the model lacks; may be empty."""
        known = zip(MODEL_PARTS, () if self.part_log_odds is None else self.part_log_odds.tolist(), strict=False)
        return {name: value for name, value in known if not math.isnan(value)}

    def with_flipped(self, mirrored: ModelOutput) -> ModelOutput:
        """The same output with the map of the mirrored image in :attr:`flipped`.

        Args:
            mirrored: the model's output for the image mirrored left to right.
        """
        evidence = mirrored.maps if mirrored.mask_logits is None else mirrored.mask_logits
        return self._replace(flipped=np.ascontiguousarray(evidence[..., ::-1], dtype=np.float16))

    @property
    def as_flipped(self) -> ModelOutput | None:
        """The same output with the map of the mirrored pass in place of its own; None where there was no such pass."""
        if self.flipped is None:
            return None
        return self._replace(maps=self.flipped) if self.mask_logits is None else self._replace(mask_logits=self.flipped)

    @property
    def likeliest_defect(self) -> int:
        """The class other than Good with the highest logit."""
        return 1 + int(self.logits[1:].argmax())


@dataclass(frozen=True)
class Prediction:
    """What the model predicts for one image; a line of ``predictions.jsonl``.

    Attributes:
        path: the image file, or a name such as ``array-3`` for an image that came without one.
        status: ``ok``, or ``error`` for an image that could not be read, or that the model gives no numbers for; then
            only `message` is meaningful.
        message: why there is an error, or a remark such as a missing box; empty otherwise.
        height, width: size of the original image in pixels; 0 where it could not be read.
        target: the true class where it is known.
        label: predicted class; empty on error.
        classes: every class with its probability, in decreasing order.
        probability: probability of not-Good, 0…1; NaN on error.
        boxes: in decreasing score; always empty for an image classified Good.
        output: the model's output for the image (:class:`ModelOutput`); not written to the file.
        familiarity: a conformal p-value, 1/(n + 1)…1: among the n held-out pictures of training and this one, the share
            that is at least as unusual (:mod:`weakspot.postprocess.familiarity`); NaN where it is not known.
        unlike_training: whether it is so low that the class is not to be believed.
        measures: what the familiarity was made of, by the names of :data:`~weakspot.postprocess.familiarity.MEASURES`;
            empty where it is not known.
        part_log_odds: log-odds of not being Good by each part of the model (:data:`MODEL_PARTS`), whose mean makes the
            class; empty where the classifier alone decides.

    Examples:
        >>> prediction = Prediction(
        ...     Path("part-17.png"), height=480, width=640, label="anomaly", probability=0.97,
        ...     boxes=(Box(120, 80, 200, 150, score=3.2),),
        ... )
        >>> prediction.size
        (480, 640)
        >>> [(box.label, box.xyxy) for box in prediction.boxes]
        [('anomaly', (120, 80, 200, 150))]
    """

    path: Path
    status: Literal["ok", "error"] = "ok"
    message: str = ""
    height: int = 0
    width: int = 0
    target: str | None = None
    label: str = ""
    classes: tuple[ClassConfidence, ...] = ()
    probability: float = float("nan")
    boxes: tuple[Box, ...] = ()
    output: ModelOutput | None = field(default=None, repr=False, compare=False)
    familiarity: float = field(default=math.nan, compare=False)
    unlike_training: bool = field(default=False, compare=False)
    measures: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)
    part_log_odds: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> Size:
        """``(height, width)`` of the original image."""
        return self.height, self.width

    def to_supervision(self) -> supervision.Detections:
        """The boxes as ``supervision.Detections`` (the ``supervision`` extra): xyxy in pixels, confidence 0…1.

        ``class_id`` counts the classes by name, Good first; ``data`` holds ``class_name``, ``log_odds`` and ``trust``.

        Raises:
            ImportError: when supervision is not installed.
        """
        import supervision

        names = [GOOD, *sorted({known.name for known in self.classes} - {GOOD})]
        return supervision.Detections(
            xyxy=np.array([box.xyxy for box in self.boxes], dtype=np.float32).reshape(-1, 4),
            confidence=np.array([box.confidence for box in self.boxes], dtype=np.float32),
            class_id=np.array([names.index(box.label) for box in self.boxes], dtype=int),
            data={
                "class_name": np.array([box.label for box in self.boxes], dtype=np.str_),
                "log_odds": np.array([box.score for box in self.boxes], dtype=np.float64),
                "trust": np.array([box.trust for box in self.boxes], dtype=np.float64),
            },
        )
