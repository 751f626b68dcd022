"""Pages of endpoints: all of them, and one with its traffic, rollouts, revisions, and a form to ask it."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from mlwright.kernel import store
from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, MlwrightError
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.serving.host.spool import Prediction
from mlwright.serving.predictions import PredictionLog
from mlwright.serving.service import endpoints, reading, rollouts
from mlwright.serving.service.endpoints import KIND, TOPIC
from mlwright.serving.service.reading import EndpointDocument, EndpointSummary, RolloutExplained
from mlwright.serving.spec import RolloutRecord
from mlwright.serving.ui import drawing
from mlwright.serving.ui.drawing import Chart
from mlwright.web.forms import read_form, see_other
from mlwright.web.live import stream
from mlwright.web.pages import Pages

#: Where the templates called "serving/…" lie.
TEMPLATES = Path(__file__).parent / "templates"
_SPAN_MINUTES = 60
_SHOWN_ROLLOUTS = 10
_SHOWN_REVISIONS = 20
_SHOWN_SAMPLES = 10
_MOST_DIGITS = 9

Place = Callable[[], str]
#: Sends a request body to an endpoint; its status and answer.
Ask = Callable[[str, bytes], tuple[int, str]]


class EndpointsPage(msgspec.Struct, frozen=True):
    """All endpoints that the caller may see. `url`: where they answer."""

    rows: list[EndpointSummary]
    url: str


class Tried(msgspec.Struct, frozen=True):
    """What was asked by the form, and what came back."""

    body: str
    status: int
    answer: str


class Sample(msgspec.Struct, frozen=True):
    """An answered request; what was asked is empty where it is not kept."""

    time_ms: int
    version: int
    latency_ms: float
    asked: str
    answered: str


class EndpointPage(msgspec.Struct, frozen=True):
    """One endpoint.

    Attributes:
        url: where endpoints answer.
        names: of its revisions, as MODEL/3, by number.
        charts: of the last hour; `evidence`: of the rollout that is shown.
        explained: the newest rollout; None before the first.
        example: a request to try.
        samples: of the newest requests, for those who may change the endpoint.
    """

    endpoint: EndpointDocument
    url: str
    base: str
    may_change: bool
    names: dict[int, str]
    charts: list[Chart]
    explained: RolloutExplained | None
    evidence: Chart | None
    rollouts: list[RolloutRecord]
    example: str
    samples: list[Sample]
    tried: Tried | None = None


class EndpointPages:
    """Handlers.

    Args:
        database: where endpoints stand.
        pages: renders.
        place: URL where endpoints answer.
        ask: asks one.
        log: of the predictions that this machine has made.
    """

    def __init__(self, database: Database, pages: Pages, place: Place, ask: Ask, log: PredictionLog) -> None:
        self._log = log
        self._database = database
        self._pages = pages
        self._place = place
        self._ask = ask

    def routes(self) -> list[Route]:
        one = "/projects/{project}/endpoints/{name}"
        return [
            Route("GET", "/endpoints", self.list),
            Route("GET", "/endpoints/live", self.live),
            Route("GET", "/endpoints/{name}", self.find),
            Route("GET", one, self.show),
            Route("POST", f"{one}/try", self.try_it),
            Route("POST", f"{one}/rollout", self.steer),
            Route("POST", f"{one}/rollback", self.rollback),
        ]

    async def list(self, request: Request) -> Response:
        caller = caller_of(request)
        rows = await self._database.read(lambda tx: reading.listed(tx, caller))
        return await self._pages.respond(request, "serving/endpoints.html", EndpointsPage(rows, self._place()))

    async def live(self, request: Request) -> Response:
        caller_of(request)
        return stream(self._database.changes, TOPIC)

    async def find(self, request: Request) -> Response:
        """A name belongs to one project: lead there."""
        caller, name = caller_of(request), request.path_params["name"]
        found = await self._database.read(lambda tx: _found(tx, caller, name))
        return RedirectResponse(_base(found, name), 302)

    async def show(self, request: Request) -> Response:
        return await self._page(request, None)

    async def try_it(self, request: Request) -> Response:
        caller, named = caller_of(request), request.path_params
        form = await read_form(request)
        await self._database.read(lambda tx: endpoints.find(tx, caller, named["name"], Role.EDITOR, named["project"]))
        body = form.get("body", "")
        status, answer = await self._asked(named["name"], body)
        return await self._page(request, Tried(body, status, answer))

    async def steer(self, request: Request) -> Response:
        caller, named = caller_of(request), request.path_params
        form = await read_form(request)
        action, reason = form.get("action", ""), form.get("reason", "")
        await self._database.write(
            lambda tx: rollouts.steer(tx, caller, named["name"], action, reason, named["project"])
        )
        return see_other(_base(named["project"], named["name"]))

    async def rollback(self, request: Request) -> Response:
        caller, named = caller_of(request), request.path_params
        form = await read_form(request)
        number = _number(form.get("revision", ""))
        await self._database.write(lambda tx: rollouts.rollback(tx, caller, named["name"], number, named["project"]))
        return see_other(_base(named["project"], named["name"]))

    async def _asked(self, name: str, body: str) -> tuple[int, str]:
        try:
            return await asyncio.to_thread(self._ask, name, body.encode())
        except MlwrightError as error:
            return error.status, error.message

    async def _page(self, request: Request, tried: Tried | None) -> Response:
        caller, named = caller_of(request), request.path_params
        url = self._place()
        page = await self._database.read(lambda tx: _load(tx, caller, named["name"], named["project"], url, tried))
        if page.may_change:
            name, project = named["name"], named["project"]
            since_ms = await self._database.read(lambda tx: reading.began_ms(tx, caller, name, project))
            latest = partial(self._log.latest, name, _SHOWN_SAMPLES, since_ms=since_ms)
            newest = await asyncio.to_thread(latest)
            page = msgspec.structs.replace(page, samples=[_sample(each) for each in newest])
        return await self._pages.respond(request, "serving/endpoint.html", page)


def _number(text: str) -> int | None:
    """Of a revision; None when there is none, which is the one before. Raises Invalid."""
    if not text:
        return None
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise Invalid("the revision is no number", path="revision")
    return int(text)


def _found(tx: Tx, caller: Caller, name: str) -> str:
    for each in store.list_all(tx, caller, KIND):
        if each.metadata.name == name:
            return each.metadata.project
    return store.get(tx, caller, KIND, name).metadata.project


def _base(project: str, name: str) -> str:
    return f"/projects/{quote(project, safe='')}/endpoints/{quote(name, safe='')}"


def _load(tx: Tx, caller: Caller, name: str, project: str, url: str, tried: Tried | None) -> EndpointPage:
    endpoint = reading.whole(tx, caller, name, project)
    every = reading.rollout_list(tx, caller, name, project)
    explained = reading.explained(tx, caller, name, None, project) if every else None
    names = {each.number: f"{each.model}/{each.version}" for each in endpoint.revisions}
    now_ms = tx.now_ms()
    minutes = reading.minutes(tx, caller, name, now_ms - _SPAN_MINUTES * 60_000, project)
    return EndpointPage(
        msgspec.structs.replace(endpoint, revisions=endpoint.revisions[:_SHOWN_REVISIONS]),
        url,
        _base(project, name),
        caller.may(project, Role.EDITOR),
        names,
        drawing.by_minute(minutes, now_ms, _SPAN_MINUTES, names) if minutes else [],
        explained,
        drawing.evidence(explained.looks) if explained is not None else None,
        every[:_SHOWN_ROLLOUTS],
        _example(tx, caller, name, project),
        [],
        tried,
    )


def _sample(found: Prediction) -> Sample:
    asked = "" if found.inputs is None else json.dumps(found.inputs)
    return Sample(found.time_ms, found.version, found.latency_ms, asked, json.dumps(found.outputs))


def _example(tx: Tx, caller: Caller, name: str, project: str) -> str:
    """A request by the signature of what serves: a zero of each type."""
    inputs = endpoints.inputs_of(tx, caller, name, project)
    if not inputs:
        return json.dumps({"inputs": [[0.0]]})
    data = ["" if kind == "string" else False if kind == "boolean" else 0 for _, kind in inputs]
    return json.dumps({"dataframe_split": {"columns": [column for column, _ in inputs], "data": [data]}}, indent=1)
