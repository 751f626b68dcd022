"""One attempt to tell a webhook something: HTTP/1.1, no redirects, no proxies, bounded in time and size."""

import asyncio
import base64
import hashlib
import hmac
import os
import ssl
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import httptools

from mlwright import __version__
from mlwright.kernel.errors import Invalid, Unavailable
from mlwright.registry.webhooks import targets
from mlwright.registry.webhooks.spec import WebhookSettings
from mlwright.registry.webhooks.targets import Resolve, Target

SIGNATURE = "X-MLflow-Signature"
TIMESTAMP = "X-MLflow-Timestamp"
DELIVERY_ID = "X-MLflow-Delivery-Id"
_VERSION = "v1"

#: So much of an answer is read.
MAX_ANSWER_BYTES = 64 << 10
_MAX_HEADER_BYTES = 64 << 10
#: Whoever asks for a longer pause gets this one, in seconds.
MAX_PAUSE_S = 600.0


class Reply(NamedTuple):
    """An answer; `retry_after_s` is how long it asks to wait, None when it does not."""

    status: int
    body: str
    retry_after_s: float | None


def headers(delivery_id: str, now_ms: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers of MLflow's webhooks: the id, the time in seconds, and with a secret the signature of all three."""
    timestamp = str(now_ms // 1_000)
    found = {"Content-Type": "application/json", DELIVERY_ID: delivery_id, TIMESTAMP: timestamp}
    if secret:
        found[SIGNATURE] = signature(secret, delivery_id, timestamp, body)
    return found


def signature(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and in base64 the HMAC-SHA256 of `<id>.<timestamp>.<body>`, as in Standard Webhooks."""
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"{_VERSION},{base64.b64encode(digest).decode()}"


class Sender:
    """Args:
    settings: what may be told, and for how long.
    resolve: finds the addresses of a host.
    """

    def __init__(self, settings: WebhookSettings, resolve: Resolve = targets.resolve) -> None:
        self.settings = settings
        self._resolve = resolve

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    async def check(self, url: str) -> None:
        """Raises Invalid for a URL that may not be told anything, or whose host nobody knows."""
        target = targets.parse(url, self.settings.schemes)
        if self.settings.private:
            return
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                await targets.addresses(target, private=False, resolve=self._resolve)
        except (Unavailable, TimeoutError) as error:
            text = getattr(error, "message", f"Cannot resolve Webhook URL hostname {target.host!r}: it takes too long")
            raise Invalid(text, path="url") from error

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """POST once. Raises Invalid for where nothing may be sent, Unavailable when there is no answer."""
        target = targets.parse(url, self.settings.schemes)
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                found = await targets.addresses(target, private=self.settings.private, resolve=self._resolve)
                reader, writer = await self._connect(target, found)
                try:
                    writer.write(_request(target, body, headers))
                    return await _Answer().read_from(reader)
                finally:
                    writer.transport.abort()
        except TimeoutError as error:
            raise Unavailable(f"{target.origin}: no answer within {self.settings.timeout_s:g} s") from error
        except OSError as error:
            raise Unavailable(f"{target.origin}: {_why(error)}") from error

    async def _connect(self, target: Target, found: Sequence[str]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the first address that takes one."""
        # Certificates are read from files, once: the loop must not wait for that.
        context = await asyncio.to_thread(lambda: self._tls) if target.secure else None
        problem: OSError = OSError("it has no address")
        for address in found:
            try:
                return await asyncio.open_connection(
                    address,
                    target.port,
                    ssl=context,
                    server_hostname=target.host if target.secure else None,
                )
            except OSError as error:
                problem = error
        raise problem


def _why(error: OSError) -> str:
    """The system's own words; event loops have others, with addresses in them."""
    if isinstance(error, ssl.SSLError) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _request(target: Target, body: bytes, headers: Mapping[str, str]) -> bytes:
    own = {"Host": target.authority, "User-Agent": f"mlwright/{__version__}", "Accept": "*/*", "Connection": "close"}
    if target.credentials:
        own["Authorization"] = target.credentials
    lines = [f"POST {target.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**own, **headers, "Content-Length": str(len(body))}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Answer:
    """An answer as it comes; its methods are those that the parser calls."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._begun = self._ended = False

    async def read_from(self, reader: asyncio.StreamReader) -> Reply:
        """Read until it ends, or is long enough. Raises Unavailable for what is no answer."""
        read = 0
        while not self._ended and len(self._body) < MAX_ANSWER_BYTES:
            data = await reader.read(MAX_ANSWER_BYTES)
            read += len(data)
            if not data or (not self._begun and read > _MAX_HEADER_BYTES):
                break
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserError as error:
                raise Unavailable(f"the answer is not HTTP: {error}") from error
        if not self._begun:
            raise Unavailable("the connection was closed without an answer")
        text = bytes(self._body[:MAX_ANSWER_BYTES]).decode(errors="replace")
        return Reply(self._parser.get_status_code(), text, _seconds(self._headers.get(b"retry-after", b"")))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._begun = self._parser.get_status_code() >= 200

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._ended = self._begun  # what came before is "100 Continue" and the like


def _seconds(text: bytes) -> float | None:
    """The seconds of the header Retry-After; dates are not understood."""
    return min(float(text), MAX_PAUSE_S) if text.isdigit() and len(text) < 10 else None
