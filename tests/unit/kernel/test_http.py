"""Routes, bodies, and how errors are shown."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from mlwright.kernel import errors
from mlwright.kernel.errors import Invalid, MlwrightError, NotFound, Unauthenticated, Unavailable
from mlwright.kernel.http import (
    MAX_BODY_BYTES,
    Bodies,
    Face,
    Route,
    Router,
    caller_of,
    integer,
    json_response,
    problem,
    read_body,
    read_json,
)  # fmt: skip
from mlwright.kernel.identity import Caller
from tests.unit.asgi import call
from tests.unit.asgi import request as send


class Message(msgspec.Struct):
    name: str
    inner: dict[str, list[int]] = {}


async def echo(request: Request) -> Response:
    return json_response({"path": request.path_params, "caller": caller_of(request).name})


async def body(request: Request) -> Response:
    return json_response({"size": len(await read_body(request, 10))})


async def message(request: Request) -> Response:
    return json_response(await read_json(request, Message))


async def limit(request: Request) -> Response:
    return json_response(integer(request, "limit", 7, 1, 9))


async def broken(request: Request) -> Response:
    raise ZeroDivisionError("secret detail")


async def refused(request: Request) -> Response:
    raise Invalid("wrong", path="a.b", hint="do it right")


async def gone(request: Request) -> Response:
    raise ClientDisconnect


def shout(error: MlwrightError) -> Response:
    return Response(f"SHOUT {error.message}", error.status)


ROUTES = [
    Route("GET", "/plain", echo), Route("POST", "/plain", echo), Route("POST", "/body", body),
    Route("POST", "/message", message), Route("GET", "/limit", limit), Route("GET", "/broken", broken),
    Route("GET", "/refused", refused), Route("GET", "/gone", gone), Route("GET", "/things/special", refused),
    Route("GET", "/things/{name}", echo), Route("DELETE", "/things/{name}", echo),
    Route("GET", "/things/{name}/parts/{part}", echo), Route("PUT", "/files/{path:path}", echo),
    Route("GET", "/{word}/end", echo), Route("PATCH", "/a.b/{x}", echo),
]  # fmt: skip
APP = Router([Face(ROUTES, problem), Face([Route("GET", "/loud", refused)], shout)], Face([], problem))


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/plain", {}), ("POST", "/plain", {}), ("HEAD", "/plain", {}),
        ("GET", "/things/desk", {"name": "desk"}), ("HEAD", "/things/desk", {"name": "desk"}),
        ("DELETE", "/things/a b", {"name": "a b"}), ("DELETE", "/things/special", {"name": "special"}),
        ("GET", "/things/x/parts/y", {"name": "x", "part": "y"}), ("PUT", "/files/a/b//c", {"path": "a/b//c"}),
        ("PUT", "/files/", {"path": ""}), ("PUT", "/files/a\nb", {"path": "a\nb"}),
        ("GET", "/any/end", {"word": "any"}), ("GET", "/things/end", {"name": "end"}),
    ],
)  # fmt: skip
def test_routes_are_found(method: str, path: str, expected: dict[str, str]) -> None:
    answer = call(APP, method, path, caller=Caller("ada"))
    assert answer.status == 200
    assert answer.json == {"path": expected, "caller": "ada"}


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/plain/", "/Plain", "/things/", "/things/a/b", "/things", "", "/axb/1"]
)
def test_unknown_paths_are_not_found(path: str) -> None:
    answer = call(APP, "GET", path)
    assert answer.status == 404
    assert answer.json["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/plain", "GET, HEAD, POST"), ("GET", "/body", "POST"), ("HEAD", "/body", "POST"),
        ("POST", "/things/x", "DELETE, GET, HEAD"), ("GET", "/files/x", "PUT"), ("BREW", "/plain", "GET, HEAD, POST"),
    ],
)  # fmt: skip
def test_wrong_methods_are_named_with_the_right_ones(method: str, path: str, allow: str) -> None:
    answer = call(APP, method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allow
    assert answer.json["code"] == "method_not_allowed"


def test_a_fixed_path_goes_before_a_pattern() -> None:
    assert call(APP, "GET", "/things/special").json["detail"] == "wrong"


def test_errors_are_problem_documents() -> None:
    answer = call(APP, "GET", "/refused")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert answer.json == {
        "type": "https://mlwright.dev/errors/invalid", "title": "Invalid input", "status": 400, "code": "invalid",
        "detail": "wrong", "path": "a.b", "hint": "do it right",
    }  # fmt: skip


def test_each_face_shows_errors_its_own_way() -> None:
    assert call(APP, "GET", "/loud").body == b"SHOUT wrong"


def test_a_defect_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = call(APP, "GET", "/broken")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert b"ZeroDivision" not in answer.body
    assert "secret detail" in caplog.text
    assert "GET /broken failed" in caplog.text


def test_a_client_that_went_away_gets_no_answer() -> None:
    with pytest.raises(IndexError):  # no message was sent at all
        call(APP, "GET", "/gone")


def test_problems_carry_the_headers_that_clients_need() -> None:
    assert problem(Unavailable("later")).headers["retry-after"] == "1"
    assert problem(Unauthenticated("who?")).headers["www-authenticate"].startswith("Basic")
    assert "path" not in NotFound("x").document()


# --- bodies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [[b""], [b"0123456789"], [b"01234", b"56789"], [b"", b"0", b""]])
def test_bodies_up_to_the_limit_are_read(parts: list[bytes]) -> None:
    assert call(APP, "POST", "/body", parts).json == {"size": sum(map(len, parts))}


@pytest.mark.parametrize(
    ("parts", "headers"),
    [
        ([b"0" * 11], {}), ([b"0" * 6, b"0" * 5], {}), ([b"0" * 11], {"content-length": "11"}),
        ([b"0" * 11], {"content-length": "1"}), ([b""], {"content-length": "99999999999999999999"}),
        ([b"0" * 11], {"content-length": "nonsense"}),
    ],
)  # fmt: skip
def test_bodies_beyond_the_limit_are_refused(parts: list[bytes], headers: dict[str, str]) -> None:
    answer = call(APP, "POST", "/body", parts, headers=headers)
    assert answer.status == 413
    assert answer.json["code"] == "too_large"


def test_a_declared_length_beyond_the_limit_is_refused_unread() -> None:
    parts = [b"0"] * 3
    call(APP, "POST", "/body", parts, headers={"content-length": str(MAX_BODY_BYTES + 1)})
    assert len(parts) == 3


def test_bodies_share_their_memory_and_give_it_back() -> None:
    async def size(request: Request) -> Response:
        return json_response(len(await read_body(request)))

    app = Router([Face([Route("POST", "/", size)], problem)], Face([], problem), Bodies(150_000))
    piece = b"0" * 60_000
    for _ in range(3):
        assert call(app, "POST", "/", [piece] * 3).json == 180_000  # the first piece fits into a packet
        refused = call(app, "POST", "/", [piece] * 5)
        assert refused.status == 503
        assert refused.headers["retry-after"]


def test_too_many_large_bodies_at_a_time_are_refused_until_there_is_room() -> None:
    async def size(request: Request) -> Response:
        found = len(await read_body(request))
        await gate.wait()
        return json_response(found)

    async def run() -> list[int]:
        large = [b"0" * 60_000] * 3
        first = asyncio.create_task(send(app, "POST", "/", large))
        await asyncio.sleep(0)
        second = await send(app, "POST", "/", large)
        gate.set()
        return [(await first).status, second.status, (await send(app, "POST", "/", large)).status]

    gate = asyncio.Event()
    app = Router([Face([Route("POST", "/", size)], problem)], Face([], problem), Bodies(200_000))
    assert asyncio.run(run()) == [200, 503, 200]


def test_a_message_is_decoded() -> None:
    assert call(APP, "POST", "/message", {"name": "x", "other": 1}).json == {"name": "x", "inner": {}}
    packed = msgspec.msgpack.encode({"name": "x"})
    assert call(APP, "POST", "/message", packed, headers={"content-type": "application/msgpack"}).json["name"] == "x"


@pytest.mark.parametrize(
    ("sent", "path", "text"),
    [
        (b"", "", "missing required field `name`"), (b"{", "", "not JSON"), (b"\xff", "", "not JSON"),
        (b'{"name": 5}', "name", "Expected `str`, got `int`"), (b"[]", "", "Expected `object`"),
        (b"null", "", "Expected"),
        (b'{"name": "x", "inner": {"a": [1, "b"]}}', "inner[...][1]", "Expected `int`, got `str`"),
        (b'{"name": "x"} trailing', "", "not JSON"), (b'{"name": "\xff"}', "", "not JSON"),
        (b"[" * 100_000, "", ""), (b'{"name": "x", "more": ' + b"[" * 100_000, "", "not JSON"),
    ],
)  # fmt: skip
def test_a_wrong_message_is_explained(sent: bytes, path: str, text: str) -> None:
    answer = call(APP, "POST", "/message", sent)
    assert answer.status == 400, answer.body
    assert answer.json.get("path", "") == path
    assert text in answer.json["detail"]


@pytest.mark.parametrize(
    ("query", "value"), [("", 7), ("?limit=", 7), ("?limit=1", 1), ("?limit=9", 9), ("?limit=2&limit=3", 3)]
)
def test_whole_numbers_in_queries(query: str, value: int) -> None:
    assert call(APP, "GET", f"/limit{query}").json == value


@pytest.mark.parametrize("text", ["0", "10", "-1", "1.5", "x", "1e1", "9" * 5000, "\x00"])
def test_wrong_numbers_in_queries(text: str) -> None:
    answer = call(APP, "GET", f"/limit?limit={text}")
    assert (answer.status, answer.json["path"]) == (400, "limit")


# --- the tree of errors ------------------------------------------------------------------------------------------

KINDS: list[type[MlwrightError]] = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, MlwrightError)
]


def test_codes_are_stable_and_unique() -> None:
    found = {kind.code: (kind.status, kind.exit_code) for kind in KINDS if kind is not errors.MlwrightError}
    assert found == {
        "invalid": (400, 2), "too_large": (413, 2), "not_found": (404, 1), "already_exists": (409, 5),
        "conflict": (409, 5), "immutable": (409, 5), "gate_closed": (409, 5), "unauthenticated": (401, 4),
        "denied": (403, 4), "untrusted": (422, 1), "no_environment": (422, 1), "unavailable": (503, 1),
        "storage_full": (507, 1), "too_many_attempts": (429, 4), "unsupported": (501, 1), "internal": (500, 1),
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_raises_the_error_that_the_server_meant(kind: Any) -> None:
    from mlwright.kernel.client import raised

    error = kind("what", path="where", hint="how")
    found = raised(kind.status, bytes(problem(error).body))
    assert type(found) is (errors.Internal if kind is MlwrightError else kind)
    assert (found.message, found.path, found.hint) == ("what", "where", "how")


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b"{}", b"null", b'{"code": 5}', b"\xff"])
def test_an_answer_that_is_no_problem_document_is_still_an_error(text: bytes) -> None:
    from mlwright.kernel.client import raised

    assert "answered 502" in raised(502, text).message
