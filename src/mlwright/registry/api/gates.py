"""Gates of versions over our own REST API."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.identity import Role
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.gates.spec import Standing
from mlwright.registry.service import gates as service
from mlwright.registry.service import versions
from mlwright.registry.spec import ModelVersion

_TAG = "gates"
_PROJECT = Parameter("project", {"type": "string"}, "Where the model is; your own project when not given.")
_POLICY = Parameter("policy", {"type": "string"}, "Only the gates of this policy.")


class RunGates(msgspec.Struct, forbid_unknown_fields=True):
    """Which gates are to run. `again`: also those that have an answer."""

    policy: str = ""
    again: bool = False


class Requested(msgspec.Struct, frozen=True):
    """How many gates will run."""

    requested: int


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """Somebody's word about a version."""

    approves: bool
    comment: str = ""


class GatesApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        gates = "/v1/models/{name}/versions/{version}/gates"
        word = f"{gates}/{{policy}}/{{gate}}/approval"
        asked = (_PROJECT, _POLICY)
        return [
            Operation("GET", gates, self.list, "How a version stands.", _TAG, None, list[Standing], asked),
            Operation("POST", gates, self.run, "Have its gates run.", _TAG, RunGates, Requested, (_PROJECT,)),
            Operation("PUT", word, self.approve, "Approve or reject it.", _TAG, Word, Standing, (_PROJECT,)),
        ]

    async def list(self, request: Request) -> Response:
        policy = request.query_params.get("policy", "")

        def work(tx: Tx) -> list[Standing]:
            return service.standings(tx, _version(tx, request, Role.VIEWER), policy)

        return json_response(await self._database.read(work))

    async def run(self, request: Request) -> Response:
        body, caller = await read_json(request, RunGates), caller_of(request)

        def work(tx: Tx) -> Requested:
            version = _version(tx, request, Role.EDITOR)
            return Requested(service.request(tx, caller, version, body.policy, again=body.again))

        return json_response(await self._database.write(work), 202)

    async def approve(self, request: Request) -> Response:
        body, caller, named = await read_json(request, Word), caller_of(request), request.path_params

        def work(tx: Tx) -> Standing:
            version = _version(tx, request, Role.VIEWER)
            return service.approve(
                tx, caller, version, named["policy"], named["gate"], approves=body.approves, comment=body.comment
            )

        return json_response(await self._database.write(work))


def _version(tx: Tx, request: Request, role: Role) -> ModelVersion:
    number, project = validation.parse_version(request.path_params["version"]), request.query_params.get("project", "")
    return versions.find(tx, caller_of(request), request.path_params["name"], number, role, project)[1]
