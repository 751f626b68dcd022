"""HTTP/1.1 on one connection: parses requests, runs the ASGI application for one after the other.

uvicorn runs the server: sockets, signals, the end. Its own protocol class takes three times as long as this one for a
request, which was a quarter of all that a short request costs. Parsing is llhttp's, by httptools.
"""

import asyncio
import logging
import urllib.parse
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import Scope
from uvicorn.server import ServerState

from mlwright.kernel.exchange import Exchange

_log = logging.getLogger(__name__)

#: Most bytes of request line and headers together.
MAX_HEAD_BYTES = 64 << 10
#: So much of a body waits for the application before the client is held back.
_BUFFERED_BYTES = 1 << 20
#: How long a client may read nothing of an answer.
_STALLED_S = 300.0
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 36\r\nconnection: close\r\n\r\nThe request's headers are too large."
)
_NO_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 30\r\nconnection: close\r\n\r\nInvalid HTTP request received."
)


#: An ASGI application may have a method `whole`: from the method and the target of a request to what answers it once
#: its body is complete, without a task and messages; None where the application itself is to be run.
WholeApp = Callable[[bytes, bytes], Callable[[Exchange], None] | None]


def _never_whole(_method: bytes, _target: bytes) -> None:
    return None


class Protocol(asyncio.Protocol):
    """One client connection. Requests that follow each other without waiting are answered in order.

    Whoever is silent for `timeout_keep_alive` seconds while something is expected from him, or needs longer than that
    for the head of a request, is hung up on. Whoever ends his side of the connection gets no further answer.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self._app = config.loaded_app
        self._whole: WholeApp = getattr(config.loaded_app, "whole", None) or _never_whole
        self._state = server_state
        self._silence_s = float(config.timeout_keep_alive)
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._common_headers = b""
        self._parser = httptools.HttpRequestParser(self)
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)  # the first request is still answered
        self._transport: asyncio.Transport
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        self._head_bytes = 0
        self._heard = False
        self._unheard_bytes = 0
        self._in_head = False
        self._head_since = 0.0
        self._receiving: Exchange | None = None
        self._answering: Exchange | None = None
        self._following: deque[Exchange] = deque()
        self._refused = False
        self._retired = False
        self._reading = True
        self._going_on = False
        self._writable: asyncio.Event | None = None
        self._active_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # --- the connection --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._state.connections.add(self)  # type: ignore[arg-type]
        self._active_at = self.loop.time()
        self._timer = self.loop.call_later(self._silence_s, self._check_silence)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        for exchange in (self._answering, self._receiving, *self._following):
            if exchange is not None:
                exchange.hang_up()
        self._following.clear()
        self.resume_writing()

    def shutdown(self) -> None:
        """The server stops: end after the request in progress."""
        if self._answering is None:
            self._transport.close()
        else:
            self._answering.keep_alive = False

    def retire(self) -> None:
        """Another server takes over: the next answer is the last one, and says so."""
        self._retired = True
        if self._answering is not None and not self._following:
            self._answering.keep_alive = False

    def _check_silence(self) -> None:
        now = self.loop.time()
        silent_s = now - self._active_at
        waited_s = silent_s if self._waits_for_client() else 0.0
        if self._in_head:
            waited_s = now - self._head_since
        if self._transport.get_write_buffer_size():  # also when closing: what is unsent keeps the connection
            if silent_s >= _STALLED_S:
                self._transport.abort()
        elif waited_s >= self._silence_s:
            self._transport.close()
        remaining = self._silence_s - silent_s
        self._timer = self.loop.call_later(remaining if remaining > 0 else self._silence_s, self._check_silence)

    def _waits_for_client(self) -> bool:
        current = self._answering
        return current is None or (self._receiving is current and not current.complete and self._reading)

    # --- flow control ----------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()
        self._adjust_reading()

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None
            self._active_at = self.loop.time()
            self._go_on()

    async def drain(self) -> None:
        if self._writable is not None:
            await self._writable.wait()

    def body_taken(self) -> None:
        if not self._reading:
            self._adjust_reading()

    def _adjust_reading(self) -> None:
        """Hold the client back while requests wait for their turn, a body for the application, or answers for him."""
        receiving = self._receiving
        wanted = (
            self._writable is None
            and not self._following
            and (receiving is None or receiving.buffered <= _BUFFERED_BYTES)
        )
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        self._active_at = self.loop.time()
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # --- parsing ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._active_at = self.loop.time()
        self._heard = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # the request itself is answered as HTTP/1.1, as if the client had not asked; then we hang up
        except httptools.HttpParserError:
            self._refuse(_NO_HTTP)
            return
        if self._heard:
            self._unheard_bytes = 0
            return
        self._unheard_bytes += len(data)  # a name or value without end, which the parser keeps to itself
        if self._unheard_bytes > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []
        self._expects_continue = False
        self._heard = True
        self._head_bytes = 0
        self._in_head = True
        self._head_since = self._active_at

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._heard = True
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)
        if not self._in_head:  # what follows a chunked body is a trailer: nobody saw it when the request was let in
            return
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._heard = True
        self._in_head = False
        if self._refused or self._transport.is_closing():
            return
        version = self._parser.get_http_version()
        keep_alive = version == "1.1" and self._parser.should_keep_alive() and not self._parser.should_upgrade()
        keep_alive = keep_alive and not self._retired
        expects_continue = self._expects_continue
        whole = None if expects_continue else self._whole(self._parser.get_method(), self._url)
        scope = self._scope(version) if whole is None else self._short_scope(version)
        exchange = Exchange(self, scope, whole, keep_alive=keep_alive, expects_continue=expects_continue)
        self._receiving = exchange
        if self._answering is None:
            self._run(exchange)
        else:
            self._following.append(exchange)
            self._adjust_reading()

    def on_body(self, body: bytes) -> None:
        self._heard = True
        receiving = self._receiving
        if receiving is not None:
            receiving.feed(body)
            if receiving.whole is not None and receiving.buffered > _BUFFERED_BYTES:
                receiving.whole = None  # the application takes it in pieces
                receiving.scope = self._scope(receiving.scope["http_version"])
                if receiving is self._answering:
                    self._run(receiving)
            if receiving.buffered > _BUFFERED_BYTES:
                self._adjust_reading()

    def on_message_complete(self) -> None:
        self._heard = True
        receiving, self._receiving = self._receiving, None
        if receiving is not None:
            receiving.feed_end()
            if receiving.whole is not None and receiving is self._answering:
                self._answer_whole(receiving, receiving.whole)

    def _scope(self, version: str) -> Scope:
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "scheme": "http",
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self._headers,
            "client": self._client,
            "server": self._server,
        }

    def _short_scope(self, version: str) -> Scope:
        """What an exchange needs itself, and the headers."""
        return {
            "http_version": version,
            "method": self._parser.get_method().decode("ascii"),
            "raw_path": self._url,
            "headers": self._headers,
        }

    def _count(self, size: int) -> None:
        self._heard = True
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_HEAD_TOO_LARGE)

    def _refuse(self, answer: bytes) -> None:
        """Listen no longer. Requests from before are answered; this one gets `answer` if it is its turn."""
        if self._refused:
            return
        self._refused = True
        if self._following and not self._following[-1].complete:  # the rest of its body will not be understood
            self._following.pop()
        current = self._answering
        if current is not None and (self._following or current.complete):
            (self._following[-1] if self._following else current).keep_alive = False
            return
        if current is None or not current.started:
            self._transport.write(answer)
        if current is not None:
            current.hang_up()
        self._transport.close()

    # --- answering -------------------------------------------------------------------------------------------

    @property
    def common_headers(self) -> bytes:
        current = self._state.default_headers  # uvicorn replaces the list when the second changes
        if current is not self._default_headers:
            self._default_headers = current
            self._common_headers = b"".join(b"%s: %s\r\n" % pair for pair in current)
        return self._common_headers

    def _run(self, exchange: Exchange) -> None:
        self._answering = exchange
        if exchange.whole is not None:
            if exchange.complete:
                self._answer_whole(exchange, exchange.whole)
            return
        task = self.loop.create_task(self._serve(exchange))
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _answer_whole(self, exchange: Exchange, whole: Callable[[Exchange], None]) -> None:
        try:
            whole(exchange)
        except Exception:  # the boundary of the application: the client gets an answer, the log the reason
            _log.exception("%s %s failed", exchange.scope["method"], exchange.scope["raw_path"])
            exchange.fail()

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # the boundary of the application: the client gets an answer, the log the reason
            _log.exception("%s %s failed", exchange.scope["method"], exchange.scope["path"])
        finally:
            exchange.fail()

    def answered(self, exchange: Exchange) -> None:
        self._state.total_requests += 1
        self._active_at = self.loop.time()
        self._answering = None
        if not exchange.keep_alive:
            self._following.clear()
            self._transport.close()
        elif not self._going_on:
            self._go_on()

    def _go_on(self) -> None:
        """The next request, if there is one and the client takes what he has asked for."""
        self._going_on = True  # some are answered at once, and come back here
        while self._answering is None and self._following and self._writable is None:
            self._run(self._following.popleft())
        self._going_on = False
        if not self._reading:
            self._adjust_reading()


def _address(found: Any) -> tuple[str, int] | None:
    """Host and port of a socket's name; None for sockets without any."""
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None
