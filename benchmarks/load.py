"""Closed-loop HTTP load from one process: N keep-alive connections, each with one request in flight.

The client must not be the bottleneck on two cores, so it writes raw bytes to raw sockets and polls them:
about 20 µs of CPU a request. Every answer is read whole and its status is checked.
"""

from __future__ import annotations

import json
import select
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

HOST = "127.0.0.1"
Requests = Iterator[bytes]


class UnexpectedAnswerError(RuntimeError):
    """An answer that is not `200 OK`, with its first bytes."""


@dataclass(frozen=True)
class Load:
    """What one burst of load did: answered requests, seconds, and latencies in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def post(path: str, body: bytes) -> bytes:
    """A whole keep-alive POST request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


def answer_length(data: bytes) -> int | None:
    """Bytes of the first answer, head and body; None while its head is not whole."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    at = data.lower().find(b"content-length:", 0, end)
    if at < 0:
        raise UnexpectedAnswerError(f"no content-length: {data[:200]!r}")
    return end + 4 + int(data[at + 15 : data.index(b"\r\n", at)])


class Connection:
    """One keep-alive connection and the answer it is waiting for."""

    def __init__(self, port: int, requests: Requests) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = requests
        self.buffer = b""
        self.sent_at = 0.0

    def send(self) -> bool:
        """Send the next request; False when there is none."""
        request = next(self.requests, None)
        if request is None:
            return False
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)
        return True

    def receive(self) -> bool:
        """Read what is there; True when the answer is whole. Raises unless it is a 200."""
        data = self.socket.recv(1 << 20)
        if not data:
            raise UnexpectedAnswerError(f"connection closed after {self.buffer[:200]!r}")
        self.buffer = self.buffer + data if self.buffer else data
        length = answer_length(self.buffer)
        if length is None or len(self.buffer) < length:
            return False
        if not self.buffer.startswith(b"HTTP/1.1 200"):
            raise UnexpectedAnswerError(self.buffer[:600].decode(errors="replace"))
        self.buffer = b""
        return True


def drive(port: int, streams: Sequence[Requests], seconds: float) -> Load:
    """Send each stream on a connection of its own until `seconds` are over or all streams are exhausted.

    Requests in flight at the end are waited for and counted, and the clock runs until the last answer.
    """
    connections = [Connection(port, stream) for stream in streams]
    by_fd = {connection.socket.fileno(): connection for connection in connections}
    latencies: list[float] = []
    poller = select.epoll()
    for fd in by_fd:
        poller.register(fd, select.EPOLLIN)
    clock = time.perf_counter
    begin = clock()
    deadline = begin + seconds
    waiting = sum(connection.send() for connection in connections)
    try:
        while waiting:
            for fd, _ in poller.poll():
                connection = by_fd[fd]
                if not connection.receive():
                    continue
                now = clock()
                latencies.append(now - connection.sent_at)
                if now >= deadline or not connection.send():
                    waiting -= 1
        end = clock()
    finally:
        poller.close()
        for connection in connections:
            connection.socket.close()
    return Load(len(latencies), end - begin, *_percentiles_ms(latencies))


def _percentiles_ms(latencies: list[float]) -> tuple[float, float]:
    ordered = sorted(latencies)
    return statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


def call(port: int, method: str, path: str, body: object = None) -> bytes:
    """One request on a fresh connection; the body of the answer, which must be a 200."""
    answer, _ = timed_call(port, method, path, body)
    return answer


def timed_call(port: int, method: str, path: str, body: object = None) -> tuple[bytes, float]:
    """Like `call`, with the seconds from the first byte sent to the last byte received."""
    request = get(path) if method == "GET" else post(path, json.dumps(body).encode())
    with socket.create_connection((HOST, port), timeout=600) as link:
        begin = time.perf_counter()
        link.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        parts: list[bytes] = []
        while chunk := link.recv(1 << 20):
            parts.append(chunk)
        elapsed = time.perf_counter() - begin
    head, _, content = b"".join(parts).partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise UnexpectedAnswerError((head + content[:600]).decode(errors="replace"))
    if b"transfer-encoding: chunked" in head.lower():
        content = unchunk(content)
    return content, elapsed


def unchunk(content: bytes) -> bytes:
    """The payload of a chunked body."""
    parts: list[bytes] = []
    at = 0
    while True:
        line_end = content.index(b"\r\n", at)
        size = int(content[at:line_end].split(b";")[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(content[line_end + 2 : line_end + 2 + size])
        at = line_end + 2 + size + 2


def call_json(port: int, method: str, path: str, body: object = None) -> dict[str, object]:
    answer = json.loads(call(port, method, path, body))
    if not isinstance(answer, dict):
        raise UnexpectedAnswerError(f"not an object: {answer!r}")
    return answer


def templated(path: str, body: bytes, mark: bytes, start: int = 0) -> Requests:
    """Endless POSTs of one body in which `mark` (digits) is replaced by a counter of the same width."""
    width = len(mark)
    request = post(path, body)
    number = start
    while True:
        yield request.replace(mark, b"%0*d" % (width, number))
        number += 1


def repeat(rounds: int, one: Callable[[], float]) -> float:
    """The median of `rounds` measurements."""
    return statistics.median(one() for _ in range(rounds))
