"""The lines of charts: many metrics of many runs in one answer."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.http import Route, caller_of, integer, json_response
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import metrics, runs
from mlwright.tracking.spec import RunInfo
from mlwright.tracking.ui import sampling
from mlwright.tracking.ui.sampling import Line
from mlwright.web.compress import compressed

_MAX_LINES = 3_000
_MAX_WIDTH = 4_000
_AXES = ("step", "time", "relative")


class Wanted(msgspec.Struct, frozen=True):
    """Which lines.

    Attributes:
        axis: "step", "time" (Unix ms) or "relative" (ms since the run started).
        low, high: the part of the axis to show; None for all.
        width: columns of pixels.
        smooth: whether means are wanted instead of outlines.
    """

    runs: list[str]
    keys: list[str]
    axis: str = "step"
    low: float | None = None
    high: float | None = None
    width: int = 400
    smooth: bool = False


class SeriesRoutes:
    """The handler of /series.

    Args:
        database: where histories are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        return [Route("GET", "/series", self.series)]

    async def series(self, request: Request) -> Response:
        """{"series": [{"run", "key", "x", "y", "points"}]}; NaN is null."""
        wanted = _wanted(request)
        caller = caller_of(request)
        found = await self._database.read(lambda tx: {"series": load(tx, caller, wanted)})
        return compressed(request, json_response(found))


def load(tx: Tx, caller: Caller, wanted: Wanted) -> list[dict[str, Any]]:
    """The lines that exist, run by run. Raises NotFound for an unknown run."""
    found = []
    for run_id in wanted.runs:
        info = runs.find(tx, caller, run_id).info
        for key in wanted.keys:
            line, points = _line(tx, info, key, wanted)
            if points:
                shown = sampling.means(line, wanted.width) if wanted.smooth else sampling.outline(line, wanted.width)
                found.append(
                    {
                        "run": run_id,
                        "key": key,
                        "x": shown.x.tolist(),
                        "y": sampling.rounded(shown.y),
                        "points": points,
                    }
                )
    return found


def _line(tx: Tx, info: RunInfo, key: str, wanted: Wanted) -> tuple[Line, int]:
    import numpy as np

    records = metrics.records(tx, info, key)
    count = len(records)
    x = records["step"] if wanted.axis == "step" else records["timestamp"]
    if wanted.axis == "relative":
        x = x - (info.start_ms or (int(x.min()) if count else 0))
    y = records["value"]
    if wanted.axis != "step" and count and bool(np.any(x[1:] < x[:-1])):
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
    if wanted.low is not None and wanted.high is not None:
        # One point more on each side, so that the line runs out of the picture.
        first = max(0, int(np.searchsorted(x, wanted.low, side="left")) - 1)
        last = int(np.searchsorted(x, wanted.high, side="right")) + 1
        x, y = x[first:last], y[first:last]
    return Line(x, y), count


def _wanted(request: Request) -> Wanted:
    given = request.query_params
    wanted = Wanted(
        runs=list(dict.fromkeys(given.getlist("run"))),
        keys=list(dict.fromkeys(given.getlist("key"))),
        axis=given.get("axis", "step"),
        low=_bound(given.get("low", "")),
        high=_bound(given.get("high", "")),
        width=integer(request, "width", 400, 10, _MAX_WIDTH),
        smooth=given.get("smooth") == "1",
    )
    if wanted.axis not in _AXES:
        raise Invalid(f"axis must be step, time or relative, not {wanted.axis!r}", path="axis")
    if len(wanted.runs) * len(wanted.keys) > _MAX_LINES:
        raise Invalid(f"At most {_MAX_LINES} lines at once", path="key", hint="ask for fewer metrics or runs")
    return wanted


def _bound(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise Invalid(f"{text!r} is not a number", path="low") from None
