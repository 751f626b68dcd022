"""One request on a connection and its answer, as ASGI sees them: `receive` and `send`."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Protocol

from starlette.types import Message, Scope

#: A head and a body up to this size leave in one piece; joining larger ones costs more than a system call.
_JOINED_BYTES = 64 << 10
#: The application is not woken for less of a body, unless that is all: clients send gigabytes in pieces of 16 KiB.
_WORTHWHILE_BYTES = 256 << 10
_NO_BODY = frozenset({204, 304})
_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """What an exchange needs of its connection."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def common_headers(self) -> bytes:
        """Header lines that all answers have."""
        ...

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        ...

    def body_taken(self) -> None:
        """The application has taken what there was of the body."""
        ...

    def answered(self, exchange: "Exchange") -> None:
        """The whole answer has been written."""
        ...


class Exchange:
    """A request whose head is known.

    Args:
        connection: where it came from.
        scope: the ASGI scope of the request.
        whole: answers the request once its body is whole, instead of the ASGI application.
        keep_alive: whether the connection may serve another request.
        expects_continue: the client sends the body only when told to.

    Attributes:
        gone: the client has hung up.
        ended: the answer is whole.
        complete: the body has arrived whole.
        started: the answer has begun.
        buffered: bytes of the body that the application has not taken yet.
    """

    __slots__ = (
        "_changed",
        "_chunked",
        "_connection",
        "_end_told",
        "_expects_continue",
        "_head",
        "_left",
        "_parts",
        "buffered",
        "complete",
        "ended",
        "gone",
        "keep_alive",
        "scope",
        "started",
        "whole",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        scope: Scope,
        whole: "Callable[[Exchange], None] | None" = None,
        *,
        keep_alive: bool,
        expects_continue: bool,
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.whole = whole
        self.keep_alive = keep_alive
        self._expects_continue = expects_continue
        self.gone = self.ended = self.complete = False
        self._parts: list[bytes] = []
        self.buffered = 0
        self._end_told = False
        self._changed: asyncio.Event | None = None
        self._head = b""
        self.started = False
        self._chunked = False
        self._left = 0

    # --- the connection's side -------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """A piece of the body has come. After the answer nobody wants it any more."""
        if not self.ended:
            self._parts.append(data)
            self.buffered += len(data)
            if self.buffered >= _WORTHWHILE_BYTES:
                self._notify()

    def feed_end(self) -> None:
        """The body is whole."""
        self.complete = True
        self._notify()

    def hang_up(self) -> None:
        """The client is gone."""
        self.gone = True
        self._notify()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()

    # --- the application's side ------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """ASGI: a piece of the body; `http.disconnect` once the client is gone or the answer complete."""
        if self._expects_continue:
            self._expects_continue = False
            if not self.started:
                self._connection.write(_CONTINUE)
        while not self._readable():
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()
        if self.gone or self.ended:
            return {"type": "http.disconnect"}
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._drop_body()
        self._end_told = self.complete
        self._connection.body_taken()
        return {"type": "http.request", "body": body, "more_body": not self.complete}

    def _drop_body(self) -> None:
        self._parts.clear()
        self.buffered = 0

    def _readable(self) -> bool:
        return self.buffered >= _WORTHWHILE_BYTES or self.gone or self.ended or (self.complete and not self._end_told)

    def body(self) -> bytes:
        """The body, once it is complete, of a request that is answered in one piece."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer in one piece, without ASGI; not to a HEAD. Raises RuntimeError for what is no HTTP.

        Args:
            headers: without the length, and what concerns the connection.
        """
        if self.gone or self.ended:
            return
        common = self._connection.common_headers
        last = b"content-length: %d\r\n\r\n" if self.keep_alive else b"connection: close\r\ncontent-length: %d\r\n\r\n"
        lines = [b"%s: %s\r\n" % each for each in headers]
        head = b"".join((_STATUS_LINES[status], common, *lines, last % len(body)))
        _check(head, 1 + common.count(b"\n") + len(lines) + last.count(b"\n"))
        self.started = True
        if len(body) <= _JOINED_BYTES:
            self._connection.write(head + body)
        else:
            self._connection.write(head)
            self._connection.write(body)
        self._end()

    async def send(self, message: Message) -> None:
        """ASGI: the head of the answer, then pieces of its body. Raises RuntimeError for what is no HTTP."""
        if self.gone:
            return
        if self.ended:
            raise RuntimeError("the answer is complete already")
        if not self.started:
            self._start(message["status"], message.get("headers", ()))
            # Whoever sends no body yet, such as a stream of events, wants the head to leave nevertheless.
            self._connection.loop.call_soon(self._flush_head)
            return
        self._write(message.get("body", b""), more=message.get("more_body", False))
        if not self.ended:
            await self._connection.drain()

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._left = -1
        lines = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.common_headers]
        expected = 2 + lines[1].count(b"\n")
        for name, value in headers:
            if name == b"content-length":
                self._left = int(value)
            elif name == b"connection" and value.lower() == b"close":
                self.keep_alive = False
                continue
            lines.append(b"%s: %s\r\n" % (name, value))
            expected += 1
        if self._left < 0 and status not in _NO_BODY:
            self._chunked = self.scope["http_version"] == "1.1"
            self.keep_alive = self.keep_alive and self._chunked
            if self._chunked:
                lines.append(b"transfer-encoding: chunked\r\n")
                expected += 1
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
            expected += 1
        lines.append(b"\r\n")
        head = b"".join(lines)
        _check(head, expected)
        self.started, self._head = True, head
        if self.scope["method"] == "HEAD" or status in _NO_BODY:
            self._chunked, self._left = False, 0

    def _write(self, data: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            data = b""
        elif self._chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data) if data else b""
            data += b"" if more else b"0\r\n\r\n"
        elif self._left >= 0:
            self._left -= len(data)
            if self._left < 0 or (self._left and not more):
                self.keep_alive = False
                raise RuntimeError("the body is not as long as its content-length")
        if self._head and len(data) <= _JOINED_BYTES:
            data, self._head = self._head + data, b""
        self._flush_head()
        if data:
            self._connection.write(data)
        if not more:
            self._end()

    def _flush_head(self) -> None:
        if self._head and not self.gone:
            head, self._head = self._head, b""
            self._connection.write(head)

    def fail(self) -> None:
        """The application ended without a whole answer: say so if it has not begun, and close."""
        if self.ended or self.gone:
            return
        self.keep_alive = False
        if not self.started or self._head:
            self._head = b""
            self._connection.write(
                b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        self._end()

    def _end(self) -> None:
        self.ended = True
        self._drop_body()
        self._notify()
        self._connection.answered(self)


def _check(head: bytes, lines: int) -> None:
    """Raises RuntimeError when a name or a value has a line break in it."""
    if head.count(b"\n") != lines or head.count(b"\r") != lines or b"\0" in head:
        raise RuntimeError("a header holds a line break")
