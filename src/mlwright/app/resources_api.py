"""The resource store over REST: apply, get, list, changes, delete, and what kinds there are."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel import resources, store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import caller_of, integer, json_response, read_json
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.resources import Explanation, Kinds, Manifest, Resource
from mlwright.kernel.store import Applied, Watched

_TAG = "resources"
_PROJECT = Parameter("project", {"type": "string"}, "The project; the caller's own when not given.")
_LABELS = Parameter("labels", {"type": "string"}, "A label selector, such as team=vision,stage in (dev,test).")
_DRY_RUN = Parameter("dryRun", {"type": "boolean"}, "Only say what would happen.")
_FROM = Parameter("from", {"type": "integer", "minimum": 0}, "Only changes after this event.")
_FIELD = Parameter("field", {"type": "string"}, "A field, such as spec.description; the whole kind when not given.")
_VERSION = Parameter("resourceVersion", {"type": "string"}, "Delete only if it is still this version.")
_MAX_SEQ = 2**62


class KindSummary(msgspec.Struct, frozen=True):
    """A kind in short."""

    name: str
    plural: str
    summary: str


class ResourcesApi:
    """Handlers. The store decides who may do what.

    Args:
        database: where resources are kept.
        kinds: all kinds of this platform.
    """

    def __init__(self, database: Database, kinds: Kinds) -> None:
        self._database = database
        self._kinds = kinds

    def operations(self) -> list[Operation]:
        one = "/v1/resources/{kind}/{name}"
        listed = (_PROJECT, _LABELS)
        return [
            Operation("GET", "/v1/kinds", self.list_kinds, "All kinds.", _TAG, None, list[KindSummary]),
            Operation(
                "GET",
                "/v1/kinds/{kind}",
                self.explain,
                "Explain a kind or a field.",
                _TAG,
                None,
                Explanation,
                (_FIELD,),
            ),
            Operation("GET", "/v1/kinds/{kind}/schema", self.schema, "JSON Schema.", _TAG, None, dict[str, Any]),
            Operation(
                "POST",
                "/v1/resources",
                self.apply,
                "Create or change to a manifest.",
                _TAG,
                Manifest,
                Applied,
                (_DRY_RUN,),
            ),
            Operation("GET", "/v1/resources/{kind}", self.list, "List.", _TAG, None, list[Resource], listed),
            Operation("GET", "/v1/changes/{kind}", self.changes, "What happened.", _TAG, None, Watched, (_FROM,)),
            Operation("GET", one, self.get, "One resource.", _TAG, None, Resource, (_PROJECT,)),
            Operation("DELETE", one, self.delete, "Delete.", _TAG, None, None, (_PROJECT, _VERSION), 204),
        ]

    async def list_kinds(self, request: Request) -> Response:
        return json_response([KindSummary(kind.name, kind.plural, kind.summary) for kind in self._kinds])

    async def explain(self, request: Request) -> Response:
        kind = self._kinds.find(request.path_params["kind"])
        return json_response(resources.explain(kind, request.query_params.get("field", "")))

    async def schema(self, request: Request) -> Response:
        return json_response(self._kinds.find(request.path_params["kind"]).schema())

    async def apply(self, request: Request) -> Response:
        caller = caller_of(request)
        manifest = self._kinds.manifest(await read_json(request, dict[str, Any]))
        kind = self._kinds.find(manifest.kind)
        if _flag(request, "dryRun"):
            planned = await self._database.read(lambda tx: store.apply(tx, caller, kind, manifest, dry_run=True))
            return json_response(planned)
        return json_response(await self._database.write(lambda tx: store.apply(tx, caller, kind, manifest)))

    async def list(self, request: Request) -> Response:
        caller, query = caller_of(request), request.query_params
        kind = self._kinds.find(request.path_params["kind"])
        project, labels = query.get("project", ""), query.get("labels", "")
        return json_response(await self._database.read(lambda tx: store.list_all(tx, caller, kind, project, labels)))

    async def changes(self, request: Request) -> Response:
        caller, kind = caller_of(request), self._kinds.find(request.path_params["kind"])
        after = integer(request, "from", 0, 0, _MAX_SEQ)
        return json_response(await self._database.read(lambda tx: store.watch(tx, caller, kind, after)))

    async def get(self, request: Request) -> Response:
        caller, kind = caller_of(request), self._kinds.find(request.path_params["kind"])
        name, project = request.path_params["name"], request.query_params.get("project", "")
        return json_response(await self._database.read(lambda tx: store.get(tx, caller, kind, name, project)))

    async def delete(self, request: Request) -> Response:
        caller, kind = caller_of(request), self._kinds.find(request.path_params["kind"])
        name, query = request.path_params["name"], request.query_params
        project, version = query.get("project", ""), query.get("resourceVersion", "")
        await self._database.write(lambda tx: store.remove(tx, caller, kind, name, project, version))
        return Response(status_code=204)


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise Invalid(f"{name} must be true or false, not {text!r}", path=name)
    return text == "true"
