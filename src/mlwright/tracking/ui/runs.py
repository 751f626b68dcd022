"""The page of one experiment: its runs."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Sequence

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, json_response
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.search import search_runs
from mlwright.tracking.service import columns as values
from mlwright.tracking.service import experiments, notes, runs
from mlwright.tracking.spec import RunStatus
from mlwright.tracking.ui import query as queries
from mlwright.tracking.ui import table
from mlwright.tracking.ui.query import VIEWS, TableQuery
from mlwright.tracking.validation import parse_experiment_id
from mlwright.web import columns as shared
from mlwright.web.columns import Column
from mlwright.web.forms import read_form, see_other
from mlwright.web.live import stream
from mlwright.web.pages import Pages

_CSV_PAGE = 1_000
_MAX_BULK = 1_000
_FIXED = ("run_id", "name", "status", "start_time", "end_time", "user")


class RunsPages:
    """Handlers below /experiments/{id}.

    Args:
        database: where runs are kept.
        pages: renders.
    """

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/experiments/{id}", self.show),
            Route("GET", "/experiments/{id}/keys", self.keys),
            Route("GET", "/experiments/{id}/live", self.live),
            Route("GET", "/experiments/{id}/runs.csv", self.csv),
            Route("POST", "/experiments/{id}/runs", self.change_many),
            Route("POST", "/experiments/{id}/columns", self.choose_columns),
            Route("POST", "/experiments/{id}/views", self.save_view),
            Route("POST", "/experiments/{id}/views/delete", self.delete_view),
        ]

    async def show(self, request: Request) -> Response:
        number = _number(request)
        query = queries.from_request(request, shared.recall(request, queries.cookie_name(number)))
        caller, now = caller_of(request), self._database.clock.now_ms()
        found = await self._database.read(lambda tx: table.load(tx, caller, number, query, now))
        status = 400 if found.error else 200
        return await self._pages.respond(request, "tracking/runs.html", found, status)

    async def keys(self, request: Request) -> Response:
        """All keys that can be columns, as JSON: {metrics, params, tags: [names], complete}."""
        number, caller = _number(request), caller_of(request)

        def load(tx: Tx) -> dict[str, object]:
            metrics = values.metric_keys(tx, caller, number)
            params = values.text_keys(tx, caller, number, values.PARAMS)
            tags = values.text_keys(tx, caller, number, values.TAGS)
            complete = metrics.complete and params.complete and tags.complete
            return {"metrics": metrics.names, "params": params.names, "tags": tags.names, "complete": complete}

        return json_response(await self._database.read(load))

    async def live(self, request: Request) -> Response:
        number, caller = _number(request), caller_of(request)
        await self._database.read(lambda tx: experiments.get(tx, caller, number))
        return stream(self._database.changes, f"experiment/{number}")

    # --- changes -----------------------------------------------------------------------------------------------

    async def change_many(self, request: Request) -> Response:
        """Delete or restore the chosen runs, in one transaction."""
        form = await read_form(request)
        number, caller = _number(request), caller_of(request)
        chosen, action = form.getlist("run"), form.get("action", "")
        verbs = {"delete": runs.delete_run, "restore": runs.restore}
        if action not in verbs:
            raise Invalid(f"action must be delete or restore, not {action!r}", path="action")
        if not 1 <= len(chosen) <= _MAX_BULK:
            raise Invalid(f"Choose from 1 to {_MAX_BULK} runs, not {len(chosen)}", path="run")

        def change(tx: Tx) -> None:
            for run_id in chosen:
                verbs[action](tx, caller, run_id)

        await self._database.write(change)
        return see_other(form.get("back") or f"/experiments/{number}")

    async def choose_columns(self, request: Request) -> Response:
        """Remember the columns in this browser and show them."""
        form = await read_form(request)
        number = _number(request)
        chosen = shared.parse_columns(form.getlist("column"))
        back = _state(form.get("back", ""))
        response = see_other(back.url(number, columns=chosen))
        if form.get("reset"):
            response = see_other(back.url(number, columns=None))
            response.delete_cookie(queries.cookie_name(number), path=f"/experiments/{number}")
        else:
            shared.remember(response, queries.cookie_name(number), chosen, f"/experiments/{number}")
        return response

    async def save_view(self, request: Request) -> Response:
        form = await read_form(request)
        number, caller, name = _number(request), caller_of(request), form.get("name", "").strip()
        back = _state(form.get("back", ""))
        await self._database.write(lambda tx: notes.save_view(tx, caller, number, name, queries.to_saved(back)))
        return see_other(back.url(number))

    async def delete_view(self, request: Request) -> Response:
        form = await read_form(request)
        number, caller, name = _number(request), caller_of(request), form.get("name", "")
        await self._database.write(lambda tx: notes.delete_view(tx, caller, number, name))
        return see_other(_state(form.get("back", "")).url(number))

    # --- download ----------------------------------------------------------------------------------------------

    async def csv(self, request: Request) -> Response:
        """The runs of the filter (or those named by ?run=) with the shown columns."""
        number, caller = _number(request), caller_of(request)
        query = queries.from_request(request, shared.recall(request, queries.cookie_name(number)))
        chosen = request.query_params.getlist("run")
        await self._database.read(lambda tx: experiments.get(tx, caller, number))
        first = await self._database.read(lambda tx: search_runs(tx, [number], query.filter, max_results=20))
        columns = query.columns
        if columns is None:
            columns = tuple(await self._database.read(lambda tx: table.default_columns(tx, first.rows)))
        lines = self._chosen(caller, chosen, columns) if chosen else self._all(number, query, columns)
        headers = {"content-disposition": f'attachment; filename="runs-{number}.csv"'}
        return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)

    async def _all(self, number: int, query: TableQuery, columns: Sequence[Column]) -> AsyncIterator[str]:
        yield _csv_lines([[*_FIXED, *(column.id for column in columns)]])
        order = [query.order] if query.order else []
        token = ""
        while True:
            found = await self._database.read(
                lambda tx, token=token: _csv_page(tx, number, query, order, token, columns)  # type: ignore[misc]
            )
            yield found[0]
            token = found[1]
            if not token:
                return

    async def _chosen(self, caller: Caller, chosen: Sequence[str], columns: Sequence[Column]) -> AsyncIterator[str]:
        def load(tx: Tx) -> str:
            infos = [runs.find(tx, caller, run_id).info for run_id in chosen[:_MAX_BULK]]
            fixed = [
                [each.run_id, each.name, each.status.name, each.start_ms, each.end_ms, each.user_id] for each in infos
            ]
            return _csv_lines(_with_values(tx, [each.row for each in infos], fixed, columns))

        yield _csv_lines([[*_FIXED, *(column.id for column in columns)]])
        yield await self._database.read(load)
        await asyncio.sleep(0)


def _csv_page(
    tx: Tx, number: int, query: TableQuery, order: list[str], token: str, columns: Sequence[Column]
) -> tuple[str, str]:
    found = search_runs(tx, [number], query.filter, VIEWS[query.view], order, _CSV_PAGE, token)
    fixed: list[list[object]] = [
        [row.run_id, row.name, RunStatus(row.status).name, row.start_ms, row.end_ms, row.user_id] for row in found.rows
    ]
    return _csv_lines(_with_values(tx, [row.id for row in found.rows], fixed, columns)), found.next_page_token


def _with_values(
    tx: Tx, rows: Sequence[int], fixed: Sequence[Sequence[object]], columns: Sequence[Column]
) -> list[list[object]]:
    found: dict[tuple[str, int, str], object] = {}
    for kind in shared.KINDS:
        keys = [column.key for column in columns if column.kind == kind]
        found |= {(kind, row, key): value for (row, key), value in values.values(tx, kind, rows, keys).items()}
    return [
        [*line, *(found.get((column.kind, row, column.key)) for column in columns)]
        for row, line in zip(rows, fixed, strict=True)
    ]


def _csv_lines(lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([[_harmless(value) for value in line] for line in lines])
    return text.getvalue()


def _harmless(value: object) -> object:
    """Spreadsheets run text that starts like a formula: an apostrophe keeps it text."""
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return "" if value is None else value


def _state(back: str) -> TableQuery:
    """The state that an address of the table holds; only its query counts."""
    scope = {"type": "http", "query_string": back.partition("?")[2].encode(), "headers": []}
    return queries.from_request(Request(scope), None)


def _number(request: Request) -> int:
    return parse_experiment_id(request.path_params["id"])
