"""The list of registered models."""

import re
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import Route, caller_of, integer
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.search import page as pages_of
from mlwright.kernel.search.page import Page
from mlwright.kernel.transaction import Tx
from mlwright.registry import search
from mlwright.registry.service import models, rows
from mlwright.registry.spec import Alias, RegisteredModel
from mlwright.registry.ui import address
from mlwright.web.forms import read_form, see_other
from mlwright.web.pages import Pages

_SIZE = 50
_MAX_SIZE = 500
#: What makes a search one in MLflow's language; other words are looked for in names.
_GRAMMAR = re.compile(r"[=<>`'\"]|\b(?:I?LIKE|IN)\b", re.IGNORECASE)
_ORDERS: Mapping[str, str] = {"name": "name ASC", "-name": "name DESC", "new": "timestamp DESC", "old": "timestamp ASC"}


class ListQuery(msgspec.Struct, frozen=True):
    """What the address asks for."""

    search: str = ""
    order: str = "new"
    project: str = ""
    size: int = _SIZE
    token: str = ""

    def url(self, **changes: object) -> str:
        """The address with some fields changed; a change of anything but the page starts at page one."""
        changed = msgspec.structs.replace(self, **changes)
        if "token" not in changes:
            changed = msgspec.structs.replace(changed, token="")
        pairs = [(name, getattr(changed, name)) for name in self.__struct_fields__]
        kept = [(name, value) for name, value in pairs if value != getattr(_DEFAULTS, name)]
        return "/models" + (f"?{urlencode(kept)}" if kept else "")

    @property
    def filter(self) -> str:
        """The search in MLflow's language."""
        if not self.search or _GRAMMAR.search(self.search):
            return self.search
        return f"name ILIKE '%{self.search}%'"


_DEFAULTS = ListQuery()


class ModelRow(msgspec.Struct, frozen=True):
    """A model in the list. `newest` is its newest version, 0 when it has none; `stages` are (stage, version)."""

    name: str
    project: str
    url: str
    description: str
    newest: int
    newest_ms: int | None
    aliases: list[Alias]
    stages: list[tuple[str, int]]
    tags: dict[str, str]
    updated_ms: int


class ModelList(msgspec.Struct, frozen=True):
    """What the page shows; `error` says what is wrong with the search."""

    query: ListQuery
    projects: list[str]
    may_create: bool
    items: list[ModelRow]
    first: int
    next_token: str
    previous_token: str
    error: dict[str, str] | None


class ModelListPages:
    """Handlers of the list, and of addresses that name no project.

    Args:
        database: where models are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/models", self.index),
            Route("POST", "/models", self.create),
            Route("GET", "/models/{name}", self.model),
            Route("GET", "/models/{name}/versions/{version}", self.version),
        ]

    async def index(self, request: Request) -> Response:
        given, caller = request.query_params, caller_of(request)
        order = given.get("order", "new")
        if order not in _ORDERS:
            raise Invalid(f"order must be one of {', '.join(_ORDERS)}, not {order!r}", path="order")
        size = integer(request, "size", _SIZE, 1, _MAX_SIZE)
        query = ListQuery(
            given.get("search", "").strip(), order, given.get("project", ""), size, given.get("token", "")
        )
        found = await self._database.read(lambda tx: _load(tx, caller, query))
        return await self._pages.respond(request, "registry/models.html", found, 400 if found.error else 200)

    async def create(self, request: Request) -> Response:
        form, caller = await read_form(request), caller_of(request)
        name, text = form.get("name", "").strip(), form.get("description", "")
        project = form.get("project", "") or caller.project
        await self._database.write(lambda tx: models.create(tx, caller, name, text, project=project))
        return see_other(address.of_model(project, name))

    async def model(self, request: Request) -> Response:
        """The model of the caller's own project: other clients' addresses know no projects."""
        return see_other(address.of_model(caller_of(request).project, request.path_params["name"]))

    async def version(self, request: Request) -> Response:
        named = request.path_params
        model = address.of_model(caller_of(request).project, named["name"])
        return see_other(f"{model}/versions/{named['version']}" if named["version"].isdecimal() else model)


def _load(tx: Tx, caller: Caller, query: ListQuery) -> ModelList:
    projects = models.projects(tx, caller)
    if query.project:
        if not caller.may(query.project, Role.VIEWER):
            raise NotFound(f"There is no project {query.project!r}", path="project")
        store.require_project(tx, query.project)
    within, error = [query.project] if query.project else projects, None
    try:
        found = search.search_models(tx, within, query.filter, [_ORDERS[query.order]], query.size, query.token)
        offset = pages_of.decode(query.token).offset
    except Invalid as problem:
        error = {"message": problem.message, "hint": problem.hint, "path": problem.path}
        found, offset = Page([], ""), 0
    return ModelList(
        query=query,
        projects=sorted({*projects, *([query.project] if query.project else [])}),
        may_create=caller.may(query.project or caller.project, Role.EDITOR),
        items=[_row(each) for each in rows.models(tx, found.rows)],
        first=offset + 1,
        next_token=found.next_page_token,
        previous_token=pages_of.encode(offset - query.size) if offset > query.size else "",
        error=error,
    )


def _row(model: RegisteredModel) -> ModelRow:
    newest = max(model.latest, key=lambda each: each.version, default=None)
    return ModelRow(
        model.name,
        model.project,
        address.of_model(model.project, model.name),
        model.description or "",
        newest.version if newest else 0,
        newest.created_ms if newest else None,
        model.aliases,
        [(each.stage.value, each.version) for each in model.latest if each.stage.value != "None"],
        model.tags,
        model.updated_ms,
    )
