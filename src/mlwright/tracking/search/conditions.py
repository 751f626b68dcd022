"""Comparisons of a filter of runs as SQL conditions on the table `runs`.

A comparison is split into its shape, which decides the SQL text, and its values, which are bound. Statements are
cached by shape, so a repeated kind of query is compiled once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, exists, func, literal_column, or_, select

from mlwright.kernel.search import grammar
from mlwright.kernel.search.grammar import Comparison
from mlwright.kernel.search.match import bound, compare, matches
from mlwright.tracking.spec import RunStatus
from mlwright.tracking.tables import PARENT_TAG, dataset_inputs, datasets, metric_series, params, runs, tags

Clause = ColumnElement[Any]

#: Names of the numbers in runs.status.
STATUSES = {status.value: status.name for status in RunStatus}
ATTRIBUTES = {
    "run_id": runs.c.run_id, "run_name": runs.c.name, "user_id": runs.c.user_id, "start_time": runs.c.start_ms,
    "end_time": runs.c.end_ms, "artifact_uri": runs.c.artifact_uri, "status": runs.c.status,
}  # fmt: skip
NUMERIC = ("start_time", "end_time")
NULLABLE = (grammar.PARAM, grammar.TAG)
_RANGES = ("=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a comparison decides its SQL.

    Attributes:
        entity, operator: as in Comparison.
        key: the attribute or dataset field; for metrics "order" when it is the metric the search is ordered by; for
            tags the one that names a parent run.
        count: length of the list of values, 0 for a single value.
        codes: the status numbers that satisfy a comparison of status.
    """

    entity: str
    key: str
    operator: str
    count: int = 0
    codes: tuple[int, ...] = ()


def shape(comparison: Comparison, order_metric: str | None) -> Shape:
    """The shape of a checked comparison; `order_metric` is the metric the search is ordered by, if any."""
    entity, key, value = comparison.entity, comparison.key, comparison.value
    if entity == grammar.METRIC:
        key = "order" if key == order_metric else ""
    elif entity in NULLABLE:
        key = PARENT_TAG if entity == grammar.TAG and key == PARENT_TAG else ""
    elif key == "status" and entity == grammar.ATTRIBUTE:
        assert isinstance(value, (str, tuple))
        codes = [code for code, name in STATUSES.items() if matches(name, comparison.operator, value)]
        return Shape(entity, key, comparison.operator, codes=tuple(codes))
    return Shape(entity, key, comparison.operator, len(value) if isinstance(value, tuple) else 0)


def values(comparison: Comparison, at: int, dialect: str) -> dict[str, Any]:
    """The values that `clause(…, at, …)` needs, by parameter name."""
    if comparison.entity == grammar.ATTRIBUTE and comparison.key == "status":
        return {}
    found: dict[str, Any] = {}
    if comparison.entity in (grammar.METRIC, *NULLABLE):
        found[f"k{at}"] = comparison.key
    if isinstance(comparison.value, tuple):
        found |= {f"v{at}_{i}": value for i, value in enumerate(comparison.value)}
    elif comparison.value is not None:
        found[f"v{at}"] = bound(comparison.operator, comparison.value, dialect)
    return found


def clause(what: Shape, at: int, dialect: str) -> Clause:
    """The condition on `runs` for the comparison number `at` of a filter."""
    if what.entity == grammar.ATTRIBUTE:
        if what.key == "status":
            return among(runs.c.status, what.codes)
        return _plain(ATTRIBUTES[what.key], what, at, dialect)
    if what.entity == grammar.METRIC:
        series = metric_series.alias(f"m{at}")
        return exists(
            select(literal_column("1")).where(series.c.run == runs.c.id, series.c.key == bindparam(f"k{at}"),
                                     metric_value(series, what, at, dialect))
        )  # fmt: skip
    if what.entity == grammar.DATASET:
        return _dataset(what, at, dialect)
    table = (params if what.entity == grammar.PARAM else tags).alias(f"t{at}")
    rows: Select[Any] = select(literal_column("1")).where(table.c.run == runs.c.id, table.c.key == bindparam(f"k{at}"))
    if what.operator == "IS NULL":
        return ~exists(rows)
    if what.operator == "IS NOT NULL":
        return exists(rows)
    return exists(rows.where(_plain(table.c.value, what, at, dialect)))


def among(column: Any, numbers: Iterable[int]) -> Clause:
    """The condition that the column is one of the numbers, which become part of the statement."""
    listed = ", ".join(str(int(number)) for number in numbers)  # one literal: thousands take SQLAlchemy seconds
    return column.in_([literal_column(listed)]) if listed else literal_column("1") == literal_column("0")


def metric_value(series: Any, what: Shape, at: int, dialect: str) -> Clause:
    """The condition on one row of (an alias of) `metric_series`. NaN is only ever unequal."""
    found = _plain(series.c.value, what, at, dialect)
    return or_(found, series.c.is_nan == 1) if what.operator == "!=" else found


def candidates(what: Shape, at: int, dialect: str) -> Select[Any] | None:
    """Ids of all runs that satisfy the comparison, read from an index; None when no index serves it."""
    if what.entity == grammar.METRIC and what.operator in _RANGES:
        series = metric_series.alias(f"d{at}")
        return select(series.c.run).where(
            series.c.experiment_id == bindparam("experiment"), series.c.key == bindparam(f"k{at}"),
            series.c.is_nan == 0, _plain(series.c.value, what, at, dialect),
        )  # fmt: skip
    if what.entity == grammar.PARAM and what.operator == "=":
        table = params.alias(f"d{at}")
        # The index holds the starts of the values.
        start = func.substr(table.c.value, literal_column("1"), literal_column("100"))
        wanted: Any = bindparam(f"v{at}")
        return select(table.c.run).where(
            table.c.key == bindparam(f"k{at}"),
            start == func.substr(wanted, literal_column("1"), literal_column("100")),
            table.c.value == wanted,
        )
    if (what.entity, what.key, what.operator) == (grammar.TAG, PARENT_TAG, "="):
        parents = tags.alias(f"d{at}")
        # The key is part of the text, so that the partial index of this tag fits.
        is_parent = parents.c.key == literal_column(f"'{PARENT_TAG}'")
        return select(parents.c.run).where(is_parent, parents.c.value == bindparam(f"v{at}"))
    if (what.entity, what.key) == (grammar.ATTRIBUTE, "run_id") and what.operator in ("=", "IN"):
        named = runs.alias(f"d{at}")
        return select(named.c.id).where(_plain(named.c.run_id, what, at, dialect))
    return None


def _plain(column: Any, what: Shape, at: int, dialect: str) -> Clause:
    if what.operator in ("IN", "NOT IN"):
        listed: Clause = column.in_([bindparam(f"v{at}_{i}") for i in range(what.count)])
        return listed if what.operator == "IN" else ~listed
    return compare(column, what.operator, bindparam(f"v{at}"), dialect)


def _dataset(what: Shape, at: int, dialect: str) -> Clause:
    read = dataset_inputs.alias(f"i{at}")
    rows: Select[Any] = select(literal_column("1")).where(read.c.run == runs.c.id)
    if what.key == "context":
        return exists(rows.where(_plain(read.c.context, what, at, dialect)))
    known = datasets.alias(f"s{at}")
    column = known.c.name if what.key == "name" else known.c.digest
    return exists(rows.where(and_(known.c.id == read.c.dataset, _plain(column, what, at, dialect))))
