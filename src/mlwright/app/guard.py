"""The gate in front of all routes: whose request is this, and did a browser make it on a stranger's behalf?

Bound to loopback there is no log-in, so two checks keep web pages of other sites out: the Host header must name this
machine (DNS rebinding), and a request that changes something must not come from another origin (cross-site requests).
"""

from collections.abc import Iterable, Mapping
from typing import Protocol
from urllib.parse import quote

import msgspec
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mlwright.app.mlflow_ui import server_path
from mlwright.app.proxy import client_of
from mlwright.app.settings import Settings, is_loopback
from mlwright.kernel.errors import Denied, Invalid, MlwrightError, Unauthenticated
from mlwright.kernel.http import problem
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.kernel.protojson import show_error

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PROJECT_HEADER = b"x-mlflow-workspace"
_PROJECT_PREFIX = "/projects/"
#: Headers that may be there only once.
_SINGLE = (b"host", b"origin", b"authorization", _PROJECT_HEADER)
#: Answered without asking who is there: load balancers and the log-in page need them.
_PUBLIC = ("/health", "/version", "/login", "/logout", "/static/", "/api/2.0/mlflow-artifacts/mpu/part/")

Headers = Mapping[bytes, bytes]


class Authenticator(Protocol):
    """Finds the caller behind a request's headers. Raises Unauthenticated, TooManyAttempts.

    `client` is the address that the request came from, `secure` says that it came over TLS.
    """

    async def __call__(self, headers: Headers, client: str, *, secure: bool) -> Caller: ...


class Guard:
    """ASGI middleware that checks Host and Origin, finds the caller and the project, and only then lets through.

    Args:
        app: what is guarded.
        settings: address and further names of the server.
        authenticate: finds the caller; None when everyone is the local user.
    """

    def __init__(self, app: ASGIApp, settings: Settings, authenticate: Authenticator | None) -> None:
        self._app = app
        self._authenticate = authenticate
        self._hosts = {name.lower() for name in (*settings.allowed_hosts, "localhost", "127.0.0.1", "::1")}
        self._any_host = not settings.loopback and not settings.allowed_hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            if len(headers) < len(scope["headers"]):
                _check_single(scope["headers"])
            host = headers.get(b"host", b"").decode("latin-1").lower()
            self._check_host(host)
            if scope["method"] not in _SAFE_METHODS:
                _check_origin(headers, host, scope["scheme"])
            scope["caller"] = await self._caller(scope, headers)
        except MlwrightError as error:
            await _refusal(scope, headers, error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.strip("[]")
        if self._any_host or name in self._hosts or is_loopback(name):
            return
        raise Denied(
            f"This server does not answer to the name {name!r}.", hint=f"start it with --allowed-host {name or 'NAME'}"
        )

    async def _caller(self, scope: Scope, headers: Headers) -> Caller:
        project = headers.get(_PROJECT_HEADER, b"").decode("latin-1")
        path = scope["path"] = server_path(scope["path"])
        named, rest = _within_project(path)
        if named:
            project, scope["path"] = named, rest
        if self._authenticate is None:
            caller = LOCAL
        elif scope["path"].startswith(_PUBLIC):
            caller = Caller("anonymous")
        else:
            caller = await self._authenticate(headers, client_of(scope), secure=scope["scheme"] == "https")
        return msgspec.structs.replace(caller, project=project) if project else caller


def _check_single(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Two values of what decides about a request mean that somebody is to be deceived."""
    names = [name for name, _ in headers]
    for name in _SINGLE:
        if names.count(name) > 1:
            raise Invalid(f"The request has more than one {name.decode()} header.")


def _check_origin(headers: Headers, host: str, scheme: str) -> None:
    """A browser says where a request comes from; other clients say nothing.

    Plain HTTP may have been TLS before a proxy that we were not told to trust, so that only `https` is certain.
    """
    origin = headers.get(b"origin")
    said, _, name = (origin or b"").decode("latin-1").lower().partition("://")
    if origin is not None and (name != host or (scheme == "https" and said != scheme)):
        raise Denied("A page of another site may not change anything here.")
    if origin is None and headers.get(b"sec-fetch-site", b"none") not in {b"same-origin", b"none"}:
        raise Denied("A page of another site may not change anything here.")


def _refusal(scope: Scope, headers: Headers, error: MlwrightError) -> Response:
    if _is_protocol(scope["path"]):
        return show_error(error)
    wants_page = scope["method"] == "GET" and b"text/html" in headers.get(b"accept", b"")
    if wants_page and isinstance(error, Unauthenticated):
        return RedirectResponse(f"/login?next={quote(scope['path'])}", 303)
    return problem(error)


def _within_project(path: str) -> tuple[str, str]:
    """The project and the rest of a client's address; other addresses, such as those of pages, name none for us."""
    if path.startswith(_PROJECT_PREFIX):
        project, _, rest = path.removeprefix(_PROJECT_PREFIX).partition("/")
        if rest == "health" or rest.startswith(("api/", "ajax-api/")):
            return project, f"/{rest}"
    return "", path


def _is_protocol(path: str) -> bool:
    return _within_project(server_path(path))[1].startswith(("/api/", "/ajax-api/"))
