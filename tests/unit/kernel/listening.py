"""A server with our HTTP protocol in a thread, and raw conversations with it."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
import uvloop

from mlwright.kernel.protocol import Protocol


@contextlib.contextmanager
def serving(app: Any, **options: Any) -> Iterator[int]:
    """Serve an ASGI application; yields the port. `options` are uvicorn's."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False, **options
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: uvloop.run(server.serve([listening])))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def converse(connection: socket.socket, *parts: bytes, until: bytes = b"") -> bytes:
    """Send the parts, and read until the server closes, or what was waited for has come."""
    with contextlib.suppress(ConnectionError):  # the server may hang up while we still talk
        for part in parts:
            connection.sendall(part)
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65_536):
            found += piece
            if until and until in found:
                break
    return found
