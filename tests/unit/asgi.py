"""A plain caller of ASGI applications: one request, the whole answer."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from mlwright.kernel.identity import LOCAL, Caller


@dataclass(frozen=True)
class Answer:
    """What came back. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def request(
    app: ASGIApp,
    method: str,
    target: str,
    body: bytes | Sequence[bytes] = b"",
    headers: Mapping[str, str] | None = None,
    caller: Caller | None = LOCAL,
) -> Answer:
    """Send one request. A body of several parts arrives in that many messages."""
    path, _, query = target.partition("?")
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()],
        "scheme": "http", "server": ("localhost", 0), "client": ("127.0.0.1", 1), "root_path": "",
        "http_version": "1.1",
    }  # fmt: skip
    if caller is not None:
        scope["caller"] = caller
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[Any] = []

    ended = False

    async def receive() -> dict[str, Any]:
        nonlocal ended
        if ended:  # a server has nothing more to say until the client goes away
            await asyncio.Event().wait()
        part = parts.pop(0) if parts else b""
        ended = not parts
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, send)
    found = {name.decode(): value.decode("latin-1") for name, value in messages[0]["headers"]}
    return Answer(messages[0]["status"], found, b"".join(each.get("body", b"") for each in messages[1:]))


def call(app: ASGIApp, method: str, target: str, body: Any = b"", **options: Any) -> Answer:
    """`request` for tests without an event loop; a body that is no bytes is sent as JSON."""
    if not isinstance(body, (bytes, list)):
        body = json.dumps(body).encode()
    return asyncio.run(request(app, method, target, body, **options))
