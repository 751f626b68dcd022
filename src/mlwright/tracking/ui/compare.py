"""The pages that compare runs."""

import asyncio
import difflib
from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlwright.kernel.database import Database
from mlwright.kernel.http import Route, caller_of
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import columns
from mlwright.tracking.spec import RunInfo
from mlwright.tracking.ui import comparing, details, environment
from mlwright.tracking.ui import query as queries
from mlwright.tracking.ui.comparing import MAX_ENVIRONMENTS, Comparison, Line
from mlwright.tracking.ui.environment import Captured, EnvironmentPage
from mlwright.tracking.validation import parse_experiment_id
from mlwright.web.files import Files, StoredFile
from mlwright.web.pages import Pages

_MAX_DIFF_LINES = 2_000


class Environments(msgspec.Struct, frozen=True):
    """The environments of the first runs side by side, and how the code of the first two differs."""

    facts: list[Line]
    packages: list[Line]
    shown: int
    diff: list[str] | None


class ComparePage(msgspec.Struct, frozen=True):
    comparison: Comparison
    environments: Environments | None
    everything: bool
    max_columns: int = comparing.MAX_COLUMNS
    max_lines: int = comparing.MAX_LINES


class ComparePages:
    """Handlers of /compare and of the environment of one run.

    Args:
        database: where runs are kept.
        pages: renders.
        files: the captured environments.
    """

    def __init__(self, database: Database, pages: Pages, files: Files) -> None:
        self._database = database
        self._pages = pages
        self._files = files

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/compare", self.compare),
            Route("GET", "/runs/{id}/environment", self.environment),
        ]

    async def compare(self, request: Request) -> Response:
        given = request.query_params
        caller, now = caller_of(request), self._database.clock.now_ms()
        tab = comparing.check_tab(given.get("tab", "charts"))
        run_ids = given.getlist("run")
        number = parse_experiment_id(given["experiment"]) if given.get("experiment") and not run_ids else None
        query = queries.from_request(request, None)
        kept = [("run", each) for each in run_ids] or [("experiment", str(number or 0)), *query.pairs()]

        def load(tx: Tx) -> tuple[Comparison, list[tuple[dict[str, str], dict[str, StoredFile]]]]:
            infos = comparing.chosen(tx, caller, run_ids, number, query)
            found = comparing.load(tx, infos, now, tab, kept)
            return found, self._captured(tx, caller, infos) if tab == "environment" else []

        comparison, captured = await self._database.read(load)
        environments = await asyncio.to_thread(self._environments, captured) if captured else None
        page = ComparePage(comparison, environments, given.get("all") == "1")
        return await self._pages.respond(request, "tracking/compare.html", page)

    def _captured(
        self, tx: Tx, caller: Caller, infos: Sequence[RunInfo]
    ) -> list[tuple[dict[str, str], dict[str, StoredFile]]]:
        return [
            (columns.tags_of(tx, info.row), environment.find(tx, caller, self._files, info.artifact_uri))
            for info in infos[:MAX_ENVIRONMENTS]
        ]

    def _environments(self, captured: Sequence[tuple[dict[str, str], dict[str, StoredFile]]]) -> Environments:
        found = [environment.read(self._files, files, tags) for tags, files in captured]
        return Environments(
            facts=side_by_side([each.facts for each in found]),
            packages=side_by_side([each.packages for each in found]),
            shown=len(found),
            diff=code_diff(found[0], found[1]) if len(found) > 1 else None,
        )

    async def environment(self, request: Request) -> Response:
        run_id, caller, now = request.path_params["id"], caller_of(request), self._database.clock.now_ms()

        def load(tx: Tx) -> tuple[details.Head, dict[str, StoredFile]]:
            head = details.head(tx, caller, run_id, now, "environment")
            return head, environment.find(tx, caller, self._files, head.info.artifact_uri)

        head, files = await self._database.read(load)
        captured = await asyncio.to_thread(environment.read, self._files, files, head.tags)
        return await self._pages.respond(request, "tracking/environment.html", EnvironmentPage(head, captured))


def side_by_side(found: Sequence[dict[str, str]]) -> list[Line]:
    """One line per key of any of the mappings, in the order of first appearance."""
    keys = dict.fromkeys(key for each in found for key in each)
    lines = []
    for key in keys:
        values = [each.get(key) for each in found]
        lines.append(Line(key, values, len(set(values)) > 1))
    return lines


def code_diff(one: Captured, other: Captured) -> list[str] | None:
    """How the uncommitted changes of two runs differ; None when neither captured any."""
    if one.diff is None and other.diff is None:
        return None
    lines = difflib.unified_diff(one.diff or [], other.diff or [], "1", "2", lineterm="", n=2)
    return [line for line, _ in zip(lines, range(_MAX_DIFF_LINES), strict=False)]
