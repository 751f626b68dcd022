"""The HTTP side of a host, as an ASGI application: which dialect a path speaks, and how errors are told in it."""

import asyncio
import gzip
import hashlib
import logging
import re
import urllib.parse
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from starlette.types import Message, Receive, Scope, Send

from mlwright.kernel.errors import Denied, Invalid, MlwrightError, TooLarge, Unauthenticated, Unavailable
from mlwright.kernel.exchange import Exchange
from mlwright.serving.host import oip, plain
from mlwright.serving.host.answering import Dialect, Reading, Refusal
from mlwright.serving.host.batching import ModelFailed
from mlwright.serving.host.documents import Documents
from mlwright.serving.host.endpoints import Endpoint, Told
from mlwright.serving.host.hosted import Hosted, named_version
from mlwright.serving.host.repository import Repository
from mlwright.serving.host.tensors import Asked
from mlwright.serving.host.versions import Version

_log = logging.getLogger(__name__)

_JSON = b"application/json"
_GZIP_FROM = 1_024
_REQUEST_ID = b"x-request-id"
#: Targets of requests that are known: clients ask for few again and again, but may make up others.
_MOST_TARGETS = 4_096


class Predictions:
    """The ASGI application that clients talk to.

    Args:
        hosted: what is served.
    """

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self.repository = Repository(hosted, _check_key)
        self._documents = Documents(hosted, self.repository, _check_key, refusal)
        self._targets: dict[bytes, _Target | None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        if method == "POST":
            target = _target(path)
            if target is not None:
                await self._predict(target, scope, receive, send)
                return
        await send_answer(send, *await self._documents.answer(method, path, dict(scope["headers"]), receive))

    # --- predictions -------------------------------------------------------------------------------------------

    def whole(self, method: bytes, target: bytes) -> Callable[[Exchange], None] | None:
        """What answers a request once it is whole, if it asks for predictions (see `kernel/protocol.py`)."""
        if method != b"POST":
            return None
        try:
            found = self._targets[target]
        except KeyError:
            found = _raw_target(target)
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            self._targets[target] = found
        return None if found is None else partial(self._answer, found)

    def ask(
        self,
        dialect: Dialect,
        endpoint: str,
        version: str,
        headers: Mapping[bytes, bytes],
        body: bytes,
        answer: Callable[[int, "_Headers", bytes], None],
    ) -> None:
        """Have a request of another protocol answered as those over HTTP are.

        Args:
            answer: takes status, headers and body of HTTP, once.
        """
        _Request(self._hosted, _Target(dialect, endpoint, version), headers, answer).begin(body)

    def _answer(self, target: "_Target", exchange: Exchange) -> None:
        headers: dict[bytes, bytes] = dict(exchange.scope["headers"])
        _Request(self._hosted, target, headers, exchange.answer).begin(exchange.body())

    async def _predict(self, target: "_Target", scope: Scope, receive: Receive, send: Send) -> None:
        """The same for bodies that come in pieces."""
        answer: asyncio.Future[tuple[int, _Headers, bytes]] = asyncio.get_running_loop().create_future()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request = _Request(self._hosted, target, headers, lambda *given: answer.set_result(given))
        try:
            body = await _body(receive, request.most_bytes())
        except MlwrightError as error:
            request.refuse(error)
        else:
            request.begin(body)
        status, found, body = await answer
        await send({"type": "http.response.start", "status": status, "headers": [*found, _length(body)]})
        await send({"type": "http.response.body", "body": body})


# --- one request --------------------------------------------------------------------------------------------------

_Headers = list[tuple[bytes, bytes]]


class _Request:
    """A request for predictions, from its body to its answer.

    Args:
        answer: takes status, headers and body, once.
    """

    __slots__ = ("_answer", "_endpoint", "_extra", "_headers", "_hosted", "_reading", "_request_id", "_target")

    def __init__(
        self,
        hosted: Hosted,
        target: "_Target",
        headers: Mapping[bytes, bytes],
        answer: Callable[[int, _Headers, bytes], None],
    ) -> None:
        self._hosted = hosted
        self._target = target
        self._headers = headers
        self._answer = answer
        self._request_id = headers.get(_REQUEST_ID)
        self._extra: _Headers = [] if self._request_id is None else [(_REQUEST_ID, self._request_id)]
        self._endpoint: Endpoint
        self._reading: Reading

    def most_bytes(self) -> int:
        """How large its body may be. Raises NotFound, Unauthenticated, Denied."""
        name = self._target.endpoint
        self._endpoint = self._hosted.endpoint(name) if name else self._hosted.only()
        _check_key(self._endpoint, self._headers)
        return self._endpoint.served.limits.body_mib << 20

    def begin(self, body: bytes) -> None:
        """Read the body, and have it answered."""
        try:
            version, asked = self._read(_plain(body, self._headers, self.most_bytes()))
            self._endpoint.begin(version, asked, self._told)
        except Exception as error:  # the boundary of a request: a defect of ours must not end the host
            self.refuse(error)

    def _read(self, body: bytes) -> tuple[Version, Asked]:
        """The version that is to answer, and the request in its words. Raises Invalid, NotFound."""
        target, endpoint = self._target, self._endpoint
        read, served = target.dialect.read, endpoint.served
        stable = named_version(endpoint, target.version)
        reading = self._reading = read(body, self._headers, stable.takes)
        if target.version or not served.candidate:
            return stable, reading.asked
        entity = str(reading.parameters.get(served.entity, "")) if served.entity else ""
        version = endpoint.choose(entity or reading.request_id or (self._request_id or b"").decode("latin-1"))
        if version is not stable and version.takes.inputs != stable.takes.inputs:
            reading = self._reading = read(body, self._headers, version.takes)
        return version, reading.asked

    def _told(self, outcome: Told | Exception) -> None:
        if isinstance(outcome, Exception):
            self.refuse(outcome)
            return
        try:
            reply = self._target.dialect.write(
                self._reading, outcome.answer, self._endpoint.served.name, outcome.revision
            )
        except Exception as error:  # the boundary of a request
            self.refuse(error)
            return
        body, headers = reply.body, self._extra
        headers += (
            (b"content-type", reply.content_type),
            (b"x-mlwright-version", b"%d" % outcome.revision.version),
            *reply.headers,
        )
        if len(body) >= _GZIP_FROM and b"gzip" in self._headers.get(b"accept-encoding", b""):
            body = gzip.compress(body, 1, mtime=0)
            headers.append((b"content-encoding", b"gzip"))
        self._answer(200, headers, body)

    def refuse(self, error: Exception) -> None:
        """Answer that there is no answer, and why."""
        said = refusal(error)
        if said.retry_after_s:
            self._extra.append((b"retry-after", b"%d" % said.retry_after_s))
        body = self._target.dialect.error(said.code, said.message)
        self._answer(said.status, [(b"content-type", _JSON), *self._extra], body)


# --- paths --------------------------------------------------------------------------------------------------------


class _Target(NamedTuple):
    dialect: Dialect
    endpoint: str
    version: str = ""


_V2 = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer\Z")
_V1 = re.compile(r"/v1/models/([^/:]+)(?:/versions/([^/:]+))?:predict\Z")
_INVOCATIONS = re.compile(r"(?:/endpoints/([^/]+))?/invocations\Z")


def _target(path: str) -> _Target | None:
    if path.startswith("/v2/"):
        found, dialect = _V2.match(path), oip.DIALECT
    elif path.startswith("/v1/"):
        found, dialect = _V1.match(path), plain.V1
    else:
        found = _INVOCATIONS.match(path)
        return _Target(plain.INVOCATIONS, found[1] or "") if found else None
    return _Target(dialect, found[1], found[2] or "") if found else None


def _raw_target(target: bytes) -> _Target | None:
    """The same from the first line of a request; None for what is not that simple."""
    path = target.partition(b"?")[0]
    if not path.startswith(b"/") or not target.isascii():
        return None
    text = path.decode("ascii")
    return _target(urllib.parse.unquote(text) if "%" in text else text)


# --- requests and answers -----------------------------------------------------------------------------------------


def _check_key(endpoint: Endpoint, headers: Mapping[bytes, bytes]) -> None:
    keys = endpoint.served.keys
    if not keys:
        return
    given = headers.get(b"authorization", b"")
    key = given[7:] if given[:7].lower() == b"bearer " else headers.get(b"x-api-key", b"")
    if not key:
        raise Unauthenticated("this endpoint needs a key", hint="send it as Authorization: Bearer KEY")
    if hashlib.sha256(key).hexdigest() not in keys.values():
        raise Denied("this key does not open the endpoint")


async def _body(receive: Receive, most: int) -> bytes:
    message: Message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        parts, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                raise TooLarge(f"the request is larger than {most >> 20} MiB", path="body")
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise Invalid("the client has hung up", path="body")
    return body


def _plain(body: bytes, headers: Mapping[bytes, bytes], most: int) -> bytes:
    """A body as it was before it was packed. Raises TooLarge, Invalid."""
    if len(body) > most:
        raise TooLarge(f"the request is larger than {most >> 20} MiB", path="body")
    encoding = headers.get(b"content-encoding")
    if encoding is None or encoding.lower() == b"identity":
        return body
    return _unpacked(body, encoding.lower(), most)


def _unpacked(body: bytes, encoding: bytes, most: int) -> bytes:
    windows = {b"gzip": 31, b"deflate": 47}
    if encoding not in windows:
        raise Invalid(f"the encoding {encoding.decode('latin-1')!r} is not understood", path="content-encoding")
    unpacker = zlib.decompressobj(windows[encoding])
    try:
        found = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise Invalid(f"the body is not packed as it says: {error}", path="body") from None
    if len(found) > most:
        raise TooLarge(f"the request is larger than {most >> 20} MiB", path="body")
    if not unpacker.eof:
        raise Invalid("the packed body ends too early", path="body")
    return found


def refusal(error: Exception) -> Refusal:
    """How an error is told: whatever it is, it is an answer."""
    if isinstance(error, ModelFailed):
        return Refusal(500, "model_failed", str(error))
    if isinstance(error, TimeoutError):
        return Refusal(504, "timeout", "the model did not answer in time")
    if not isinstance(error, MlwrightError):
        _log.error("a request failed", exc_info=error)
        return Refusal(500, "internal", "an internal error occurred")
    retry_after_s = error.retry_after_s if isinstance(error, Unavailable) else 0
    said = f"{error.message} ({error.hint})" if error.hint else error.message
    return Refusal(error.status, error.code, said, retry_after_s)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


async def send_answer(
    send: Send,
    status: int,
    body: bytes,
    content_type: bytes = _JSON,
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", content_type), _length(body), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
