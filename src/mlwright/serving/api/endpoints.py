"""Endpoints, their revisions, rollouts and keys over our own REST API."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import caller_of, integer, json_response, read_json
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.serving.host.spool import Prediction
from mlwright.serving.predictions import PredictionLog
from mlwright.serving.segments import FOREVER_MS
from mlwright.serving.service import deploying, keys, reading, rewards, rollouts
from mlwright.serving.service.minutes import EndpointMinute
from mlwright.serving.service.reading import EndpointDocument, EndpointSummary, RolloutExplained
from mlwright.serving.spec import EndpointKey, EndpointRevision, RolloutRecord, Traffic

_TAG = "endpoints"
_PROJECT = Parameter("project", {"type": "string"}, "Where the endpoint is; your own project when not given.")
_SINCE = Parameter("since", {"type": "integer", "minimum": 0}, "Only minutes from this Unix time in ms on.")
_REVISION = Parameter("revision", {"type": "integer", "minimum": 1}, "The rollout of this revision, not the newest.")
_LIMIT = Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many.")
_BEFORE = Parameter("before", {"type": "integer", "minimum": 0}, "Only those before this Unix time in ms.")
_MAX_MS = 2**53
_MOST_PREDICTIONS = 1_000


class DeployRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`override`: why it is served though a gate is closed; for administrators of the project."""

    override: str = ""


class RollbackRequest(msgspec.Struct, forbid_unknown_fields=True):
    """`revision`: to serve again; the one that served before when not given."""

    revision: int | None = None


class RolloutRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What is to become of the rollout that goes on."""

    action: Literal["pause", "resume", "promote", "abort"]
    reason: str = ""


class NewEndpointKey(msgspec.Struct, forbid_unknown_fields=True):
    """A key to be made."""

    name: str


class MadeEndpointKey(msgspec.Struct, frozen=True):
    """A key, which is shown this once."""

    name: str
    key: str


class Reward(msgspec.Struct, forbid_unknown_fields=True):
    """What an answer was worth, from 0 to 1; `version` is in the answer's header x-mlwright-version."""

    version: int
    reward: float


class ServingPlace(msgspec.Struct, frozen=True):
    """Where endpoints answer. `running`: whether anything is served there now; `grpc`: address, empty without one."""

    url: str
    running: bool
    grpc: str = ""


