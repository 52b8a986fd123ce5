"""The small HTTP server of a watcher: ``/metrics``, ``/live`` and ``/ready``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from weakspot.errors import WeakspotError
from weakspot.watch.telemetry import CONTENT_TYPE, Telemetry


@contextmanager
def operated(
    host: str, port: int, telemetry: Telemetry, live: Callable[[], str], ready: Callable[[], str]
) -> Iterator[int]:
    """Answer ``GET /metrics``, ``/live`` and ``/ready`` while the block runs.

    Args:
        host: address to listen on.
        port: and port; 0 for any that is free.
        telemetry: for ``/metrics``.
        live: gives what is wrong with the process, empty where nothing is; then the answer has status 503.
        ready: likewise, with its source and whatever else it needs.

    Yields:
        The port.

    Raises:
        WeakspotError: when the address cannot be had.
    """
    pages: dict[str, Callable[[], tuple[int, bytes]]] = {
        "/metrics": lambda: (200, telemetry.text()),
        "/live": lambda: _state(live()),
        "/ready": lambda: _state(ready()),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            status, content = (404, b"there are /metrics, /live and /ready\n") if page is None else page()
            self.send_response(status)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: scrapes come every few seconds."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise WeakspotError(f"cannot listen on {host}:{port}; another --metrics-port may be free") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _state(wrong: str) -> tuple[int, bytes]:
    return (503, f"{wrong}\n".encode()) if wrong else (200, b"ok\n")
