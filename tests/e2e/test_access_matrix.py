"""Every route of the server, asked by everyone: nobody reads or changes what they have no role for.

The routes come from the server itself, so that a new one fails here until somebody says who may use it. Requests go
through the gate with real tokens, plainly and addressed to the project by MLflow's header and by the address's prefix.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import patch

import pytest

from mlwright.kernel.errors import Conflict
from mlwright.kernel.http import Route
from mlwright.kernel.transaction import Tx
from tests.e2e.access_requests import table
from tests.e2e.access_world import PASSWORD, PROJECT, SESAME, Request, World, plain, routes_of
from tests.unit.asgi import Answer

BEYOND = "{path:path}"
HEADER = {"x-mlflow-workspace": PROJECT}
PREFIX = f"/projects/{PROJECT}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("access"))
    yield world
    world.close()


@pytest.fixture(scope="module")
def matrix(world: World) -> list[tuple[Route, Request]]:
    """Each route with its request, spelled for that route."""
    wanted = table(world.things)
    found = []
    for route in routes_of(world.platform):
        if _is_beyond(route):
            target = route.path.replace(BEYOND, f"scorers/{SESAME[:3]}")
            found.append((route, Request(route.method, target, anyone=True)))
            continue
        request = wanted[route.method, plain(route.path)]
        found.append((route, _spelled(request, route.path)))
    return found


def _is_beyond(route: Route) -> bool:
    return plain(route.path) in {"/api/2.0/mlflow/{path:path}", "/api/2.0/mlflow-artifacts/{path:path}"}


def _spelled(request: Request, path: str) -> Request:
    """The request under the alias of the route: /api or /ajax-api, 2.0 or 3.0."""
    target = request.target
    if path.startswith(("/api/", "/ajax-api/")):
        target = "/".join([*path.split("/")[:3], *target.split("/")[3:]])
    values = {name: getattr(request, name) for name in Request.__dataclass_fields__}
    return Request(**{**values, "target": target})


class _Streams(Exception):
    """Raised to leave a stream of events."""


def ask(world: World, who: str, request: Request, prefix: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """The answer to `who` ("" for someone without a token); of a stream of events only its beginning."""
    sent = {"host": "localhost", "content-length": str(len(request.body)), **(headers or {})}
    if who:
        sent["authorization"] = f"Bearer {world.tokens[who]}"
    if request.form:
        sent["content-type"] = "application/x-www-form-urlencoded"
    path, _, query = (prefix + request.target).partition("?")
    scope: dict[str, Any] = {
        "type": "http", "method": request.method, "path": path, "raw_path": path.encode(), "http_version": "1.1",
        "query_string": query.encode(), "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        "scheme": "http", "server": ("localhost", 0), "client": ("127.0.0.1", 1), "root_path": "",
    }  # fmt: skip
    messages: list[Any] = []

    bodies = [request.body]

    async def receive() -> dict[str, Any]:
        if not bodies:
            await asyncio.Event().wait()  # the client stays, and says no more
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def keep(message: Any) -> None:
        messages.append(message)
        if (b"content-type", b"text/event-stream; charset=utf-8") in message.get("headers", ()):
            raise _Streams

    async def run() -> None:
        await world.app(scope, receive, keep)

    try:
        asyncio.run(run())
    except* _Streams:
        pass
    found = {name.decode(): value.decode("latin-1") for name, value in messages[0]["headers"]}
    return Answer(messages[0]["status"], found, b"".join(each.get("body", b"") for each in messages[1:]))


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"


def _without_echo(answer: Answer, request: Request) -> str:
    """The answer without the names that the request had in it."""
    text = answer.body.decode(errors="replace")
    names = re.findall(rf"[\w./-]*{SESAME}[\w./-]*", request.target + request.body.decode(errors="replace"))
    parts = [part for name in names for part in name.split("/") if SESAME in part and part != SESAME]
    for name in [*names, *parts, *(name.split("/artifacts/", 1)[-1].split("/artifacts/")[-1] for name in names)]:
        text = text.replace(name, "")
    return text


def test_every_route_has_a_request(world: World) -> None:
    wanted, known = table(world.things), list(routes_of(world.platform))
    missing = [_name(each) for each in known if not _is_beyond(each) and (each.method, plain(each.path)) not in wanted]
    assert not missing, "say in access_requests.py who may use these"
    assert len(known) > 250
    assert {(each.method, plain(each.path)) for each in known} >= set(wanted), "requests to routes that are gone"


def test_those_who_may_read_and_change(world: World, matrix: list[tuple[Route, Request]]) -> None:
    """The requests are right: sent by the one who may, each shows the secret or changes something (then undone)."""
    before = world.state()
    for route, request in matrix:
        if request.anyone:
            continue
        changes: list[int] = []
        write = world.database.write

        async def undone(work: Any, *, brief: bool = False, write: Any = write, changes: list[int] = changes) -> Any:
            results: list[Any] = []

            def both(tx: Tx) -> None:
                connection = tx._cursor.connection  # type: ignore[attr-defined]
                before = connection.total_changes
                results.append(work(tx))
                changes.append(connection.total_changes - before)
                raise Conflict("undone")

            with pytest.raises(Conflict, match="undone"):
                await write(both)
            return results[0]

        with patch.object(world.database, "write", undone):
            answer = ask(world, request.by, request, headers=HEADER)
        assert answer.status < 400, f"{_name(route)}: {answer.status} {answer.body[:300]!r}"
        assert request.changes == any(changes), f"{_name(route)} changes something: {any(changes)}"
        if request.shows:
            assert SESAME.encode() in answer.body, f"{_name(route)} shows nothing: {answer.body[:300]!r}"
    assert [row for row in world.state() if "blobs" not in row] == [row for row in before if "blobs" not in row]


@pytest.mark.parametrize("who", ["outsider", "stranger", "viewer"])
def test_nobody_else_reads_or_changes(world: World, matrix: list[tuple[Route, Request]], who: str) -> None:
    before = world.state()
    for route, request in matrix:
        if who == "viewer" and request.viewers_may:
            continue
        for prefix, headers in (("", None), ("", HEADER), (PREFIX, None)):
            answer = ask(world, who, request, prefix, headers)
            what = f"{who}: {_name(route)} {prefix or headers or ''}: {answer.status} {answer.body[:300]!r}"
            assert answer.status < 500 or answer.status == 501, what
            if who != "viewer":
                assert SESAME not in _without_echo(answer, request), what
            if request.changes and not request.anyone and not prefix:
                assert answer.status in {401, 403, 404}, what
        after = world.state()
        assert after == before, f"{who} changed with {_name(route)}: {set(after) ^ set(before)}"


def test_without_a_token_nothing_is_answered(world: World, matrix: list[tuple[Route, Request]]) -> None:
    before = world.state()
    public = ("/health", "/version", "/login", "/logout", "/static/")
    for route, request in matrix:
        for prefix in ("", PREFIX, "/mlflow-ui"):
            answer = ask(world, "", request, prefix)
            open_to_all = route.path.startswith(public) or "/mpu/part/" in route.path
            expected = {200, 303, 401, 404} if open_to_all else {401}
            assert answer.status in expected, f"{_name(route)} {prefix}: {answer.status} {answer.body[:300]!r}"
            assert SESAME not in _without_echo(answer, request)
    assert world.state() == before


@pytest.mark.parametrize("who", ["outsider", "stranger"])
def test_the_stream_of_events_holds_nothing_of_other_projects(world: World, who: str) -> None:
    """The stream is open, and stays silent."""
    request = Request("GET", "/v1/events?from=0")
    assert ask(world, who, request, headers={"accept": "text/event-stream"}).status == 200
    shown = ask(world, who, Request("GET", "/v1/events?limit=1000")).json
    assert {event["project"] for event in shown} <= {"elsewhere"}
    assert len(ask(world, "editor", Request("GET", "/v1/events?limit=1000")).json) > 10


def test_a_password_is_as_good_as_a_token(world: World) -> None:
    import base64

    pair = base64.b64encode(f"viewer:{PASSWORD}".encode()).decode()
    target = f"/v1/experiments/{world.things.experiment}"
    right = {"authorization": f"Basic {pair}"}
    assert ask(world, "", Request("GET", target), headers=right).status == 200
    assert ask(world, "", Request("DELETE", target), headers=right).status == 403
