"""MLflow routes under metrics/: histories, whole, paged, of many runs, and sampled."""

import base64
from collections.abc import Iterable
from itertools import repeat
from math import isfinite

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.protojson import HINT, answer, both, decode, number, required
from mlwright.kernel.transaction import Tx
from mlwright.tracking.points import Columns, Point
from mlwright.tracking.service import metrics as service
from mlwright.tracking.service import runs

_MAX_BULK_RUNS = 100
_MAX_BULK_POINTS = 25_000
_MAX_SAMPLED_POINTS = 2_500


class History(msgspec.Struct):
    run_id: str = ""
    run_uuid: str = ""
    metric_key: str | None = None
    max_results: int | None = None
    page_token: str = ""


class Bulk(msgspec.Struct):
    run_id: list[str] = []
    metric_key: str | None = None
    max_results: int = _MAX_BULK_POINTS


class Interval(msgspec.Struct):
    run_ids: list[str] = []
    metric_key: str | None = None
    start_step: int | None = None
    end_step: int | None = None
    max_results: int = _MAX_SAMPLED_POINTS


class WirePoint(msgspec.Struct, gc=False):
    key: str
    value: float | str
    timestamp: int
    step: int


class WireRunPoint(WirePoint, gc=False):
    run_id: str


class MetricRoutes:
    """Handlers of metrics/*. Points are encoded in the reader thread: a history may have millions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        return [
            *both("GET", "metrics/get-history", self.history),
            *both("GET", "metrics/get-history-bulk", self.bulk),
            *both("GET", "metrics/get-history-bulk-interval", self.interval),
        ]

    async def history(self, request: Request) -> Response:
        message, caller = await decode(request, History), caller_of(request)
        run_id = required("run_id", message.run_id or message.run_uuid)
        key, limit = required("metric_key", message.metric_key), message.max_results
        if limit is not None and limit <= 0:
            raise Invalid(
                f"Invalid value {limit} for parameter 'max_results' supplied. It must be a positive integer.",
                path="max_results",
            )
        offset = parse_offset(message.page_token)

        def work(tx: Tx) -> Response:
            try:
                info = runs.find(tx, caller, run_id).info
            except NotFound:  # an unknown run has no points, says MLflow
                return answer({})
            points = service.history_columns(tx, info, key, offset, None if limit is None else limit + 1)
            found: dict[str, object] = {}
            if points.steps:
                found["metrics"] = _points(key, points)[:limit]
            if limit is not None and len(points.steps) > limit:
                found["next_page_token"] = _token(offset + limit)
            return answer(found)

        return await self._database.read(work)

    async def bulk(self, request: Request) -> Response:
        message, caller = await decode(request, Bulk), caller_of(request)
        _check_runs("GetMetricHistoryBulk", message.run_id)
        if message.metric_key is None:
            raise Invalid("GetMetricHistoryBulk request must specify a metric_key.", path="metric_key")
        key, limit = message.metric_key, min(message.max_results, _MAX_BULK_POINTS)

        def work(tx: Tx) -> Response:
            found: list[WireRunPoint] = []
            for run_id in sorted(set(message.run_id)):
                info = runs.find(tx, caller, run_id).info
                found += _run_points(run_id, key, service.history(tx, info, key, 0, limit - len(found)))
                if len(found) >= limit:
                    break
            return answer({"metrics": found})

        return await self._database.read(work)

    async def interval(self, request: Request) -> Response:
        message, caller = await decode(request, Interval), caller_of(request)
        if not message.run_ids:
            required("run_ids", "")
        _check_runs("GetMetricHistoryBulkInterval", message.run_ids)
        key = required("metric_key", message.metric_key)
        if not 1 <= message.max_results <= _MAX_SAMPLED_POINTS:
            raise Invalid(f"max_results must be between 1 and {_MAX_SAMPLED_POINTS}.{HINT}", path="max_results")
        steps = _steps(message)

        def work(tx: Tx) -> Response:
            infos = [runs.find(tx, caller, run_id).info for run_id in message.run_ids]
            found: list[WireRunPoint] = []
            for info in infos:
                found += _run_points(info.run_id, key, service.sampled(tx, info, key, message.max_results, steps))
            return answer({"metrics": found} if found else None)

        return await self._database.read(work)


def parse_offset(token: str) -> int:
    """The offset in a page token. Raises Invalid for a token that is none of ours."""
    if not token:
        return 0
    try:
        offset = msgspec.json.decode(base64.b64decode(token, validate=True), type=dict[str, int])["offset"]
    except (ValueError, KeyError, msgspec.DecodeError, msgspec.ValidationError):
        raise Invalid("Invalid page token, could not base64-decode", path="page_token") from None
    if offset < 0:
        raise Invalid("Invalid page token, the offset is negative", path="page_token")
    return offset


def _token(offset: int) -> str:
    return base64.b64encode(msgspec.json.encode({"offset": offset})).decode()


def _points(key: str, points: Columns) -> list[WirePoint]:
    values: Iterable[float | str] = points.values
    if not all(map(isfinite, points.values)):
        values = map(number, points.values)
    return list(map(WirePoint, repeat(key), values, points.timestamps, points.steps))


def _run_points(run_id: str, key: str, points: Iterable[Point]) -> list[WireRunPoint]:
    return [WireRunPoint(key, number(p.value), p.timestamp, p.step, run_id) for p in points]


def _check_runs(what: str, run_ids: list[str]) -> None:
    if not run_ids:
        raise Invalid(f"{what} request must specify at least one run_id.", path="run_id")
    if len(run_ids) > _MAX_BULK_RUNS:
        raise Invalid(
            f"{what} request cannot specify more than {_MAX_BULK_RUNS} run_ids. Received {len(run_ids)} run_ids.",
            path="run_id",
        )


def _steps(message: Interval) -> tuple[int, int] | None:
    start, end = message.start_step, message.end_step
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise Invalid("If either start step or end step are specified, both must be specified.", path="start_step")
    if start > end:
        raise Invalid(
            f"end_step must be greater than start_step. Found start_step={start} and end_step={end}.", path="end_step"
        )
    return start, end
