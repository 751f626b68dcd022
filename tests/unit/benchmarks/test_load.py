"""The load client against a small scripted server: what it sends, what it counts, what it refuses."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from benchmarks.load import UnexpectedAnswerError, answer_length, call, drive, get, post, templated, unchunk

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Scripted:
    """Answers every request on a connection with the next of `answers`, cut into the given pieces."""

    def __init__(self, answers: list[list[bytes]]) -> None:
        self.received: list[bytes] = []
        self._answers = itertools.chain(answers, itertools.repeat([OK]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with link:
            while data := link.recv(1 << 16):
                self.received.append(data)
                for piece in next(self._answers):
                    link.sendall(piece)
                if b"Connection: close" in data:
                    return

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def scripted() -> Iterator[list[Scripted]]:
    servers: list[Scripted] = []
    yield servers
    for server in servers:
        server.close()


def test_counts_every_answer_of_every_stream(scripted: list[Scripted]) -> None:
    server = Scripted([])
    scripted.append(server)
    done = drive(server.port, [iter([get("/a"), get("/b")]), iter([get("/c")])], 5)
    assert done.requests == 3
    assert sorted(server.received) == [get("/a"), get("/b"), get("/c")]
    assert 0 < done.p50_ms <= done.p99_ms


def test_stops_at_the_deadline_of_an_endless_stream(scripted: list[Scripted]) -> None:
    server = Scripted([])
    scripted.append(server)
    done = drive(server.port, [itertools.repeat(get("/"))], 0.05)
    assert done.requests >= 1
    assert done.seconds < 5


def test_an_answer_in_pieces_is_one_answer(scripted: list[Scripted]) -> None:
    pieces = [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r\n{", b"1:}"]
    server = Scripted([pieces])
    scripted.append(server)
    assert drive(server.port, [iter([get("/")])], 5).requests == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_other_answers_are_errors(scripted: list[Scripted], answer: bytes) -> None:
    server = Scripted([[answer]])
    scripted.append(server)
    with pytest.raises(UnexpectedAnswerError):
        drive(server.port, [iter([get("/")])], 5)


def test_call_reads_a_chunked_body(scripted: list[Scripted]) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server = Scripted([[head, b"3\r\nabc\r\n", b"2\r\nde\r\n0\r\n\r\n"]])
    scripted.append(server)
    assert call(server.port, "GET", "/") == b"abcde"


def test_call_refuses_an_error(scripted: list[Scripted]) -> None:
    server = Scripted([[b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"]])
    scripted.append(server)
    with pytest.raises(UnexpectedAnswerError, match="404"):
        call(server.port, "POST", "/", {})


def test_a_template_counts_on_and_keeps_its_length() -> None:
    stream = templated("/x", b'{"step":1000}', b"1000", 1000)
    first, second = next(stream), next(stream)
    assert first == post("/x", b'{"step":1000}')
    assert second == post("/x", b'{"step":1001}')


def test_answer_length_waits_for_the_head() -> None:
    assert answer_length(OK[:10]) is None
    assert answer_length(OK) == len(OK)


def test_unchunk_ignores_extensions() -> None:
    assert unchunk(b"1;x=y\r\na\r\n0\r\n\r\n") == b"a"
