"""Sinks with real counterparts: a web server, mosquitto, an OPC UA client, a file; and being told."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from asyncua import Client
from helpers.watching import awaited, broker, free_port, needs_mosquitto, receiving, subscribed, until

from weakspot.errors import WeakspotError
from weakspot.watch import delivery as delivering
from weakspot.watch.delivery import Delivery
from weakspot.watch.journal import Entry, Journal
from weakspot.watch.sinks import opcua
from weakspot.watch.sinks.flag import Flag
from weakspot.watch.sinks.mqtt import Mqtt
from weakspot.watch.sinks.opcua import OpcUa
from weakspot.watch.sinks.webhook import Webhook
from weakspot.watch.verdicts import SinkAwayError, SinkRefusedError, Verdict

RECORD = {
    "path": "a.png", "label": "anomaly", "probability": 0.75, "boxes": [{"x0": 1}], "unlike_training": True,
}  # fmt: skip
VERDICT = Verdict(7, "ab" * 16, "defective", 1.7e9, RECORD)


def fill(journal: Journal, first: int, last: int) -> None:
    kinds = ("good", "defective", "unreadable")
    journal.add(
        [
            Entry(n, f"{n}.png", "d", (1, 1), kinds[n % 3], 1, 1.7e9, "d", n, json.dumps({"path": f"{n}.png"}))
            for n in range(first, last + 1)
        ]
    )


def test_a_webhook_is_signed_and_known_again_by_its_key() -> None:
    with receiving() as receiver:
        sink = Webhook(receiver.url, "secret")
        sink.tell(VERDICT)
        sink.close()
    body, headers, raw = receiver.got[0]
    assert body == {
        "id": 7,
        "key": "ab" * 16,
        "time": "2023-11-14T22:13:20.000+00:00",
        "verdict": "defective",
        **RECORD,
    }
    assert headers["idempotency-key"] == VERDICT.key
    seconds, digest = (part.partition("=")[2] for part in headers["x-weakspot-signature"].split(","))
    assert digest == hmac.new(b"secret", seconds.encode() + b"." + raw, hashlib.sha256).hexdigest()
    assert abs(int(seconds) - time.time()) < 60
    assert Webhook("http://user:hidden@host/x").name == "webhook http://host/x"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, SinkAwayError),
        (429, SinkAwayError),
        (400, SinkRefusedError),
        (404, SinkRefusedError),
        (302, SinkRefusedError),
    ],
)
def test_what_a_webhook_answers_decides_whether_it_is_tried_again(status: int, error: type[Exception]) -> None:
    client = httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(status)))
    with pytest.raises(error, match=str(status)):
        Webhook("http://host/x", client=client).tell(VERDICT)
    with pytest.raises(SinkAwayError):
        Webhook(f"http://127.0.0.1:{free_port()}/").tell(VERDICT)


def test_a_sink_that_is_away_loses_nothing_and_refusals_become_dead_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "LONGEST", 0.5)
    journal, port = Journal(tmp_path / "j.sqlite"), free_port()
    delivery = Delivery(Webhook(f"http://127.0.0.1:{port}/hook", "s"), journal, tmp_path)
    fill(journal, 1, 40)
    delivery.start()
    until(lambda: delivery.away and delivery.failures >= 2)
    assert delivery.backlog == 40
    with receiving(port) as receiver:
        receiver.answers = [503, 200, 422, 200]
        until(lambda: delivery.backlog == 0)
        fill(journal, 41, 45)
        delivery.ring()
        until(lambda: delivery.backlog == 0)
        delivery.stop(1)
        delivery.join()
    assert [body["id"] for body, _, _ in receiver.got] == [n for n in range(1, 46) if n != 2]
    assert not delivery.away
    assert delivery.refused == 1
    (letters,) = tmp_path.glob("dead-letters-webhook-*.jsonl")
    assert json.loads(letters.read_text())["id"] == 2
    assert journal.told(delivery.sink.name) == 45


def test_what_cannot_be_written_down_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "LONGEST", 0.3)
    journal = Journal(tmp_path / "j.sqlite")
    with receiving() as receiver:
        delivery = Delivery(Webhook(receiver.url), journal, tmp_path)
        delivery._dead_letters.mkdir()  # nobody can write to it as to a file
        receiver.answers = [422] * 1000
        fill(journal, 1, 1)
        delivery.start()
        until(lambda: delivery.away and delivery.failures >= 2)
        delivery._dead_letters.rmdir()
        until(lambda: delivery.backlog == 0)
        delivery.stop(1)
        delivery.join()
    assert (delivery.refused, delivery.away) == (1, False)
    assert json.loads(delivery._dead_letters.read_text())["id"] == 1


def test_what_is_left_at_the_end_is_told_after_the_next_start(tmp_path: Path) -> None:
    journal, port = Journal(tmp_path / "j.sqlite"), free_port()
    address = f"http://127.0.0.1:{port}/hook"
    first = Delivery(Webhook(address), journal, tmp_path)
    fill(journal, 1, 5)
    first.start()
    began = time.monotonic()
    first.stop(0.3)
    first.join()
    assert time.monotonic() - began < 5
    assert first.backlog == 5
    with receiving(port) as receiver:
        second = Delivery(Webhook(address), journal, tmp_path)
        second.start()
        second.stop(10)
        second.join()
    assert [body["id"] for body, _, _ in receiver.got] == [1, 2, 3, 4, 5]


class Hanging:
    """A sink whose counterpart does not answer, and whose library raises what nobody expects."""

    name = "hanging"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.told: list[int] = []

    def tell(self, verdict: Verdict) -> None:
        if not self.go.wait(0.05):
            raise KeyError("its library's own")
        self.told.append(verdict.id)

    def beat(self) -> None:
        raise OSError("no heart")

    def close(self) -> None:
        raise RuntimeError("not even that")


def test_a_sink_that_hangs_or_fails_oddly_holds_nobody_up(tmp_path: Path) -> None:
    journal, sink = Journal(tmp_path / "j.sqlite"), Hanging()
    delivery = Delivery(sink, journal, tmp_path)
    delivery.start()
    began = time.monotonic()
    fill(journal, 1, 100)
    delivery.ring()
    assert time.monotonic() - began < 1
    until(lambda: delivery.away)
    sink.go.set()
    until(lambda: sink.told == list(range(1, 101)))
    delivery.stop(1)
    delivery.join()
    assert journal.told("hanging") == 100


@needs_mosquitto
@pytest.mark.slow
def test_mosquitto_has_every_verdict_over_a_restart_and_knows_when_the_watcher_is_gone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    with broker(tmp_path / "broker") as mosquitto, subscribed(mosquitto.port, "line/#") as got:
        delivery = Delivery(Mqtt(f"mqtt://127.0.0.1:{mosquitto.port}/line"), journal, tmp_path)
        delivery.start()
        fill(journal, 1, 10)
        delivery.ring()
        until(lambda: len([1 for topic, _ in got if topic == "line/verdict"]) == 10)
        mosquitto.stop()
        fill(journal, 11, 20)
        delivery.ring()
        until(lambda: delivery.away)
        mosquitto.start()
        until(lambda: delivery.backlog == 0)
        delivery.stop(5)
        delivery.join()
        until(lambda: [payload for topic, payload in got if topic == "line/status"][-1:] == [b"offline"])
    found = [json.loads(payload) for topic, payload in got if topic == "line/verdict"]
    assert {one["id"] for one in found} == set(range(1, 21))
    assert {one["key"] for one in found} == {one.key for one in journal.after(0, 99)}
    assert (b"online" in [payload for topic, payload in got if topic == "line/status"]) is True


@needs_mosquitto
@pytest.mark.slow
def test_the_last_will_says_offline(tmp_path: Path) -> None:
    with broker(tmp_path / "broker") as mosquitto, subscribed(mosquitto.port, "line/status") as got:
        sink = Mqtt(f"mqtt://127.0.0.1:{mosquitto.port}/line")
        until(lambda: [payload for _, payload in got] == [b"online"])
        socket = sink._client.socket()
        assert socket is not None
        sink._client.loop_stop()
        socket.close()  # as a kill does
        until(lambda: [payload for _, payload in got] == [b"online", b"offline"])


def test_webhooks_that_differ_in_their_query_are_two_receivers_and_the_query_is_not_shown() -> None:
    names = [Webhook(f"http://user:word@a/b{query}").name for query in ("", "?key=1", "?key=2", "?key=1")]
    assert names[0] == "webhook http://a/b"
    assert names[1] == names[3] != names[2]
    assert all(name.startswith("webhook http://a/b?") and "key" not in name for name in names[1:])


@pytest.mark.parametrize("url", ["http://a/b", "mqtt:///x", "mqtt://host/a/#", "mqtt://host:99999/a", "mqtt://h:x/a"])
def test_an_address_that_is_none_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(WeakspotError, match="--mqtt"):
        Mqtt(url)


async def read_nodes(endpoint: str) -> dict[str, Any]:
    async with Client(endpoint) as client:
        index = await client.get_namespace_index(opcua.NAMESPACE)
        return {name: await client.get_node(f"ns={index};s=Weakspot.{name}").read_value() for name in opcua.NODES}


@pytest.mark.slow
def test_an_opc_ua_client_sees_the_last_verdict_counts_and_a_heartbeat() -> None:
    endpoint = f"opc.tcp://127.0.0.1:{free_port()}/weakspot"
    sink = OpcUa(endpoint)
    try:
        sink.tell(Verdict(6, "k", "good", 1.7e9, {"path": "b.png", "label": "good", "probability": 0.1, "boxes": []}))
        sink.tell(
            Verdict(7, "k", "unreadable", 1.7e9, {"path": "c.png", "label": "", "probability": None, "boxes": []})
        )
        sink.tell(VERDICT)
        sink.beat()
        sink.beat()
        found = awaited(read_nodes(endpoint))
    finally:
        sink.close()
    assert found["Time"].year == 2023
    del found["Time"]
    assert found == {
        "Id": 7, "Picture": "a.png", "Verdict": "defective", "IsGood": False, "Label": "anomaly", "Probability": 0.75,
        "UnlikeTraining": True, "Boxes": 1, "Key": "ab" * 16, "Good": 1, "Defective": 1, "Unreadable": 1,
        "Heartbeat": 2,
    }  # fmt: skip
    with pytest.raises(WeakspotError, match=r"give opc\.tcp://HOST:PORT"):
        OpcUa("http://x")


def test_the_flag_file_holds_one_whole_verdict(tmp_path: Path) -> None:
    path = tmp_path / "plc" / "verdict.txt"
    sink = Flag(path)
    said = []
    for number, verdict in enumerate(("good", "defective", "unreadable"), start=1):
        sink.tell(Verdict(number, "k", verdict, 1.0, {}))
        said.append(path.read_text())
    sink.tell(Verdict(4, "k", "good", 1.0, {"unlike_training": True}))
    assert [*said, path.read_text()] == ["good 1\n", "bad 2\n", "unreadable 3\n", "good 4 unlike\n"]
    assert [one.name for one in path.parent.iterdir()] == ["verdict.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkAwayError):
        Flag(tmp_path / "file" / "x").tell(VERDICT)
