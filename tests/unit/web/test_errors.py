"""Errors as pages for browsers, as problem documents for everyone else."""

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Face, Route, Router, json_response, problem
from mlwright.web.assets import Assets
from mlwright.web.errors import ErrorPages
from mlwright.web.pages import Pages


async def bad(_: Request) -> Response:
    raise Invalid("<b>wrong</b>", hint="do it & again")


async def good(_: Request) -> Response:
    return json_response({"fine": True})


@pytest.fixture
def app() -> ASGIApp:
    face = Face([Route("GET", "/bad", bad), Route("GET", "/good", good)], problem)
    return ErrorPages(Router([face], Face([], problem)), Pages({}, Assets()))


async def get(app: ASGIApp, path: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path, headers=headers)


def run(app: ASGIApp, path: str, **headers: str) -> httpx.Response:
    import asyncio

    return asyncio.run(get(app, path, **headers))


def test_a_browser_gets_a_page(app: ASGIApp) -> None:
    answer = run(app, "/bad", accept="text/html,*/*")
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "&lt;b&gt;wrong&lt;/b&gt;" in answer.text
    assert "do it &amp; again" in answer.text


def test_in_the_readers_language(app: ASGIApp) -> None:
    answer = run(app, "/nowhere", **{"accept": "text/html", "accept-language": "zh-TW"})
    assert answer.status_code == 404
    assert '<html lang="zh-TW"' in answer.text
    assert "找不到" in answer.text


@pytest.mark.parametrize("path", ["/bad", "/bad?format=json"])
def test_others_get_the_document(app: ASGIApp, path: str) -> None:
    accept = "text/html" if "format" in path else "*/*"
    answer = run(app, path, accept=accept)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "<b>wrong</b>"


def test_answers_pass_unchanged(app: ASGIApp) -> None:
    assert run(app, "/good", accept="text/html").json() == {"fine": True}
