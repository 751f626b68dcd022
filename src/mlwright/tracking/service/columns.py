"""What the runs table needs beyond the runs themselves: which keys exist, and the values of the chosen ones.

A run may have thousands of metrics and a table shows a dozen, so nothing here reads all that a run logged. The rows
given must be of runs that the caller may read.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, func, literal_column, select, true
from sqlalchemy.sql import ColumnElement

from mlwright.kernel.identity import Caller
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import experiments, waiting
from mlwright.tracking.service.runs import info_from_row
from mlwright.tracking.spec import RunInfo
from mlwright.tracking.tables import PARENT_TAG, metric_series, params, runs, tags

METRICS, PARAMS, TAGS = "metrics", "params", "tags"
_TABLES = {METRICS: metric_series, PARAMS: params, TAGS: tags}
#: Parameters and tags have no index by experiment: their keys are gathered from this many of the newest runs.
SAMPLED_RUNS = 2_000
#: … and from at most this many of their entries.
_SAMPLED_ENTRIES = 60_000
_MAX_KEYS = 5_000

_first_key = (
    select(func.min(metric_series.c.key).label("key"))
    .where(metric_series.c.experiment_id == bindparam("experiment"))
    .cte("found", recursive=True)
)
_next_key = (
    select(func.min(metric_series.c.key))
    .where(metric_series.c.experiment_id == bindparam("experiment"), metric_series.c.key > _first_key.c.key)
    .scalar_subquery()
)
_keys_cte = _first_key.union_all(select(_next_key).where(_first_key.c.key.is_not(None)))
#: One index seek per key, whatever the number of runs: neither engine skips along an index by itself.
_metric_keys = Query(select(_keys_cte.c.key).where(_keys_cte.c.key.is_not(None)).limit(_MAX_KEYS))


class Keys(NamedTuple):
    """All keys of one kind in an experiment; `complete` is False when only the newest runs were looked at."""

    names: list[str]
    complete: bool


def metric_keys(tx: Tx, caller: Caller, experiment_id: int) -> Keys:
    """The names of all metrics of an experiment, sorted."""
    experiments.get(tx, caller, experiment_id)
    waiting.settle(tx, experiments=[experiment_id], newest=True)
    names = [row[0] for row in tx.all(_metric_keys, {"experiment": experiment_id})]
    return Keys(names, len(names) < _MAX_KEYS)


def text_keys(tx: Tx, caller: Caller, experiment_id: int, kind: str) -> Keys:
    """The names of the parameters or tags (`kind`) of the newest runs of an experiment, sorted."""
    experiments.get(tx, caller, experiment_id)
    table = _TABLES[kind]
    newest = (
        select(runs.c.id)
        .where(runs.c.experiment_id == bindparam("experiment"), runs.c.active == literal_column("1"))
        .order_by(runs.c.start_ms.desc(), runs.c.run_id)
        .limit(SAMPLED_RUNS)
        .subquery()
    )
    entries = select(table.c.key).join(newest, newest.c.id == table.c.run).limit(_SAMPLED_ENTRIES).subquery("entries")
    statement = Query(select(entries.c.key, func.count()).group_by(entries.c.key).order_by(entries.c.key))
    found = tx.all(statement, {"experiment": experiment_id})
    runs_seen = len(tx.all(_some_runs, {"experiment": experiment_id}))
    complete = runs_seen <= SAMPLED_RUNS and sum(row[1] for row in found) < _SAMPLED_ENTRIES
    return Keys([row[0] for row in found], complete)


_some_runs = Query(
    select(runs.c.id)
    .where(runs.c.experiment_id == bindparam("experiment"), runs.c.active == literal_column("1"))
    .limit(SAMPLED_RUNS + 1)
)


def common_keys(tx: Tx, kind: str, rows: Sequence[int], limit: int) -> list[str]:
    """The keys that most of the runs have: a sensible first choice of columns. System values are left out."""
    if kind == METRICS:
        waiting.settle(tx, runs=rows, newest=True)
    found = tx.all(_common(kind, tx.dialect), {"rows": _list(tx, rows), "limit": limit})
    return [row[0] for row in found]


def values(tx: Tx, kind: str, rows: Sequence[int], keys: Sequence[str]) -> dict[tuple[int, str], Any]:
    """(row, key) → the latest value of a metric (NaN included), or the text of a parameter or tag."""
    if not rows or not keys:
        return {}
    if kind == METRICS:
        waiting.settle(tx, runs=rows, newest=True)
    found = tx.all(_values(kind, tx.dialect), {"rows": _list(tx, rows), "keys": _list(tx, keys)})
    if kind != METRICS:
        return {(row, key): value for row, key, value in found}
    return {(row, key): math.nan if value is None else value for row, key, value in found}


# Statements with a list in them are made once per kind and engine: building one costs more than running it.


def _list(tx: Tx, values: Sequence[int] | Sequence[str]) -> object:
    """A list as one value: JSON on SQLite, an array on PostgreSQL."""
    return msgspec.json.encode(values).decode() if tx.dialect == "sqlite" else list(values)


def _in_list(column: ColumnElement[Any], name: str, dialect: str) -> ColumnElement[bool]:
    if dialect == "sqlite":
        return column.in_(select(func.json_each(bindparam(name)).table_valued("value").c.value))
    return column == func.any(bindparam(name))


@cache
def _common(kind: str, dialect: str) -> Query:
    table = _TABLES[kind]
    internal: ColumnElement[bool] = true()
    if kind == TAGS:
        internal = ~table.c.key.startswith("mlflow.") & ~table.c.key.startswith("mlwright.")
    elif kind == METRICS:
        internal = ~table.c.key.startswith("system/")
    return Query(
        select(table.c.key)
        .where(_in_list(table.c.run, "rows", dialect), internal)
        .group_by(table.c.key)
        .order_by(func.count().desc(), table.c.key)
        .limit(bindparam("limit"))
    )


@cache
def _values(kind: str, dialect: str) -> Query:
    table = _TABLES[kind]
    chosen = _in_list(table.c.run, "rows", dialect), _in_list(table.c.key, "keys", dialect)
    return Query(select(table.c.run, table.c.key, table.c.value).where(*chosen))


@cache
def _curves(dialect: str) -> Query:
    return Query(
        select(metric_series.c.key)
        .where(_in_list(metric_series.c.run, "rows", dialect), metric_series.c.points > literal_column("1"))
        .distinct()
        .order_by(metric_series.c.key)
        .limit(bindparam("limit"))
    )


@cache
def _children_counts(dialect: str) -> Query:
    return Query(
        select(tags.c.value, func.count())
        .where(
            tags.c.key == literal_column(f"'{PARENT_TAG}'"),
            runs.c.active == literal_column("1"),
            _in_list(tags.c.value, "parents", dialect),
        )
        .join(runs, runs.c.id == tags.c.run)
        .group_by(tags.c.value)
    )


class SeriesInfo(NamedTuple):
    """A metric of a run: how many points its history has, and the latest of them."""

    key: str
    points: int
    value: float
    step: int
    timestamp_ms: int


_series_of = Query(
    select(
        metric_series.c.key,
        metric_series.c.points,
        metric_series.c.value,
        metric_series.c.step,
        metric_series.c.timestamp_ms,
    )
    .where(metric_series.c.run == bindparam("run"))
    .order_by(metric_series.c.key)
)


def series_of(tx: Tx, row: int) -> list[SeriesInfo]:
    """The metrics of a run by name."""
    waiting.settle(tx, runs=[row])
    found = tx.all(_series_of, {"run": row})
    return [SeriesInfo(key, points, math.nan if value is None else value, *rest) for key, points, value, *rest in found]


def curves(tx: Tx, rows: Sequence[int], limit: int) -> list[str]:
    """The metrics that have more than one point in some of the runs, by name."""
    waiting.settle(tx, runs=rows)
    return [row[0] for row in tx.all(_curves(tx.dialect), {"rows": _list(tx, rows), "limit": limit})]


_tags_of = Query(select(tags.c.key, tags.c.value).where(tags.c.run == bindparam("run")).order_by(tags.c.key))


def tags_of(tx: Tx, row: int) -> dict[str, str]:
    """The tags of a run."""
    return dict(tx.all(_tags_of, {"run": row}))


@cache
def _by_ids(dialect: str) -> Query:
    return Query(select(*runs.c).where(_in_list(runs.c.run_id, "ids", dialect)))


def readable_runs(tx: Tx, caller: Caller, run_ids: Sequence[str]) -> dict[str, RunInfo]:
    """Those of the runs, by id, that exist and that the caller may read."""
    if not run_ids:
        return {}
    found = [info_from_row(row) for row in tx.all(_by_ids(tx.dialect), {"ids": _list(tx, run_ids)})]
    readable = set(experiments.readable(tx, caller, [info.experiment_id for info in found]))
    return {info.run_id: info for info in found if info.experiment_id in readable}


def children_counts(tx: Tx, run_ids: Sequence[str]) -> dict[str, int]:
    """How many live runs have each of the given runs as parent; runs without children are left out."""
    return dict(tx.all(_children_counts(tx.dialect), {"parents": _list(tx, run_ids)})) if run_ids else {}


def children(tx: Tx, caller: Caller, run_id: str, limit: int) -> list[RunInfo]:
    """The live runs whose parent is `run_id`, oldest first."""
    statement = (
        select(*runs.c)
        .join(tags, tags.c.run == runs.c.id)
        .where(
            tags.c.key == literal_column(f"'{PARENT_TAG}'"),
            tags.c.value == bindparam("parent", run_id),
            runs.c.active == literal_column("1"),
        )
        .order_by(runs.c.start_ms, runs.c.run_id)
        .limit(limit)
    )
    found = [info_from_row(row) for row in tx.select(statement)]
    readable = set(experiments.readable(tx, caller, [info.experiment_id for info in found]))
    return [info for info in found if info.experiment_id in readable]
