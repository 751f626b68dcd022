"""Moving out: runs and histories as tables, streamed."""

from collections.abc import AsyncIterator
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import caller_of
from mlwright.kernel.openapi import Operation, Parameter
from mlwright.kernel.transaction import Tx
from mlwright.tracking import exporter, search
from mlwright.tracking.api.runs import readable_experiments
from mlwright.tracking.api.views import FILTER, VIEW, view_of
from mlwright.tracking.exporter import ColumnsOfRuns, Row, TableWriter
from mlwright.tracking.service import experiments, metrics
from mlwright.tracking.service import runs as service
from mlwright.tracking.spec import Run, ViewType
from mlwright.tracking.validation import parse_experiment_id

_TAG = "export"
_RUNS_TOGETHER = 500
_HISTORIES_OF_RUNS = 50
_ROWS = 50_000
_EXPERIMENT = Parameter(
    "experiment", {"type": "array", "items": {"type": "string"}}, "Id of an experiment. May be repeated; all you see."
)
_FORMAT = Parameter("format", {"type": "string", "enum": list(exporter.FORMATS)}, "Format of the table; csv.")
_WHAT = Parameter("what", {"type": "string", "enum": ["runs", "metrics"]}, "A row for each run, or for each point.")


class _Wanted(NamedTuple):
    experiments: tuple[int, ...]
    filter: str
    view: ViewType


class ExportApi:
    """Handlers. Runs come by the time of their start, the oldest first, then by id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def operations(self) -> list[Operation]:
        query = (_FORMAT, FILTER, VIEW)
        return [
            Operation(
                "GET", "/v1/export/runs", self.runs, "A row for each run.", _TAG, query=(_EXPERIMENT, *query)
            ),
            Operation(
                "GET", "/v1/export/metrics", self.metrics, "A row for each point of each metric.", _TAG,
                query=(_EXPERIMENT, *query),
            ),
            Operation(
                "GET", "/v1/experiments/{experiment_id}/export", self.experiment, "One experiment as a table.", _TAG,
                query=(_WHAT, *query),
            ),
        ]  # fmt: skip

    async def runs(self, request: Request) -> Response:
        return await self._export(request, "runs", request.query_params.getlist("experiment"))

    async def metrics(self, request: Request) -> Response:
        return await self._export(request, "metrics", request.query_params.getlist("experiment"))

    async def experiment(self, request: Request) -> Response:
        text, caller = request.path_params["experiment_id"], caller_of(request)
        number = parse_experiment_id(text)
        await self._database.read(lambda tx: experiments.get(tx, caller, number))
        return await self._export(request, request.query_params.get("what", "runs"), [text])

    async def _export(self, request: Request, what: str, listed: list[str]) -> Response:
        caller, form = caller_of(request), request.query_params.get("format", "csv")
        numbers = [parse_experiment_id(text) for text in listed]
        if what not in {"runs", "metrics"}:
            raise Invalid(f"{what!r} cannot be exported", path="what", hint="use runs or metrics")
        ids = await self._database.read(lambda tx: readable_experiments(tx, caller, numbers))
        wanted = _Wanted(tuple(ids), request.query_params.get("filter", ""), view_of(request))
        if what == "runs":
            columns = await self._columns(wanted)
            pieces = self._run_pieces(wanted, exporter.open_writer(form, columns))
        else:
            await self._database.read(lambda tx: _page(tx, wanted, "", 1))
            pieces = self._metric_pieces(wanted, exporter.open_writer(form, exporter.HISTORY))
        name = f"{what}.{'jsonl' if form == 'json' else form}"
        headers = {"content-disposition": f'attachment; filename="{name}"', "x-content-type-options": "nosniff"}
        return StreamingResponse(pieces, headers=headers, media_type=exporter.MEDIA_TYPES[form])

    async def _columns(self, wanted: _Wanted) -> exporter.Columns:
        found = ColumnsOfRuns()
        async for runs in self._pages(wanted, _RUNS_TOGETHER):
            found.add(runs)
        return found.columns()

    async def _pages(self, wanted: _Wanted, size: int) -> AsyncIterator[list[Run]]:
        token = ""
        while True:
            runs, token = await self._database.read(lambda tx, token=token: _page(tx, wanted, token, size))  # type: ignore[misc]
            yield runs
            if not token:
                return

    async def _run_pieces(self, wanted: _Wanted, writer: TableWriter) -> AsyncIterator[bytes]:
        async for runs in self._pages(wanted, _RUNS_TOGETHER):
            yield writer.rows([exporter.run_row(run) for run in runs])
        yield writer.end()

    async def _metric_pieces(self, wanted: _Wanted, writer: TableWriter) -> AsyncIterator[bytes]:
        rows: list[Row] = []
        async for runs in self._pages(wanted, _HISTORIES_OF_RUNS):
            for run in runs:
                for metric in run.metrics:
                    found = await self._database.read(
                        lambda tx, run=run, key=metric.key: metrics.records(tx, run.info, key)  # type: ignore[misc]
                    )
                    for start in range(0, len(found), _ROWS):
                        rows += exporter.history_rows(run, metric.key, found[start : start + _ROWS])
                        if len(rows) >= _ROWS:
                            yield writer.rows(rows)
                            rows = []
        if rows:
            yield writer.rows(rows)
        yield writer.end()


def _page(tx: Tx, wanted: _Wanted, token: str, size: int) -> tuple[list[Run], str]:
    order = ["attributes.start_time ASC"]
    page = search.search_runs(tx, wanted.experiments, wanted.filter, wanted.view, order, size, token)
    return service.load(tx, [service.info_from_row(row) for row in page.rows]), page.next_page_token
