"""The list of experiments, and what one does to an experiment."""

from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import Route, caller_of, integer
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import experiments, overview
from mlwright.tracking.spec import Tag
from mlwright.tracking.ui.query import VIEWS
from mlwright.tracking.validation import parse_experiment_id
from mlwright.web.forms import read_form, see_other
from mlwright.web.pages import Pages

_PAGE = 50


class ExperimentList(msgspec.Struct, frozen=True):
    """What the page shows; `search`, `view` and `project` are as asked for."""

    search: str
    view: str
    project: str
    projects: list[str]
    items: list[overview.Overview]
    first: int
    more: bool
    most_counted: int = overview.MOST_COUNTED
    size: int = _PAGE


class ExperimentPages:
    """Handlers of the experiment list.

    Args:
        database: where experiments are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/", self.index),
            Route("GET", "/experiments", self.index),
            Route("GET", "/projects/{project}", self.of_project),
            Route("GET", "/projects/{project}/", self.of_project),
            Route("GET", "/projects/{project}/experiments/{id}", self.experiment_of_project),
            Route("GET", "/projects/{project}/runs/{id}", self.run_of_project),
            Route("POST", "/experiments", self.create),
            Route("POST", "/experiments/{id}/rename", self.rename),
            Route("POST", "/experiments/{id}/delete", self.delete),
            Route("POST", "/experiments/{id}/restore", self.restore),
            Route("POST", "/experiments/{id}/tags", self.set_tag),
        ]

    async def index(self, request: Request) -> Response:
        given = request.query_params
        search, view, project = given.get("search", "").strip(), given.get("view", "active"), given.get("project", "")
        if view not in VIEWS:
            raise Invalid(f"view must be active, deleted or all, not {view!r}", path="view")
        offset = integer(request, "offset", 0, 0, 1 << 40)
        caller = caller_of(request)

        def load(tx: Tx) -> ExperimentList:
            if project:
                _check_project(tx, caller, project)
            names = sorted({*overview.projects(tx, caller), *([project] if project else [])})
            found = overview.list_experiments(tx, caller, search, VIEWS[view], project, offset, _PAGE)
            return ExperimentList(search, view, project, names, found.items, offset + 1, found.more)

        return await self._pages.respond(request, "tracking/experiments.html", await self._database.read(load))

    async def of_project(self, request: Request) -> Response:
        """Clients with a tracking URI of one project print addresses below it: the part after # stays as it is."""
        return see_other(f"/?{urlencode({'project': request.path_params['project']})}")

    async def experiment_of_project(self, request: Request) -> Response:
        """What lies in a project has one address, without the project."""
        return see_other(f"/experiments/{request.path_params['id']}")

    async def run_of_project(self, request: Request) -> Response:
        return see_other(f"/runs/{request.path_params['id']}")

    async def create(self, request: Request) -> Response:
        form = await read_form(request)
        name, project = form.get("name", "").strip(), form.get("project", "")
        caller = caller_of(request)
        number = await self._database.write(lambda tx: experiments.create(tx, caller, name, project=project))
        return see_other(f"/experiments/{number}")

    async def rename(self, request: Request) -> Response:
        form = await read_form(request)
        number, name = _number(request), form.get("name", "").strip()
        caller = caller_of(request)
        await self._database.write(lambda tx: experiments.rename(tx, caller, number, name))
        return see_other(form.get("back") or f"/experiments/{number}")

    async def delete(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)
        await self._database.write(lambda tx: experiments.delete_experiment(tx, caller, number))
        return see_other("/experiments")

    async def restore(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)
        await self._database.write(lambda tx: experiments.restore(tx, caller, number))
        return see_other(f"/experiments/{number}")

    async def set_tag(self, request: Request) -> Response:
        form = await read_form(request)
        number, caller = _number(request), caller_of(request)
        tag = Tag(form.get("key", "").strip(), form.get("value", ""))
        await self._database.write(lambda tx: experiments.set_tag(tx, caller, number, tag))
        return see_other(form.get("back") or f"/experiments/{number}")


def _number(request: Request) -> int:
    return parse_experiment_id(request.path_params["id"])


def _check_project(tx: Tx, caller: Caller, name: str) -> None:
    """Raises NotFound when there is no such project, or none for the caller."""
    if not caller.may(name, Role.VIEWER):
        raise NotFound(f"There is no project {name!r}", path="project")
    store.require_project(tx, name)
