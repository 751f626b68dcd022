"""Search of experiments: few rows, so the database filters and sorts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, exists, literal_column, select

from mlwright.kernel.errors import Invalid
from mlwright.kernel.query import Query
from mlwright.kernel.search import grammar
from mlwright.kernel.search.grammar import EXPERIMENTS, LIST_OPERATORS, NUMERIC_OPERATORS, TEXT_OPERATORS, Comparison
from mlwright.kernel.search.match import bound, compare
from mlwright.kernel.search.page import Page, check_max_results, check_orders, decode, encode
from mlwright.tracking.search.conditions import among
from mlwright.tracking.search.reader import Reader
from mlwright.tracking.spec import ViewType
from mlwright.tracking.tables import experiment_tags, experiments

_DEFAULT_ORDER = ("creation_time DESC", "experiment_id ASC")
_COLUMNS = {
    "name": experiments.c.name,
    "experiment_id": experiments.c.id,
    "creation_time": experiments.c.created_ms,
    "last_update_time": experiments.c.updated_ms,
}


class ExperimentRow(NamedTuple):
    """A row of the table `experiments`; times are Unix milliseconds."""

    id: int
    project: str
    name: str
    artifact_location: str
    active: int
    created_ms: int
    updated_ms: int


def search_experiments(
    tx: Reader,
    projects: Sequence[str],
    filter: str = "",  # noqa: A002 - MLflow's own word
    view: ViewType = ViewType.ACTIVE_ONLY,
    order_by: Sequence[str] = (),
    max_results: int = 1000,
    page_token: str = "",
) -> Page[ExperimentRow]:
    """One page of the experiments of some projects, newest first unless ordered otherwise.

    Raises:
        Invalid: the filter, an order, the token or max_results is wrong.
    """
    check_max_results(max_results)
    check_orders(order_by)
    checked = [_checked(comparison) for comparison in EXPERIMENTS.filter(filter)]
    order = _order(order_by or _DEFAULT_ORDER)
    offset = decode(page_token).offset
    statement = select(*(experiments.c[name] for name in ExperimentRow._fields)).where(
        experiments.c.project.in_([bindparam(f"p{at}", project) for at, project in enumerate(projects)]),
        among(experiments.c.active, view.stages),
        *(_condition(comparison, at, tx.dialect) for at, comparison in enumerate(checked)),
    )
    statement = statement.order_by(*order).limit(max_results + 1).offset(offset)
    rows = [ExperimentRow._make(row) for row in tx.all(Query(statement))] if projects else []
    token = encode(offset + max_results) if len(rows) > max_results else ""
    return Page(rows[:max_results], token)


def _order(clauses: Sequence[str]) -> list[ColumnElement[Any]]:
    parsed = [EXPERIMENTS.order(clause) for clause in clauses]
    for order in parsed:
        if order.entity != grammar.ATTRIBUTE:
            raise Invalid(f"Invalid order_by entity: {order.entity}", path="order_by")
    found: list[ColumnElement[Any]] = [
        _COLUMNS[order.key] if order.ascending else _COLUMNS[order.key].desc() for order in parsed
    ]
    if not any(order.key == "experiment_id" for order in parsed):
        found.append(experiments.c.id.desc())
    return found


def _checked(comparison: Comparison) -> Comparison:
    """The comparison with its values as numbers where the column has numbers."""
    key, operator, value = comparison.key, comparison.operator, comparison.value
    if comparison.entity == grammar.TAG:
        if operator not in (*TEXT_OPERATORS, "IS NULL", "IS NOT NULL"):
            raise Invalid(f"Invalid comparator for tag: {operator}", path="filter")
        return comparison
    if key == "experiment_id":
        if operator not in ("=", "!=", "IN", "NOT IN"):
            raise Invalid(f"Invalid comparator for experiment_id: {operator}", path="filter")
        if isinstance(value, tuple) != (operator in ("IN", "NOT IN")):
            raise Invalid(f"Invalid value for comparator '{operator}': {value!r}", path="filter")
        listed = value if isinstance(value, tuple) else (str(value),)
        return Comparison(comparison.entity, key, operator, tuple(str(_experiment_id(each)) for each in listed))
    if key in EXPERIMENTS.numeric:
        _check_number(key, operator, value)
        return comparison
    if operator not in LIST_OPERATORS:
        names = grammar.as_set(LIST_OPERATORS)
        raise Invalid(f"Invalid comparator '{operator}' not one of '{names}'", path="filter")
    if operator not in TEXT_OPERATORS:
        raise Invalid(f"Invalid comparator for string attribute: {operator}", path="filter")
    return comparison


def _check_number(key: str, operator: str, value: grammar.Value) -> None:
    if operator not in NUMERIC_OPERATORS:
        names = grammar.as_set(LIST_OPERATORS)
        raise Invalid(f"Invalid comparator '{operator}' not one of '{names}", path="filter")
    if isinstance(value, float):
        raise Invalid(f"Invalid value for numeric attribute '{key}': {str(value)!r}", path="filter")


def _experiment_id(text: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise Invalid(
            f"Invalid experiment ID '{text}'. Experiment ID must be a valid integer.", path="filter"
        ) from error
    return number if -(1 << 63) <= number < 1 << 63 else -1


def _condition(comparison: Comparison, at: int, dialect: str) -> ColumnElement[Any]:
    key, operator, value = comparison.key, comparison.operator, comparison.value
    if comparison.entity == grammar.TAG:
        tag = experiment_tags.alias(f"t{at}")
        rows: Select[Any] = select(literal_column("1")).where(tag.c.experiment_id == experiments.c.id, tag.c.key == key)
        if operator == "IS NULL":
            return ~exists(rows)
        if operator == "IS NOT NULL":
            return exists(rows)
        return exists(rows.where(compare(tag.c.value, operator, bound(operator, value, dialect), dialect)))
    if isinstance(value, tuple):
        found = among(experiments.c.id, [int(each) for each in value])
        return found if operator in ("=", "IN") else ~found
    return compare(_COLUMNS[key], operator, bound(operator, value, dialect), dialect)
