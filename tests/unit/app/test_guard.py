"""The gate: names, origins, callers and projects."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from mlwright.app import proxy
from mlwright.app.guard import Guard
from mlwright.app.settings import Settings
from mlwright.kernel.errors import Unauthenticated
from mlwright.kernel.http import Face, Route, Router, problem
from mlwright.kernel.identity import Caller, Role
from tests.unit.asgi import Answer, call


async def who(request: Request) -> Response:
    caller = request.scope["caller"]
    return JSONResponse({"name": caller.name, "project": caller.project, "path": request.scope["path"]})


ROUTER = Router(
    [Face([Route(method, "/{path:path}", who) for method in ("GET", "POST", "DELETE")], problem)], Face([], problem)
)


class Door:
    """Knows one token."""

    async def __call__(self, headers: Any, client: str, *, secure: bool) -> Caller:
        self.asked = (client, secure)
        if headers.get(b"authorization") != b"Bearer good":
            raise Unauthenticated("This server asks who you are")
        return Caller("ada", Role.EDITOR)


def guard(host: str = "127.0.0.1", *names: str, door: bool = False) -> Guard:
    settings = Settings(data=Path("/nowhere"), host=host, allowed_hosts=names)
    return Guard(ROUTER, settings, Door() if door else None)


def ask(app: ASGIApp, method: str = "GET", path: str = "/x", **headers: str) -> Answer:
    sent = {"host": "localhost:5000"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return call(app, method, path, headers=sent, caller=None)


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:5000", "LocalHost:80", "127.0.0.1", "127.0.0.1:5000", "127.8.9.1", "[::1]",
        "[::1]:5000", "[0:0:0:0:0:0:0:1]:5000",
    ],
)  # fmt: skip
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert ask(guard(), host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "", "evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example",
        "evil.example:127.0.0.1", "10.0.0.1", "0.0.0.0", "[::2]:5000", "[2001:db8::1]", "localhost@evil.example",
        "127.0.0.1.nip.io", "2130706433",
        "localhost.", "[::1", "xn--localhost", "local host", "localhost:5000:evil", "[::1].evil.example",
        "[::ffff:10.0.0.1]", "\u00e9",
    ],
)  # fmt: skip
def test_other_names_are_refused_as_dns_rebinding(host: str) -> None:
    answer = ask(guard(), host=host)
    assert answer.status == 403, answer.body
    assert answer.json["code"] == "denied"
    assert "--allowed-host" in answer.json["hint"]


def test_further_names_can_be_allowed() -> None:
    app = guard("127.0.0.1", "ml.example", "Other.Example")
    assert [ask(app, host=host).status for host in ("ml.example", "OTHER.example:80", "localhost")] == [200] * 3
    assert ask(app, host="evil.example").status == 403


def test_beyond_loopback_any_name_is_taken_unless_some_are_given() -> None:
    assert ask(guard("0.0.0.0"), host="ml.example").status == 200
    assert ask(guard("0.0.0.0", "ml.example"), host="ml.example").status == 200
    assert ask(guard("0.0.0.0", "ml.example"), host="evil.example").status == 403


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        ({"origin": "http://localhost:5000"}, True),
        ({"origin": "https://localhost:5000"}, True),
        ({"origin": "http://LOCALHOST:5000"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"origin": "http://localhost:5000", "sec_fetch_site": "same-site"}, True),
        ({"origin": "http://localhost:8888"}, False),
        ({"origin": "http://localhost"}, False),
        ({"origin": "http://127.0.0.1:5000"}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "localhost:5000"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "anything"}, False),
        ({"origin": "http://evil.example", "sec_fetch_site": "same-origin"}, False),
    ],
)
def test_changes_come_from_our_own_pages_or_from_programs(headers: dict[str, str], allowed: bool) -> None:
    for method in ("POST", "DELETE"):
        assert (ask(guard(), method, **headers).status == 200) is allowed
    assert ask(guard(), "GET", **headers).status == 200


def test_over_tls_pages_from_plain_http_change_nothing() -> None:
    app = proxy.behind(guard("127.0.0.1", "ml.example"), ["127.0.0.1"])
    said = {"x_forwarded_proto": "https", "x_forwarded_host": "ml.example"}
    for origin, status in (
        ("https://ml.example", 200), ("http://ml.example", 403), ("https://evil.example", 403), ("null", 403),
        ("https://ml.example:8443", 403),
    ):  # fmt: skip
        assert ask(app, "POST", origin=origin, **said).status == status, origin
    assert ask(app, "GET", **said | {"x_forwarded_host": "evil.example"}).status == 403
    assert ask(app, "POST", origin="https://localhost:5000").status == 200, "a proxy that says nothing"


def test_the_authenticator_is_told_the_address_and_whether_there_was_tls() -> None:
    door = Door()
    settings = Settings(data=Path("/nowhere"), allowed_hosts=("ml.example",))
    app = proxy.behind(Guard(ROUTER, settings, door), ["127.0.0.1"])
    ask(app, authorization="Bearer good")
    assert door.asked == ("127.0.0.1", False)
    said = {"x_forwarded_proto": "https", "x_forwarded_host": "ml.example", "x_forwarded_for": "198.51.100.7"}
    ask(app, authorization="Bearer good", **said)
    assert door.asked == ("198.51.100.7", True)


def test_without_authentication_everyone_is_the_local_user() -> None:
    assert ask(guard()).json["name"] == "local"


def test_with_authentication_one_must_be_known() -> None:
    app = guard(door=True)
    assert ask(app, authorization="Bearer good").json["name"] == "ada"
    answer = ask(app, authorization="Bearer bad")
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_protocols_are_refused_in_their_own_words() -> None:
    answer = ask(guard(door=True), "POST", "/api/2.0/mlflow/runs/create")
    assert (answer.status, answer.json["error_code"]) == (401, "UNAUTHENTICATED")
    denied = ask(guard(), "POST", "/ajax-api/2.0/mlflow/runs/create", host="evil.example")
    assert (denied.status, denied.json["error_code"]) == (403, "PERMISSION_DENIED")


def test_readers_with_a_browser_are_led_to_the_log_in() -> None:
    answer = ask(guard(door=True), "GET", "/experiments/1 2", accept="text/html,*/*")
    assert (answer.status, answer.headers["location"]) == (303, "/login?next=/experiments/1%202")
    assert ask(guard(door=True), "POST", "/x", accept="text/html").status == 401
    assert ask(guard(), "GET", "/x", accept="text/html", host="evil.example").status == 403


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/health", 200), ("/version", 200), ("/login", 200), ("/logout", 200), ("/static/a.css", 200),
        ("/", 401), ("/v1/me", 401),
        ("/api/2.0/mlflow-artifacts/mpu/part/x/1", 200), ("/api/2.0/mlflow-artifacts/artifacts/x", 401),
        ("//health", 401), ("/x/health", 401), ("/v1/../health", 401), ("/projects/p/health", 200),
    ],
)  # fmt: skip
def test_only_a_few_pages_are_public(path: str, status: int) -> None:
    answer = ask(guard(door=True), "GET", path)
    assert answer.status == status
    if status == 200:
        assert answer.json["name"] == "anonymous"


def test_the_project_comes_from_a_header_or_the_path() -> None:
    assert ask(guard()).json["project"] == "default"
    assert ask(guard(), x_mlflow_workspace="vision").json["project"] == "vision"
    found = ask(guard(), "GET", "/projects/vision/api/2.0/mlflow/runs/get").json
    assert (found["project"], found["path"]) == ("vision", "/api/2.0/mlflow/runs/get")
    assert ask(guard(), "GET", "/projects/vision").json["path"] == "/projects/vision"
    both = ask(guard(), "GET", "/projects/one/api/x", x_mlflow_workspace="two").json
    assert both["project"] == "one"


@pytest.mark.parametrize("name", ["host", "origin", "authorization", "x-mlflow-workspace"])
def test_what_decides_about_a_request_is_there_once(name: str) -> None:
    async def never(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("let through")

    sent: list[Any] = []

    async def run() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), *[(name.encode(), b"localhost")] * 2]
        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": headers}
        await Guard(never, Settings(data=Path("/nowhere")), None)(scope, None, send)  # type: ignore[arg-type]

    asyncio.run(run())
    assert sent[0]["status"] == 400


def test_other_headers_may_be_repeated() -> None:
    async def run() -> None:
        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"cookie", b"a=b"), (b"cookie", b"c=d")]
        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": headers}
        await guard()(scope, None, send)  # type: ignore[arg-type]

    sent: list[Any] = []
    asyncio.run(run())
    assert sent[0]["status"] == 200
