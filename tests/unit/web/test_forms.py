"""Posted forms, and redirects that stay here."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.types import Message

from mlwright.kernel.errors import Invalid, TooLarge
from mlwright.web.forms import read_form, see_other


def form(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_fields() -> None:
    found = asyncio.run(read_form(form(b"run=a&run=b&name=%E5%90%8D+x&empty=")))
    assert found.getlist("run") == ["a", "b"]
    assert found["name"] == "名 x"
    assert found["empty"] == ""


def test_not_a_form() -> None:
    with pytest.raises(Invalid):
        asyncio.run(read_form(form(b"\xff\xfe")))
    with pytest.raises(Invalid):
        asyncio.run(read_form(form(b"a=1&" * 30_000)))
    with pytest.raises(TooLarge):
        asyncio.run(read_form(form(b"a" * (2 << 20))))


@pytest.mark.parametrize(
    "url", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)", ""]
)
def test_redirects_lead_nowhere_else(url: str) -> None:
    assert see_other(url).headers["location"] == "/"


def test_redirect_after_post() -> None:
    response = see_other("/runs/1?x=2")
    assert (response.status_code, response.headers["location"]) == (303, "/runs/1?x=2")
