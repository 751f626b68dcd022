"""Our own REST API on a whole platform, without a network."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.identity import LOCAL, Caller, Role
from tests.unit.asgi import Answer, call

VIEWER = Caller("vi", roles={"default": Role.VIEWER})
NOBODY = Caller("no")
PROJECT = {"apiVersion": "mlwright.dev/v1", "kind": "Project", "metadata": {"name": "vision"}, "spec": {}}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(Settings(data=tmp_path))
    yield platform
    platform.close()


@pytest.fixture
def app(platform: Platform) -> ASGIApp:
    return platform.router()


Ask = Callable[..., Answer]


@pytest.fixture
def ask(app: ASGIApp) -> Ask:
    return lambda method, target, body=b"", **options: call(app, method, target, body, **options)


# --- the description ---------------------------------------------------------------------------------------------


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


@pytest.fixture
def document(ask: Ask) -> dict[str, Any]:
    found: dict[str, Any] = ask("GET", "/openapi.json").json
    return found


def test_the_description_is_complete(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    assert {each.rpartition("/")[2] for each in references(document)} <= set(schemas)
    operations = [(path, each) for path, methods in document["paths"].items() for each in methods.values()]
    ids = [each["operationId"] for _, each in operations]
    assert len(ids) == len(set(ids)) > 20
    for path, each in operations:
        declared = {parameter["name"] for parameter in each["parameters"] if parameter["in"] == "path"}
        assert declared == set(re.findall(r"\{(\w+)\}", path)), path
        assert each["summary"]
        assert "4XX" in each["responses"]
    for name in ("Manifest", "Resource", "Applied", "Explanation", "Event", "Verdict", "Problem"):
        assert name in schemas


# --- resources ---------------------------------------------------------------------------------------------------


def test_resources_over_rest(ask: Ask) -> None:
    assert [each["name"] for each in ask("GET", "/v1/kinds").json] == [
        "Project",
        "GatePolicy",
        "SigningKey",
        "Endpoint",
    ]
    planned = ask("POST", "/v1/resources?dryRun=true", PROJECT)
    assert (planned.status, planned.json["action"]) == (200, "created")
    assert ask("GET", "/v1/resources/Project/vision").status == 404
    created = ask("POST", "/v1/resources", PROJECT).json
    assert created["action"] == "created"
    found = ask("GET", "/v1/resources/projects/vision").json
    assert found == created["resource"]
    assert ask("POST", "/v1/resources", found).json["action"] == "unchanged"
    stale = found | {"metadata": found["metadata"] | {"resourceVersion": "1"}}
    assert ask("POST", "/v1/resources", stale).status == 409
    assert [each["metadata"]["name"] for each in ask("GET", "/v1/resources/project").json] == ["default", "vision"]
    assert ask("GET", "/v1/resources/project?labels=x%3Dy").json == []
    changes = ask("GET", "/v1/changes/Project").json
    assert [each["type"] for each in changes["changes"]] == ["ADDED", "ADDED"]
    assert ask("DELETE", "/v1/resources/Project/vision?resourceVersion=1").status == 409
    assert ask("DELETE", "/v1/resources/Project/vision").status == 204
    later = ask("GET", f"/v1/changes/Project?from={changes['seq']}").json
    assert [each["type"] for each in later["changes"]] == ["DELETED"]
    assert ask("GET", "/v1/kinds/Project?field=spec").json["path"] == "Project.spec"
    assert ask("GET", "/v1/kinds/Project/schema").json["properties"]["kind"] == {"const": "Project"}


@pytest.mark.parametrize(
    ("method", "target", "body", "status"),
    [
        ("GET", "/v1/resources/lamp", b"", 404), ("GET", "/v1/kinds/lamp", b"", 404),
        ("GET", "/v1/changes/lamp", b"", 404), ("GET", "/v1/kinds/Project?field=x", b"", 404),
        ("POST", "/v1/resources", b"[]", 400),
        ("POST", "/v1/resources", b"{}", 400), ("POST", "/v1/resources?dryRun=maybe", PROJECT, 400),
        ("GET", "/v1/resources/Project?labels=%28", b"", 400), ("GET", "/v1/changes/Project?from=x", b"", 400),
        ("POST", "/v1/resources", b'{"spec":' + b"[" * 99_999, 400),
        ("POST", "/v1/resources", PROJECT | {"metadata": {"name": "x", "labels": {"a": 1}}}, 400),
        ("POST", "/v1/resources", PROJECT | {"spec": {"description": "x" * 1_001}}, 400),
        ("DELETE", "/v1/resources/Project/default", b"", 409), ("PUT", "/v1/resources", PROJECT, 405),
    ],
)  # fmt: skip
def test_wrong_requests_for_resources(ask: Ask, method: str, target: str, body: Any, status: int) -> None:
    answer = ask(method, target, body)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"


# --- identity ----------------------------------------------------------------------------------------------------


def test_identity_over_rest(ask: Ask) -> None:
    person = {"name": "ada", "password": "a long password"}
    assert ask("POST", "/v1/principals", person).status == 201
    assert ask("POST", "/v1/principals", person).status == 409
    assert ask("PATCH", "/v1/principals/ada", {"admin": True}).json["admin"] is True
    token = ask("POST", "/v1/tokens", {"principal": "ada", "lifetime_ms": 1_000}).json
    assert [each["id"] for each in ask("GET", "/v1/tokens?principal=ada").json] == [token["id"]]
    assert ask("DELETE", f"/v1/tokens/{token['id']}").status == 204
    assert ask("POST", "/v1/projects", {"name": "vision"}).status == 201
    assert ask("POST", "/v1/projects/vision/roles", {"principal": "ada", "role": "viewer"}).json["role"] == "viewer"
    assert ask("GET", "/v1/projects/vision/roles").json == [{"project": "vision", "principal": "ada", "role": "viewer"}]
    assert ask("DELETE", "/v1/projects/vision/roles/ada").status == 204
    assert ask("GET", "/v1/me").json["everywhere"] == "admin"
    assert "password" not in str(ask("GET", "/v1/principals").json)


@pytest.mark.parametrize("caller", [VIEWER, NOBODY])
def test_what_others_may_not(ask: Ask, caller: Caller) -> None:
    refused: list[tuple[str, str, Any]] = [
        ("GET", "/v1/principals", b""), ("POST", "/v1/principals", {"name": "x"}),
        ("POST", "/v1/projects", {"name": "x"}), ("PATCH", "/v1/principals/vi", {"admin": True}),
        ("GET", "/v1/tokens?principal=root", b""),
        ("GET", "/v1/audit", b""), ("GET", "/v1/projects/default/roles", b""), ("POST", "/v1/resources", PROJECT),
        ("DELETE", "/v1/resources/Project/vision", b""),
    ]  # fmt: skip
    for method, target, body in refused:
        assert ask(method, target, body, caller=caller).status in {403, 404}, target
    seen = caller is VIEWER
    assert bool(ask("GET", "/v1/events", caller=caller).json) is seen
    assert bool(ask("GET", "/v1/projects", caller=caller).json) is seen
    assert bool(ask("GET", "/v1/changes/Project", caller=caller).json["changes"]) is seen


# --- events ------------------------------------------------------------------------------------------------------


def test_events_come_in_pages_and_as_a_stream(app: ASGIApp, ask: Ask) -> None:
    for name in ("a", "b", "c"):
        ask("POST", "/v1/projects", {"name": name})
    assert [each["seq"] for each in ask("GET", "/v1/events?from=1&limit=2").json] == [2, 3]
    assert ask("GET", "/v1/events?limit=0").status == 400
    assert ask("GET", "/v1/audit").json["findings"] == []
    assert len(ask("GET", f"/v1/audit?expect={'f' * 64}").json["findings"]) == 1

    async def first_events(last_event_id: str) -> bytes:
        received: list[bytes] = []
        enough = asyncio.Event()
        headers = [(b"accept", b"text/event-stream"), (b"last-event-id", last_event_id.encode())]
        scope: dict[str, Any] = {
            "type": "http", "method": "GET", "path": "/v1/events", "query_string": b"from=1", "headers": headers,
            "caller": LOCAL, "root_path": "", "scheme": "http", "server": ("x", 1),
            "http_version": "1.1",
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            await enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            received.append(message.get("body", b""))
            if b"id: 4" in message.get("body", b""):
                enough.set()

        await asyncio.wait_for(app(scope, receive, send), 10)
        return b"".join(received)

    whole = asyncio.run(first_events(""))
    assert [int(each) for each in re.findall(rb"^id: (\d+)$", whole, re.MULTILINE)] == [2, 3, 4]
    assert b"event: resource.created\n" in whole
    later = asyncio.run(first_events("3"))
    assert re.findall(rb"^id: (\d+)$", later, re.MULTILINE) == [b"4"]
