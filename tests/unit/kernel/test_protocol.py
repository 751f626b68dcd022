"""The HTTP protocol on a real socket: limits of the head, pipelining, answers in one piece."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mlwright.kernel.exchange import Exchange
from mlwright.kernel.protocol import MAX_HEAD_BYTES
from tests.unit.kernel.listening import connect, converse, serving

#: Paths that the application was asked for.
SEEN: list[str] = []
#: Names of the headers of each request, as they are when its body has been read.
HEADERS: list[list[bytes]] = []


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path, after reading the body."""
    SEEN.append(scope["path"])
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    HEADERS.append([name for name, _ in scope["headers"]])
    body = b"%s %d" % (scope["path"].encode(), size)
    if scope["path"] == "/large":
        body = bytes(300_000)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Whole:
    """The same application for requests that are answered in one piece: at once, or a little later.

    What it does with those that come in pieces, ASGI's way, is `app`.
    """

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    def whole(self, method: bytes, _target: bytes) -> Callable[[Exchange], None] | None:
        return self.answer if method in {b"GET", b"POST"} else None

    def answer(self, exchange: Exchange) -> None:
        path = exchange.scope["raw_path"].decode()
        SEEN.append(path)
        HEADERS.append([name for name, _ in exchange.scope["headers"]])
        if path == "/defect":
            raise ZeroDivisionError("secret")
        body = bytes(300_000) if path == "/large" else b"%s %d" % (path.encode(), len(exchange.body()))
        if path.startswith("/later"):
            asyncio.get_running_loop().call_later(0.05, exchange.answer, 200, [], body)
        else:
            exchange.answer(200, [(b"x-injected", b"a\r\nb: c")] if path == "/injected" else [], body)


