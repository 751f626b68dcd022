"""Reproductions over REST."""

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, json_response, read_json
from mlwright.kernel.openapi import Operation
from mlwright.kernel.transaction import Tx
from mlwright.reproduction import service
from mlwright.reproduction.spec import Outcome, Reproduction

_TAG = "runs"


class NoteReproduction(msgspec.Struct, forbid_unknown_fields=True):
    """The run that repeats, what came of it, and why."""

    run_id: str
    outcome: Outcome
    reason: Annotated[str, msgspec.Meta(max_length=service.MAX_REASON)] = ""


class ReproductionsApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        path = "/v1/runs/{run_id}/reproductions"
        return [
            Operation("GET", path, self.list, "Runs that repeat it.", _TAG, None, list[Reproduction]),
            Operation(
                "POST", path, self.note, "Note a run that repeats it.", _TAG, NoteReproduction, Reproduction, (), 201
            ),
        ]

    async def list(self, request: Request) -> Response:
        caller, run_id = caller_of(request), request.path_params["run_id"]
        return json_response(await self._database.read(lambda tx: service.of_run(tx, caller, run_id)))

    async def note(self, request: Request) -> Response:
        body, caller = await read_json(request, NoteReproduction), caller_of(request)
        run_id = request.path_params["run_id"]

        def work(tx: Tx) -> Reproduction:
            return service.note(tx, caller, run_id, body.run_id, body.outcome, body.reason)

        return json_response(await self._database.write(work), 201)
