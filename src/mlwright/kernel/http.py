"""HTTP as the faces see it: routes, request bodies, answers, and the mapping of errors.

Routes are looked up in a dictionary by path; only paths with parameters are matched one after the other. A `Face`
groups the routes of one protocol with its way to show errors, so that MLflow clients get MLflow's errors and everyone
else gets RFC 9457 problem documents.
"""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mlwright.kernel.errors import Internal, Invalid, MlwrightError, NotFound, TooLarge, Unauthenticated, Unavailable
from mlwright.kernel.identity import Caller

T = TypeVar("T")
_log = logging.getLogger(__name__)

#: Largest body that is read into memory. Artifacts are streamed and have no such limit.
MAX_BODY_BYTES = 32 << 20
#: Most bytes of bodies in memory at a time, of all requests together. Bodies that fit into one packet do not count.
_ALL_BODIES_BYTES = 256 << 20
_UNCOUNTED_BYTES = 64 << 10
_MAX_DIGITS = 18

Handler = Callable[[Request], Awaitable[Response]]


class Route(NamedTuple):
    """One operation. `path` may hold parameters: {name} within a segment, {name:path} for the rest."""

    method: str
    path: str
    handler: Handler


class Face(NamedTuple):
    """Routes of one protocol and how it shows an error."""

    routes: Sequence[Route]
    show_error: Callable[[MlwrightError], Response]


class JsonResponse(Response):
    """An answer that is encoded JSON already."""

    media_type = "application/json"

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        if headers:
            super().init_headers(headers)
            return
        self.raw_headers = [(b"content-length", b"%d" % len(self.body)), (b"content-type", b"application/json")]


def json_response(value: object, status: int = 200) -> JsonResponse:
    """Encode `value` with msgspec."""
    return JsonResponse(msgspec.json.encode(value), status)


def problem(error: MlwrightError) -> Response:
    """An error as RFC 9457 problem document."""
    headers = {}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(error.retry_after_s)
    if isinstance(error, Unauthenticated):
        headers["www-authenticate"] = 'Basic realm="mlwright"'
    return Response(msgspec.json.encode(error.document()), error.status, headers, "application/problem+json")


def caller_of(request: Request) -> Caller:
    """The principal that the authentication layer found for this request."""
    caller: Caller = request.scope["caller"]
    return caller


class Bodies:
    """The memory that the bodies of all requests in progress share.

    Args:
        most: bytes.
    """

    def __init__(self, most: int = _ALL_BODIES_BYTES) -> None:
        self._left = most

    def take(self, size: int) -> None:
        """Raises Unavailable when there is no room for `size` more bytes."""
        if size > self._left:
            raise Unavailable("too many large requests at a time", hint="try again, or send less in one request")
        self._left -= size

    def give_back(self, size: int) -> None:
        self._left += size


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body. Raises TooLarge beyond `limit` bytes, without reading on; Unavailable; ClientDisconnect."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise TooLarge(f"The request body has {declared} bytes; at most {limit} are taken.", hint="send it in parts")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"The request body is larger than {limit} bytes.", hint="send it in parts")
        parts.append(part)
        if size > _UNCOUNTED_BYTES:
            _count_body(request.scope, len(part))
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _count_body(scope: Scope, size: int) -> None:
    """Hold memory for a part of the body until the request has been answered (see Router)."""
    bodies: Bodies | None = scope.get("bodies")
    if bodies is not None:
        bodies.take(size)
        scope["body_bytes"] = scope.get("body_bytes", 0) + size


async def read_json(request: Request, kind: type[T]) -> T:
    """The body, JSON or MessagePack, as `kind`. Raises Invalid with the path of what is wrong."""
    body = await read_body(request)
    try:
        if request.headers.get("content-type") == "application/msgpack":
            return msgspec.msgpack.decode(body, type=kind)
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        raise Invalid(message, path=path.strip("`").removeprefix("$.")) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"The body is not JSON: {error}") from error


def integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from the query string, within [low, high]. Raises Invalid."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    try:
        value = int(text)
    except ValueError:
        raise Invalid(f"{name} must be a whole number, not {text!r}", path=name) from None
    if not low <= value <= high:
        raise Invalid(f"{name} must be from {low} to {high}, not {value}", path=name)
    return value


def is_number(text: str) -> bool:
    """Whether `int` reads the text, and SQL takes the number: plain digits, neither "²" nor thousands of them."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


class _Pattern:
    """A route with parameters. Its expression is compiled when a request first asks."""

    def __init__(self, route: Route, face: Face) -> None:
        self.route = route
        self.face = face

    @cached_property
    def expression(self) -> re.Pattern[str]:
        return _expression(self.route.path)


def _expression(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", path)
    text = ""
    for part in parts:
        if part.startswith("{"):
            name, _, kind = part.strip("{}").partition(":")
            text += f"(?P<{name}>{'.*' if kind else '[^/]+'})"
        else:
            text += re.escape(part)
    return re.compile(text + r"\Z", re.DOTALL)


class Router:
    """The ASGI application that finds the handler for a request and shows what it raises."""

    def __init__(self, faces: Sequence[Face], fallback: Face, bodies: Bodies | None = None) -> None:
        self._fallback = fallback
        self._bodies = bodies or Bodies()
        self._exact: dict[str, dict[str, tuple[Route, Face]]] = {}
        self._patterns: dict[str, list[_Pattern]] = {}
        for face in (*faces, fallback):
            for route in face.routes:
                self._add(route, face)

    def _add(self, route: Route, face: Face) -> None:
        if "{" not in route.path:
            self._exact.setdefault(route.path, {})[route.method] = (route, face)
            return
        first = route.path.split("/")[1]
        key = "" if "{" in first else first
        self._patterns.setdefault(key, []).append(_Pattern(route, face))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["bodies"] = self._bodies
        try:
            await self._respond(scope, receive, send)
        finally:
            self._bodies.give_back(scope.get("body_bytes", 0))

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        face = self._fallback
        try:
            route, face, parameters = self._find(scope["path"], scope["method"])
            scope["path_params"] = parameters
            response = await route.handler(request)
        except MlwrightError as error:
            response = face.show_error(error)
            if isinstance(error, _MethodNotAllowed):
                response.headers["allow"] = ", ".join(error.allowed)
        except ClientDisconnect:
            return
        except HTTPException as error:
            response = face.show_error(Invalid(error.detail))
        except Exception:  # the boundary of a request: details go to the log, never to the client
            _log.exception("%s %s failed", scope["method"], scope["path"])
            response = face.show_error(Internal("an internal error occurred; it has been logged"))
        await response(scope, receive, send)

    def _find(self, path: str, method: str) -> tuple[Route, Face, Mapping[str, Any]]:
        exact = self._exact.get(path)
        if exact is not None:
            found = exact.get(method) or (exact.get("GET") if method == "HEAD" else None)
            if found is not None:
                return found[0], found[1], {}
        others: set[str] = set(exact or ())
        for key in (path.split("/", 2)[1] if path.startswith("/") else "", ""):
            for pattern in self._patterns.get(key, ()):
                match = pattern.expression.match(path)
                if match is None:
                    continue
                if pattern.route.method == method or (method == "HEAD" and pattern.route.method == "GET"):
                    return pattern.route, pattern.face, match.groupdict()
                others.add(pattern.route.method)
        if others:
            raise _MethodNotAllowed(method, others)
        raise NotFound(f"There is nothing at {path}")


class _MethodNotAllowed(MlwrightError):
    code = "method_not_allowed"
    title = "Method not allowed"
    status = 405

    def __init__(self, method: str, others: set[str]) -> None:
        super().__init__(f"{method} is not possible here; use {' or '.join(sorted(others))}")
        self.allowed = sorted(others | {"HEAD"} if "GET" in others else others)
