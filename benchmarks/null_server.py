"""A server that does nothing but answer: what the real client reaches beside it is the client's own limit.

    python null_server.py PORT

It acknowledges every write unread, knows one run, and of files only their names: each is the same few bytes. Standard
library only, but faster where uvloop is installed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import urllib.parse
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
FILES = "/api/2.0/mlflow-artifacts/artifacts"
FILE_BYTES = 2_048
RUN = json.dumps({"run": {"info": INFO, "data": {}, "inputs": {}}}).encode()


def answer(body: bytes, kind: bytes = b"application/json") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(body), body)


HEALTH, EMPTY, ONE_RUN = answer(b"OK", b"text/plain"), answer(b"{}"), answer(RUN)
ONE_FILE = answer(bytes(FILE_BYTES), b"application/octet-stream")


class NullProtocol(asyncio.Protocol):
    """One connection: skips each request's body by its length and answers by its first line.

    Args:
        files: the paths of files that were uploaded.
    """

    def __init__(self, files: dict[str, None]) -> None:
        self._files = files
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
            self._start(self._buffer[:end])
            rest = self._buffer[end + 4 :]
            taken = min(self._skip, len(rest))
            self._skip -= taken
            self._buffer = rest[taken:]
            if self._skip == 0:
                self._send()

    def _start(self, head: bytes) -> None:
        line, _, fields = head.partition(b"\r\n")
        fields = fields.lower()
        at = fields.find(b"content-length:")
        self._skip = int(fields[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        self._last = b"connection: close" in fields
        method, target, _ = line.decode().split(" ")
        self._reply = self._file_reply(method, target) if target.startswith(FILES) else _reply(target)

    def _file_reply(self, method: str, target: str) -> bytes:
        path, _, query = target.removeprefix(FILES).partition("?")
        if method == "PUT":
            self._files[path.strip("/")] = None
        if method != "GET":
            return EMPTY
        return _listing(self._files, urllib.parse.parse_qs(query)["path"][0]) if query else ONE_FILE

    def _send(self) -> None:
        if self._transport is not None:
            self._transport.write(self._reply)
            if self._last:
                self._transport.close()


def _reply(target: str) -> bytes:
    if "/health" in target:
        return HEALTH
    return ONE_RUN if any(f"/runs/{verb}" in target for verb in ("create", "get", "update")) else EMPTY


def _listing(files: dict[str, None], folder: str) -> bytes:
    names = [path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/")]
    found = [{"path": name, "is_dir": False, "file_size": FILE_BYTES} for name in names]
    return answer(json.dumps({"files": found}).encode())


async def serve(port: int) -> None:
    files: dict[str, None] = {}
    server = await asyncio.get_running_loop().create_server(lambda: NullProtocol(files), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    if importlib.util.find_spec("uvloop"):
        import uvloop

        uvloop.run(serve(int(sys.argv[1])))
    else:
        asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
