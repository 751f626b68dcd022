"""The list of webhooks."""

from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import NotFound
from mlwright.kernel.http import Route, caller_of, integer
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.spec import TOLD
from mlwright.registry.webhooks import overview
from mlwright.registry.webhooks.overview import Watched
from mlwright.web.live import stream
from mlwright.web.pages import Pages

_SIZE = 50
_NEWEST = 1 << 62


class WebhookList(msgspec.Struct, frozen=True):
    """Webhooks of one project, or of all. `is_admin`: the caller administers one of the projects that are shown."""

    project: str
    projects: list[str]
    is_admin: bool
    rows: list[Watched]
    next_url: str
    first_url: str


class WebhookPages:
    """Handlers of /webhooks.

    Args:
        database: where webhooks are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        return [Route("GET", "/webhooks", self.index), Route("GET", "/webhooks/live", self.live)]

    async def index(self, request: Request) -> Response:
        caller, project = caller_of(request), request.query_params.get("project", "")
        before = integer(request, "before", _NEWEST, 1, _NEWEST)
        found = await self._database.read(lambda tx: _load(tx, caller, project, before))
        return await self._pages.respond(request, "registry/webhooks.html", found)

    async def live(self, request: Request) -> Response:
        caller_of(request)
        return stream(self._database.changes, TOLD)


def _load(tx: Tx, caller: Caller, project: str, before: int) -> WebhookList:
    known = overview.projects(tx, caller)
    if project:
        if not caller.may(project, Role.VIEWER):
            raise NotFound(f"There is no project {project!r}", path="project")
        store.require_project(tx, project)
    within = [project] if project else known
    found = overview.page(tx, caller, within, before, _SIZE + 1)
    shown = found[:_SIZE]
    return WebhookList(
        project,
        sorted({*known, *within}),
        any(caller.may(each, Role.ADMIN) for each in within or [caller.project]),
        shown,
        _address(project, shown[-1].row) if len(found) > _SIZE else "",
        _address(project) if before < _NEWEST else "",
    )


def _address(project: str, before: int = 0) -> str:
    given = {name: value for name, value in (("project", project), ("before", before)) if value}
    return "/webhooks" + (f"?{urlencode(given)}" if given else "")
