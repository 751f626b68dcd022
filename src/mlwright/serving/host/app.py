"""The HTTP side of a host, as an ASGI application: which dialect a path speaks, and how errors are told in it."""

import asyncio
import gzip
import logging
import re
import urllib.parse
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from starlette.types import Message, Receive, Scope, Send

from mlwright.kernel.errors import Invalid, MlwrightError, TooLarge, Unavailable
from mlwright.kernel.exchange import Exchange
from mlwright.serving.host import metrics, oip, plain
from mlwright.serving.host.admission import timeout_s
from mlwright.serving.host.answering import Dialect, Reading, Refusal
from mlwright.serving.host.batching import ModelFailed
from mlwright.serving.host.documents import Documents
from mlwright.serving.host.endpoints import Endpoint, Told
from mlwright.serving.host.hosted import Hosted, named_version
from mlwright.serving.host.repository import Repository
from mlwright.serving.host.tensors import Asked, first_value
from mlwright.serving.host.versions import Version

_log = logging.getLogger(__name__)

_JSON = b"application/json"
_GZIP_FROM = 1_024
#: Targets of requests that are known: clients ask for few again and again, but may make up others.
_MOST_TARGETS = 4_096


class Predictions:
    """The ASGI application that clients talk to.

    Args:
        hosted: what is served.
        metrics: of endpoints, and of the host if wanted, as text.
    """

    def __init__(self, hosted: Hosted, metrics: Callable[[list[Endpoint], bool], bytes]) -> None:
        self._hosted = hosted
        self.repository = Repository(hosted, _admit)
        self._documents = Documents(hosted, self.repository, _admit, refusal)
        self._metrics = metrics
        self._targets: dict[bytes, _Target | None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, method = scope["path"], scope["method"]
        if method == "POST":
            target = _target(path)
            if target is not None:
                await self._predict(target, scope, receive, send)
                return
        if path == "/metrics" and method == "GET":
            await send_answer(send, *await self._measured(dict(scope["headers"])))
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

    def begin(
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

    async def ask(self, name: str, body: bytes) -> tuple[int, bytes]:
        """Ask an endpoint for somebody whom the control plane has let in; the status and the body of the answer."""
        answer: asyncio.Future[tuple[int, _Headers, bytes]] = asyncio.get_running_loop().create_future()
        headers = {b"content-type": _JSON}
        target = _Target(plain.INVOCATIONS, name)
        _Request(self._hosted, target, headers, lambda *given: answer.set_result(given), trusted=True).begin(body)
        status, _, found = await answer
        return status, found

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

    async def _measured(self, headers: Mapping[bytes, bytes]) -> tuple[int, bytes, bytes]:
        """All metrics for who may see them, those of its endpoints for a key that opens some."""
        endpoints, everything = list(self._hosted.endpoints.values()), True
        try:
            self._hosted.metrics_door.caller(headers)
        except MlwrightError as error:
            endpoints, everything = [each for each in endpoints if each.door.admits(headers)], False
            if not endpoints:
                return error.status, oip.DIALECT.error(error.code, error.message), _JSON
        text = await asyncio.to_thread(self._metrics, endpoints, everything)  # hundreds of models take a while
        return 200, text, metrics.CONTENT_TYPE


# --- one request --------------------------------------------------------------------------------------------------

_Headers = list[tuple[bytes, bytes]]


class _Request:
    """A request for predictions, from its body to its answer.

    Args:
        answer: takes status, headers and body, once.
        trusted: needs no key.
    """

    __slots__ = (
        "_answer", "_began", "_endpoint", "_entity", "_extra", "_headers", "_hosted", "_ids", "_reading", "_target",
        "_trusted",
    )  # fmt: skip

    def __init__(
        self,
        hosted: Hosted,
        target: "_Target",
        headers: Mapping[bytes, bytes],
        answer: Callable[[int, _Headers, bytes], None],
        *,
        trusted: bool = False,
    ) -> None:
        self._trusted = trusted
        self._hosted = hosted
        self._target = target
        self._headers = headers
        self._answer = answer
        self._began = hosted.now()
        self._ids = hosted.naming.ids(headers)
        self._extra: _Headers = self._ids.headers()
        self._entity = ""
        self._endpoint: Endpoint | None = None
        self._reading: Reading

    def most_bytes(self) -> int:
        """How large its body may be, after a look at who asks. Raises NotFound, Unauthenticated, Denied, TooOften."""
        return self._admitted().served.limits.body_mib << 20

    def _admitted(self) -> Endpoint:
        if self._endpoint is not None:
            return self._endpoint
        name = self._target.endpoint
        endpoint = self._endpoint = self._hosted.endpoint(name) if name else self._hosted.only()
        if self._trusted:
            return endpoint
        caller, rate = endpoint.door.caller(self._headers), endpoint.served.limits.per_key_per_second
        if rate:
            endpoint.door.count(caller, rate, self._began)
        return endpoint

    def begin(self, body: bytes) -> None:
        """Read the body, and have it answered."""
        try:
            endpoint = self._admitted()
            limits = endpoint.served.limits
            seconds, is_hurried = timeout_s(self._headers, limits.timeout_ms)
            version, asked = self._read(_plain(body, self._headers, limits.body_mib << 20), endpoint)
            endpoint.begin(version, asked, self._told, self._began + seconds if is_hurried else None)
        except Exception as error:  # the boundary of a request: a defect of ours must not end the host
            self.refuse(error)

    def _read(self, body: bytes, endpoint: Endpoint) -> tuple[Version, Asked]:
        """The version that is to answer, and the request in its words. Raises Invalid, NotFound."""
        target = self._target
        read, served = target.dialect.read, endpoint.served
        stable = named_version(endpoint, target.version)
        reading = self._reading = read(body, self._headers, stable.takes)
        if served.entity:
            told = reading.parameters.get(served.entity)
            self._entity = first_value(reading.asked, served.entity) if told is None else str(told)
        if target.version or not served.candidate:
            return stable, reading.asked
        version = endpoint.choose(self._entity or reading.request_id or self._ids.request.decode())
        if version is not stable and version.takes.inputs != stable.takes.inputs:
            reading = self._reading = read(body, self._headers, version.takes)
        return version, reading.asked

    def _told(self, outcome: Told | Exception) -> None:
        endpoint, hosted = self._endpoint, self._hosted
        if isinstance(outcome, Exception) or endpoint is None:
            self.refuse(outcome if isinstance(outcome, Exception) else RuntimeError())
            return
        served, reading, (answer, revision) = endpoint.served, self._reading, outcome
        try:
            reply = self._target.dialect.write(reading, answer, served.name, revision)
        except Exception as error:  # the boundary of a request
            self.refuse(error)
            return
        seconds = hosted.now() - self._began
        hosted.recorder.record(self._ids, served, revision, self._entity, seconds, reading.asked, answer.arrays)
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
        if self._endpoint is not None:
            self._endpoint.refused[said.code] += 1
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


def _admit(endpoint: Endpoint, headers: Mapping[bytes, bytes]) -> object:
    return endpoint.door.caller(headers)


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
