"""Commands without a running server: the same API, called in this process on the data directory."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from mlwright.app.process import ServerLock
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.client import Answer
from mlwright.kernel.errors import Unavailable
from mlwright.kernel.identity import LOCAL


class LocalTransport:
    """Requests to a platform opened for each of them, as the local user. Holds the data directory's lock meanwhile."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        lock = ServerLock(self._settings.data)
        try:
            platform = Platform(self._settings)
            try:
                return asyncio.run(_call(platform, method, path, body or b"", headers))
            finally:
                platform.close()
        finally:
            lock.release()

    def lines(self, path: str, headers: Mapping[str, str]) -> Iterator[str]:
        raise Unavailable("a stream needs a running server", hint="start it with: mlwright up")


async def _call(platform: Platform, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
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
    status = 0
    parts: list[bytes] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await platform.router()(scope, receive, send)
    return Answer(status, b"".join(parts))
