"""Problem documents as pages, for those who read with a browser."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlwright.web.pages import Pages

_PROBLEM = b"application/problem+json"


class ErrorPages:
    """ASGI middleware: an RFC 9457 answer becomes a page when the request prefers HTML.

    Every face may thus answer with problem documents, and nobody who types an address sees JSON.
    """

    def __init__(self, app: ASGIApp, pages: Pages) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _wants_html(scope):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def hold(message: Message) -> None:
            if held or (message["type"] == "http.response.start" and _is_problem(message)):
                held.append(message)
            else:
                await send(message)

        await self._app(scope, receive, hold)
        if held:
            await self._show(held, scope, receive, send)

    async def _show(self, held: list[Message], scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        document: dict[str, Any] = msgspec.json.decode(b"".join(part.get("body", b"") for part in held[1:]))
        response = self._pages.show(request, "web/error.html", document, held[0]["status"])
        kept = {b"retry-after", b"www-authenticate", b"set-cookie"}
        response.raw_headers += [pair for pair in held[0]["headers"] if pair[0] in kept]
        await response(scope, receive, send)


def _wants_html(scope: Scope) -> bool:
    for name, value in scope["headers"]:
        if name == b"accept" and b"text/html" in value:
            return b"format=json" not in scope["query_string"]
    return False


def _is_problem(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(_PROBLEM) for name, value in message["headers"])
