"""Commands without a running server: the same API, called in this process on the data directory."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from mlwright.app.process import ServerLock
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.client import Answer, raised
from mlwright.kernel.errors import Unavailable
from mlwright.kernel.identity import LOCAL

#: Pieces of an answer that wait for their reader.
_AHEAD = 4


class LocalTransport:
    """Requests to a platform in this process, as the local user.

    The platform is opened at the first request and stays until `close`, with the data directory's lock held.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._open: _Open | None = None

    def send(self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]) -> Answer:
        call = self._platform().call(method, path, body, headers)
        return Answer(call.status(), b"".join(call.pieces()))

    def pieces(self, path: str, headers: Mapping[str, str]) -> Iterator[bytes]:
        call = self._platform().call("GET", path, None, headers)
        status, pieces = call.status(), call.pieces()
        if status >= 400:
            raise raised(status, b"".join(pieces))
        return pieces

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[str]:
        raise Unavailable("a stream needs a running server", hint="start it with: mlwright up")

    def close(self) -> None:
        """Close the platform and let go of the data directory; the next request opens them again."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _platform(self) -> "_Open":
        if self._open is None:
            self._open = _Open(self._settings)
        return self._open


class _Open:
    """An open platform with its event loop."""

    def __init__(self, settings: Settings) -> None:
        self._lock = ServerLock(settings.data)
        try:
            self._platform = Platform(settings)
        except BaseException:  # also on Ctrl-C: the directory must not stay locked
            self._lock.release()
            raise
        self._application = self._platform.router()
        self._runner = asyncio.Runner()

    def call(self, method: str, path: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]) -> "_Call":
        return _Call(self._runner.get_loop(), self._application, _scope(method, path, headers), body)

    def close(self) -> None:
        self._runner.close()
        self._platform.close()
        self._lock.release()


class _Call:
    """One request; the loop runs only while someone waits for the status or the next piece of the answer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        application: Any,
        scope: dict[str, Any],
        body: bytes | Iterable[bytes] | None,
    ) -> None:
        self._loop = loop
        self._body = iter([body] if isinstance(body, bytes) else body or [])
        self._sent = False
        self._queue: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(_AHEAD)
        self._task = loop.create_task(self._run(application, scope))

    def status(self) -> int:
        """The HTTP status; call it first."""
        first = self._next()
        return first[0] if first else 500

    def pieces(self) -> Iterator[bytes]:
        """The body, after the status."""
        while (found := self._next()) is not None:
            yield found[1]

    def _next(self) -> tuple[int, bytes] | None:
        found = self._loop.run_until_complete(self._queue.get())
        if found is None:
            self._loop.run_until_complete(self._task)
        return found

    async def _run(self, application: Any, scope: dict[str, Any]) -> None:
        try:
            await application(scope, self._receive, self._send)
        finally:
            await self._queue.put(None)

    async def _receive(self) -> dict[str, Any]:
        if self._sent:
            await asyncio.Event().wait()  # the caller never goes away; who listens for that is cancelled
        piece = next(self._body, None)
        self._sent = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": not self._sent}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            await self._queue.put((message["status"], b""))
        elif message.get("body"):
            await self._queue.put((0, message["body"]))


def _scope(method: str, target: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "method": method,
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http",
        "server": ("localhost", 0),
        "caller": LOCAL,
    }
