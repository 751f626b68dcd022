"""Search of runs: MLflow's semantics, by walking indexes in order instead of sorting.

Two plans. The *walk* serves the orders people use all day (newest first, or by one metric): each part of the answer
(experiment and life stage, then numbers, NaN and missing values) is read from an index in its final order, starting
behind the last row of the page before, and the parts are merged. Everything else is *sorted* by the database.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, case, func, literal_column, or_, select
from sqlalchemy.sql import ColumnElement

from mlwright.kernel.query import Query
from mlwright.tracking.search import grammar
from mlwright.tracking.search.conditions import (
    ATTRIBUTES,
    NULLABLE,
    NUMERIC,
    STATUSES,
    Shape,
    among,
    candidates,
    clause,
    metric_value,
    shape,
    values,
)
from mlwright.tracking.search.grammar import Comparison, Order
from mlwright.tracking.search.page import (
    Page,
    Place,
    Reader,
    check_max_results,
    decode,
    encode,
    fingerprint,
)
from mlwright.tracking.spec import ViewType
from mlwright.tracking.tables import metric_series, params, runs, tags

#: Most parts that are merged; more (many experiments at once) are sorted by the database.
_MOST_PARTS = 16
#: A filter that leaves fewer runs than this many pages is read first; else the order is walked and runs are probed.
_SELECTIVE_PAGES = 20
_NUMBERS, _NANS, _MISSING = 0, 1, 2


class RunRow(NamedTuple):
    """A row of the table `runs`; times are Unix milliseconds."""

    id: int
    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: int
    start_ms: int
    end_ms: int | None
    active: int
    deleted_ms: int | None
    artifact_uri: str


_COLUMNS = [runs.c[name] for name in RunRow._fields]


@dataclass(frozen=True, slots=True)
class _Walk:
    """An order that an index can be walked in.

    Attributes:
        metric: the metric ordered by, or None for newest (or oldest) first.
        ascending: direction of the metric.
        oldest: whether ties (or, without a metric, all) go by start time ascending.
    """

    metric: str | None = None
    ascending: bool = True
    oldest: bool = False


@dataclass(frozen=True, slots=True)
class _Step:
    """What decides the SQL of one step of a walk.

    Attributes:
        by_metric, ascending, oldest: the walk, whatever its metric.
        phase: numbers, NaN or missing values; without a metric all runs are "missing" it.
        after: whether the step starts behind a known row.
        driver: index of the comparison whose runs are read first, or None.
    """

    by_metric: bool
    ascending: bool
    oldest: bool
    phase: int
    shapes: tuple[Shape, ...]
    after: bool
    driver: int | None
    dialect: str


@dataclass(frozen=True, slots=True)
class _Part:
    experiment: int
    active: int


class _Found(NamedTuple):
    """A row with its sort key: (phase, value, start_ms, run_id) as stored, and as to be compared."""

    key: tuple[Any, ...]
    sort: tuple[Any, ...]
    row: RunRow


def search_runs(
    tx: Reader,
    experiment_ids: Sequence[int],
    filter: str = "",  # noqa: A002 - MLflow's own word
    view: ViewType = ViewType.ACTIVE_ONLY,
    order_by: Sequence[str] = (),
    max_results: int = 1000,
    page_token: str = "",
) -> Page[RunRow]:
    """One page of the runs of some experiments.

    Args:
        experiment_ids: internal numbers; experiments that do not exist have no runs.
        filter: MLflow's filter, such as "metrics.loss < 0.1 AND params.model = 'tree'".
        order_by: clauses such as "metrics.loss DESC". Missing values come last, NaN just before them. Ties, and runs
            without any order, go by start time, newest first, then by run id.
        page_token: from the page before; empty for the first.

    Raises:
        Invalid: the filter, an order, the token or max_results is wrong.
    """
    check_max_results(max_results)
    comparisons = grammar.run_filter(filter)
    orders = grammar.run_orders(order_by)
    for comparison in comparisons:
        grammar.check_operator(comparison, NUMERIC, NULLABLE)
    experiments = sorted(set(experiment_ids))
    query = fingerprint(experiments, filter, int(view), orders)
    place = decode(page_token, query)
    if not experiments:
        return Page([], "")
    parts = [_Part(experiment, active) for experiment in experiments for active in view.stages]
    walk = _walkable(orders)
    fits = walk is not None and len(parts) <= _MOST_PARTS and (not place.offset or _is_key(place.after))
    if walk is None or not fits:
        return _sorted_page(tx, experiments, comparisons, view, orders, max_results, place.offset)
    found = _walk_page(tx, parts, comparisons, walk, max_results + 1, place)
    if len(found) <= max_results:
        return Page([each.row for each in found], "")
    del found[max_results:]
    token = encode(place.offset + max_results, found[-1].key, query)
    return Page([each.row for each in found], token)


def _walkable(orders: Sequence[Order]) -> _Walk | None:
    rest = list(orders)
    metric, ascending = None, True
    if rest and rest[0].entity == grammar.METRIC:
        metric, ascending = rest[0].key, rest[0].ascending
        del rest[0]
    if not rest:
        return _Walk(metric, ascending)
    if len(rest) == 1 and (rest[0].entity, rest[0].key) == (grammar.ATTRIBUTE, "start_time"):
        return _Walk(metric, ascending, rest[0].ascending)
    return None


def _is_key(after: tuple[Any, ...]) -> bool:
    if len(after) != 4:
        return False
    phase, value, start, run_id = after
    return (
        phase in (_NUMBERS, _NANS, _MISSING)
        and isinstance(value, (int, float))
        and isinstance(start, int)
        and isinstance(run_id, str)
    )


# --- the walk ---------------------------------------------------------------------------------------------------


def _walk_page(
    tx: Reader, parts: Sequence[_Part], comparisons: Sequence[Comparison], walk: _Walk, limit: int, place: Place
) -> list[_Found]:
    """The first `limit` rows behind the place, merged from all parts."""
    lists = [_walk_part(tx, part, comparisons, walk, limit, place.after) for part in parts]
    if len(lists) == 1:
        return lists[0]
    merged = heapq.merge(*lists, key=lambda found: found.sort)
    return [found for found, _ in zip(merged, range(limit), strict=False)]


def _walk_part(
    tx: Reader, part: _Part, comparisons: Sequence[Comparison], walk: _Walk, limit: int, after: tuple[Any, ...]
) -> list[_Found]:
    shapes = tuple(shape(comparison, walk.metric) for comparison in comparisons)
    bound: dict[str, Any] = {"experiment": part.experiment, "active": part.active, "order_key": walk.metric}
    for at, comparison in enumerate(comparisons):
        bound |= values(comparison, at, tx.dialect)
    driver = _driver(tx, shapes, bound, _SELECTIVE_PAGES * limit)
    if driver == _NOTHING:
        return []
    found: list[_Found] = []
    for phase in _phases(shapes, walk):
        if after and phase < after[0]:
            continue
        behind = bool(after) and phase == after[0]
        step = _Step(walk.metric is not None, walk.ascending, walk.oldest, phase, shapes, behind, driver, tx.dialect)
        bound["limit"] = limit - len(found)
        if behind:
            bound |= {"after_value": float(after[1]), "after_start": after[2], "after_run": after[3]}
        rows = tx.all(_step_query(step), bound)
        found += [_found(walk, phase, row) for row in rows]
        if len(found) >= limit:
            break
    return found


def _phases(shapes: Sequence[Shape], walk: _Walk) -> list[int]:
    if walk.metric is None:
        return [_MISSING]
    same = [each.operator for each in shapes if each.entity == grammar.METRIC and each.key == "order"]
    if any(operator != "!=" for operator in same):
        return [_NUMBERS]
    return [_NUMBERS, _NANS] if same else [_NUMBERS, _NANS, _MISSING]


def _found(walk: _Walk, phase: int, row: tuple[Any, ...]) -> _Found:
    run = RunRow._make(row[:-1])
    value = row[-1] if phase == _NUMBERS else 0.0
    key = (phase, value, run.start_ms, run.run_id)
    sort = (phase, value if walk.ascending else -value, run.start_ms if walk.oldest else -run.start_ms, run.run_id)
    return _Found(key, sort, run)


_NOTHING = -1


def _driver(tx: Reader, shapes: tuple[Shape, ...], bound: dict[str, Any], most: int) -> int | None:
    """The comparison that leaves the fewest runs if these are fewer than `most`; None to walk and probe instead."""
    counts: list[tuple[int, int]] = []
    for at, what in enumerate(shapes):
        query = _count_query(what, at, tx.dialect)
        if query is not None:
            counts.append((tx.all(query, {**bound, "most": most})[0][0], at))
    if not counts:
        return None
    count, at = min(counts)
    if count == 0:
        return _NOTHING
    return at if count < most else None


@lru_cache(maxsize=256)
def _count_query(what: Shape, at: int, dialect: str) -> Query | None:
    rows = candidates(what, at, dialect)
    if rows is None or (what.entity == grammar.METRIC and what.key == "order"):
        return None
    return Query(select(func.count()).select_from(rows.limit(bindparam("most")).subquery()))


@lru_cache(maxsize=512)
def _step_query(step: _Step) -> Query:
    return Query(_step_statement(step))


def _step_statement(step: _Step) -> Select[Any]:
    series = metric_series.alias("s")
    conditions: list[ColumnElement[Any]] = [runs.c.active == bindparam("active")]
    if step.driver is not None:
        chosen = candidates(step.shapes[step.driver], step.driver, step.dialect)
        assert chosen is not None
        conditions.append(runs.c.id.in_(chosen))
    if step.by_metric and step.phase != _MISSING:
        rows = select(*_COLUMNS, series.c.value).select_from(series).join(runs, runs.c.id == series.c.run)
        conditions += _in_series(step, series)
    else:
        rows = select(*_COLUMNS, literal_column("0").label("value")).select_from(runs)
        # With a driver the sum keeps the planner from walking the index of the experiment.
        column: ColumnElement[Any] = (
            runs.c.experiment_id if step.driver is None else runs.c.experiment_id + literal_column("0")
        )
        conditions.append(column == bindparam("experiment"))
        if step.by_metric:
            having: Select[Any] = select(literal_column("1")).where(
                series.c.run == runs.c.id, series.c.key == bindparam("order_key")
            )
            conditions.append(~having.exists())
    for at, what in enumerate(step.shapes):
        if not (what.entity == grammar.METRIC and what.key == "order"):
            conditions.append(clause(what, at, step.dialect))
        elif step.by_metric and step.phase != _MISSING:
            conditions.append(metric_value(series, what, at, step.dialect))
    if step.after:
        conditions.append(_behind(step, series))
    return rows.where(*conditions).order_by(*_walk_order(step, series)).limit(bindparam("limit"))


def _in_series(step: _Step, series: Any) -> list[ColumnElement[Any]]:
    column: ColumnElement[Any] = series.c.experiment_id
    if step.driver is not None:
        column = column + literal_column("0")
    return [
        column == bindparam("experiment"),
        series.c.key == bindparam("order_key"),
        series.c.is_nan == (1 if step.phase == _NANS else 0),
    ]


def _walk_order(step: _Step, series: Any) -> list[ColumnElement[Any]]:
    start = runs.c.start_ms if step.oldest else runs.c.start_ms.desc()
    if step.phase != _NUMBERS:
        return [start, runs.c.run_id]
    return [series.c.value if step.ascending else series.c.value.desc(), start, runs.c.run_id]


def _behind(step: _Step, series: Any) -> ColumnElement[Any]:
    """The rows that follow the last one of the page before; the first term bounds the walk of the index."""
    start: Any = bindparam("after_start")
    run: Any = bindparam("after_run")
    later = runs.c.start_ms > start if step.oldest else runs.c.start_ms < start
    bound = runs.c.start_ms >= start if step.oldest else runs.c.start_ms <= start
    if step.phase != _NUMBERS:
        return and_(bound, or_(later, runs.c.run_id > run))
    value: Any = bindparam("after_value")
    column = series.c.value
    reach = column >= value if step.ascending else column <= value
    beyond = column > value if step.ascending else column < value
    return and_(reach, or_(beyond, later, and_(runs.c.start_ms == start, runs.c.run_id > run)))


# --- the sort ---------------------------------------------------------------------------------------------------


def _sorted_page(
    tx: Reader,
    experiments: Sequence[int],
    comparisons: Sequence[Comparison],
    view: ViewType,
    orders: Sequence[Order],
    max_results: int,
    offset: int,
) -> Page[RunRow]:
    statement = select(*_COLUMNS).where(among(runs.c.experiment_id, experiments), among(runs.c.active, view.stages))
    bound: dict[str, Any] = {"limit": max_results + 1, "offset": offset}
    for at, comparison in enumerate(comparisons):
        statement = statement.where(clause(shape(comparison, None), at, tx.dialect))
        bound |= values(comparison, at, tx.dialect)
    joined: Any = runs
    by: list[ColumnElement[Any]] = []
    for at, order in enumerate(orders):
        if order.entity == grammar.ATTRIBUTE:
            by += _attribute_order(order)
            continue
        source = {grammar.METRIC: metric_series, grammar.PARAM: params}.get(order.entity, tags)
        table = source.alias(f"o{at}")
        bound[f"o{at}"] = order.key
        joined = joined.outerjoin(table, and_(table.c.run == runs.c.id, table.c.key == bindparam(f"o{at}")))
        is_metric = order.entity == grammar.METRIC
        rank = func.coalesce(table.c.is_nan, _MISSING) if is_metric else table.c.value.is_(None)
        by += [rank, table.c.value if order.ascending else table.c.value.desc()]
    if not any((order.entity, order.key) == (grammar.ATTRIBUTE, "start_time") for order in orders):
        by.append(runs.c.start_ms.desc())
    statement = statement.select_from(joined).order_by(*by, runs.c.run_id)
    statement = statement.limit(bindparam("limit")).offset(bindparam("offset"))
    rows = [RunRow._make(row) for row in tx.all(Query(statement), bound)]
    more = len(rows) > max_results
    return Page(rows[:max_results], encode(offset + max_results) if more else "")


def _attribute_order(order: Order) -> list[ColumnElement[Any]]:
    column: ColumnElement[Any] = ATTRIBUTES[order.key]
    if order.key == "status":
        names = sorted(STATUSES, key=lambda code: STATUSES[code])
        column = case({code: rank for rank, code in enumerate(names)}, value=column, else_=len(names))
    directed = column if order.ascending else column.desc()
    return [column.is_(None), directed] if order.key == "end_time" else [directed]
