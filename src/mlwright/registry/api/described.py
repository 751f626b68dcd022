"""How versions differ, and model cards, over our own REST API."""

from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import caller_of, json_response
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.registry import validation
from mlwright.registry.described import Card, Difference
from mlwright.registry.service import card, differences

_TAG = "models"
_PROJECT = Parameter("project", {"type": "string"}, "Where the model is; your own project when not given.")
_TO_MODEL = Parameter("to_model", {"type": "string"}, "Of which model the other version is; the same when not given.")
_TO_VERSION = Parameter("to_version", {"type": "integer", "minimum": 1}, "The other version.")
_TO_PROJECT = Parameter("to_project", {"type": "string"}, "Where the other model is; the same when not given.")


class DescribedApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        version, here = "/v1/models/{name}/versions/{version}", (_PROJECT,)
        other = (_PROJECT, _TO_VERSION, _TO_MODEL, _TO_PROJECT)
        return [
            Operation("GET", f"{version}/card", self.card, "Its model card.", _TAG, None, Card, here),
            Operation(
                "GET",
                f"{version}/difference",
                self.difference,
                "How another one differs.",
                _TAG,
                None,
                Difference,
                other,
            ),
        ]

    async def card(self, request: Request) -> Response:
        caller, (name, number, project) = caller_of(request), _version(request)
        return json_response(await self._database.read(lambda tx: card.card(tx, caller, name, number, project)))

    async def difference(self, request: Request) -> Response:
        caller, left, query = caller_of(request), _version(request), request.query_params
        wanted = query.get("to_version", "")
        if not wanted:
            raise Invalid("which version it is to be compared with is missing", path="to_version")
        name, _, project = left
        right = query.get("to_model") or name, validation.parse_version(wanted), query.get("to_project") or project
        return json_response(await self._database.read(lambda tx: differences.between(tx, caller, left, right)))


def _version(request: Request) -> tuple[str, int, str]:
    named = request.path_params
    return named["name"], validation.parse_version(named["version"]), request.query_params.get("project", "")
