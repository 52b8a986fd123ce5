"""What whoever runs the service looks at: ``/metrics`` for Prometheus, ``/live`` and ``/ready``."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from weakspot.watch.telemetry import CONTENT_TYPE, Telemetry


def add_operation(app: FastAPI, telemetry: Telemetry, ready: Callable[[], str]) -> None:
    """Add the three pages.

    Args:
        app: the service.
        telemetry: for ``/metrics``.
        ready: gives why no request should come for now, empty where one may; then ``/ready`` has status 503.
    """

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(telemetry.text(), media_type=CONTENT_TYPE)

    @app.get("/live", response_class=PlainTextResponse)
    async def live() -> str:
        """Whether the service answers at all."""
        return "ok\n"

    @app.get("/ready", response_class=PlainTextResponse, responses={503: {"description": "send no request for now"}})
    async def is_ready() -> PlainTextResponse:
        """Whether requests may come."""
        wrong = ready()
        return PlainTextResponse(f"{wrong}\n", 503) if wrong else PlainTextResponse("ok\n")
