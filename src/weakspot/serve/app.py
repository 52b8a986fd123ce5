"""The service itself (FastAPI): ``POST /predict``, ``GET /health``, ``/metrics``, ``/live``, ``/ready`` and pages."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import swagger_ui_bundle
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from weakspot._version import __version__
from weakspot.data.images import decode_image
from weakspot.data.loading import Loaded
from weakspot.data.picture_sizes import PictureSizes, in_one_sentence
from weakspot.drift.observer import DriftObserver
from weakspot.errors import WeakspotError
from weakspot.inference.batcher import Batcher
from weakspot.inference.localizer import Localizer
from weakspot.inference.observer import Observer, show_to
from weakspot.ops.maps import shown_map
from weakspot.postprocess.prediction_files import to_record
from weakspot.report.overlays import heat_layer
from weakspot.serve.operate import add_operation
from weakspot.serve.schema import Answer, Health, Problem
from weakspot.types import GOOD, Prediction
from weakspot.utils.files import jsonable, shown
from weakspot.watch.telemetry import Telemetry
from weakspot.watch.verdicts import verdict_of

log = logging.getLogger(__name__)

UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
            }
        }
    },
}
"""The request body for the OpenAPI page; it is read by hand, so that it waits outside until there is room for it."""

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in (
        (400, "no readable form"),
        (408, "cut off"),
        (413, "too large"),
        (422, "no picture, or none that can be read"),
    )
}
PAGE_RULES = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
}


@dataclass(frozen=True)
class Limits:
    """How much the service takes on, which bounds its memory.

    Attributes:
        megabytes: of a request's body.
        megapixels: of one picture, decoded.
        images: in one request.
        at_once: requests that are read and answered at a time; more wait, unread, until one is done.
        silence: seconds between two pieces of a request; who stops in the middle would keep others waiting.
    """

    megabytes: float = 32.0
    megapixels: float = 50.0
    images: int = 32
    at_once: int = 4
    silence: float = 30.0

    @property
    def body(self) -> int:
        """Bytes of a request's body."""
        return round(self.megabytes * 2**20)


