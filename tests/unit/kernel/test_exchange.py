"""Requests and answers on a real socket: streams, ends, failures, and clients that dawdle or leave."""

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mlwright.kernel import protocol
from tests.unit.kernel.listening import connect, converse, serving

START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
#: Bytes of an answer that no buffer of the system takes.
HUGE = 64 << 20
#: Paths of requests to `counted`.
ANSWERED: list[str] = []
#: What the application noticed, by path.
NOTED: dict[str, threading.Event] = {name: threading.Event() for name in ("/left", "/left-upload", "/stalled")}


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    text = b"%s %s <%s>" % (scope["method"].encode(), scope["raw_path"], body)
    await send(START | {"headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


async def slow(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.2)
    await echo(scope, receive, send)


async def slower(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(1)
    await echo(scope, receive, send)


async def stream(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    for piece in (b"one", b"", b"x" * 100_000, b"end"):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body"})


async def head_first(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"headers": [(b"x-early", b"yes")]})
    assert (await receive())["type"] == "http.request"
    await receive()  # nothing comes until the client leaves
    NOTED["/left"].set()


async def upload(scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] == "http.request":
        pass
    NOTED["/left-upload"].set()


async def early(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"status": 413, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"early"})
    assert (await receive())["type"] == "http.disconnect"


async def lazy(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.3)
    await echo(scope, receive, send)


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    for _ in range(4_000):
        await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
    NOTED["/stalled"].set()


async def counted(scope: Any, receive: Any, send: Any) -> None:
    ANSWERED.append(scope["path"])
    await send(START | {"headers": [(b"content-length", b"60000")]})
    await send({"type": "http.response.body", "body": bytes(60_000)})


async def huge(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"headers": [(b"content-length", b"%d" % HUGE)]})
    await send({"type": "http.response.body", "body": bytes(HUGE)})


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("secret")


async def silent(scope: Any, receive: Any, send: Any) -> None:
    return


async def half(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"half!", "more_body": True})
    raise ZeroDivisionError


async def injected(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"headers": [(b"location", b"/\r\nset-cookie: a=b")]})


async def too_long(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"long"})


async def not_modified(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"status": 304, "headers": [(b"etag", b'"x"')]})
    await send({"type": "http.response.body"})


