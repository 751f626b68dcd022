"""MLflow's GraphQL endpoint, which its web UI reads runs with.

Each root field is one of our REST operations under another spelling: the field's input becomes that operation's
request, and its answer is renamed to camelCase. So there is one implementation, and one place to test it.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.errors import Invalid, MlwrightError
from mlwright.kernel.http import Handler, Route, read_body
from mlwright.kernel.protojson import answer, show_error

if TYPE_CHECKING:
    from graphql import GraphQLResolveInfo, GraphQLSchema

_MAX_MESSAGE_BYTES = 100_000
#: Validation takes time that grows with the square of the text, on the event loop; MLflow's own queries have 2,000.
_MAX_QUERY_CHARACTERS = 10_000
_MAX_ROOT_FIELDS = 20
_MAX_DEPTH = 15

#: root field -> the REST operation that answers it
_FIELDS = {
    "mlflowGetExperiment": ("GET", "experiments/get"),
    "mlflowGetRun": ("GET", "runs/get"),
    "mlflowGetMetricHistoryBulkInterval": ("GET", "metrics/get-history-bulk-interval"),
    "mlflowListArtifacts": ("GET", "artifacts/list"),
    "mlflowSearchModelVersions": ("GET", "model-versions/search"),
    "mlflowSearchRuns": ("POST", "runs/search"),
    "mlflowSearchDatasets": ("POST", "experiments/search-datasets"),
}


class GraphqlMessage(msgspec.Struct):
    """A GraphQL request over HTTP."""

    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 - the protocol's own spelling


class Graphql:
    """The handler of /graphql.

    Args:
        routes: MLflow's REST routes.
    """

    def __init__(self, routes: list[Route]) -> None:
        self._handlers: dict[tuple[str, str], Handler] = {
            (route.method, route.path.removeprefix("/api/2.0/mlflow/")): route.handler
            for route in routes
            if route.path.startswith("/api/2.0/mlflow/")
        }
        self._schema: GraphQLSchema | None = None

    def routes(self) -> list[Route]:
        return [Route("POST", path, self.execute) for path in ("/graphql", "/ajax-api/2.0/mlflow/graphql")]

    async def execute(self, request: Request) -> Response:
        from graphql import graphql  # only MLflow's own web UI needs it

        try:
            message = msgspec.json.decode(await read_body(request, _MAX_MESSAGE_BYTES), type=GraphqlMessage)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"The request is not a GraphQL request: {error}") from error
        _check_size(message.query)
        result = await graphql(
            self._loaded(),
            message.query,
            context_value=request,
            variable_values=message.variables,
            operation_name=message.operationName,
            field_resolver=_field,
        )
        found: dict[str, Any] = {"data": result.data}
        if result.errors:
            found["errors"] = [{"message": error.message} for error in result.errors]
        return answer(found)

    def _loaded(self) -> "GraphQLSchema":
        if self._schema is None:
            from graphql import build_schema

            text = files("mlwright.tracking.mlflow").joinpath("schema.graphql").read_text()
            schema = build_schema(text)
            for root in (schema.query_type, schema.mutation_type):
                for field in (root.fields if root else {}).values():
                    field.resolve = self._resolve
            run_fields = schema.type_map["MlflowRun"].fields  # type: ignore[attr-defined]
            run_fields["experiment"].resolve = self._experiment_of_run
            run_fields["modelVersions"].resolve = self._versions_of_run
            for name in ("MlflowMetric", "MlflowMetricWithRunId"):
                schema.type_map[name].fields["value"].resolve = _finite  # type: ignore[attr-defined]
            self._schema = schema
        return self._schema

    async def _resolve(self, root: None, info: "GraphQLResolveInfo[Any]", **arguments: Any) -> Any:
        return await self._call(info.context, info.field_name, _snake(arguments.get("input") or {}))

    async def _experiment_of_run(self, run: Mapping[str, Any], info: "GraphQLResolveInfo[Any]") -> Any:
        where = {"experiment_id": run["info"]["experimentId"]}
        return (await self._call(info.context, "mlflowGetExperiment", where)).get("experiment")

    async def _versions_of_run(self, run: Mapping[str, Any], info: "GraphQLResolveInfo[Any]") -> Any:
        where = {"filter": f"run_id = '{run['info']['runId']}'"}
        return (await self._call(info.context, "mlflowSearchModelVersions", where)).get("modelVersions", [])

    async def _call(self, outer: Request, field: str, message: dict[str, Any]) -> Any:
        """Run the REST operation behind a root field; what it refuses becomes the field's `apiError`."""
        method, path = _FIELDS[field]
        try:
            response = await self._handlers[method, path](_request(outer, method, message))
        except MlwrightError as error:
            shown = msgspec.json.decode(show_error(error).body)
            return {"apiError": {"code": shown["error_code"], "message": shown["message"]}}
        return _camel(msgspec.json.decode(response.body))


def _request(outer: Request, method: str, message: dict[str, Any]) -> Request:
    """A request for a REST handler, with the outer one's caller."""
    body = b"" if method == "GET" else msgspec.json.encode(message)
    query = urlencode(message, doseq=True).encode() if method == "GET" else b""
    scope = {
        "type": "http",
        "method": method,
        "path": "",
        "query_string": query,
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "caller": outer.scope["caller"],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def _check_size(query: str) -> None:
    """A small request must not be able to ask for unbounded work. Raises Invalid."""
    from graphql import FieldNode, GraphQLSyntaxError, OperationDefinitionNode, parse

    if len(query) > _MAX_QUERY_CHARACTERS:
        raise Invalid(f"A GraphQL query may have at most {_MAX_QUERY_CHARACTERS} characters", path="query")
    try:
        document = parse(query)
    except GraphQLSyntaxError as error:
        raise Invalid(f"GraphQL: {error.message}") from error
    for definition in document.definitions:
        if not isinstance(definition, OperationDefinitionNode):
            continue
        if not all(isinstance(each, FieldNode) for each in definition.selection_set.selections):
            raise Invalid("A GraphQL request may not have fragments at its root", path="query")
        if len(definition.selection_set.selections) > _MAX_ROOT_FIELDS:
            raise Invalid(f"A GraphQL request may have at most {_MAX_ROOT_FIELDS} root fields")
    depth = deepest = 0
    for character in query:
        depth += {"{": 1, "}": -1}.get(character, 0)
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise Invalid(f"A GraphQL request may be at most {_MAX_DEPTH} levels deep")


def _snake(value: Any) -> Any:
    """Keys in snake_case; fields without a value are left out."""
    return {
        re.sub(r"[A-Z]", lambda match: f"_{match[0].lower()}", name): each
        for name, each in value.items()
        if each is not None
    }


def _camel(value: Any) -> Any:
    """Keys in camelCase, at every level."""
    if isinstance(value, dict):
        return {re.sub(r"_([a-z])", lambda match: match[1].upper(), name): _camel(each) for name, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list) else value


def _field(source: Mapping[str, Any], info: "GraphQLResolveInfo[Any]") -> Any:
    """A field by its name; int64 is text, and a list that is not there is empty, as in protobuf."""
    value, kind = source.get(info.field_name), str(info.return_type)
    if value is None:
        return [] if kind.startswith("[") else None
    return str(value) if kind == "LongString" else value


def _finite(metric: Mapping[str, Any], info: "GraphQLResolveInfo[Any]") -> float | None:
    """The value of a metric; GraphQL's Float cannot be NaN."""
    value = metric["value"]
    return None if isinstance(value, str) else float(value)
