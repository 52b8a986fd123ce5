"""A webhook as a sink: each verdict is a POST, signed, under a key by which the receiver knows it again."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import urlsplit

import httpx

from weakspot._version import __version__
from weakspot.watch.verdicts import SinkAwayError, SinkRefusedError, Verdict

TIMEOUT = 10.0
"""Seconds until a receiver that does not answer counts as away."""

LATER = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same is worth another try."""


class Webhook:
    """POSTs each verdict as JSON, in order, one after the other.

    ``Idempotency-Key`` is the verdict's key: a receiver that ignores a key it has seen has every verdict exactly once.
    ``X-Weakspot-Signature`` is ``t=SECONDS,v1=HEX``: the HMAC-SHA256, under the secret, of ``SECONDS.BODY``. Statuses
    2xx are taken as received; 5xx, 408, 409, 425, 429 and no answer are tried again; others are refusals.

    Args:
        url: to post to.
        secret: for the signature; empty for none.
        client: made by default.
    """

    def __init__(self, url: str, secret: str = "", client: httpx.Client | None = None) -> None:
        parts = urlsplit(url)
        query = f"?{hashlib.sha256(parts.query.encode()).hexdigest()[:8]}" if parts.query else ""  # it may hold a key
        self.name = f"webhook {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"
        self._url, self._secret = url, secret.encode()
        self._client = client or httpx.Client(timeout=TIMEOUT)

    def tell(self, verdict: Verdict) -> None:
        """POST it.

        Raises:
            SinkAwayError: where another try may help.
            SinkRefusedError: where none will.
        """
        body = verdict.to_json()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": verdict.key,
            "User-Agent": f"weakspot/{__version__}",
        }
        if self._secret:
            headers["X-Weakspot-Signature"] = signature(self._secret, body, int(time.time()))
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise SinkAwayError(str(error) or type(error).__name__) from error
        if answer.is_success:
            return
        if answer.is_server_error or answer.status_code in LATER:
            raise SinkAwayError(f"status {answer.status_code}")
        raise SinkRefusedError(f"status {answer.status_code}")

    def beat(self) -> None:
        """Nothing: a receiver looks at ``/live``."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def signature(secret: bytes, body: bytes, seconds: int) -> str:
    """``t=SECONDS,v1=HEX``, the HMAC-SHA256 of ``SECONDS.BODY``.

    Args:
        secret: that both sides know.
        body: of the request.
        seconds: since 1970, by which a receiver refuses what is old.
    """
    digest = hmac.new(secret, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
