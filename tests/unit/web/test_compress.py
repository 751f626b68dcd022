"""Answers are compressed for clients that are far away, and only then."""

import gzip

import pytest
from starlette.requests import Request
from starlette.responses import Response

from mlwright.web.compress import compressed


def request(host: str, encoding: str = "gzip, br") -> Request:
    headers = [(b"accept-encoding", encoding.encode())]
    return Request({"type": "http", "headers": headers, "client": (host, 1)})


def test_far_away() -> None:
    found = compressed(request("192.0.2.1"), Response(b"x" * 20_000, headers={"vary": "cookie"}))
    assert gzip.decompress(bytes(found.body)) == b"x" * 20_000
    assert found.headers["content-encoding"] == "gzip"
    assert found.headers["content-length"] == str(len(bytes(found.body)))
    assert found.headers["vary"] == "cookie, accept-encoding"


@pytest.mark.parametrize(
    ("host", "encoding", "size"),
    [("127.0.0.1", "gzip", 20_000), ("::1", "gzip", 20_000), ("192.0.2.1", "br", 20_000), ("192.0.2.1", "gzip", 500)],
)
def test_otherwise_unchanged(host: str, encoding: str, size: int) -> None:
    found = compressed(request(host, encoding), Response(b"x" * size))
    assert bytes(found.body) == b"x" * size
    assert "content-encoding" not in found.headers


def test_a_name_instead_of_an_address() -> None:
    assert "content-encoding" in compressed(request("testclient"), Response(b"x" * 20_000)).headers
