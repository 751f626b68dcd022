"""Search of runs: MLflow's semantics, by walking indexes in order instead of sorting.

Two plans. The *walk* serves the orders people use all day (newest first, or by one metric), see walk.py. Everything
else is *sorted* by the database.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, case, func, select
from sqlalchemy.sql import ColumnElement

from mlwright.kernel.query import Query
from mlwright.kernel.search import grammar
from mlwright.kernel.search.grammar import Comparison, Order
from mlwright.kernel.search.page import Page, check_max_results, check_orders, decode, encode, fingerprint
from mlwright.tracking.search.conditions import ATTRIBUTES, NULLABLE, NUMERIC, STATUSES, among, clause, shape, values
from mlwright.tracking.search.reader import Reader
from mlwright.tracking.search.steps import COLUMNS, Phase, RunRow
from mlwright.tracking.search.walk import Part, Walk, is_key, walk_page
from mlwright.tracking.service import waiting
from mlwright.tracking.spec import ViewType
from mlwright.tracking.tables import metric_series, params, runs, tags

#: Most parts that are merged; more (many experiments at once) are sorted by the database.
_MOST_PARTS = 16


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
    check_orders(order_by)
    comparisons = grammar.run_filter(filter)
    orders = grammar.run_orders(order_by)
    for comparison in comparisons:
        grammar.check_operator(comparison, NUMERIC, NULLABLE)
    experiments = sorted(set(experiment_ids))
    query = fingerprint(experiments, filter, int(view), orders)
    place = decode(page_token, query)
    if not experiments:
        return Page([], "")
    if grammar.METRIC in {*(each.entity for each in comparisons), *(each.entity for each in orders)}:
        waiting.settle(tx, experiments=experiments, newest=True)
    parts = [Part(experiment, active) for experiment in experiments for active in view.stages]
    walk = _walkable(orders)
    fits = walk is not None and len(parts) <= _MOST_PARTS and (not place.offset or is_key(place.after))
    if walk is None or not fits:
        return _sorted_page(tx, experiments, comparisons, view, orders, max_results, place.offset)
    found = walk_page(tx, parts, comparisons, walk, max_results + 1, place.after)
    if len(found) <= max_results:
        return Page([each.row for each in found], "")
    del found[max_results:]
    token = encode(place.offset + max_results, found[-1].key, query)
    return Page([each.row for each in found], token)


def _walkable(orders: Sequence[Order]) -> Walk | None:
    rest = list(orders)
    metric, ascending = None, True
    if rest and rest[0].entity == grammar.METRIC:
        metric, ascending = rest[0].key, rest[0].ascending
        del rest[0]
    if not rest:
        return Walk(metric, ascending)
    if len(rest) == 1 and (rest[0].entity, rest[0].key) == (grammar.ATTRIBUTE, "start_time"):
        return Walk(metric, ascending, rest[0].ascending)
    return None


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
    statement = select(*COLUMNS).where(among(runs.c.experiment_id, experiments), among(runs.c.active, view.stages))
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
        rank = func.coalesce(table.c.is_nan, Phase.MISSING) if is_metric else table.c.value.is_(None)
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