@pytest.fixture(scope="module", params=[app, Whole()], ids=["asgi", "whole"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with serving(request.param, proxy_headers=False) as found:
        yield found


@pytest.fixture(scope="module")
def whole() -> Iterator[int]:
    with serving(Whole(), timeout_keep_alive=1, proxy_headers=False) as found:
        yield found


@pytest.fixture
def talk(port: int) -> Iterator[Callable[..., bytes]]:
    """Sends bytes and returns all that comes back until the server closes, or what was waited for has come."""
    with connect(port) as connection:
        yield lambda *parts, until=b"": converse(connection, *parts, until=until)


def test_a_request_is_answered(talk: Callable[..., bytes]) -> None:
    found = talk(b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", until=b"/x 3")
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")


def test_requests_may_follow_each_other_at_once(talk: Callable[..., bytes]) -> None:
    found = talk(*(b"GET /%d HTTP/1.1\r\nhost: a\r\n\r\n" % number for number in range(20)), until=b"/19 0")
    bodies = [line for line in found.split(b"\r\n") if line.startswith(b"/")]
    assert b"".join(bodies).count(b" 0") == 20 or found.count(b" 0") == 20


def test_large_answers_arrive_whole(talk: Callable[..., bytes]) -> None:
    found = talk(b"GET /large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert len(found.partition(b"\r\n\r\n")[2]) == 300_000


def test_a_head_up_to_the_limit_is_taken(talk: Callable[..., bytes]) -> None:
    filler = b"x" * (MAX_HEAD_BYTES - 100)
    assert b"200 OK" in talk(b"GET /x HTTP/1.1\r\nhost: a\r\nfiller: " + filler + b"\r\n\r\n", until=b"/x 0")


def test_the_limit_is_for_each_request(talk: Callable[..., bytes]) -> None:
    one = b"GET /x HTTP/1.1\r\nhost: a\r\nfiller: " + b"x" * 40_000 + b"\r\n\r\n"
    for _ in range(4):
        assert b"200 OK" in talk(one, until=b"/x 0")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nlong: " + b"x" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"h%d: x\r\n" % n for n in range(20_000)) + b"\r\n",
    ],
    ids=["target", "value", "many"],
)
def test_a_head_beyond_the_limit_is_refused(talk: Callable[..., bytes], head: bytes) -> None:
    assert talk(head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nlong: ", b"GET /", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_end_is_refused_early(port: int, start: bytes) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(start)
        while sent < 64 << 20:
            sent += connection.send(b"x" * 65_536)
    assert sent < 16 << 20


def test_a_refused_request_is_not_handled(port: int, talk: Callable[..., bytes]) -> None:
    before = len(SEEN)
    talk(b"POST /refused HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nlong: " + b"x" * 70_000 + b"\r\n\r\nabc")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as other:
        other.sendall(b"GET /after HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        while other.recv(65_536):
            pass
    assert SEEN[before:] == ["/after"]


@pytest.mark.parametrize(
    "text", [b"\r\n\r\n\0\0\0", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n"]
)
def test_what_is_no_http_is_a_bad_request(talk: Callable[..., bytes], text: bytes) -> None:
    assert talk(text).startswith(b"HTTP/1.1 400")


def test_trailers_are_no_headers(talk: Callable[..., bytes]) -> None:
    head = b"POST /trailers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"3\r\nabc\r\n0\r\nX-Late: secret\r\nHost: evil\r\n\r\n"
    assert talk(head + body, until=b"/trailers 3").startswith(b"HTTP/1.1 200")
    assert HEADERS[-1] == [b"host", b"transfer-encoding"]


# --- answers in one piece -----------------------------------------------------------------------------------------


def test_they_come_in_the_order_of_the_requests(whole: int) -> None:
    paths = ["/later1", "/x", "/later2", "/y", "/z"]
    asked = b"".join(b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % path.encode() for path in paths)
    with connect(whole) as connection:
        found = converse(connection, asked, until=b"/z 0")
    assert re.findall(rb"(/\w+) 0", found) == [path.encode() for path in paths]


def test_thousands_at_once_are_answered(whole: int) -> None:
    data = b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n" + b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n" * 5_000
    with connect(whole) as connection:
        sender = threading.Thread(target=connection.sendall, args=(data + b"GET /last HTTP/1.0\r\n\r\n",))
        sender.start()
        found = converse(connection)
        sender.join(10)
    assert found.count(b"/x 0") == 5_000


def test_after_the_last_answer_nothing_is_asked(whole: int) -> None:
    SEEN.clear()
    with connect(whole) as connection:
        found = converse(connection, b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /y HTTP/1.1\r\n\r\n")
    assert found.endswith(b"/x 0")
    assert b"connection: close" in found
    assert SEEN == ["/x"]


@pytest.mark.parametrize("path", [b"/defect", b"/injected"])
def test_a_defect_is_an_error_without_details(whole: int, path: bytes) -> None:
    with connect(whole) as connection:
        found = converse(connection, b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % path)
    assert found.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in found


def test_a_body_that_is_too_large_to_keep_comes_in_pieces(whole: int) -> None:
    with connect(whole) as connection:
        head = b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 3000000\r\n\r\n"
        assert b"/x 3000000" in converse(connection, head, bytes(3_000_000), until=b"/x 3000000")
        assert b"/y 0" in converse(connection, b"GET /y HTTP/1.1\r\nhost: a\r\n\r\n", until=b"/y 0")


def test_whoever_wants_to_be_told_to_send_is_told(whole: int) -> None:
    head = b"POST /e HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
    with connect(whole) as connection:
        assert converse(connection, head, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert converse(connection, b"abc", until=b"/e 3")


def test_silence_in_the_middle_of_a_body_ends_the_connection(whole: int) -> None:
    begin = time.monotonic()
    with connect(whole) as connection:
        assert converse(connection, b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf") == b""
    assert 0.9 < time.monotonic() - begin < 8


def test_a_body_that_is_none_takes_no_answer_from_the_one_before(whole: int) -> None:
    broken = b"POST /y HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    with connect(whole) as connection:
        found = converse(connection, b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n" + broken)
    assert b"/later 0" in found
    assert b"/y" not in found


def test_whoever_leaves_before_the_answer_disturbs_nobody(whole: int) -> None:
    with connect(whole) as connection:
        connection.sendall(b"GET /later HTTP/1.1\r\nhost: a\r\n\r\n")
    time.sleep(0.1)
    with connect(whole) as connection:
        assert b"/x 0" in converse(connection, b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n", until=b"/x 0")
