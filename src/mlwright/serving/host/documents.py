"""What a host says beside predictions: health, what there is, how it is asked."""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from mlwright.kernel.errors import Denied, Invalid, NotFound, TooLarge, Unauthenticated
from mlwright.serving.host import oip, openapi, page
from mlwright.serving.host.answering import Refusal, encode
from mlwright.serving.host.endpoints import Endpoint
from mlwright.serving.host.examples import example
from mlwright.serving.host.hosted import Hosted
from mlwright.serving.host.repository import Admit, Repository

_JSON = b"application/json"
_MOST_BYTES = 1 << 20
_NAME = r"([^/]+)"
Headers = Mapping[bytes, bytes]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Document(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    content_type: bytes = _JSON
    headers: Sequence[tuple[bytes, bytes]] = ()


class _Asked(NamedTuple):
    """A request: the names in its path, its headers, its body."""

    names: tuple[str, ...]
    headers: Headers
    body: bytes


class _IndexRequest(msgspec.Struct):
    ready: bool = False


class _LoadRequest(msgspec.Struct):
    parameters: dict[str, Any] = {}


class Documents:
    """Args:
    hosted: what is served.
    admit: who may see what may be somebody's data.
    refusal: how an error is told.
    """

    def __init__(
        self, hosted: Hosted, repository: Repository, admit: Admit, refusal: Callable[[Exception], Refusal]
    ) -> None:
        self._hosted = hosted
        self._repository = repository
        self._admit = admit
        self._refusal = refusal
        routes: list[tuple[str, str, Callable[[_Asked], Document | Awaitable[Document]]]] = [
            ("", "GET", self._root),
            ("/(ping|health)", "GET", lambda _: Document(200, b"\n", b"text/plain")),
            ("/version", "GET", lambda _: Document(200, b"3", b"text/plain")),
            ("/v2", "GET", lambda _: _said(repository.server())),
            ("/v2/health/live", "GET", lambda _: _said({"live": True})),
            ("/v2/health/ready", "GET", lambda _: _ready({}, is_ready=repository.ready())),
            (f"/v2/models/{_NAME}", "GET", lambda asked: _said(repository.metadata(asked.names[0], ""))),
            (f"/v2/models/{_NAME}/ready", "GET", self._model_ready),
            (f"/v2/models/{_NAME}/versions/{_NAME}", "GET", lambda asked: _said(repository.metadata(*asked.names))),
            (f"/v2/models/{_NAME}/versions/{_NAME}/ready", "GET", self._model_ready),
            ("/v2/repository/index", "POST", self._index),
            (f"/v2/repository/models/{_NAME}/load", "POST", self._load),
            (f"/v2/repository/models/{_NAME}/unload", "POST", self._unload),
            ("/v1/models", "GET", lambda _: _said({"models": sorted(hosted.endpoints)})),
            ("/v1/models/([^/:]+)", "GET", self._model_ready_v1),
            ("/api/2.0/endpoints", "GET", self._mlflow_endpoints),
            (f"/api/2.0/endpoints/{_NAME}", "GET", lambda asked: _said(_mlflow(hosted.endpoint(asked.names[0])))),
            ("/openapi.json", "GET", lambda _: _said(openapi.of_host())),
            (f"/endpoints/{_NAME}/openapi.json", "GET", self._openapi),
            (f"/endpoints/{_NAME}", "GET", self._page),
        ]
        self._routes = [(re.compile(f"{path}/?\\Z"), method, answer) for path, method, answer in routes]

    async def answer(self, method: str, path: str, headers: Headers, receive: _Receive) -> Document:
        """Answer a request that asks for no prediction."""
        method = "GET" if method == "HEAD" else method
        try:
            body = await _body(receive) if method == "POST" else b""
            found = self._routed(method, path, headers, body)
            return found if isinstance(found, Document) else await found
        except Exception as error:  # the boundary of a request: a defect of ours is told as such
            said = self._refusal(error)
            return Document(said.status, oip.error(said.code, said.message))

    def _routed(self, method: str, path: str, headers: Headers, body: bytes) -> Document | Awaitable[Document]:
        allowed = {"POST"} if _ASKED.match(path) else set()
        for pattern, wanted, answer in self._routes:
            found = pattern.match(path)
            if found is not None and wanted == method:
                return answer(_Asked(found.groups(), headers, body))
            if found is not None:
                allowed.add(wanted)
        if not allowed:
            raise NotFound(f"there is nothing at {path}")
        said = oip.error("invalid", f"{method} is not understood here")
        return Document(405, said, headers=[(b"allow", ", ".join(sorted(allowed)).encode())])

    # --- models ------------------------------------------------------------------------------------------------

    def _model_ready(self, asked: _Asked) -> Document:
        name, version = (*asked.names, "")[:2]
        return _ready({"name": name}, is_ready=self._repository.is_ready(name, version))

    def _model_ready_v1(self, asked: _Asked) -> Document:
        (name,) = asked.names
        return _ready({"name": name}, is_ready=self._repository.is_ready(name, ""))

    def _index(self, asked: _Asked) -> Document:
        return _said(self._repository.index(only_ready=_read(asked.body, _IndexRequest).ready))

    async def _load(self, asked: _Asked) -> Document:
        await self._repository.load(asked.names[0], _read(asked.body, _LoadRequest).parameters, asked.headers)
        return _said({"name": asked.names[0], "load": True})

    def _unload(self, asked: _Asked) -> Document:
        _read(asked.body, _LoadRequest)  # Triton's parameter, whether models that need it go too, means nothing here
        self._repository.unload(asked.names[0], asked.headers)
        return _said({"name": asked.names[0], "unload": True})

    def _mlflow_endpoints(self, _asked: _Asked) -> Document:
        return _said({"endpoints": [_mlflow(each) for _, each in sorted(self._hosted.endpoints.items())]})

    # --- how it is asked ---------------------------------------------------------------------------------------

    def _may_see(self, endpoint: Endpoint, headers: Headers) -> bool:
        try:
            self._admit(endpoint, headers)
        except (Unauthenticated, Denied):
            return False
        return True

    def _root(self, asked: _Asked) -> Document:
        """A list for people, and for others that the server is alive, as KServe's says it."""
        if b"text/html" not in asked.headers.get(b"accept", b""):
            return _said({"status": "alive"})
        names = sorted(self._hosted.endpoints)
        return Document(200, page.of_all(names, asked.headers), b"text/html; charset=utf-8", page.HEADERS)

    def _openapi(self, asked: _Asked) -> Document:
        endpoint = self._hosted.endpoint(asked.names[0])
        sample = example(endpoint.stable, real=self._may_see(endpoint, asked.headers))
        return _said(openapi.of_endpoint(endpoint, sample))

    def _page(self, asked: _Asked) -> Document:
        endpoint = self._hosted.endpoint(asked.names[0])
        sample = example(endpoint.stable, real=self._may_see(endpoint, asked.headers))
        return Document(200, page.of(endpoint, sample, asked.headers), b"text/html; charset=utf-8", page.HEADERS)


#: Paths that are asked for predictions.
_ASKED = re.compile(
    r"/v2/models/[^/]+(/versions/[^/]+)?/infer\Z"
    r"|/v1/models/[^/]+(/versions/[^/]+)?:predict\Z|(/endpoints/[^/]+)?/invocations\Z"
)


def _mlflow(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as the client in `mlflow.deployments` knows it."""
    name = endpoint.served.name
    return {
        "name": name,
        "endpoint_type": "mlwright/model",
        "model": {"name": endpoint.stable.revision.model, "provider": "mlwright"},
        "endpoint_url": f"/endpoints/{quote(name, safe='')}/invocations",
        "limit": None,
    }


def _said(document: Any) -> Document:
    return Document(200, encode(document))


def _ready(document: dict[str, Any], *, is_ready: bool) -> Document:
    """Probes look at the status, clients read the body."""
    return Document(200 if is_ready else 503, encode({**document, "ready": is_ready}))


def _read(body: bytes, kind: type[Any]) -> Any:
    """The body, which may be left out. Raises Invalid."""
    try:
        return msgspec.json.decode(body.strip() or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"the request cannot be read: {error}", path="body") from None


async def _body(receive: _Receive) -> bytes:
    """Raises TooLarge."""
    found = b""
    while True:
        message = await receive()
        found += bytes(message.get("body", b""))
        if len(found) > _MOST_BYTES:
            raise TooLarge("the request is larger than 1 MiB", path="body")
        if not message.get("more_body"):
            return found
