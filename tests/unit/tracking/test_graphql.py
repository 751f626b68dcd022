"""GraphQL requests that ask for too much, or are no requests, are refused with MLflow's error and little work."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from tests.unit.asgi import call

FIELD = 'mlflowGetRun(input: {runId: "x"}) {apiError {code}}'


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    folder: Path = tmp_path_factory.mktemp("graphql")
    platform = Platform(Settings(data=folder))
    yield platform.router()
    platform.close()


def test_a_small_query_is_answered(app: ASGIApp) -> None:
    body = {"query": f"query Q {{ a: {FIELD} b: {FIELD} }}"}
    answer = call(app, "POST", "/graphql", body)
    missing = {"apiError": {"code": "RESOURCE_DOES_NOT_EXIST"}}
    assert (answer.status, answer.json) == (200, {"data": {"a": missing, "b": missing}})


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("{" + " ".join(f"a{number}: {FIELD}" for number in range(21)) + "}", "20 root fields"),
        ("{... on Query {" + " ".join(f"a{number}: {FIELD}" for number in range(21)) + "}}", "fragments at its root"),
        ("{...F} fragment F on Query {" + FIELD + "}", "fragments at its root"),
        ("{" + " ".join([FIELD] * 300) + "}", "10000 characters"),
        ("{a" * 3000, "nested too deeply"),
        ("{a{b}}" * 16 + "{" * 16, "Syntax Error"),
    ],
)
def test_a_query_that_asks_for_too_much_is_refused(app: ASGIApp, query: str, why: str) -> None:
    answer = call(app, "POST", "/graphql", {"query": query})
    assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert why in answer.json["message"]


@pytest.mark.parametrize("body", [b'{"query":"{a}","variables":{"d":' + b"[" * 20_000, b"\xff", b"", b"[]", b"{"])
def test_what_is_no_request_is_refused(app: ASGIApp, body: bytes) -> None:
    answer = call(app, "POST", "/graphql", body)
    assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
