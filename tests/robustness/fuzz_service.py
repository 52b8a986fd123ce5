"""The service, sent damaged requests: each has an answer, or one clear line, and a good picture is not lost.

Requests are written as they go over the wire, so that what the HTTP server makes of them is tried too. After each one a
good picture is sent, and must get the answer that it got before.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import uvicorn
from h11 import LocalProtocolError

from weakspot.errors import WeakspotError
from weakspot.inference.localizer import Localizer
from weakspot.serve.app import Limits, make_app
from weakspot.serve.schema import Answer

LIMITS = Limits(megabytes=0.25, megapixels=0.01, images=6, at_once=2, silence=0.5)
PATIENCE = 5.0
"""Seconds until a request without an answer counts as hanging."""

NAMES = (
    b"a.png", b"", b"=1+1", b"@SUM(A1)", b"../../etc/passwd", b"C:\\x\\y.png", b"/", b".", b"..", b"a%0D%0Ab.png",
    b"%00.png", b"<script>alert(1)</script>.png", b"\xff\xfe.png", "名前.png".encode(), b"x" * 2000, b"a\tb", b"~",
    b"+2AA-.png", b"\\ud800.png", b"a;b=c", b"a\\",
)  # fmt: skip
TYPES = (
    "multipart/form-data; boundary=%s", "multipart/form-data; boundary=%s; charset=utf-7",
    "multipart/form-data; boundary=%s; charset=unicode_escape", "multipart/form-data; boundary=%s; charset=undefined",
    "multipart/form-data; boundary=%s; charset=idna", "multipart/form-data; boundary=%s; charset=zip",
    "multipart/form-data; boundary=%s; charset=utf-16", "MULTIPART/FORM-DATA; BOUNDARY=%s", "multipart/form-data",
    'multipart/form-data; boundary="%s"', "multipart/form-data; boundary=", "multipart/form-data; boundary=%s%s",
    "multipart/mixed; boundary=%s", "application/x-www-form-urlencoded", "application/json", "image/png", "", ";", "é",
    "multipart/form-data; boundary*=utf-8''%s", "multipart/form-data; boundary=" + "b" * 300,
)  # fmt: skip
LENGTHS = ("0", "-1", "99999999999999999999", "1" * 5000, "1e3", "\xb2", "", "12, 13", "0x10", "262145")
TARGETS = (
    "/predict", "/predict?map=true", "/predict?map=1&map=no", "/predict?map=perhaps", "/predict?map=%0A", "/predict/",
    "/predict?" + "x" * 3000, "/health", "/", "/docs", "/openapi.json", "/swagger/../../x", "/%00", "*",
    "/swagger/%2e%2e/%2e%2e/etc/passwd",
)  # fmt: skip


class Service:
    """The service in a thread of this process.

    Args:
        model: a bundle.
        good: a picture that it can read.

    Attributes:
        logged: what the server said went wrong inside.
    """

    def __init__(self, model: Path, good: bytes) -> None:
        app = make_app(Localizer.load(model, device="cpu"), "tiny", LIMITS)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, log_level="error", access_log=False)
        self._socket = config.bind_socket()
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self.logged: list[str] = []
        self._handler = logging.Handler(logging.ERROR)
        self._handler.emit = self._noted  # type: ignore[method-assign]
        logging.getLogger("uvicorn.error").addHandler(self._handler)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self._good = good
        self._known = self._predicted(*self.ask(request([(b"a.png", good)])))[0]

    def close(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join()
        logging.getLogger("uvicorn.error").removeHandler(self._handler)
        self._socket.close()

    def ask(self, raw: bytes) -> tuple[int, bytes]:
        """Send these bytes; status and body of the answer, or 0 where a request that was cut off has none.

        Raises:
            TimeoutError: when neither an answer nor an end of the connection comes.
        """
        with socket.create_connection(self._socket.getsockname(), timeout=PATIENCE) as connection:
            try:
                connection.sendall(raw)
                if b"\r\n\r\n" not in raw:  # the server waits for the rest of the headers
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it has said no before the end
            answer = HTTPResponse(connection, method="POST")
            try:
                answer.begin()
                return answer.status, answer.read()
            except (ConnectionError, HTTPException):
                return 0, b""

    def send(self, raw: bytes) -> None:
        """Send a damaged request, then a good one.

        Raises:
            WeakspotError: with the line of the refusal.
            ValueError: for anything but an answer or such a line, and when the good request is not answered as before.
        """
        try:
            self._judged(*self.ask(raw))
        finally:
            if self._predicted(*self.ask(request([(b"a.png", self._good)])))[0] != self._known:
                raise ValueError("afterwards a good picture got another answer")

    def send_among_good(self, name: bytes, picture: bytes) -> None:
        """Send a damaged picture between two good ones; both must get their answers."""
        parts = [(b"a.png", self._good), (name, picture), (b"a.png", self._good)]
        records = self._predicted(*self.ask(request(parts)))
        if [records[0], records[2]] != [self._known] * 2:
            raise ValueError(f"good pictures were lost: {records}")
        if records[1]["status"] == "error":
            raise WeakspotError(records[1]["message"])

    def _noted(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, LocalProtocolError):  # uvicorn has refused the request while the service answered
            return
        self.logged.append(f"{record.getMessage().strip()}: {type(error).__name__}: {error}")

    def _judged(self, status: int, body: bytes) -> None:
        if self.logged:
            raise ValueError(f"the server logged: {self.logged.pop()}")
        if status >= 500:
            raise ValueError(f"status {status}: {body[:200]!r}")
        if status == 200 and body.startswith(b'{"predictions"'):
            self._predicted(status, body)
        if status >= 400:
            text = body.decode()
            answer = json.loads(text) if text.startswith("{") else {"detail": text}
            lines = [answer["detail"]] if "detail" in answer else [r["message"] for r in answer["predictions"]]
            if not all(isinstance(line, str) and line and len(line.splitlines()) == 1 for line in lines):
                raise ValueError(f"not one line: {text}")
            raise WeakspotError(lines[0])

    def _predicted(self, status: int, body: bytes) -> list[dict[str, Any]]:
        if status != 200:
            raise ValueError(f"status {status}: {body[:200]!r}")
        Answer.model_validate_json(body, extra="forbid")
        records: list[dict[str, Any]] = json.loads(body)["predictions"]
        return records


@contextmanager
def running(model: Path, good: bytes) -> Iterator[Service]:
    """The service, ended afterwards."""
    service = Service(model, good)
    try:
        yield service
    finally:
        service.close()


def form(parts: list[tuple[bytes, bytes]], boundary: bytes = b"edge") -> bytes:
    """The body of a form with these files, as browsers write it."""
    head = b'--%s\r\nContent-Disposition: form-data; name="images"; filename="%s"\r\nContent-Type: image/png\r\n\r\n'
    quoted = ((name.replace(b'"', b"%22"), content) for name, content in parts)
    return b"".join(head % (boundary, name) + content + b"\r\n" for name, content in quoted) + b"--%s--\r\n" % boundary


def request(
    parts: list[tuple[bytes, bytes]],
    target: str = "/predict",
    kind: str = "multipart/form-data; boundary=%s",
    length: str | None = None,
    pieces: int = 0,
) -> bytes:
    """A request as it goes over the wire.

    Args:
        parts: names and contents of files.
        target: path and query.
        kind: content type, with ``%s`` for the boundary.
        length: what to say of the body's length; None for the truth.
        pieces: number of chunks to send the body in; 0 for one body with a length.
    """
    body = form(parts)
    if pieces:
        size = -(-len(body) // pieces)
        cut = [body[i : i + size] for i in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in cut) + b"0\r\n\r\n"
        said = "Transfer-Encoding: chunked"
    else:
        said = f"Content-Length: {len(body) if length is None else length}"
    head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    return f"{head}Content-Type: {kind.replace('%s', 'edge')}\r\n{said}\r\n\r\n".encode("latin-1") + body


def hostile_request(content: bytes, rng: random.Random, pictures: list[bytes]) -> bytes:
    """A request that is unusual in one way or two, and often cut off or changed in some bytes; `content` starts it."""
    if rng.random() < 0.7:
        parts = [(rng.choice(NAMES), rng.choice(pictures)) for _ in range(rng.choice((0, 1, 2, 6, 7, 40)))]
        usual = {"target": TARGETS[0], "kind": TYPES[0], "length": None, "pieces": 0}
        unusual = {
            "target": rng.choice(TARGETS), "kind": rng.choice(TYPES), "length": rng.choice(LENGTHS),
            "pieces": rng.choice((1, 2, 30)),
        }  # fmt: skip
        chosen = rng.sample(sorted(unusual), rng.choice((0, 1, 1, 2)))
        content = request(parts, **(usual | {key: unusual[key] for key in chosen}))
    data = bytearray(content)
    for _ in range(rng.choice((0, 0, 1, 3))):
        at = rng.randrange(min(len(data), 400) if rng.random() < 0.8 else len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                data[at:at] = rng.choice((b"\r\n", b"\0", b"\n", b";", b'"', b"--edge", b"\r\n\r\n", b"A: b\r\n"))
            case 2:
                del data[at : at + rng.randint(1, 30)]
            case _:
                data[at:at] = data[at : at + rng.randint(1, 60)]
    return bytes(data[: rng.randrange(len(data)) if rng.random() < 0.15 else None])
