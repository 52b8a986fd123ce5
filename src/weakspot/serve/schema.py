"""The service's replies, for its OpenAPI page; :func:`weakspot.postprocess.prediction_files.to_record` makes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from weakspot.types import Level


class ClassRecord(BaseModel):
    """A class and its probability."""

    name: str
    confidence: float = Field(ge=0, le=1)


class BoxRecord(BaseModel):
    """A half-open box in pixels of the picture as a person sees it (EXIF applied)."""

    x0: int
    y0: int
    x1: int = Field(description="first column beyond it")
    y1: int = Field(description="first row beyond it")
    score: float = Field(description="higher is surer; log-odds unless there is a probability")
    label: str
    outlines: list[list[tuple[int, int]]] = Field(default=[], description="polygons, with boxes.outlines=true only")
    trust: float | None = Field(default=None, description="0 to 1, calibrated: the probability that the box fits")
    doubt: str = Field(default="", description="why the box is not green")
    level: Level | None = Field(default=None, description="green only where the calibration can promise it")
    probability: float | None = Field(
        default=None, description="0 to 1, where the score is no log-odds: of the picture, times the map's mean inside"
    )


class PredictionRecord(BaseModel):
    """A line of ``predictions.jsonl``."""

    path: str = Field(description="the file's name, as it was sent")
    status: Literal["ok", "error"]
    message: str
    height: int
    width: int
    target: str | None = Field(description="always null here")
    label: str
    classes: list[ClassRecord]
    probability: float | None = Field(description="of not being good, 0 to 1")
    boxes: list[BoxRecord]
    remark: str | None = Field(default=None, description="both sizes, where the picture's is not that of training")
    familiarity: float | None = Field(
        default=None, description="1/(n + 1) to 1: share of held-out pictures of training that are at least as unusual"
    )
    unlike_training: bool = Field(default=False, description="so unusual that the class is not to be believed")
    measures: dict[str, float] = Field(default={}, description="what the familiarity was made of")
    part_log_odds: dict[str, float] = Field(
        default={}, description="log-odds of not being good by each part of the model; their mean makes the class"
    )
    map: str | None = Field(default=None, description="with map=true: a PNG to lay over the picture, as a data URL")


class Answer(BaseModel):
    """One prediction a picture, in the order they were sent."""

    predictions: list[PredictionRecord]


class Health(BaseModel):
    """What is served, and what it has done so far."""

    status: Literal["ok"]
    version: str
    model: str
    classes: list[str]
    answered: int
    waiting: int
    drift: dict[str, Any] = Field(
        description="whether the pictures have changed: counts, evidence, the last alarm, the share called defective"
    )


class Problem(BaseModel):
    """What was wrong with a request."""

    detail: str
