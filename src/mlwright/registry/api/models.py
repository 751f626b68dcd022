"""Registered models, their versions and aliases over our own REST API."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import NotFound
from mlwright.kernel.http import caller_of, integer, json_response, read_json
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.registry import search, validation
from mlwright.registry.service import aliases, gated, models, releasing, rows, versions
from mlwright.registry.spec import Alias, Facts, ModelVersion, RegisteredModel

_TAG = "models"
_FILTER = Parameter("filter", {"type": "string"}, "Search in MLflow's language, such as: name LIKE 'flight%'.")
_ORDER = Parameter("order_by", {"type": "array", "items": {"type": "string"}}, "Such as: name DESC. May be repeated.")
_LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": search.MAX_MODELS}, "At most so many.")
_PAGE = Parameter("page_token", {"type": "string"}, "From the page before.")
_PROJECTS = Parameter("project", {"type": "string"}, "Only of this project; all you may see when not given.")
_PROJECT = Parameter("project", {"type": "string"}, "Where the model is; your own project when not given.")


class VersionView(msgspec.Struct, frozen=True):
    """A version of a model. `digest` is null when its files lie elsewhere and so are not pinned.

    `storage` is where its files are downloaded from, `size` is in bytes. Lists leave out aliases and facts.
    """

    name: str
    project: str
    version: int
    digest: str | None
    stage: str
    aliases: list[str] | None
    author: str
    description: str | None
    source: str
    storage: str
    run_id: str | None
    model_id: str | None
    files: int
    size: int
    created_ms: int
    updated_ms: int
    tags: dict[str, str]
    facts: Facts | None = None


class ModelView(msgspec.Struct, frozen=True):
    """A registered model. `last_version` is the highest number given so far, also to a version that is gone."""

    name: str
    project: str
    description: str | None
    last_version: int
    aliases: dict[str, int]
    tags: dict[str, str]
    created_ms: int
    updated_ms: int


class ModelPage(msgspec.Struct, frozen=True):
    """Models; `next_token` leads to the next page and is empty on the last."""

    items: list[ModelView]
    next_token: str = ""


class VersionPage(msgspec.Struct, frozen=True):
    """Versions; `next_token` leads to the next page and is empty on the last."""

    items: list[VersionView]
    next_token: str = ""


class MoveAlias(msgspec.Struct, forbid_unknown_fields=True):
    """Where the alias is to lead. `expected` is where it leads now, null for nowhere: if it does not, nothing moves.

    `override` is the reason of an administrator who moves it though a gate is closed.
    """

    version: int
    expected: int | UnsetType | None = UNSET
    override: str = ""


class ReleaseVersion(msgspec.Struct, forbid_unknown_fields=True):
    """Where a version is to be released: another project, and the model's name there (the same when empty)."""

    to_project: str
    to_name: str = ""


class ReleasedVersion(msgspec.Struct, frozen=True):
    """The version there; `is_new` is false when it had been released before."""

    version: VersionView
    is_new: bool


def version_view(each: ModelVersion, *, whole: bool = False) -> VersionView:
    """A version as the API shows it; `whole` with aliases and facts."""
    return VersionView(
        each.name, each.project, each.version, each.digest, each.stage.value, each.aliases if whole else None,
        each.author, each.description, each.source, each.storage, each.run_id, each.model_id, each.files, each.size,
        each.created_ms, each.updated_ms, each.tags, each.facts if whole else None,
    )  # fmt: skip


def model_view(each: RegisteredModel) -> ModelView:
    return ModelView(
        each.name, each.project, each.description, each.last_version,
        {alias.alias: alias.version for alias in each.aliases}, each.tags, each.created_ms, each.updated_ms,
    )  # fmt: skip


class ModelsApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        many, one = "/v1/models", "/v1/models/{name}"
        version, alias = f"{one}/versions/{{version}}", f"{one}/aliases/{{alias}}"
        here = (_PROJECT,)
        listing, below = (_FILTER, _ORDER, _PROJECTS, _LIMIT, _PAGE), (_PROJECT, _LIMIT, _PAGE)
        return [
            Operation("GET", many, self.list, "Search registered models.", _TAG, None, ModelPage, listing),
            Operation("GET", one, self.get, "One registered model.", _TAG, None, ModelView, here),
            Operation("DELETE", one, self.delete, "Delete it with all versions.", _TAG, None, None, here, 204),
            Operation("GET", f"{one}/versions", self.list_versions, "Its versions.", _TAG, None, VersionPage, below),
            Operation("GET", version, self.get_version, "A version and its facts.", _TAG, None, VersionView, here),
            Operation("DELETE", version, self.delete_version, "Delete a version.", _TAG, None, None, here, 204),
            Operation(
                "POST",
                f"{version}/release",
                self.release,
                "Make it a version of a model in another project.",
                _TAG,
                ReleaseVersion,
                ReleasedVersion,
                here,
            ),
            Operation("GET", alias, self.get_alias, "Where an alias leads.", _TAG, None, VersionView, here),
            Operation("PUT", alias, self.move_alias, "Create or move an alias.", _TAG, MoveAlias, Alias, here),
            Operation("DELETE", alias, self.remove_alias, "Remove an alias.", _TAG, None, None, here, 204),
        ]

    async def list(self, request: Request) -> Response:
        caller, query = caller_of(request), request.query_params
        limit, project = integer(request, "limit", 100, 1, search.MAX_MODELS), query.get("project", "")

        def work(tx: Tx) -> ModelPage:
            page = search.search_models(
                tx,
                _projects(tx, caller, project),
                query.get("filter", ""),
                query.getlist("order_by"),
                limit,
                query.get("page_token", ""),
            )
            return ModelPage([model_view(each) for each in rows.models(tx, page.rows)], page.next_page_token)

        return json_response(await self._database.read(work))

    async def get(self, request: Request) -> Response:
        (caller, project), name = _where(request), request.path_params["name"]
        return json_response(await self._database.read(lambda tx: model_view(models.get(tx, caller, name, project))))

    async def delete(self, request: Request) -> Response:
        (caller, project), name = _where(request), request.path_params["name"]
        await self._database.write(lambda tx: models.delete_model(tx, caller, name, project))
        return Response(status_code=204)

    async def list_versions(self, request: Request) -> Response:
        (caller, project), name = _where(request), request.path_params["name"]
        limit, token = integer(request, "limit", 100, 1, search.MAX_MODELS), request.query_params.get("page_token", "")

        def work(tx: Tx) -> VersionPage:
            model = models.find(tx, caller, name, Role.VIEWER, project)
            page = search.versions_of(tx, model.row, limit, token)
            return VersionPage([version_view(each) for each in rows.versions(tx, page.rows)], page.next_page_token)

        return json_response(await self._database.read(work))

    async def get_version(self, request: Request) -> Response:
        (caller, project), (name, number) = _where(request), _version(request)

        def work(tx: Tx) -> VersionView:
            return version_view(versions.get(tx, caller, name, number, project), whole=True)

        return json_response(await self._database.read(work))

    async def delete_version(self, request: Request) -> Response:
        (caller, project), (name, number) = _where(request), _version(request)
        await self._database.write(lambda tx: versions.delete_version(tx, caller, name, number, project))
        return Response(status_code=204)

    async def release(self, request: Request) -> Response:
        body, (caller, project), (name, number) = (
            await read_json(request, ReleaseVersion),
            _where(request),
            _version(request),
        )

        def work(tx: Tx) -> ReleasedVersion:
            done = releasing.release(tx, caller, name, number, project, body.to_project, body.to_name)
            return ReleasedVersion(version_view(done.version, whole=True), done.is_new)

        return json_response(await self._database.write(work))

    async def get_alias(self, request: Request) -> Response:
        (caller, project), (name, alias) = _where(request), _alias(request)

        def work(tx: Tx) -> VersionView:
            return version_view(aliases.lookup(tx, caller, name, alias, project), whole=True)

        return json_response(await self._database.read(work))

    async def move_alias(self, request: Request) -> Response:
        body, (caller, project), (name, alias) = await read_json(request, MoveAlias), _where(request), _alias(request)
        return json_response(
            await gated.attempt(
                self._database,
                caller,
                lambda tx: aliases.move(tx, caller, name, alias, body.version, body.expected, project, body.override),
            )
        )

    async def remove_alias(self, request: Request) -> Response:
        (caller, project), (name, alias) = _where(request), _alias(request)
        if not await self._database.write(lambda tx: aliases.remove(tx, caller, name, alias, project)):
            raise NotFound(f"The model {name!r} has no alias {alias!r}", path="alias")
        return Response(status_code=204)


def _projects(tx: Tx, caller: Caller, project: str) -> list[str]:
    if not project:
        return models.projects(tx, caller)
    caller.require(project, Role.VIEWER)
    return [project]


def _where(request: Request) -> tuple[Caller, str]:
    return caller_of(request), request.query_params.get("project", "")


def _version(request: Request) -> tuple[str, int]:
    found: dict[str, Any] = request.path_params
    return found["name"], validation.parse_version(found["version"])


def _alias(request: Request) -> tuple[str, str]:
    return request.path_params["name"], request.path_params["alias"]
