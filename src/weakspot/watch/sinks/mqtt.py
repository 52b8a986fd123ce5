"""An MQTT broker as a sink: QoS 1, a retained status with a last will."""

from __future__ import annotations

import threading
import time
import uuid
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from weakspot.errors import WeakspotError
from weakspot.watch.address import port_of
from weakspot.watch.verdicts import SinkAwayError, Verdict

TIMEOUT = 10.0
"""Seconds until a broker that does not acknowledge counts as away."""

PORTS = {"mqtt": 1883, "mqtts": 8883}


class Mqtt:
    """Publishes each verdict under ``TOPIC/verdict``, and ``online`` or ``offline`` under ``TOPIC/status``, retained.

    Verdicts have QoS 1: the broker has each at least once, and after a lost acknowledgement twice; ``key`` in the
    message tells the second from another picture. ``offline`` is the connection's last will, so that it is there when
    the watcher was killed.

    Args:
        url: ``mqtt://user@host:port/topic``, or ``mqtts://`` with TLS; the topic is ``weakspot`` where none is given.
        password: of the user; one in the URL is taken, too.

    Raises:
        WeakspotError: for another kind of URL.
    """

    def __init__(self, url: str, password: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname:
            raise WeakspotError(f"--mqtt {url}: give mqtt://HOST/TOPIC or mqtts://HOST/TOPIC")
        port = port_of("--mqtt", url) or PORTS[parts.scheme]
        self._topic = parts.path.strip("/") or "weakspot"
        if "#" in url or "+" in self._topic:
            raise WeakspotError(f"--mqtt {url}: a topic to publish under has no + and no #")
        self.name = f"mqtt {parts.hostname}:{port}/{self._topic}"
        client_id = f"weakspot-{uuid.uuid4().hex[:12]}"
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or "") or password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.will_set(f"{self._topic}/status", b"offline", qos=1, retain=True)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect = self._connected
        self._up = threading.Event()
        self._client.on_disconnect = lambda *_: self._up.clear()
        self._why = "no connection"
        self._client.connect_async(parts.hostname, port, keepalive=20)
        self._client.loop_start()

    def tell(self, verdict: Verdict) -> None:
        """Publish it and wait until the broker has it.

        Raises:
            SinkAwayError: when it is away.
        """
        if not self._up.wait(2.0):
            raise SinkAwayError(self._why)
        info = self._client.publish(f"{self._topic}/verdict", verdict.to_json(), qos=1)
        end = time.monotonic() + TIMEOUT
        while not info.is_published():
            info.wait_for_publish(0.2)
            if not self._up.is_set():
                raise SinkAwayError("the connection was lost")
            if time.monotonic() > end:
                raise SinkAwayError(f"no acknowledgement within {TIMEOUT:g} s")

    def beat(self) -> None:
        """Nothing: the connection has a heartbeat of its own, and a last will."""

    def close(self) -> None:
        """Say that it is offline, and disconnect."""
        if self._up.is_set():
            self._client.publish(f"{self._topic}/status", b"offline", qos=1, retain=True).wait_for_publish(2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, client: mqtt.Client, data: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        if reason.is_failure:
            self._why = str(reason)
            return
        client.publish(f"{self._topic}/status", b"online", qos=1, retain=True)
        self._up.set()
