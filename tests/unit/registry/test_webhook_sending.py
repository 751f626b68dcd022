"""One attempt: whatever the other side does, it ends in time, takes little memory, and leads nowhere else."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mlwright.kernel.errors import Unavailable
from mlwright.registry.webhooks.sending import MAX_ANSWER_BYTES, Reply, Sender, headers, signature
from mlwright.registry.webhooks.spec import WebhookSettings
from tests.e2e.tls_proxy import NAME, certificate
from tests.receiver import Answer, receiving

LOCAL = WebhookSettings(schemes=("http", "https"), private=True, timeout_s=5)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[str]:
    """A server that does what it likes with its connections."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await serve(reader, writer)
        except OSError:
            pass  # whoever asked is gone
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


def send_to(*parts: bytes, settings: WebhookSettings = LOCAL) -> Reply:
    """The reply to an answer that comes in parts."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    async def ask() -> Reply:
        async with serving(serve) as url:
            return await Sender(settings).send(url, b"{}", {})

    return asyncio.run(ask())


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """Computed with OpenSSL: printf '%s' 'id.1700000000.{}' | openssl dgst -sha256 -hmac key -binary | base64."""
    expected = "v1,/Hqug/JsMUvI3mrKxx95W1oU9WZJN5/KNqtUvtF4fLc="
    assert signature("key", "id", "1700000000", b"{}") == expected
    assert headers("id", 1_700_000_000_999, b"{}", "key")["X-MLflow-Signature"] == expected
    assert set(headers("id", 0, b"", None)) == {"Content-Type", "X-MLflow-Delivery-Id", "X-MLflow-Timestamp"}


def test_redirects_are_not_followed() -> None:
    with receiving() as receiver:
        elsewhere = (("location", f"{receiver.url}/elsewhere"),)
        receiver.answer = lambda told: Answer(307, elsewhere) if told.path == "/" else Answer()
        assert asyncio.run(Sender(LOCAL).send(receiver.url, b"{}", {})).status == 307
        assert receiver.next().path == "/"
        assert receiver.told.empty()


def test_answers() -> None:
    assert send_to(b"HTTP/1.1 200 OK\r\n\r\nuntil the end") == (200, "until the end", None)
    assert send_to(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n") == (204, "", None)
    chunked = b"HTTP/1.1 429 Wait\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    assert send_to(chunked[:20], chunked[20:]) == (429, "ab", 7.0)
    assert send_to(b"HTTP/1.1 503 X\r\nRetry-After: 999999\r\n\r\n").retry_after_s == 600.0
    assert send_to(b"HTTP/1.1 503 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n").retry_after_s is None
    assert send_to(b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe").body == "\N{REPLACEMENT CHARACTER}" * 2


def test_an_endless_answer_is_read_to_its_limit() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    async def ask() -> Reply:
        async with serving(serve) as url:
            return await Sender(LOCAL).send(url, b"{}", {})

    assert len(asyncio.run(ask()).body) == MAX_ANSWER_BYTES


ENDLESS = (b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"y" * 60_000 + b"\r\n"] * 3)


@pytest.mark.parametrize(
    "parts",
    [(), (b"SSH-2.0-OpenSSH_9\r\n",), (b"HTTP/1.1 200",), ENDLESS],
    ids=["nothing", "not HTTP", "half a line", "endless headers"],
)
def test_what_is_no_answer(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(Unavailable):
        send_to(*parts)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["silent", "one byte after the other"])
def test_who_is_slow_is_given_up_in_time(begun: bytes) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        while True:
            writer.write(b"x" if begun else b"")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def ask() -> Reply:
        async with serving(serve) as url:
            return await Sender(WebhookSettings(schemes=("http",), private=True, timeout_s=0.1)).send(url, b"{}", {})

    with pytest.raises(Unavailable, match=r"no answer within 0\.1 s"):
        asyncio.run(ask())


def test_nobody_there() -> None:
    with pytest.raises(Unavailable) as caught:
        asyncio.run(Sender(LOCAL).send("http://127.0.0.1:1/secret", b"{}", {}))
    assert caught.value.message == "http://127.0.0.1:1: Connection refused"


def test_tls_is_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def ask(host: str) -> int:
        with receiving() as receiver:
            receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
            port = receiver.url.rpartition(":")[2]
            return (await Sender(LOCAL, resolve).send(f"https://{host}:{port}/", b"{}", {})).status

    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        asyncio.run(ask(NAME))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "only.pem"))
    assert asyncio.run(ask(NAME)) == 200
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        asyncio.run(ask("other.example.org"))
