"""The page on which predictions are corrected (FastAPI): a queue of pictures, boxes, one COCO file, and a training."""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from weakspot.errors import WeakspotError, as_weakspot_error
from weakspot.postprocess.trust import level
from weakspot.serve.review_pictures import TILE, Pictures, heat_png
from weakspot.serve.review_store import Mark, QueuedPicture, Review, ReviewStore, StaleError, State
from weakspot.serve.review_summary import ENOUGH, SAME_BOX, summarize
from weakspot.serve.review_training import Trainings
from weakspot.types import Box
from weakspot.utils.files import jsonable

PAGE_RULES = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
COMPARISON_RULES = PAGE_RULES | {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""Of the comparison page, which is one file with its scripts in it, and asks nothing of this service."""

FOREVER = {"Cache-Control": "private, max-age=86400"}
MOST_ROWS = 500
Shown = Literal["all", "todo", "looked", "skipped"]
STATES: dict[str, tuple[State, ...]] = {
    "all": ("todo", "draft", "skipped", "labelled", "reviewed"),
    "todo": ("todo", "draft"),
    "looked": ("labelled", "reviewed"),
    "skipped": ("skipped",),
}


class BoxSent(BaseModel):
    """A box as the page sends it; see :class:`~weakspot.serve.review_store.Mark`."""

    x0: int
    y0: int
    x1: int
    y1: int
    label: str


class ReviewSent(BaseModel):
    """What the page says of a picture.

    Attributes:
        version: that it was shown.
        state, label, boxes: as in :class:`~weakspot.serve.review_store.Review`.
    """

    version: int
    state: State
    label: str
    boxes: Annotated[list[BoxSent], Field(max_length=1000)]


@dataclass(frozen=True)
class HeatMaps:
    """Maps of the pictures of a queue.

    Attributes:
        values: uint8 ``(n, h, w)``, each stretched over its picture; in the order of the queue.
        ranges: float32 ``(n, 2)``, the values that 0 and 255 stand for.
        scale: values that are shown as nothing and as the hottest, for all pictures.
    """

    values: npt.NDArray[np.uint8]
    ranges: npt.NDArray[np.float32]
    scale: tuple[float, float]


@dataclass(frozen=True)
class ReviewSession:
    """Everything that the page works on.

    Attributes:
        run: what to call the run.
        store: pictures, and what was said of them.
        maps: of the same pictures.
        trainings: None where nothing can be learnt from these pictures.
        no_training: why that is so, a sentence.
        remarks: what a person should know of the queue, a sentence each.
    """

    run: str
    store: ReviewStore
    maps: HeatMaps
    trainings: Trainings | None
    no_training: str = ""
    remarks: Sequence[str] = ()


def make_review_app(session: ReviewSession, *, hosts: list[str] | None = None) -> FastAPI:
    """Build the page.

    Who writes has to show the token that the page asked for: a page of another site cannot read it.

    Args:
        session: what it works on.
        hosts: names that it answers to, so that no foreign web page reaches it under another; None for any.
    """
    app = FastAPI(title="weakspot review", docs_url=None, redoc_url=None, openapi_url=None)
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.mount("/static", StaticFiles(packages=[("weakspot.serve", "review_page")]))
    token = secrets.token_urlsafe(24)
    own_rules = PAGE_RULES | {"X-Weakspot-Review": session.store.identity()}  # a page left open knows its own by it

    @app.middleware("http")
    async def rules(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.method not in ("GET", "HEAD") and not secrets.compare_digest(
            request.headers.get("x-weakspot-token", "").encode(), token.encode()
        ):
            detail = "reload the page: this command was started again"
            return JSONResponse({"detail": detail}, 403, headers=own_rules)
        response = await call_next(request)
        for name, value in own_rules.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(WeakspotError)
    @app.exception_handler(OSError)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(as_weakspot_error(error))}, 422)

    @app.exception_handler(RequestValidationError)
    async def misspelt(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(files("weakspot.serve").joinpath("review_page", "index.html").read_text("utf-8"))

    @app.get("/api/session")
    def described() -> JSONResponse:
        content = {**_described(session), "token": token, "pictures": token[:6]}  # numbers mean this queue's pictures
        return JSONResponse(content, headers={"Cache-Control": "no-store"})

    _add_queue(app, session.store)
    _add_reviews(app, session.store)
    _add_pictures(app, session)
    _add_trainings(app, session)
    return app


def _described(session: ReviewSession) -> dict[str, Any]:
    store = session.store
    return {
        "run": session.run,
        "file": str(store.file),
        "classes": store.classes,
        "total": len(store.pictures),
        "resume": _resume(store.reviews()),
        "remarks": [*session.remarks, *store.remarks],
        "no_training": session.no_training,
        "rules": {"same_box": SAME_BOX, "enough": ENOUGH, "tile": TILE},
    }


def _resume(reviews: Sequence[Review]) -> int:
    """Where a person was: the picture saved last, or the next one with nothing said of it once that is confirmed."""
    latest = max(range(len(reviews)), key=lambda i: reviews[i].version, default=0)
    if not reviews or reviews[latest].version == 0:
        return 0
    if reviews[latest].state == "draft":
        return latest
    open_ones = [i for i, review in enumerate(reviews) if review.state in STATES["todo"]]
    return next((i for i in open_ones if i > latest), open_ones[0] if open_ones else latest)


def _at(store: ReviewStore, index: int) -> QueuedPicture:
    if not 0 <= index < len(store.pictures):
        raise HTTPException(404, "there is no such picture")
    return store.pictures[index]


def _add_queue(app: FastAPI, store: ReviewStore) -> None:
    """The pictures in their order, some at a time."""

    @app.get("/api/queue")
    def queue(start: int = 0, count: int = 100, show: Shown = "all") -> dict[str, Any]:
        reviews = store.reviews()
        chosen = [i for i, review in enumerate(reviews) if review.state in STATES[show]]
        seen = chosen[max(0, start) :][: min(max(0, count), MOST_ROWS)]
        rows = [_row(i, store.pictures[i], reviews[i]) for i in seen]
        return {"total": len(chosen), "start": max(0, start), "rows": rows}

    @app.get("/api/next")
    def following(after: int, back: bool = False, show: Shown = "all") -> dict[str, Any]:
        fitting = [i for i, review in enumerate(store.reviews()) if review.state in STATES[show]]
        beyond = [i for i in fitting if (i < after if back else i > after)]
        return {"index": (beyond[-1] if back else beyond[0]) if beyond else None}

    @app.get("/api/position")
    def position(index: int, show: Shown = "all") -> dict[str, Any]:
        _at(store, index)
        return {"row": sum(review.state in STATES[show] for review in store.reviews()[:index])}


def _add_reviews(app: FastAPI, store: ReviewStore) -> None:
    """What is said of each picture, and of all of them together."""

    @app.get("/api/pictures/{index}")
    def picture(index: int) -> dict[str, Any]:
        return _plain(_details(index, _at(store, index), store.review(index)))

    @app.put("/api/pictures/{index}")
    def save(index: int, sent: ReviewSent) -> JSONResponse:
        on = _at(store, index)
        review = Review(sent.label, tuple(Mark(**box.model_dump()) for box in sent.boxes), sent.state)
        try:
            saved = store.save(index, review, based_on=sent.version)
        except StaleError as error:
            newer = jsonable(_details(index, on, error.current))
            return JSONResponse({"detail": str(error), "picture": newer}, 409)
        return JSONResponse(jsonable(_details(index, on, saved)))

    @app.get("/api/summary")
    def summary(index: int | None = None) -> dict[str, Any]:
        found = asdict(summarize(store.pictures, store.reviews(), since=store.before))
        if index is not None:
            _at(store, index)
            found["version"] = store.review(index).version
        return _plain(found)


def _add_pictures(app: FastAPI, session: ReviewSession) -> None:
    """Pictures, small or in tiles, and maps."""
    pictures, store, maps = Pictures(), session.store, session.maps

    def path_of(index: int) -> Path:
        return _at(store, index).path

    @app.get("/pictures/{index}/preview.jpg")
    def preview(index: int) -> Response:
        return Response(pictures.preview(path_of(index)), media_type="image/jpeg", headers=FOREVER)

    @app.get("/pictures/{index}/tiles/{level}/{column}/{row}.png")
    def tile(index: int, level: int, column: int, row: int) -> Response:
        if not (0 <= level <= 8 and min(column, row) >= 0):
            raise HTTPException(404, "there is no such tile")
        content = pictures.tile(path_of(index), level, column, row)
        if content is None:
            raise HTTPException(404, "there is no such tile")
        return Response(content, media_type="image/png", headers=FOREVER)

    @app.get("/pictures/{index}/map.png")
    def heat(index: int) -> Response:
        path_of(index)
        low, high = (float(value) for value in maps.ranges[index])
        return Response(heat_png(maps.values[index], low, high, maps.scale), media_type="image/png", headers=FOREVER)


def _add_trainings(app: FastAPI, session: ReviewSession) -> None:
    """Training again, and the comparison that it ends in."""

    def trainings() -> Trainings:
        if session.trainings is None:
            raise HTTPException(422, session.no_training)
        return session.trainings

    @app.get("/api/training")
    def status() -> dict[str, Any]:
        return _plain(asdict(session.trainings.status())) if session.trainings else {"state": "none"}

    @app.post("/api/training")
    def start() -> dict[str, Any]:
        if not any(review.state in STATES["looked"] for review in session.store.reviews()):
            raise HTTPException(422, "nothing is confirmed yet; accept or correct some pictures first")
        return _plain(asdict(trainings().start(session.store.snapshot())))

    @app.delete("/api/training")
    def cancel() -> dict[str, Any]:
        return _plain(asdict(trainings().cancel()))

    @app.get("/files/{name:path}")
    def compared(request: Request) -> FileResponse:
        """The comparison and what it links to, by bytes: a name need not be valid UTF-8."""
        written = unquote_to_bytes(request.scope["raw_path"]).removeprefix(b"/files/")
        found = trainings().file(os.fsdecode(written))
        if found is None:
            raise HTTPException(404, "there is no such page")
        return FileResponse(found, headers=COMPARISON_RULES)


def _plain(content: dict[str, Any]) -> dict[str, Any]:
    """What JSON can hold."""
    return {key: jsonable(value) for key, value in content.items()}


def _row(index: int, picture: QueuedPicture, review: Review) -> dict[str, Any]:
    name = picture.name.encode("utf-8", "backslashreplace").decode()  # what an answer can hold
    return {
        "index": index, "name": name, "why": picture.why, "state": review.state, "label": review.label,
        "boxes": len(review.boxes), "changed": picture.given is not None and review.label != picture.given,
    }  # fmt: skip


def _details(index: int, picture: QueuedPicture, review: Review) -> dict[str, Any]:
    return {
        **_row(index, picture, review),
        "version": review.version,
        "height": picture.size[0],
        "width": picture.size[1],
        "subset": picture.subset,
        "given": picture.given,
        "boxes": [asdict(box) for box in review.boxes],
        "model": {
            "label": picture.predicted,
            "probability": picture.probability,
            "boxes": [_model_box(box) for box in picture.boxes],
        },
    }


def _model_box(box: Box) -> dict[str, Any]:
    return {
        "x0": box.x0, "y0": box.y0, "x1": box.x1, "y1": box.y1, "label": box.label, "confidence": box.confidence,
        "trust": box.trust, "level": level(box), "doubt": box.doubt,
    }  # fmt: skip
