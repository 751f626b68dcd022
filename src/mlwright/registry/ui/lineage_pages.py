"""Where something came from and what came from it, drawn; and what of that is in use."""

from urllib.parse import quote, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Caller
from mlwright.kernel.lineage import Direction, Lineage, LineageEdge, LineageNode, scope_of
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.service.graph import subject_of
from mlwright.registry.ui import address
from mlwright.registry.ui.drawing import Drawing, draw
from mlwright.registry.ui.version import VersionHead, head
from mlwright.web.pages import Pages

#: Most connections that are listed.
_MOST_ROWS = 500


class Connection(msgspec.Struct, frozen=True):
    """An edge with both ends."""

    source: LineageNode
    target: LineageNode
    relation: str


class LineagePage(msgspec.Struct, frozen=True):
    """A lineage. `head` is None when the subject is no version; `addresses` are by id, empty where there is no page."""

    head: VersionHead | None
    subject: str
    project: str
    direction: Direction
    drawing: Drawing | None
    nodes: int
    connections: list[Connection]
    truncated: bool
    live: list[LineageNode]
    addresses: dict[str, str]
    others: dict[str, str]


class NothingAsked(msgspec.Struct, frozen=True):
    """The page before somebody says what they want to see."""

    project: str
    subject: str = ""


class LineagePages:
    """Handlers of /lineage and of the lineage of one version.

    Args:
        database: what is asked.
        pages: renders.
        lineage: the graph over all slices.
    """

    def __init__(self, database: Database, pages: Pages, lineage: Lineage) -> None:
        self._database = database
        self._pages = pages
        self._lineage = lineage

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/lineage", self.of_anything),
            Route("GET", "/projects/{project}/models/{name}/versions/{version}/lineage", self.of_version),
        ]

    async def of_anything(self, request: Request) -> Response:
        caller, given = caller_of(request), request.query_params
        project, direction = given.get("project", "") or caller.project, Direction.parse(given.get("direction", ""))
        asker = msgspec.structs.replace(caller, project=project)
        subject = subject_of(given.get("subject", "").strip())
        if not subject:
            return await self._pages.respond(request, "registry/lineage_search.html", NothingAsked(project))

        def load(tx: Tx) -> LineagePage:
            return self._load(tx, asker, subject, direction, None, "/lineage")

        return await self._pages.respond(request, "registry/lineage.html", await self._database.read(load))

    async def of_version(self, request: Request) -> Response:
        caller, named = caller_of(request), request.path_params
        direction = Direction.parse(request.query_params.get("direction", ""))

        def load(tx: Tx) -> LineagePage:
            number = validation.parse_version(named["version"])
            top = head(tx, caller, named["name"], number, named["project"], "lineage")
            asker = msgspec.structs.replace(caller, project=named["project"])
            subject = f"model-version/{top.version.name}/{top.version.version}"
            return self._load(tx, asker, subject, direction, top, f"{top.base}/lineage")

        return await self._pages.respond(request, "registry/version_lineage.html", await self._database.read(load))

    def _load(
        self, tx: Tx, caller: Caller, subject: str, direction: Direction, top: VersionHead | None, base: str
    ) -> LineagePage:
        graph = self._lineage.graph(tx, caller, subject, direction)
        live = self._lineage.live(tx, caller, subject)
        nodes = {node.id: node for node in (*graph.nodes, *live)}
        addresses = {name: _address(node) for name, node in nodes.items()}
        asked = {} if top else {"subject": subject, "project": caller.project}
        others = {each.value: f"{base}?{urlencode({**asked, 'direction': each.value})}" for each in Direction}
        return LineagePage(
            top,
            graph.subject,
            caller.project,
            direction,
            draw(graph, addresses),
            len(graph.nodes),
            [_connection(edge, nodes) for edge in graph.edges[:_MOST_ROWS]],
            graph.truncated or len(graph.edges) > _MOST_ROWS,
            live,
            addresses,
            others,
        )


def _connection(edge: LineageEdge, nodes: dict[str, LineageNode]) -> Connection:
    return Connection(nodes[edge.source], nodes[edge.target], edge.relation)


def _address(node: LineageNode) -> str:
    """The page of a node; of what has none, its own lineage."""
    subject, _ = scope_of(node.id)
    kind, _, rest = subject.partition("/")
    if kind == "run":
        return f"/runs/{quote(rest, safe='')}"
    if kind in {"model-version", "gate", "approval"}:
        name, number = _version_of(kind, rest)
        page = address.of_version(node.project, name, number)
        return page if kind == "model-version" else f"{page}/gates"
    return f"/lineage?{urlencode({'subject': node.id, 'project': node.project})}"


def _version_of(kind: str, rest: str) -> tuple[str, int]:
    """Name and number of a version from the rest of a subject: names of models have no slash."""
    name, number = rest.split("/")[:2]
    return name, int(number)
