"""Operations of our own REST API, and their description in OpenAPI 3.1.

An operation states its types once: the request body is decoded and validated as that type, and the same type is
described in the document that clients and tests read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.http import Face, Handler, Route, problem


class Parameter(NamedTuple):
    """A query parameter."""

    name: str
    schema: Mapping[str, Any]
    description: str


class Operation(NamedTuple):
    """One operation of the API.

    Attributes:
        method, path, handler: as in a route.
        summary: one line.
        tag: the capability it belongs to.
        body: type of the JSON body, or None.
        result: type of the JSON answer, or None when there is none (204).
        query: query parameters.
        status: HTTP status of success.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    body: type[Any] | None = None
    result: Any = None
    query: Sequence[Parameter] = ()
    status: int = 200


def face(operations: Sequence[Operation], version: str) -> Face:
    """The operations as routes, and the document that describes them at /openapi.json."""
    routes = [Route(each.method, each.path, each.handler) for each in operations]

    async def openapi(request: Request) -> Response:
        return Response(msgspec.json.encode(document(operations, version)), media_type="application/json")

    return Face([*routes, Route("GET", "/openapi.json", openapi)], problem)


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 description of the operations."""
    types = [kind for each in operations for kind in (each.body, each.result) if kind is not None]
    schemas, components = msgspec.json.schema_components(
        types, schema_hook=_anything, ref_template="#/components/schemas/{name}"
    )
    described = dict(zip((id(kind) for kind in types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        path = re.sub(r":path\}", "}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _describe(each, lambda kind: described[id(kind)])
    components["Problem"] = _PROBLEM
    return {
        "openapi": "3.1.0",
        "info": {"title": "mlwright", "version": version},
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SECURITY},
        "security": [{}, {"bearer": []}, {"basic": []}],
    }


def _anything(kind: type) -> dict[str, Any]:
    """The schema of `object`, the only type without one of its own. (msgspec takes an empty one for none.)"""
    return {"description": "Any JSON value."}


def _describe(each: Operation, schema_of: Callable[[Any], Mapping[str, Any]]) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"\{(\w+)", each.path)
    ]
    parameters += [
        {"name": name, "in": "query", "schema": schema, "description": text} for name, schema, text in each.query
    ]
    success: dict[str, Any] = {"description": "Success"}
    if each.result is not None:
        success["content"] = {"application/json": {"schema": schema_of(each.result)}}
    described: dict[str, Any] = {
        "operationId": f"{each.method.lower()}_{re.sub(r'[^a-z0-9]+', '_', each.path.lower()).strip('_')}",
        "summary": each.summary,
        "tags": [each.tag],
        "parameters": parameters,
        "responses": {
            str(each.status): success,
            "4XX": {
                "description": "The request is wrong, or not allowed",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if each.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of(each.body)}},
        }
    return described


_PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem document",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "path": {"type": "string"},
        "hint": {"type": "string"},
    },
}
_SECURITY = {"bearer": {"type": "http", "scheme": "bearer"}, "basic": {"type": "http", "scheme": "basic"}}
