"""A small client of our own API, for commands. Answers that are errors are raised as the errors they were."""

import http.client
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from mlwright.kernel import errors
from mlwright.kernel.errors import Internal, MlwrightError, Unavailable

_ERRORS: dict[str, type[MlwrightError]] = {
    kind.code: kind
    for kind in (
        errors.Invalid,
        errors.TooLarge,
        errors.NotFound,
        errors.AlreadyExists,
        errors.Conflict,
        errors.Immutable,
        errors.GateClosed,
        errors.Unauthenticated,
        errors.Denied,
        errors.Unavailable,
        errors.TooManyAttempts,
        errors.StorageFull,
        errors.Untrusted,
        errors.NoEnvironment,
        errors.Unsupported,
    )
}


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


class Transport(Protocol):
    """Carries one request to the server."""

    def send(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Answer: ...

    def pieces(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The body of an answer, as it comes. Raises what an answer that is an error says."""
        ...

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[str]:
        """The lines of an answer that does not end."""
        ...


class Address(NamedTuple):
    """Where a server is, and what lets in there; the token may be empty."""

    url: str
    token: str


#: Items of one page that is asked for.
_PAGE_ITEMS = 1_000


class Client:
    """Calls operations of the API.

    Args:
        transport: how requests reach the server.
        alone: there is no server: the platform works in this process, and only on what it is asked.
    """

    def __init__(self, transport: Transport, *, alone: bool = False) -> None:
        self._transport = transport
        self.alone = alone

    @property
    def address(self) -> Address:
        """For programs that call the server by themselves. Raises Unavailable when there is none."""
        if not isinstance(self._transport, HttpTransport):
            raise Unavailable("no server is running", hint="start one: mlwright up --detach")
        return self._transport.address

    def get(self, path: str, /, **query: object) -> Any:
        """The decoded answer of a GET; query parameters that are None are left out."""
        return self._call("GET", _with_query(path, query), None)

    def pages(self, path: str, limit: int, /, **query: object) -> list[dict[str, Any]]:
        """Up to `limit` items of a list that comes in pages."""
        items: list[dict[str, Any]] = []
        token = None
        while len(items) < limit:
            page = self.get(path, limit=min(_PAGE_ITEMS, limit - len(items)), page_token=token, **query)
            items += page["items"]
            token = page["next_token"]
            if not token:
                break
        return items

    def post(self, path: str, body: object = None) -> Any:
        return self._call("POST", path, body)

    def patch(self, path: str, body: object) -> Any:
        return self._call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path, None)

    def post_packed(self, path: str, body: object) -> Any:
        """`post` for large bodies with bytes in them: the same message as MessagePack."""
        return self._send("POST", path, msgspec.msgpack.encode(body), {"content-type": "application/msgpack"})

    def upload(self, path: str, pieces: Iterable[bytes], size: int | None = None) -> Any:
        """PUT bytes in pieces; `size` is how many there will be, if known."""
        headers = {"content-type": "application/octet-stream"}
        if size is not None:
            headers["content-length"] = str(size)
        return self._send("PUT", path, pieces, headers)

    def download(self, path: str, /, **query: object) -> Iterator[bytes]:
        """The bytes of a GET, in pieces. Raises before the first piece."""
        return self._transport.pieces(_with_query(path, query), {})

    def put(self, path: str, body: object) -> Any:
        return self._call("PUT", path, body)

    def stream(self, path: str, /, **query: object) -> Iterator[Any]:
        """The data of server-sent events, decoded, as they come."""
        for line in self._transport.lines(_with_query(path, query), {"accept": "text/event-stream"}):
            if line.startswith("data:"):
                yield json.loads(line[5:])

    def _call(self, method: str, path: str, body: object) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return self._send(method, path, data, {"content-type": "application/json"})

    def _send(self, method: str, path: str, data: bytes | Iterable[bytes] | None, headers: Mapping[str, str]) -> Any:
        answer = self._transport.send(method, path, data, {"accept": "application/json", **headers})
        if answer.status >= 400:
            raise _raised(answer)
        return json.loads(answer.body) if answer.body else None


def _with_query(path: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def _raised(answer: Answer) -> MlwrightError:
    try:
        found = json.loads(answer.body)
        kind = _ERRORS.get(found.get("code", ""), Internal)
        return kind(str(found["detail"]), path=str(found.get("path", "")), hint=str(found.get("hint", "")))
    except (ValueError, KeyError, AttributeError):
        return Internal(f"the server answered {answer.status}: {answer.body[:200].decode(errors='replace')}")


def raised(status: int, body: bytes) -> MlwrightError:
    """The error that an answer with a status of 400 or more stands for."""
    return _raised(Answer(status, body))


#: Servers close connections that were silent for a few seconds: after so long a new one is made, in seconds.
_SILENT_S = 2.0
_PIECE_BYTES = 1 << 20


class HttpTransport:
    """A server behind a URL.

    Args:
        url: for example http://127.0.0.1:5000.
        token: sent as bearer token unless empty.
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        self._url = url
        self.address = Address(url.rstrip("/"), token)
        self._base = parts.path.rstrip("/")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.netloc, timeout=timeout_s)
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._used_s = 0.0

    def send(self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]) -> Answer:
        response = self._request(method, path, body, headers)
        return Answer(response.status, response.read())

    def pieces(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        response = self._request("GET", path, None, headers)
        if response.status >= 400:
            raise raised(response.status, response.read())
        return iter(lambda: response.read(_PIECE_BYTES), b"")

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[str]:
        if self._connection.sock is not None:
            self._connection.sock.settimeout(None)
        response = self._request("GET", path, None, headers)
        if response.status >= 400:
            raise _raised(Answer(response.status, response.read()))
        for line in response:
            yield line.decode().rstrip("\r\n")

    def _request(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        if time.monotonic() - self._used_s > _SILENT_S:
            self._connection.close()
        try:
            self._connection.request(method, self._base + path, body, {**headers, **self._headers})
            response = self._connection.getresponse()
            self._used_s = time.monotonic()
            return response
        except MlwrightError:  # from where the body comes: half a request was sent
            self._connection.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"no answer from {self._url}: {error}", hint="is it running? mlwright status") from error
