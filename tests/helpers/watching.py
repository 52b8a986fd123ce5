"""A line to watch: an exported model, pictures that come, and real counterparts of its sinks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from PIL import Image

T = TypeVar("T")

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt-get install mosquitto)")


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for something, and fail when it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def awaited(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns.

    It runs in a thread of its own: Playwright keeps a loop running in the thread of the tests for as long as a browser
    is open, and there ``asyncio.run`` is refused.
    """
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def picture(path: Path, seed: int, size: tuple[int, int] = (48, 64), *, busy: bool = True) -> Path:
    """A picture as a camera writes it, with a busy place or without one: hidden first, then renamed."""
    rng = np.random.default_rng(seed)
    pixels = np.full((*size, 3), rng.integers(40, 200, 3), np.uint8)
    if busy:
        pixels[5:35, 10:50] = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}")
    Image.fromarray(pixels).save(hidden, "png")
    hidden.rename(path)
    return path


@dataclass
class Receiver:
    """A webhook's counterpart.

    Attributes:
        answers: statuses that come next; 200 when there are none left.
        got: bodies and headers of what was taken.
    """

    answers: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, Any], dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    @property
    def once(self) -> dict[str, dict[str, Any]]:
        """Verdicts by key, as a receiver that ignores keys it knows has them."""
        return {headers["idempotency-key"]: body for body, headers, _ in self.got}


@contextmanager
def receiving(port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = receiver.answers.pop(0) if receiver.answers else 200
            if status == 200:
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.got.append((json.loads(body), headers, body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """Quiet: whoever is killed resets its connection."""

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()


class Broker:
    """Debian's mosquitto on a port of its own, that keeps what it has over a restart."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self._settings = folder / "mosquitto.conf"
        user = f"user {_own_name()}\n" if os.getuid() == 0 else ""
        self._settings.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {folder}/\n"
            f"max_queued_messages 0\nautosave_interval 1\nautosave_on_changes true\n{user}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: not is_free(self.port))

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None


def _own_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def is_free(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def broker(folder: Path, port: int | None = None) -> Iterator[Broker]:
    made = Broker(folder, port)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def subscribed(port: int, topic: str) -> Iterator[list[tuple[str, bytes]]]:
    """Everything that a subscriber gets under a topic; it comes back after the broker did, and misses nothing."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    got: list[tuple[str, bytes]] = []
    ready = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"reader-{port}", clean_session=False)
    client.reconnect_delay_set(1, 1)
    client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _client, _data, message: got.append((message.topic, message.payload))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(10)
    try:
        yield got
    finally:
        client.disconnect()
        client.loop_stop()