class Service:
    """What the routes share: the model, its thread, and a few threads that decode pictures."""

    def __init__(
        self,
        localizer: Localizer,
        limits: Limits,
        streams: int | None,
        telemetry: Telemetry,
        observers: Sequence[Observer],
    ) -> None:
        self.localizer, self.limits, self.telemetry, self.observers = localizer, limits, telemetry, observers
        self.batcher = Batcher(localizer, streams)
        self.pool = ThreadPoolExecutor(max(2, self.batcher.streams), thread_name_prefix="decode")
        self.slots = asyncio.Semaphore(limits.at_once)

    async def answer(self, request: Request, *, with_map: bool) -> list[dict[str, Any]]:
        """Read a request when there is room for it, and predict its pictures.

        Args:
            request: not read yet.
            with_map: add the heat map of each picture to its record.

        Returns:
            A record for each picture, in the order of the request.
        """
        announced = request.headers.get("content-length", "")
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > self.limits.body:
            raise self._too_large()
        async with self.slots:
            begun = time.perf_counter()
            loaded = await self._read(request)
            waiting = [asyncio.wrap_future(self.batcher.submit(one)) for one in loaded]
            found = await asyncio.gather(*waiting, return_exceptions=True)
        if isinstance(found[0], BaseException) and all(isinstance(one, BaseException) for one in found):
            raise found[0]
        predictions = [
            _failed(one, on) if isinstance(one, BaseException) else one for one, on in zip(found, loaded, strict=True)
        ]
        for prediction, one in zip(predictions, loaded, strict=True):
            self._note(prediction, one, time.perf_counter() - begun)
        trained = self.localizer.meta.pictures
        if not with_map:
            return [_record(prediction, trained, with_map=False) for prediction in predictions]
        loop = asyncio.get_running_loop()
        drawn = [loop.run_in_executor(self.pool, partial(_record, one, trained, with_map=True)) for one in predictions]
        return await asyncio.gather(*drawn)

    def _note(self, prediction: Prediction, loaded: Loaded, seconds: float) -> None:
        """Tell whoever counts, and the observers, whose alarms go to the log."""
        self.telemetry.note(prediction, seconds)
        fields = {"picture": str(prediction.path), "verdict": verdict_of(prediction), "seconds": round(seconds, 4)}
        log.info("%s", prediction.message or prediction.label, extra={"fields": fields})
        show_to(self.observers, prediction, loaded, log)

    async def _read(self, request: Request) -> list[Loaded]:
        """The pictures of a request, decoded one after the other: what waits for the model is small."""
        request._receive = self._counted(request._receive)
        try:
            async with request.form(max_files=self.limits.images, max_fields=0) as form:
                uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
                if not uploads:
                    raise HTTPException(422, "no picture was sent; send files as multipart/form-data, field 'images'")
                return [await self._load(number, upload) for number, upload in enumerate(uploads, start=1)]
        except UnicodeError as error:  # not every codec that Python knows can read names
            raise HTTPException(400, "names in the form are not in the charset that it gives; send UTF-8") from error

    async def _load(self, number: int, upload: UploadFile) -> Loaded:
        name, data = upload.filename or f"image-{number}", await upload.read()
        name = name.encode("utf-8", "replace").decode()  # what an answer can hold
        read = partial(self._decode, name, data)
        return await asyncio.get_running_loop().run_in_executor(self.pool, read)

    def _decode(self, name: str, data: bytes) -> Loaded:
        try:
            image = decode_image(data, Path(name), most_pixels=round(self.limits.megapixels * 1e6))
        except WeakspotError as error:
            return Loaded(Path(name), error=str(error))
        return self.localizer.prepare(Path(name), image)

    def _counted(self, receive: Receive) -> Receive:
        """The same, until there is more than the limit or nothing; not every request says how long it is."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            try:
                message = await asyncio.wait_for(receive(), self.limits.silence)
            except TimeoutError as error:
                raise HTTPException(408, f"nothing came for {self.limits.silence:g} s; send it again") from error
            seen += len(message.get("body", b""))
            if seen > self.limits.body:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"more than {self.limits.megabytes:g} MB; send fewer or smaller pictures at a time")

    def close(self) -> None:
        """Answer what is queued and end the threads."""
        self.batcher.close()
        self.pool.shutdown()


def make_app(
    localizer: Localizer,
    name: str,
    limits: Limits,
    *,
    hosts: list[str] | None = None,
    streams: int | None = None,
    observer: Observer | None = None,
    drift_state: Path | None = None,
) -> FastAPI:
    """Build the service.

    Args:
        localizer: the model.
        name: what to call it.
        limits: how much to take on.
        hosts: names the service answers to, so that no foreign web page reaches it under another; None for any.
        streams: pictures to answer at once; None for what suits the model and the machine.
        observer: sees every prediction, beside the watch for changes.
        drift_state: file that keeps the watch for changes across restarts; None starts anew each time.
    """
    service: Service
    telemetry = Telemetry(name)
    telemetry.gauge("weakspot_queue", "Pictures that wait for the model.", lambda: float(service.batcher.waiting))
    drift = DriftObserver(localizer.meta.familiarity, drift_state)
    observers: list[Observer] = [drift] if observer is None else [drift, observer]
    for each in observers:
        telemetry.ask_for_gauges(each.gauges)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        nonlocal service
        service = Service(localizer, limits, streams, telemetry, observers)
        yield
        service.close()
        drift.close()

    app = FastAPI(
        title="weakspot", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        summary="Finds defects in pictures and draws boxes round them.",
    )  # fmt: skip
    app.openapi_version = "3.0.2"  # what the bundled page reads
    app.mount("/swagger", StaticFiles(directory=swagger_ui_bundle.swagger_ui_path))
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)

    @app.exception_handler(RequestValidationError)
    async def misspelt(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg']}"}, 422)

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> JSONResponse:
        return JSONResponse({"detail": "the request ended in the middle; send it again"}, 400)  # nobody hears it

    @app.post("/predict", response_model=Answer, responses=PROBLEMS, openapi_extra={"requestBody": UPLOAD})
    async def predict(request: Request, map: bool = False) -> JSONResponse:
        """Classify one or many pictures and draw boxes on those that are not good.

        A picture that cannot be read has status "error"; the others are answered all the same.
        """
        records = await service.answer(request, with_map=map)
        readable = any(record["status"] == "ok" for record in records)
        return JSONResponse({"predictions": records}, 200 if readable else 422)

    @app.get("/health")
    async def health() -> Health:
        """Whether the service is up, and what it serves."""
        batcher = service.batcher
        return Health(
            status="ok", version=__version__, model=name, classes=localizer.meta.classes,
            answered=batcher.answered, waiting=batcher.waiting, drift=jsonable(drift.status()),
        )  # fmt: skip

    add_operation(app, telemetry, lambda: "" if service.batcher.alive else "the model's threads have ended")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(files("weakspot.serve").joinpath("page.html").read_text("utf-8"), headers=PAGE_RULES)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json", title="weakspot", swagger_js_url="/swagger/swagger-ui-bundle.js",
            swagger_css_url="/swagger/swagger-ui.css", swagger_favicon_url="/swagger/favicon-32x32.png",
        )  # fmt: skip

    return app


def _failed(error: BaseException, on: Loaded) -> Prediction:
    return Prediction(
        on.name, status="error", message=f"{shown(on.name)}: not predicted ({' '.join(str(error).split())})"
    )


def _record(prediction: Prediction, trained: PictureSizes | None, *, with_map: bool) -> dict[str, Any]:
    record: dict[str, Any] = jsonable(to_record(prediction))
    if trained is not None and all(prediction.size) and not trained.fits(prediction.size):
        record["remark"] = in_one_sentence(prediction.size, trained)
    if with_map:
        record["map"] = None
        if prediction.output is not None and prediction.label != GOOD:  # scaled to its range, any map glows
            stream = io.BytesIO()
            layer = Image.fromarray(heat_layer(shown_map(prediction.output), prediction.size))
            layer.save(stream, format="PNG", compress_level=1)  # a third larger than level 6, four times as fast
            record["map"] = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return record
