"""Runs, their histories and comments over REST."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import caller_of, integer, is_number, json_response, read_json
from mlwright.kernel.identity import Caller
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.tracking import search
from mlwright.tracking.api.views import (
    FILTER,
    LIMIT,
    MAX_LIMIT,
    ORDER,
    PAGE,
    VIEW,
    Number,
    RunPage,
    RunView,
    Value,
    number,
    parse_status,
    parse_view,
    run_view,
)
from mlwright.tracking.service import experiments, inputs, metrics, notes, overview
from mlwright.tracking.service import runs as service
from mlwright.tracking.spec import Comment, DatasetInput, Metric, ModelOutput, Param, Tag, ViewType
from mlwright.tracking.validation import parse_experiment_id

_TAG = "runs"
Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
MAX_SERIES = 10_000
_EXPERIMENT = Parameter(
    "experiment", {"type": "array", "items": {"type": "string"}}, "Id of an experiment. May be repeated; all you see."
)
_KEY = Parameter("key", {"type": "array", "items": {"type": "string"}}, "A metric. May be repeated; all of the run.")
_POINTS = Parameter("points", {"type": "integer", "minimum": 1}, "So many evenly spread points of each; all.")


class SearchRuns(msgspec.Struct, forbid_unknown_fields=True):
    """`experiments` are ids; all you may see when empty. `view` is active, deleted or all."""

    experiments: list[Int64] = []
    filter: str = ""
    order_by: list[str] = []
    view: str = "active"
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)] = 100
    page_token: str = ""


class CreateRun(msgspec.Struct, forbid_unknown_fields=True):
    """`start_ms` is now and `name` is made up when not given."""

    experiment_id: Int64
    name: str = ""
    user_id: str = ""
    start_ms: Time = 0
    tags: dict[str, str] = {}


class UpdateRun(msgspec.Struct, forbid_unknown_fields=True):
    """What is not given stays."""

    name: str = ""
    status: str = ""
    end_ms: Time | None = None


class LoggedPoint(msgspec.Struct, forbid_unknown_fields=True):
    """A point of a metric; `timestamp_ms` is now when not given. NaN is the text "NaN"."""

    key: str
    value: Number
    step: Int64 = 0
    timestamp_ms: Time = 0


class Log(msgspec.Struct, forbid_unknown_fields=True):
    """What a run logs, together: all of it or nothing."""

    metrics: list[LoggedPoint] = []
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class Inputs(msgspec.Struct, forbid_unknown_fields=True):
    datasets: list[DatasetInput] = []
    models: list[str] = []


class Output(msgspec.Struct, forbid_unknown_fields=True):
    model_id: str
    step: Int64 = 0


class Outputs(msgspec.Struct, forbid_unknown_fields=True):
    models: list[Output]


class Series(msgspec.Struct, frozen=True):
    """Points of one metric of one run, in three lists of the same length."""

    run_id: str
    key: str
    steps: list[int]
    timestamps_ms: list[int]
    values: list[Number]


class SelectSeries(msgspec.Struct, forbid_unknown_fields=True):
    """`points`: so many evenly spread ones of each; 0 for all. Only steps from `from_step` to `to_step`."""

    runs: list[str]
    keys: list[str]
    points: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1_000
    from_step: Int64 = -(2**63)
    to_step: Int64 = 2**63 - 1


class NewComment(msgspec.Struct, forbid_unknown_fields=True):
    """A comment in Markdown."""

    body: str


class RunsApi:
    """Handlers; each is one request and one unit of work."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        one = "/v1/runs/{run_id}"
        listing = (_EXPERIMENT, FILTER, ORDER, VIEW, LIMIT, PAGE)
        return [
            Operation("GET", "/v1/runs", self.list, "Search runs.", _TAG, None, RunPage, listing),
            Operation("POST", "/v1/runs/search", self.search, "The same for long filters.", _TAG, SearchRuns, RunPage),
            Operation("POST", "/v1/runs", self.create, "Start a run.", _TAG, CreateRun, RunView, (), 201),
            Operation("GET", one, self.get, "One run, deleted or not.", _TAG, None, RunView),
            Operation("PATCH", one, self.update, "Change its name, status or end.", _TAG, UpdateRun, RunView),
            Operation("DELETE", one, self.delete, "Delete a run.", _TAG, status=204),
            Operation("POST", f"{one}/restore", self.restore, "Undo its deletion.", _TAG, None, RunView),
            Operation("POST", f"{one}/log", self.log, "Log metrics, parameters and tags.", _TAG, Log, status=204),
            Operation("POST", f"{one}/inputs", self.log_inputs, "Record what it reads.", _TAG, Inputs, status=204),
            Operation("POST", f"{one}/outputs", self.log_outputs, "Record models it wrote.", _TAG, Outputs, status=204),
            Operation("PUT", f"{one}/tags/{{key:path}}", self.set_tag, "Set a tag.", _TAG, Value, status=204),
            Operation("DELETE", f"{one}/tags/{{key:path}}", self.delete_tag, "Remove a tag.", _TAG, status=204),
            Operation(
                "GET", f"{one}/series", self.run_series, "Histories of its metrics.", _TAG, None, list[Series],
                (_KEY, _POINTS),
            ),
            Operation(
                "POST", "/v1/series", self.select_series, "Histories of many metrics of many runs.", _TAG,
                SelectSeries, list[Series],
            ),
            Operation("GET", f"{one}/comments", self.list_comments, "Comments on it.", _TAG, None, list[Comment]),
            Operation("POST", f"{one}/comments", self.comment, "Comment on it.", _TAG, NewComment, Comment, (), 201),
            Operation("DELETE", f"{one}/comments/{{id}}", self.delete_comment, "Remove a comment.", _TAG, status=204),
        ]  # fmt: skip

    # --- runs --------------------------------------------------------------------------------------------------

    async def list(self, request: Request) -> Response:
        query = request.query_params
        wanted = SearchRuns(
            [parse_experiment_id(text) for text in query.getlist("experiment")],
            query.get("filter", ""),
            query.getlist("order_by"),
            query.get("view", "active"),
            integer(request, "limit", 100, 1, MAX_LIMIT),
            query.get("page_token", ""),
        )
        return await self._search(caller_of(request), wanted)

    async def search(self, request: Request) -> Response:
        return await self._search(caller_of(request), await read_json(request, SearchRuns))

    async def _search(self, caller: Caller, wanted: SearchRuns) -> Response:
        view = parse_view(wanted.view)

        def work(tx: Tx) -> RunPage:
            readable = readable_experiments(tx, caller, wanted.experiments)
            page = search.search_runs(
                tx, readable, wanted.filter, view, wanted.order_by, wanted.limit, wanted.page_token
            )
            found = service.load(tx, [service.info_from_row(row) for row in page.rows])
            return RunPage([run_view(run) for run in found], page.next_page_token)

        return json_response(await self._database.read(work))

    async def create(self, request: Request) -> Response:
        body, caller = await read_json(request, CreateRun), caller_of(request)
        tags = [Tag(key, value) for key, value in body.tags.items()]

        def work(tx: Tx) -> RunView:
            start = body.start_ms or tx.now_ms()
            user = body.user_id or caller.name
            return run_view(service.create(tx, caller, body.experiment_id, user, start, body.name, tags))

        return json_response(await self._database.write(work), 201)

    async def get(self, request: Request) -> Response:
        run_id, caller = request.path_params["run_id"], caller_of(request)
        return json_response(await self._database.read(lambda tx: run_view(service.get(tx, caller, run_id))))

    async def update(self, request: Request) -> Response:
        body, run_id, caller = await read_json(request, UpdateRun), request.path_params["run_id"], caller_of(request)
        status = parse_status(body.status) if body.status else None

        def work(tx: Tx) -> RunView:
            service.update_info(tx, caller, run_id, status, body.end_ms, body.name)
            return run_view(service.get(tx, caller, run_id))

        return json_response(await self._database.write(work))

    async def delete(self, request: Request) -> Response:
        run_id, caller = request.path_params["run_id"], caller_of(request)
        await self._database.write(lambda tx: service.delete_run(tx, caller, run_id))
        return Response(status_code=204)

    async def restore(self, request: Request) -> Response:
        run_id, caller = request.path_params["run_id"], caller_of(request)

        def work(tx: Tx) -> RunView:
            service.restore(tx, caller, run_id)
            return run_view(service.get(tx, caller, run_id))

        return json_response(await self._database.write(work))

    # --- what it logs ------------------------------------------------------------------------------------------

    async def log(self, request: Request) -> Response:
        body, run_id, caller = await read_json(request, Log), request.path_params["run_id"], caller_of(request)
        params = [Param(key, value) for key, value in body.params.items()]
        tags = [Tag(key, value) for key, value in body.tags.items()]

        def work(tx: Tx) -> None:
            now = tx.now_ms()
            points = [Metric(each.key, float(each.value), each.timestamp_ms or now, each.step) for each in body.metrics]
            service.log_batch(tx, caller, run_id, points, params, tags)

        await self._database.write(work)
        return Response(status_code=204)

    async def log_inputs(self, request: Request) -> Response:
        body, run_id, caller = await read_json(request, Inputs), request.path_params["run_id"], caller_of(request)
        await self._database.write(lambda tx: inputs.log_inputs(tx, caller, run_id, body.datasets, body.models))
        return Response(status_code=204)

    async def log_outputs(self, request: Request) -> Response:
        body, run_id, caller = await read_json(request, Outputs), request.path_params["run_id"], caller_of(request)
        models = [ModelOutput(each.model_id, each.step) for each in body.models]
        await self._database.write(lambda tx: inputs.log_outputs(tx, caller, run_id, models))
        return Response(status_code=204)

    async def set_tag(self, request: Request) -> Response:
        body, run_id, caller = await read_json(request, Value), request.path_params["run_id"], caller_of(request)
        tag = Tag(request.path_params["key"], body.value)
        await self._database.write(lambda tx: service.set_tags(tx, caller, run_id, [tag]))
        return Response(status_code=204)

    async def delete_tag(self, request: Request) -> Response:
        run_id, key, caller = request.path_params["run_id"], request.path_params["key"], caller_of(request)
        await self._database.write(lambda tx: service.delete_tag(tx, caller, run_id, key))
        return Response(status_code=204)

    # --- histories ---------------------------------------------------------------------------------------------

    async def run_series(self, request: Request) -> Response:
        run_id, keys = request.path_params["run_id"], request.query_params.getlist("key")
        points = integer(request, "points", 0, 1, 1_000_000)
        wanted = SelectSeries([run_id], keys, points)
        caller = caller_of(request)
        return json_response(await self._database.read(lambda tx: _series(tx, caller, wanted)))

    async def select_series(self, request: Request) -> Response:
        wanted, caller = await read_json(request, SelectSeries), caller_of(request)
        if len(wanted.runs) * len(wanted.keys) > MAX_SERIES:
            raise Invalid(f"At most {MAX_SERIES} histories at once", path="runs", hint="ask for fewer runs or keys")
        return json_response(await self._database.read(lambda tx: _series(tx, caller, wanted)))

    # --- comments ----------------------------------------------------------------------------------------------

    async def list_comments(self, request: Request) -> Response:
        run_id, caller = request.path_params["run_id"], caller_of(request)
        return json_response(await self._database.read(lambda tx: notes.list_comments(tx, caller, run_id)))

    async def comment(self, request: Request) -> Response:
        body, run_id, caller = await read_json(request, NewComment), request.path_params["run_id"], caller_of(request)
        found = await self._database.write(lambda tx: notes.add_comment(tx, caller, run_id, body.body))
        return json_response(found, 201)

    async def delete_comment(self, request: Request) -> Response:
        run_id, text, caller = request.path_params["run_id"], request.path_params["id"], caller_of(request)
        if not is_number(text):
            raise NotFound(f"Run {run_id} has no comment {text!r}", path="id")
        await self._database.write(lambda tx: notes.delete_comment(tx, caller, run_id, int(text)))
        return Response(status_code=204)


def readable_experiments(tx: Tx, caller: Caller, wanted: Sequence[int]) -> list[int]:
    """Those of the wanted experiments that the caller may read; all such when none is named."""
    if wanted:
        return experiments.readable(tx, caller, wanted)
    page = search.search_experiments(
        tx, overview.projects(tx, caller), view=ViewType.ALL, max_results=search.MAX_RESULTS
    )
    return [row.id for row in page.rows]


def _series(tx: Tx, caller: Caller, wanted: SelectSeries) -> list[Series]:
    found = []
    steps = (wanted.from_step, wanted.to_step)
    for run_id in dict.fromkeys(wanted.runs):
        run = service.find(tx, caller, run_id).info
        keys = wanted.keys or [each.key for each in service.load(tx, [run])[0].metrics]
        for key in dict.fromkeys(keys):
            points = metrics.sampled(tx, run, key, wanted.points or 2**62, steps)
            if points:
                found.append(
                    Series(
                        run_id,
                        key,
                        [each.step for each in points],
                        [each.timestamp for each in points],
                        [number(each.value) for each in points],
                    )
                )
    return found
