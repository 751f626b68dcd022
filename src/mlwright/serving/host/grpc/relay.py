"""Passes connections on to gRPC's own server, from a listening socket that outlives it.

gRPC's library takes no socket that listens already, and when its server is stopped, requests that are on their way to
it fail. So clients connect here: the listening socket is the keeper's, as that of HTTP is, and whoever is to use
another host is told so by a GOAWAY frame that this puts between those of the server, which knows nothing of it. What
the client had sent before it read the frame is still answered. Frames: https://www.rfc-editor.org/rfc/rfc9113#section-4
"""

import asyncio
import socket
from pathlib import Path
from typing import cast

_HEAD = 9
_HEADERS, _GOAWAY, _CONTINUATION = 1, 7, 9
_END_HEADERS = 4
#: What a client sends before its first frame.
_PREFACE_BYTES = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
#: A client that has asked for nothing for so long will not ask just now.
_QUIET_S = 1.0
_LOOK_S = 0.05
#: The last stream that will be answered: any. Whoever reads it opens none any more, and closes after his last answer.
_GO_AWAY = (8).to_bytes(3, "big") + bytes([_GOAWAY, 0, 0, 0, 0, 0]) + (2**31 - 1).to_bytes(4, "big") + bytes(4)


class Frames:
    """Where frames begin and end in what one side sends.

    Args:
        before: bytes before the first frame.

    Attributes:
        headers: frames that begin a request, or an answer, or end one.
    """

    def __init__(self, before: int = 0) -> None:
        self.headers = 0
        self._head = b""
        self._left = before
        self._between = False

    @property
    def between(self) -> bool:
        """Whether another frame may be put behind what was seen: not before the first one, nor in a list of headers."""
        return self._between and not self._left and not self._head

    def look(self, data: bytes) -> None:
        """Look at more."""
        place = 0
        while place < len(data):
            if self._left:
                step = min(self._left, len(data) - place)
                self._left -= step
                place += step
            else:
                piece = data[place : place + _HEAD - len(self._head)]
                self._head += piece
                place += len(piece)
                if len(self._head) == _HEAD:
                    self._begin()

    def _begin(self) -> None:
        head, self._head = self._head, b""
        self._left = int.from_bytes(head[:3], "big")
        kind = head[3]
        self.headers += kind == _HEADERS
        self._between = kind not in (_HEADERS, _CONTINUATION) or bool(head[4] & _END_HEADERS)


class _Side(asyncio.Protocol):
    """One end of a relayed connection; what comes goes out at the other end, as fast as that takes it."""

    other: "_Side"

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        for data in self._waiting:
            self.transport.write(data)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        self.other.send(data)

    def send(self, data: bytes) -> None:
        """Send it; before there is a connection, it waits, and no more is read."""
        if self.transport is None:
            self._waiting.append(data)
            self.pause_writing()
        else:
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.close()

    def pause_writing(self) -> None:
        if self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.resume()

    def resume(self) -> None:
        """Read on."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()


class _Client(_Side):
    """The client's end.

    Attributes:
        retiring: it is told to connect again when it asks the next time. Then it waits for an answer, and has time to
            understand; a client that is told so between two requests sends the second one into a closed connection.
    """

    def __init__(self, relay: "Relay") -> None:
        super().__init__()
        self._relay = relay
        self._asked = Frames(_PREFACE_BYTES)
        self._answered = Frames()
        self.retiring = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.retiring = self._relay.draining
        self._relay.connections.add(self)
        self._relay.connect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.connections.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._asked.headers
        self._asked.look(data)
        if self.retiring and self._asked.headers > before:
            self.go_away()
        super().data_received(data)

    def send(self, data: bytes) -> None:
        self._answered.look(data)
        super().send(data)

    def go_away(self) -> None:
        """Tell it to connect again, if that can be told now."""
        if self.retiring and self._answered.between:
            self.retiring = False
            super().send(_GO_AWAY)


class Relay:
    """Args:
    server: the UNIX socket that the server listens on.

    Attributes:
        connections: of clients.
        draining: those of them that are there, or were just let in, are to go.
    """

    def __init__(self, server: Path) -> None:
        self.connections: set[_Client] = set()
        self.draining = False
        self._path = server
        self._loop = asyncio.get_running_loop()
        self._listening: asyncio.Server | None = None
        self._connecting: set[asyncio.Task[None]] = set()

    async def accept(self, sock: socket.socket) -> None:
        """Let clients in from now on."""
        self._listening = await self._loop.create_server(lambda: _Client(self), sock=sock, backlog=2_048)

    def connect(self, client: _Client) -> None:
        """Connect a client with the server."""
        client.other = _Side()
        client.other.other = client
        task = self._loop.create_task(self._connected(client))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connected(self, client: _Client) -> None:
        try:
            await self._loop.create_unix_connection(lambda: client.other, str(self._path))
        except OSError:
            client.close()
        else:
            if client in self.connections:
                client.resume()
            else:
                client.other.close()

    async def drain(self, most_s: float) -> None:
        """Let nobody in any more, tell all to go, and return when they have, or do not in time."""
        if self._listening is not None:
            self._listening.close()
        self.draining = True
        for client in self.connections:
            client.retiring = True
        began = self._loop.time()
        while self.connections and (waited := self._loop.time() - began) < most_s:
            await asyncio.sleep(_LOOK_S)
            for client in list(self.connections) if waited > _QUIET_S else ():
                client.go_away()
