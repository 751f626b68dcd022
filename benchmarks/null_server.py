"""A server that does nothing but answer: what the real client reaches beside it is the client's own limit.

    python null_server.py PORT

It acknowledges every write unread and knows one run. Standard library only, but faster where uvloop is installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from typing import cast

RUN_ID = "0" * 32
INFO = {
    "run_id": RUN_ID,
    "run_uuid": RUN_ID,
    "run_name": "null",
    "experiment_id": "0",
    "status": "RUNNING",
    "start_time": 1,
    "artifact_uri": f"mlflow-artifacts:/0/{RUN_ID}/artifacts",
    "lifecycle_stage": "active",
}
RUN = json.dumps({"run": {"info": INFO, "data": {}, "inputs": {}}}).encode()


def answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


HEALTH, EMPTY, ONE_RUN = answer(b"OK", b"text/plain"), answer(b"{}"), answer(RUN)


class NullProtocol(asyncio.Protocol):
    """One connection: skips each request's body by its length and answers by its first line."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._skip = 0
        self._reply = b""
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is not a subclass

    def data_received(self, data: bytes) -> None:
        if self._skip:
            taken = min(self._skip, len(data))
            self._skip -= taken
            data = data[taken:]
            if self._skip == 0:
                self._send()
        self._buffer += data
        while not self._skip and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._start(self._buffer[:end].lower())
            rest = self._buffer[end + 4 :]
            taken = min(self._skip, len(rest))
            self._skip -= taken
            self._buffer = rest[taken:]
            if self._skip == 0:
                self._send()

    def _start(self, head: bytes) -> None:
        at = head.find(b"content-length:")
        self._skip = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        self._last = b"connection: close" in head
        line = head[: head.find(b"\r\n")]
        about_runs = b"/runs/create" in line or b"/runs/get" in line or b"/runs/update" in line
        self._reply = HEALTH if b"/health" in line else ONE_RUN if about_runs else EMPTY

    def _send(self) -> None:
        if self._transport is not None:
            self._transport.write(self._reply)
            if self._last:
                self._transport.close()


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(NullProtocol, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    if importlib.util.find_spec("uvloop"):
        import uvloop

        uvloop.run(serve(int(sys.argv[1])))
    else:
        asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
