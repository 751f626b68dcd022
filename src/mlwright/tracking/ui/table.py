"""The runs table of an experiment: from an address to rows and cells."""

from collections.abc import Sequence
from typing import Any

import msgspec
from markupsafe import Markup

from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller
from mlwright.kernel.search import page
from mlwright.kernel.transaction import Tx
from mlwright.tracking.search import Page, RunRow, search_runs
from mlwright.tracking.service import columns as values
from mlwright.tracking.service import experiments, notes, overview
from mlwright.tracking.spec import Experiment, RunStatus
from mlwright.tracking.tables import PARENT_TAG
from mlwright.tracking.ui.query import VIEWS, TableQuery, from_saved
from mlwright.web.columns import Cell, Column, cell, cells_html

_DEFAULT_METRICS = 7
_DEFAULT_PARAMS = 5
#: The first choice of columns is made from this many rows.
_SAMPLE = 20
_MAX_CHILDREN = 500
_TOP_LEVEL = f"tags.`{PARENT_TAG}` IS NULL"


class Row(msgspec.Struct, frozen=True):
    """A run in the table.

    Attributes:
        level: 1 for a child shown below its parent, else 0.
        children: live runs that have this one as parent.
    """

    run_id: str
    name: str
    status: str
    start_ms: int
    duration_ms: int | None
    user: str
    active: bool
    level: int
    children: int
    opened: bool
    cells: list[Cell]

    def html(self, columns: Sequence[Column]) -> Markup:
        """The cells as table cells."""
        return cells_html(columns, self.cells)


class ViewLink(msgspec.Struct, frozen=True):
    """A saved view and its address."""

    name: str
    author: str
    url: str


class Table(msgspec.Struct, frozen=True):
    """All that the page of an experiment shows.

    Attributes:
        total: live (or deleted) runs of the experiment, None while a filter is set: counting would cost more.
        error: what is wrong with the filter or the order; the table is empty then.
    """

    experiment: Experiment
    query: TableQuery
    columns: list[Column]
    rows: list[Row]
    first: int
    total: int | None
    most_counted: int
    next_token: str
    previous_token: str
    views: list[ViewLink]
    error: dict[str, str] | None


def load(tx: Tx, caller: Caller, experiment_id: int, query: TableQuery, now_ms: int) -> Table:
    """The table. Raises NotFound for the experiment; a wrong filter is part of the answer."""
    experiment = experiments.get(tx, caller, experiment_id)
    error = None
    try:
        found = _search(tx, experiment_id, query)
        offset = page.decode(query.token).offset
    except Invalid as problem:
        error = {"message": problem.message, "hint": problem.hint, "path": problem.path}
        found, offset = Page([], ""), 0
    columns = default_columns(tx, found.rows) if query.columns is None else list(query.columns)
    size = query.size
    return Table(
        experiment=experiment,
        query=query,
        columns=columns,
        rows=_rows(tx, caller, found.rows, columns, query, now_ms),
        first=offset + 1,
        total=_total(tx, experiment_id, query),
        most_counted=overview.MOST_COUNTED,
        next_token=found.next_page_token,
        previous_token=page.encode(offset - size) if offset > size else "",
        views=_views(tx, caller, experiment_id),
        error=error,
    )


def _views(tx: Tx, caller: Caller, experiment_id: int) -> list[ViewLink]:
    found = notes.list_views(tx, caller, experiment_id)
    return [ViewLink(each.name, each.author, from_saved(each.query).url(experiment_id)) for each in found]


def _search(tx: Tx, experiment_id: int, query: TableQuery) -> Page[RunRow]:
    text = query.filter
    if query.is_nested:
        text = f"{text} AND {_TOP_LEVEL}" if text else _TOP_LEVEL
    order = [query.order] if query.order else []
    return search_runs(tx, [experiment_id], text, VIEWS[query.view], order, query.size, query.token)


def _total(tx: Tx, experiment_id: int, query: TableQuery) -> int | None:
    if query.filter or query.is_nested:
        return None
    stages = VIEWS[query.view].stages
    return sum(overview.count_runs(tx, experiment_id, active=bool(stage)) for stage in stages)


def default_columns(tx: Tx, rows: Sequence[RunRow]) -> list[Column]:
    """A dozen columns that most of the first rows have."""
    numbers = [row.id for row in rows[:_SAMPLE]]
    metrics = values.common_keys(tx, values.METRICS, numbers, _DEFAULT_METRICS)
    params = values.common_keys(tx, values.PARAMS, numbers, _DEFAULT_PARAMS)
    return [Column("metrics", key) for key in metrics] + [Column("params", key) for key in params]


def _rows(
    tx: Tx, caller: Caller, found: Sequence[RunRow], columns: Sequence[Column], query: TableQuery, now_ms: int
) -> list[Row]:
    counts = values.children_counts(tx, [row.run_id for row in found])
    listed: list[tuple[RunRow, int]] = []
    for row in found:
        listed.append((row, 0))
        if query.is_nested and row.run_id in query.opened and row.run_id in counts:
            listed += [(child, 1) for child in _children(tx, caller, row.run_id)]
    cells = load_cells(tx, [row.id for row, _ in listed], columns)
    return [
        _row(row, level, counts.get(row.run_id, 0), row.run_id in query.opened, line, now_ms)
        for (row, level), line in zip(listed, cells, strict=True)
    ]


def _children(tx: Tx, caller: Caller, run_id: str) -> list[RunRow]:
    return [
        RunRow(
            info.row, info.run_id, info.experiment_id, info.name, info.user_id, info.status.value, info.start_ms,
            info.end_ms, int(info.active), None, info.artifact_uri,
        )
        for info in values.children(tx, caller, run_id, _MAX_CHILDREN)
    ]  # fmt: skip


def _row(row: RunRow, level: int, children: int, opened: bool, cells: list[Cell], now_ms: int) -> Row:
    status = RunStatus(row.status).name
    return Row(
        run_id=row.run_id,
        name=row.name,
        status=status,
        start_ms=row.start_ms,
        duration_ms=duration(row.start_ms, row.end_ms, status, now_ms),
        user=row.user_id,
        active=bool(row.active),
        level=level,
        children=children,
        opened=opened,
        cells=cells,
    )


def duration(start_ms: int, end_ms: int | None, status: str, now_ms: int) -> int | None:
    """How long a run took, or takes until now; None when that is not known."""
    if not start_ms:
        return None
    if end_ms:
        return end_ms - start_ms
    return now_ms - start_ms if status == "RUNNING" else None


def load_cells(tx: Tx, rows: Sequence[int], columns: Sequence[Column]) -> list[list[Cell]]:
    """One line of cells per row, in the order of the columns."""
    found: dict[str, dict[tuple[int, str], Any]] = {}
    for kind in (values.METRICS, values.PARAMS, values.TAGS):
        found[kind] = values.values(tx, kind, rows, [column.key for column in columns if column.kind == kind])
    return [[cell(column, found[column.kind].get((row, column.key))) for column in columns] for row in rows]
