"""Run the service until it is stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.serve.app import Limits, make_app

LOOPBACK = {"127.0.0.1", "localhost"}
PATIENCE = 30
"""Seconds that requests have to end after the service was told to stop."""


def serve(
    localizer: Localizer,
    name: str,
    host: str,
    port: int,
    limits: Limits,
    started: Callable[[str], None],
    streams: int | None = None,
    drift_state: Path | None = None,
) -> None:
    """Serve a model; returns after Ctrl-C or SIGTERM, when what was asked before is answered.

    Args:
        localizer: the model.
        name: what to call it.
        host: address to listen on.
        port: and port; 0 for any that is free.
        limits: how much to take on.
        started: called with the address once it is known.
        streams: pictures to answer at once; None for what suits the model and the machine.
        drift_state: file that keeps the watch for changes across restarts; None starts anew each time.

    Raises:
        WeakspotError: when the address cannot be had.
    """
    app = make_app(localizer, name, limits, hosts=hosts_of(host), streams=streams, drift_state=drift_state)
    run_app(app, host, port, started)


def hosts_of(host: str) -> list[str] | None:
    """Names that a service on this address answers to; None for any."""
    return sorted(LOOPBACK) if host in LOOPBACK else None


def run_app(app: FastAPI, host: str, port: int, started: Callable[[str], None]) -> None:
    """Run pages until Ctrl-C or SIGTERM.

    Args:
        app: the pages.
        host: address to listen on.
        port: and port; 0 for any that is free.
        started: called with the address once it is known.

    Raises:
        WeakspotError: when the address cannot be had.
    """
    # log_config: uvicorn's own would close the handlers of everything else in this process.
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", log_config=None, timeout_graceful_shutdown=PATIENCE,
        access_log=False,
    )  # fmt: skip
    try:
        listening = config.bind_socket()
        listening.listen()  # whoever comes right after `started` waits in line and is not turned away
    except SystemExit as error:  # uvicorn's way to say that it cannot
        raise WeakspotError(f"cannot listen on {host}:{port}; another --port may be free") from error
    address = f"http://{'[' + host + ']' if ':' in host else host}:{listening.getsockname()[1]}"
    signal.signal(signal.SIGTERM, _leave)  # uvicorn raises it again when it is done
    started(address)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:
        return


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