class EndpointsApi:
    """Handlers; each is one request and one unit of work.

    Args:
        database: where endpoints stand.
        place: where the host of this machine answers.
        log: of the predictions that this machine has made.
    """

    def __init__(self, database: Database, place: Callable[[], ServingPlace], log: PredictionLog) -> None:
        self._database = database
        self._place = place
        self._log = log

    def operations(self) -> list[Operation]:
        every, one = "/v1/endpoints", "/v1/endpoints/{name}"
        mine = (_PROJECT,)
        return [
            Operation("GET", "/v1/serving", self.place, "Where endpoints answer.", _TAG, None, ServingPlace),
            Operation("GET", every, self.list, "All endpoints.", _TAG, None, list[EndpointSummary], mine),
            Operation("GET", one, self.get, "One endpoint.", _TAG, None, EndpointDocument, mine),
            Operation(
                "POST",
                f"{one}/deploy",
                self.deploy,
                "Serve what it asks for.",
                _TAG,
                DeployRequest,
                EndpointRevision,
                mine,
            ),
            Operation("POST", f"{one}/rollback", self.rollback, "Go back.", _TAG, RollbackRequest, Traffic, mine),
            Operation("POST", f"{one}/rollout", self.steer, "Steer it.", _TAG, RolloutRequest, RolloutRecord, mine),
            Operation("GET", f"{one}/rollouts", self.rollouts, "Rollouts.", _TAG, None, list[RolloutRecord], mine),
            Operation(
                "GET",
                f"{one}/rollout",
                self.explain,
                "A rollout with all its numbers.",
                _TAG,
                None,
                RolloutExplained,
                (_PROJECT, _REVISION),
            ),
            Operation(
                "GET",
                f"{one}/minutes",
                self.minutes,
                "What its revisions did in each minute.",
                _TAG,
                None,
                list[EndpointMinute],
                (_PROJECT, _SINCE),
            ),
            Operation(
                "GET",
                f"{one}/predictions",
                self.predictions,
                "The newest answers of this machine, with what was asked as far as that is kept.",
                _TAG,
                None,
                list[Prediction],
                (_PROJECT, _LIMIT, _BEFORE),
            ),
            Operation("GET", f"{one}/keys", self.keys, "Its keys.", _TAG, None, list[EndpointKey], mine),
            Operation("POST", f"{one}/keys", self.add_key, "A new key.", _TAG, NewEndpointKey, MadeEndpointKey, mine),
            Operation("DELETE", f"{one}/keys/{{key}}", self.revoke, "Revoke a key.", _TAG, None, None, mine, 204),
            Operation(
                "POST", f"{one}/rewards", self.reward, "What an answer was worth.", _TAG, Reward, None, mine, 204
            ),
        ]

    async def place(self, _request: Request) -> Response:
        return json_response(self._place())

    async def list(self, request: Request) -> Response:
        caller, project = caller_of(request), _project(request)
        return json_response(await self._database.read(lambda tx: reading.listed(tx, caller, project)))

    async def get(self, request: Request) -> Response:
        caller, name, project = caller_of(request), request.path_params["name"], _project(request)
        return json_response(await self._database.read(lambda tx: reading.whole(tx, caller, name, project)))

    async def deploy(self, request: Request) -> Response:
        body, caller = await read_json(request, DeployRequest), caller_of(request)
        name, project = request.path_params["name"], _project(request)
        found = await self._database.write(lambda tx: deploying.deploy(tx, caller, name, project, body.override))
        return json_response(found)

    async def rollback(self, request: Request) -> Response:
        body, caller = await read_json(request, RollbackRequest), caller_of(request)
        name, project = request.path_params["name"], _project(request)
        found = await self._database.write(lambda tx: rollouts.rollback(tx, caller, name, body.revision, project))
        return json_response(found)

    async def steer(self, request: Request) -> Response:
        body, caller = await read_json(request, RolloutRequest), caller_of(request)
        name, project = request.path_params["name"], _project(request)
        steer = partial(
            rollouts.steer, caller=caller, name=name, action=body.action, reason=body.reason, project=project
        )
        return json_response(await self._database.write(steer))

    async def rollouts(self, request: Request) -> Response:
        caller, name, project = caller_of(request), request.path_params["name"], _project(request)
        return json_response(await self._database.read(lambda tx: reading.rollout_list(tx, caller, name, project)))

    async def explain(self, request: Request) -> Response:
        caller, name, project = caller_of(request), request.path_params["name"], _project(request)
        number = integer(request, "revision", 0, 0, _MAX_MS) or None
        return json_response(await self._database.read(lambda tx: reading.explained(tx, caller, name, number, project)))

    async def minutes(self, request: Request) -> Response:
        caller, name, project = caller_of(request), request.path_params["name"], _project(request)
        since_ms = integer(request, "since", 0, 0, _MAX_MS)
        return json_response(await self._database.read(lambda tx: reading.minutes(tx, caller, name, since_ms, project)))

    async def predictions(self, request: Request) -> Response:
        """What people have asked is shown to those who may change the endpoint."""
        caller, name, project = caller_of(request), request.path_params["name"], _project(request)
        since_ms = await self._database.read(lambda tx: reading.began_ms(tx, caller, name, project))
        limit = integer(request, "limit", 20, 1, _MOST_PREDICTIONS)
        before_ms = integer(request, "before", FOREVER_MS, 0, FOREVER_MS)
        latest = partial(self._log.latest, name, limit, since_ms=since_ms, before_ms=before_ms)
        return json_response(await asyncio.to_thread(latest))

    async def keys(self, request: Request) -> Response:
        caller, name, project = caller_of(request), request.path_params["name"], _project(request)
        return json_response(await self._database.read(lambda tx: keys.list_all(tx, caller, name, project)))

    async def add_key(self, request: Request) -> Response:
        body, caller = await read_json(request, NewEndpointKey), caller_of(request)
        name, project = request.path_params["name"], _project(request)
        key = await self._database.write(lambda tx: keys.create(tx, caller, name, body.name, project))
        return json_response(MadeEndpointKey(body.name, key), 201)

    async def revoke(self, request: Request) -> Response:
        caller, names, project = caller_of(request), request.path_params, _project(request)
        await self._database.write(lambda tx: keys.revoke(tx, caller, names["name"], names["key"], project))
        return Response(status_code=204)

    async def reward(self, request: Request) -> Response:
        body, caller = await read_json(request, Reward), caller_of(request)
        name, project = request.path_params["name"], _project(request)
        await self._database.write(lambda tx: rewards.add(tx, caller, name, body.version, body.reward, project))
        return Response(status_code=204)


def _project(request: Request) -> str:
    return request.query_params.get("project", "")
