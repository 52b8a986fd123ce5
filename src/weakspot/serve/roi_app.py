"""The page on which a region of interest is drawn (FastAPI): some pictures of a data set, outlines, and a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from weakspot.data.images import read_image
from weakspot.data.preprocess import fit_within
from weakspot.data.roi_files import read_shared_mask, write_polygons
from weakspot.errors import WeakspotError
from weakspot.report.pictures import jpeg
from weakspot.serve.app import PAGE_RULES
from weakspot.types import ImageArray, Size

SHOWN_SIDE = 1600
"""Longest side in pixels of a picture on the page; outlines are in pixels of the original all the same."""

Number = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Polygon = Annotated[list[tuple[Number, Number]], Field(min_length=3, max_length=10_000)]


class Outlines(BaseModel):
    """What the page sends.

    Attributes:
        polygons: corners ``(x, y)`` in pixels of the original pictures.
    """

    polygons: Annotated[list[Polygon], Field(min_length=1, max_length=1000)]


class Saved(BaseModel):
    """What it is told then.

    Attributes:
        file: that was written.
        share: of a picture that lies in the region, 0…1.
    """

    file: str
    share: float


@dataclass(frozen=True)
class Drawing:
    """What is drawn on, and where the result goes.

    Attributes:
        pictures: files that are shown, all of one size, at least one.
        size: their ``(height, width)`` in pixels.
        output: COCO file that is written.
    """

    pictures: Sequence[Path]
    size: Size
    output: Path


def make_roi_app(drawing: Drawing, *, hosts: list[str] | None = None, saved: Callable[[float], None]) -> FastAPI:
    """Build the page.

    Args:
        drawing: pictures, and the file to write.
        hosts: names that it answers to, so that no foreign web page reaches it under another; None for any.
        saved: called with the region's share of a picture whenever it was written.
    """
    app = FastAPI(title="weakspot roi", docs_url=None, redoc_url=None, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(files("weakspot.serve").joinpath("roi.html").read_text("utf-8"), headers=PAGE_RULES)

    @app.get("/drawing")
    def described() -> dict[str, object]:
        names = ["mean of all", *(path.name for path in drawing.pictures)]
        return {"height": drawing.size[0], "width": drawing.size[1], "names": names, "file": str(drawing.output)}

    @app.get("/picture/{number}")
    def picture(number: int) -> Response:
        if not 0 <= number <= len(drawing.pictures):
            raise HTTPException(404, "there is no such picture")
        shown = _mean(drawing) if number == 0 else _shown(drawing.pictures[number - 1])
        return Response(jpeg(shown), media_type="image/jpeg")

    @app.post("/region")
    def region(outlines: Outlines) -> Saved:
        try:
            write_polygons(drawing.output, outlines.polygons, drawing.size)
            share = float(read_shared_mask(drawing.output).mean())
        except (WeakspotError, OSError) as error:
            raise HTTPException(422, " ".join(str(error).split())) from error
        saved(share)
        return Saved(file=str(drawing.output), share=share)

    return app


def _shown(path: Path) -> ImageArray:
    return fit_within(read_image(path), SHOWN_SIDE)


def _mean(drawing: Drawing) -> ImageArray:
    """The mean of the pictures, which shows what stays where it is."""
    total = sum(map(partial(np.asarray, dtype=np.float64), map(_shown, drawing.pictures)))
    return np.asarray(np.rint(total / len(drawing.pictures)), dtype=np.uint8)
