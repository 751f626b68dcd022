"""Lineage over REST: what came from what, and what is hit when something was wrong."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.app.openlineage import RunEvent, run_events
from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, integer, json_response
from mlwright.kernel.identity import Caller
from mlwright.kernel.lineage import MAX_NODES, Direction, Lineage, LineageGraph, LineageNode
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.registry.service.graph import subject_of

_TAG = "lineage"
_DIRECTION = Parameter(
    "direction", {"type": "string", "enum": [each.value for each in Direction]}, "Where to look; both when not given."
)
_LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_NODES}, "At most so many nodes.")
_SUBJECT = Parameter("subject", {"type": "string"}, "What it is about, such as run/ID or model-version/NAME/NUMBER.")
_PROJECT = Parameter("project", {"type": "string"}, "Where a registered model is; your own when not given.")


class LineageApi:
    """Handlers.

    Args:
        database: what is asked.
        lineage: the graph over all slices.
    """

    def __init__(self, database: Database, lineage: Lineage) -> None:
        self._database = database
        self._lineage = lineage

    def operations(self) -> list[Operation]:
        asked = (_SUBJECT, _PROJECT, _DIRECTION, _LIMIT)
        return [
            Operation("GET", "/v1/lineage", self.graph, "What came from what.", _TAG, None, LineageGraph, asked),
            Operation(
                "GET",
                "/v1/lineage/live",
                self.live,
                "What is in use and came from the subject.",
                _TAG,
                None,
                list[LineageNode],
                (_SUBJECT, _PROJECT),
            ),
            Operation(
                "GET",
                "/v1/lineage/openlineage",
                self.openlineage,
                "The runs of a lineage as OpenLineage events.",
                _TAG,
                None,
                list[RunEvent],
                asked,
            ),
        ]

    async def graph(self, request: Request) -> Response:
        return json_response(await self._graph(request))

    async def live(self, request: Request) -> Response:
        caller, subject = _asked(request)
        found: Sequence[LineageNode] = await self._database.read(lambda tx: self._lineage.live(tx, caller, subject))
        return json_response(found)

    async def openlineage(self, request: Request) -> Response:
        return json_response(run_events(await self._graph(request)))

    async def _graph(self, request: Request) -> LineageGraph:
        caller, subject = _asked(request)
        direction = Direction.parse(request.query_params.get("direction", ""))
        limit = integer(request, "limit", MAX_NODES, 1, MAX_NODES)
        return await self._database.read(lambda tx: self._lineage.graph(tx, caller, subject, direction, limit))


def _asked(request: Request) -> tuple[Caller, str]:
    """Who asks, in which project, about what."""
    caller, query = caller_of(request), request.query_params
    project = query.get("project", "") or caller.project
    return msgspec.structs.replace(caller, project=project), subject_of(query.get("subject", ""))