async def last(scope: Any, receive: Any, send: Any) -> None:
    await send(START | {"headers": [(b"content-length", b"3"), (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"bye"})


APPS = {
    "/slow": slow, "/slower": slower, "/stream": stream, "/left": head_first, "/left-upload": upload, "/early": early,
    "/lazy": lazy, "/stalled": endless, "/broken": broken, "/silent": silent, "/half": half, "/injected": injected,
    "/counted": counted, "/huge": huge, "/too-long": too_long, "/not-modified": not_modified, "/last": last,
}  # fmt: skip


async def app(scope: Any, receive: Any, send: Any) -> None:
    await APPS.get(scope["path"], echo)(scope, receive, send)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(app, timeout_keep_alive=1) as found:
        yield found


@pytest.fixture
def connection(port: int) -> Iterator[socket.socket]:
    with connect(port) as found:
        yield found


def ask(path: str, method: str = "GET", body: bytes = b"", extra: bytes = b"", version: bytes = b"1.1") -> bytes:
    length = b"content-length: %d\r\n" % len(body) if body else b""
    return b"%s %s HTTP/%s\r\nhost: a\r\n%s%s\r\n%s" % (method.encode(), path.encode(), version, length, extra, body)


def unchunk(text: bytes) -> bytes:
    """The payload of an answer in chunks."""
    head, _, rest = text.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    found = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if size == b"0":
            assert rest == b"\r\n"
            return found
        found += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]


# --- bodies ------------------------------------------------------------------------------------------------------


def test_an_answer_without_length_comes_in_chunks_and_the_connection_goes_on(connection: socket.socket) -> None:
    assert unchunk(converse(connection, ask("/stream"), until=b"\r\n0\r\n\r\n")) == b"one" + b"x" * 100_000 + b"end"
    assert b"GET /again <>" in converse(connection, ask("/again"), until=b"<>")


def test_an_old_client_gets_it_plain_and_the_end_is_the_end(connection: socket.socket) -> None:
    found = converse(connection, ask("/stream", version=b"1.0"))
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert b"connection: close" in head
    assert body == b"one" + b"x" * 100_000 + b"end"


def test_head_has_the_head_only(connection: socket.socket) -> None:
    found = converse(connection, ask("/x", "HEAD"), ask("/last"))
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert b"content-length: 10\r\n" in found
    assert b"HEAD /x" not in found


def test_an_answer_that_has_no_body_ends_with_its_head(connection: socket.socket) -> None:
    found = converse(connection, ask("/not-modified"), ask("/last"))
    assert re.match(rb'HTTP/1\.1 304 Not Modified\r\n(date: .*\r\n)?etag: "x"\r\n\r\nHTTP/1\.1 200 OK', found)


def test_a_large_body_arrives_whole_however_slow_the_application(connection: socket.socket) -> None:
    body = bytes(range(256)) * 8_192
    found = converse(connection, ask("/lazy", "POST", body), until=body[-1000:] + b">")
    assert found.endswith(b"POST /lazy <" + body + b">")


def test_a_body_in_chunks(connection: socket.socket) -> None:
    pieces = b"3\r\nabc\r\n" + b"a\r\n0123456789\r\n" + b"0\r\n\r\n"
    found = converse(connection, ask("/c", "PUT", extra=b"transfer-encoding: chunked\r\n"), pieces, until=b">")
    assert found.endswith(b"PUT /c <abc0123456789>")


def test_a_client_may_ask_whether_to_send_the_body(connection: socket.socket) -> None:
    head = b"POST /e HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n"
    assert converse(connection, head, until=b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert converse(connection, b"abc", until=b">").endswith(b"POST /e <abc>")


def test_an_answer_before_the_body_is_over_leaves_the_connection_usable(connection: socket.socket) -> None:
    found = converse(connection, ask("/early", "POST", b"x" * 300_000), ask("/after"), until=b"<>")
    assert found.startswith(b"HTTP/1.1 413 ")
    assert found.endswith(b"GET /after <>")


# --- order and ends ----------------------------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_requests(connection: socket.socket) -> None:
    bodies = [b"%d" % number * 50_000 for number in range(3)]
    sent = [ask("/slow", "POST", b"first"), *(ask(f"/{len(body)}", "POST", body) for body in bodies), ask("/last")]
    found = converse(connection, *sent)
    assert [body[:1] for body in re.findall(rb"<(.+?)>", found)] == [b"f", b"0", b"1", b"2"]
    assert found.endswith(b"bye")


def test_whoever_wants_the_end_gets_it(connection: socket.socket) -> None:
    found = converse(connection, ask("/x", extra=b"connection: close\r\n") + ask("/never"))
    assert b"connection: close" in found
    assert found.endswith(b"GET /x <>")


def test_the_application_may_end_the_connection(connection: socket.socket) -> None:
    assert converse(connection, ask("/last")).count(b"connection: close") == 1


def test_the_head_of_a_stream_leaves_before_its_first_piece(connection: socket.socket) -> None:
    assert b"x-early: yes" in converse(connection, ask("/left"), until=b"\r\n\r\n")
    connection.close()
    assert NOTED["/left"].wait(5)


def test_an_upload_that_breaks_off_is_noticed(connection: socket.socket) -> None:
    connection.sendall(b"POST /left-upload HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf")
    connection.close()
    assert NOTED["/left-upload"].wait(5)


def test_an_upgrade_is_declined_by_answering(connection: socket.socket) -> None:
    upgrade = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n"
    found = converse(connection, ask("/up", extra=upgrade))
    assert found.startswith(b"HTTP/1.1 200 OK")
    assert found.endswith(b"GET /up <>")


@pytest.mark.parametrize("target", ["http://[", "caf\xe9"])
def test_targets_that_are_none(connection: socket.socket, target: str) -> None:
    found = converse(connection, b"OPTIONS " + target.encode("latin-1") + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    assert found.startswith(b"HTTP/1.1 400 ")


# --- failures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/broken", "/silent", "/injected", "/too-long"])
def test_an_application_that_fails_is_an_error_without_details(connection: socket.socket, path: str) -> None:
    found = converse(connection, ask(path))
    assert found.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in found
    assert b"set-cookie" not in found


def test_half_an_answer_does_not_look_whole(connection: socket.socket) -> None:
    found = converse(connection, ask("/half"))
    assert b"content-length: 10" in found
    assert found.endswith(b"half!")


# --- clients that dawdle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", [b"", b"GET /x HT", b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf"], ids=len
)
def test_silence_ends_the_connection(connection: socket.socket, start: bytes) -> None:
    begin = time.monotonic()
    converse(connection, start)
    assert 0.9 < time.monotonic() - begin < 8


def test_a_head_that_trickles_ends_the_connection(connection: socket.socket) -> None:
    begin = time.monotonic()
    with pytest.raises(ConnectionError):
        for _ in range(80):
            connection.sendall(b"x-a: b\r\n" if _ else b"GET /x HTTP/1.1\r\n")
            time.sleep(0.1)
    assert time.monotonic() - begin > 0.9


def test_a_request_in_progress_may_take_its_time(connection: socket.socket) -> None:
    for _ in range(4):
        assert b"/lazy <a>" in converse(connection, ask("/lazy", "POST", b"a"), until=b">")


def test_whoever_does_not_read_holds_up_his_own_stream_only(connection: socket.socket, port: int) -> None:
    connection.sendall(ask("/stalled"))
    assert not NOTED["/stalled"].wait(0.5)
    with connect(port) as other:
        assert b"GET /x <>" in converse(other, ask("/x"), until=b"<>")
    assert not NOTED["/stalled"].is_set()


def test_the_end_of_the_server_waits_for_a_request_in_progress() -> None:
    answers: list[bytes] = []
    with contextlib.ExitStack() as stack:
        with serving(app) as port:
            idle, busy = stack.enter_context(connect(port)), stack.enter_context(connect(port))
            worker = threading.Thread(target=lambda: answers.append(converse(busy, ask("/slower"))))
            worker.start()
            time.sleep(0.1)
        assert idle.recv(1) == b""
        worker.join(10)
    assert answers[0].endswith(b"GET /slower <>")
    assert b"connection: close" in answers[0]


def test_a_trailer_without_end_is_refused_early(connection: socket.socket) -> None:
    connection.sendall(b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nlong: ")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 64 << 20:
            sent += connection.send(b"x" * 65_536)
    assert sent < 16 << 20


def test_many_requests_in_pieces_that_fit_no_head_are_all_answered(connection: socket.socket) -> None:
    data = ask("/x") * 5_000 + ask("/last")

    def send() -> None:
        connection.sendall(data[:9])
        time.sleep(0.1)
        connection.sendall(data[9:])

    sender = threading.Thread(target=send)
    sender.start()
    found = converse(connection)
    sender.join(10)
    assert found.count(b"GET /x <>") == 5_000


def test_whoever_asks_without_reading_is_held_back(connection: socket.socket) -> None:
    connection.settimeout(1)
    ANSWERED.clear()
    with pytest.raises(TimeoutError):
        for _ in range(200):
            connection.sendall(ask("/counted") * 1_000)
    assert len(ANSWERED) < 1_000  # what the system's buffers take, of 60,000 bytes each


def test_what_is_never_read_is_given_up_also_at_the_end(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_STALLED_S", 2.0)
    with connect(port) as connection:
        connection.sendall(ask("/huge", extra=b"connection: close\r\n"))
        time.sleep(5)
        assert len(converse(connection)) < HUGE


@pytest.mark.parametrize("first", ["/slow", "/x"])
def test_a_body_that_is_none_takes_no_answer_from_others(connection: socket.socket, first: str) -> None:
    broken = b"POST /y HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    found = converse(connection, ask(first) + broken)
    assert f"GET {first} <>".encode() in found
    assert b"/y" not in found


def test_a_body_that_is_none_is_a_bad_request(connection: socket.socket) -> None:
    broken = b"POST /y HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"
    assert converse(connection, broken).startswith(b"HTTP/1.1 400 ")
