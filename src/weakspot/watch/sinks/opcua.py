"""An OPC UA server as a sink: nodes carry the last verdict, counts and a heartbeat."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.server.server import Server

from weakspot.errors import WeakspotError
from weakspot.types import GOOD
from weakspot.watch.address import port_of
from weakspot.watch.verdicts import DEFECTIVE, SinkAwayError, Verdict

NAMESPACE = "urn:weakspot:watch"
STARTING, TIMEOUT = 180.0, 10.0
"""Seconds until a server that does not start, and one that does not answer, counts as away."""

NODES: dict[str, tuple[Any, ua.VariantType]] = {
    "Id": (0, ua.VariantType.Int64),
    "Picture": ("", ua.VariantType.String),
    "Verdict": ("", ua.VariantType.String),
    "IsGood": (False, ua.VariantType.Boolean),
    "Label": ("", ua.VariantType.String),
    "Probability": (0.0, ua.VariantType.Double),
    "UnlikeTraining": (False, ua.VariantType.Boolean),
    "Boxes": (0, ua.VariantType.Int32),
    "Key": ("", ua.VariantType.String),
    "Time": (datetime(1970, 1, 1, tzinfo=UTC), ua.VariantType.DateTime),
    "Good": (0, ua.VariantType.Int64),
    "Defective": (0, ua.VariantType.Int64),
    "Unreadable": (0, ua.VariantType.Int64),
    "Heartbeat": (0, ua.VariantType.Int64),
}
"""Below ``Objects/Weakspot``: of the last verdict, counts since the start, and a number that goes up every second."""

COUNTED = {GOOD: "Good", DEFECTIVE: "Defective"}


class OpcUa:
    """Serves :data:`NODES` for OPC UA clients; without encryption and passwords, so only in the line's own network.

    A client that is away misses what was overwritten meanwhile; ``Id`` and the counts tell it how much. ``Id`` is
    written last: who subscribes to it finds the other nodes of the same verdict.

    Args:
        endpoint: ``opc.tcp://host:port/path`` to serve at.

    Raises:
        WeakspotError: for another kind of address, or one that cannot be had.
    """

    def __init__(self, endpoint: str) -> None:
        if urlsplit(endpoint).scheme != "opc.tcp" or not port_of("--opcua", endpoint):
            raise WeakspotError(
                f"--opcua {endpoint}: give opc.tcp://HOST:PORT/PATH, for instance opc.tcp://0.0.0.0:4840/"
            )
        self.name, self._endpoint = f"opcua {endpoint}", endpoint
        for noisy in ("asyncua", "asyncua.server"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        self._counts = dict.fromkeys(("Good", "Defective", "Unreadable"), 0)
        self._beats = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="opcua", daemon=True)
        self._thread.start()
        self._nodes: dict[str, Any] = {}
        try:
            self._run(self._start(), STARTING)
        except Exception as error:  # asyncua's errors share no base class
            raise WeakspotError(f"--opcua {endpoint} cannot be served ({error}); choose another port") from error

    def tell(self, verdict: Verdict) -> None:
        """Write the nodes.

        Raises:
            SinkAwayError: when the server does not answer.
        """
        record = verdict.record
        kind = COUNTED.get(verdict.verdict, "Unreadable")
        counts = {**self._counts, kind: self._counts[kind] + 1}
        self._write(
            {
                "Picture": str(record.get("path", "")),
                "Verdict": verdict.verdict,
                "IsGood": verdict.verdict == GOOD,
                "Label": str(record.get("label") or ""),
                "Probability": float(record.get("probability") or 0.0),
                "UnlikeTraining": bool(record.get("unlike_training")),
                "Boxes": len(record.get("boxes", [])),
                "Key": verdict.key,
                "Time": datetime.fromtimestamp(verdict.answered, UTC),
                **counts,
                "Id": verdict.id,
            }
        )
        self._counts = counts

    def beat(self) -> None:
        """Count up ``Heartbeat``.

        Raises:
            SinkAwayError: when the server does not answer.
        """
        self._beats += 1
        self._write({"Heartbeat": self._beats})

    def close(self) -> None:
        """Stop the server."""
        self._run(self._server.stop(), 10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)

    def _write(self, values: dict[str, Any]) -> None:
        async def write() -> None:
            for name, value in values.items():
                await self._nodes[name].write_value(ua.DataValue(ua.Variant(value, NODES[name][1])))

        self._run(write(), TIMEOUT)

    def _run(self, work: Any, seconds: float) -> None:  # noqa: ANN401 - any coroutine
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            future.result(seconds)
        except FutureTimeoutError as error:
            future.cancel()
            raise SinkAwayError(f"no answer within {seconds:g} s") from error

    async def _start(self) -> None:
        self._server = Server()
        await self._server.init()
        self._server.set_endpoint(self._endpoint)
        self._server.set_server_name("weakspot")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await self._server.register_namespace(NAMESPACE)
        folder = await self._server.nodes.objects.add_object(f"ns={index};s=Weakspot", f"{index}:Weakspot")
        for name, (value, kind) in NODES.items():
            node_id = f"ns={index};s=Weakspot.{name}"
            self._nodes[name] = await folder.add_variable(node_id, f"{index}:{name}", value, varianttype=kind)
        await self._server.start()
