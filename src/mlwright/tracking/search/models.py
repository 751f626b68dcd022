"""Search of logged models. MLflow has a grammar of its own for them, and filters on every logged metric value."""

import ast
import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, exists, false, func, literal_column, or_, select

from mlwright.kernel.errors import Invalid
from mlwright.kernel.query import Query
from mlwright.kernel.search import grammar, tokens
from mlwright.kernel.search.grammar import Comparison
from mlwright.kernel.search.match import bound, compare, matches
from mlwright.kernel.search.page import MAX_RESULTS, Page, check_orders
from mlwright.tracking.search.conditions import among
from mlwright.tracking.search.reader import Reader
from mlwright.tracking.spec import ModelStatus
from mlwright.tracking.tables import logged_model_metrics, logged_model_params, logged_model_tags, logged_models

_DEFAULT_RESULTS = 100
_STATUSES = {status.value: status.name for status in ModelStatus}
_ENTITIES = {
    "attributes": grammar.ATTRIBUTE, "metrics": grammar.METRIC, "params": grammar.PARAM, "tags": grammar.TAG,
}  # fmt: skip
_ALIASES = {
    "creation_time": "creation_timestamp_ms",
    "creation_timestamp": "creation_timestamp_ms",
    "last_updated_timestamp": "last_updated_timestamp_ms",
}
_ATTRIBUTES = {
    "artifact_location": logged_models.c.artifact_uri,
    "creation_timestamp_ms": logged_models.c.created_ms,
    "experiment_id": logged_models.c.experiment_id,
    "last_updated_timestamp_ms": logged_models.c.updated_ms,
    "model_id": logged_models.c.model_id,
    "model_type": logged_models.c.model_type,
    "name": logged_models.c.name,
    "source_run_id": logged_models.c.source_run_id,
    "status": logged_models.c.status,
    "status_message": logged_models.c.status_message,
}
_NUMERIC = ("creation_timestamp_ms", "last_updated_timestamp_ms")
_NUMERIC_OPERATORS = ("<", "<=", ">", ">=", "=", "!=")
_TEXT_OPERATORS = ("=", "!=", "LIKE", "ILIKE", "IN", "NOT IN")
_IDENTIFIER = re.compile(r"([a-z]+)\.(.+)")


class LoggedModelRow(NamedTuple):
    """A row of the table `logged_models`; times are Unix milliseconds."""

    id: int
    model_id: str
    experiment_id: int
    name: str
    artifact_uri: str
    created_ms: int
    updated_ms: int
    status: int
    status_message: str | None
    model_type: str | None
    source_run_id: str | None
    active: int


@dataclass(frozen=True, slots=True)
class DatasetFilter:
    """A dataset that metrics were computed on; an empty digest means any."""

    name: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """One order: an attribute, or "metrics.<name>" (its latest value, on the dataset when one is named)."""

    field_name: str
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


def search_logged_models(
    tx: Reader,
    experiment_ids: Sequence[int],
    filter: str = "",  # noqa: A002 - MLflow's own word
    datasets: Sequence[DatasetFilter] = (),
    order_by: Sequence[ModelOrder] = (),
    max_results: int = 0,
    page_token: str = "",
) -> Page[LoggedModelRow]:
    """One page of the live logged models of some experiments, newest first unless ordered otherwise.

    Args:
        filter: such as "metrics.f1 > 0.9 AND params.depth = '3'". Metrics match when any logged value does.
        datasets: only metrics on one of these datasets count; without a metric in the filter, only models that have
            any metric on them are found.
        max_results: 0 means 100.

    Raises:
        Invalid: the filter, an order, a dataset, the token or max_results is wrong.
    """
    if not 0 <= max_results <= MAX_RESULTS:
        raise Invalid(
            f"Invalid value {max_results} for parameter 'max_results' supplied. It must be at most {MAX_RESULTS}",
            path="max_results",
        )
    check_orders(order_by)
    if any(not dataset.name for dataset in datasets):
        raise Invalid("`dataset_name` in the `datasets` clause must be specified.", path="datasets")
    offset = _offset(page_token, experiment_ids, filter, order_by) if page_token else 0
    comparisons = model_filter(filter)
    statement = select(*(logged_models.c[name] for name in LoggedModelRow._fields)).where(
        among(logged_models.c.experiment_id, experiment_ids),
        logged_models.c.active == literal_column("1"),
        *(_condition(comparison, datasets, tx.dialect) for comparison in comparisons),
    )
    if datasets and not any(comparison.entity == grammar.METRIC for comparison in comparisons):
        statement = statement.where(exists(_metric_rows(datasets)))
    statement = _ordered(statement, order_by)
    for each in comparisons:
        if isinstance(each.value, tuple) != (each.operator in ("IN", "NOT IN")):
            raise Invalid(f"Invalid value for comparator '{each.operator}': {each.value!r}", path="filter")
    limit = max_results or _DEFAULT_RESULTS
    rows = [LoggedModelRow._make(row) for row in tx.all(Query(statement.limit(limit + 1).offset(offset)))]
    token = _token(experiment_ids, filter, order_by, offset + limit) if len(rows) > limit else ""
    return Page(rows[:limit], token)


# --- the grammar ------------------------------------------------------------------------------------------------


def model_filter(text: str) -> list[Comparison]:
    """The comparisons of a filter of logged models. Raises Invalid."""
    if not text:
        return []
    try:
        text.encode()
        count = tokens.statements(text) if "\0" not in text else 0
    except ValueError as error:
        raise Invalid(f"Invalid filter string: {text!a}", path="filter") from error
    if count != 1:
        raise Invalid(f"Invalid filter string: {text!r}. Expected a single SQL expression.", path="filter")
    found = []
    for token in tokens.joined(tokens.group(text)):
        if token.kind is tokens.Kind.COMPARISON:
            found.append(_comparison(token))
        elif token.text.strip().upper() != "AND":
            raise Invalid(
                f"Invalid filter string: {text!r}. Expected a list of comparisons separated by 'AND' "
                "(e.g. 'metrics.loss > 0.1 AND params.lr = 0.01').",
                path="filter",
            )
    return found


def _comparison(token: tokens.Token) -> Comparison:
    if len(token.parts) != 3:
        raise Invalid(f"Invalid comparison: {token.text}. Expected a comparison with 3 tokens.", path="filter")
    left, middle, right = token.parts
    entity, key = _entity(left.text)
    operator = middle.text.upper()
    is_number = entity == grammar.METRIC or (entity == grammar.ATTRIBUTE and _ALIASES.get(key, key) in _NUMERIC)
    fitting = _NUMERIC_OPERATORS if is_number else _TEXT_OPERATORS
    if operator not in fitting:
        plural = next(name for name, kind in _ENTITIES.items() if kind == entity)
        raise Invalid(
            f"Invalid comparison operator for {plural}.{key}: {operator!r}. Expected one of {fitting}.", path="filter"
        )
    if entity == grammar.ATTRIBUTE and _ALIASES.get(key, key) not in _ATTRIBUTES:
        raise Invalid(f"Invalid logged model search key '{key}'", path="filter")
    if entity == grammar.ATTRIBUTE:
        key = _ALIASES.get(key, key)
    value = _number(right.text) if is_number else _text(right.text)
    return Comparison(entity, key, operator, value)


def _entity(text: str) -> tuple[str, str]:
    match = _IDENTIFIER.fullmatch(text)
    if match is None:
        return grammar.ATTRIBUTE, _ALIASES.get(text, text).strip("`")
    kind, key = match.groups()
    if kind not in _ENTITIES:
        raise Invalid(f"Invalid entity type: {kind!r}. Expected one of {list(_ENTITIES)}.", path="filter")
    return _ENTITIES[kind], key.strip("`")


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Invalid(str(error), path="filter") from error


def _text(text: str) -> str | tuple[str, ...]:
    """Like MLflow, only single quotes are taken off, and all of them at both ends."""
    if not (text.startswith("(") and text.endswith(")")):
        return text.strip("'")
    try:
        found = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError, TypeError) as error:
        raise Invalid(f"Expected a list of quoted string values, found {text}", path="filter") from error
    values = (found,) if isinstance(found, str) else found
    if not isinstance(values, tuple) or not all(isinstance(value, str) for value in values):
        raise Invalid(f"Expected a list of quoted string values, found {text}", path="filter")
    return values


# --- SQL --------------------------------------------------------------------------------------------------------


def _condition(comparison: Comparison, datasets: Sequence[DatasetFilter], dialect: str) -> ColumnElement[Any]:
    operator, value = comparison.operator, comparison.value
    if comparison.entity == grammar.ATTRIBUTE:
        return _attribute(comparison, dialect)
    if comparison.entity == grammar.METRIC:
        column = logged_model_metrics.c.value
        fits = compare(column, operator, value, dialect)
        if operator == "!=":
            fits = or_(fits, logged_model_metrics.c.is_nan == literal_column("1"))
        return exists(_metric_rows(datasets).where(logged_model_metrics.c.key == comparison.key, fits))
    table = logged_model_params if comparison.entity == grammar.PARAM else logged_model_tags
    rows: Select[Any] = select(literal_column("1")).where(
        table.c.model == logged_models.c.id, table.c.key == comparison.key
    )
    return exists(rows.where(_compared(table.c.value, comparison, dialect)))


def _attribute(comparison: Comparison, dialect: str) -> ColumnElement[Any]:
    value = comparison.value
    if comparison.key == "status":
        assert isinstance(value, (str, tuple))
        codes = [code for code, name in _STATUSES.items() if matches(name, comparison.operator, value)]
        return among(logged_models.c.status, codes)
    if comparison.key == "experiment_id":
        listed = value if isinstance(value, tuple) else (str(value),)
        if comparison.operator in ("LIKE", "ILIKE") or not all(re.fullmatch(r"\d{1,18}", each) for each in listed):
            return false()
        found = among(logged_models.c.experiment_id, [int(each) for each in listed])
        return found if comparison.operator in ("=", "IN") else ~found
    return _compared(_ATTRIBUTES[comparison.key], comparison, dialect)


def _compared(column: Any, comparison: Comparison, dialect: str) -> ColumnElement[Any]:
    operator, value = comparison.operator, comparison.value
    if isinstance(value, tuple):
        found: ColumnElement[Any] = or_(false(), *(column == each for each in value))
        return found if operator == "IN" else and_(column.is_not(None), ~found)
    return compare(column, operator, bound(operator, value, dialect), dialect)


def _on(table: Any, name: str, digest: str) -> ColumnElement[Any]:
    named: ColumnElement[Any] = table.c.dataset_name == name
    return and_(named, table.c.dataset_digest == digest) if digest else named


def _metric_rows(datasets: Sequence[DatasetFilter]) -> Select[Any]:
    table = logged_model_metrics
    rows: Select[Any] = select(literal_column("1")).where(table.c.model == logged_models.c.id)
    return rows.where(or_(*(_on(table, each.name, each.digest) for each in datasets))) if datasets else rows


def _ordered(statement: Select[Any], order_by: Sequence[ModelOrder]) -> Select[Any]:
    joined: Any = logged_models
    by: list[ColumnElement[Any]] = []
    named = set()
    for order in order_by:
        entity, dot, metric = order.field_name.partition(".")
        if not dot:
            name = _ALIASES.get(order.field_name, order.field_name)
            if name not in _ATTRIBUTES:
                raise Invalid(f"Invalid order by field name: {order.field_name}", path="order_by")
            named.add(name)
            column: Any = _ATTRIBUTES[name]
            by += [column.is_(None), column if order.ascending else column.desc()]
            continue
        if entity != "metrics":
            raise Invalid(
                f"Invalid order by field name: {order.field_name}. Only metrics are supported.", path="order_by"
            )
        latest = _latest(metric, order)
        joined = joined.outerjoin(latest, and_(latest.c.model == logged_models.c.id, latest.c.rank == 1))
        by += [func.coalesce(latest.c.is_nan, 2), latest.c.value if order.ascending else latest.c.value.desc()]
    if "creation_timestamp_ms" not in named:
        by.append(logged_models.c.created_ms.desc())
    if "model_id" not in named:
        by.append(logged_models.c.model_id)
    return statement.select_from(joined).order_by(*by)


def _latest(metric: str, order: ModelOrder) -> Any:
    """The metric's rows with their rank per model: 1 for the latest."""
    table = logged_model_metrics
    rank = func.row_number().over(
        partition_by=table.c.model, order_by=[table.c.timestamp_ms.desc(), table.c.step.desc(), table.c.run_id]
    )
    rows = select(table.c.model, table.c.value, table.c.is_nan, rank.label("rank")).where(table.c.key == metric)
    if order.dataset_name:
        rows = rows.where(table.c.dataset_name == order.dataset_name)
    if order.dataset_digest:
        rows = rows.where(table.c.dataset_digest == order.dataset_digest)
    return rows.subquery()


# --- pages ------------------------------------------------------------------------------------------------------


def _query(experiment_ids: Sequence[int], text: str, order_by: Sequence[ModelOrder]) -> dict[str, Any]:
    orders = [
        {
            "field_name": order.field_name,
            "ascending": order.ascending,
            "dataset_name": order.dataset_name or None,
            "dataset_digest": order.dataset_digest or None,
        }
        for order in order_by
    ]
    return {
        "experiment_ids": [str(number) for number in experiment_ids],
        "filter_string": text or None,
        "order_by": orders or None,
    }


def _token(experiment_ids: Sequence[int], text: str, order_by: Sequence[ModelOrder], offset: int) -> str:
    document = {**_query(experiment_ids, text, order_by), "offset": offset}
    return base64.b64encode(json.dumps(document).encode()).decode()


def _offset(token: str, experiment_ids: Sequence[int], text: str, order_by: Sequence[ModelOrder]) -> int:
    try:
        parsed = json.loads(base64.b64decode(token))
    except (ValueError, RecursionError) as error:
        raise Invalid(f"Invalid page token: {ascii(token)[1:-1]}. {error}", path="page_token") from error
    if not isinstance(parsed, Mapping):
        raise Invalid(f"Invalid page token: {token}", path="page_token")
    words = {
        "experiment_ids": ("Experiment IDs", "experiment IDs"),
        "filter_string": ("Filter string", "filter string"),
        "order_by": ("Order by", "order by"),
    }
    verbs = {"experiment_ids": "do", "filter_string": "does", "order_by": "does"}
    for field, expected in _query(experiment_ids, text, order_by).items():
        found = parsed.get(field) or (None if field != "experiment_ids" else parsed.get(field))
        if found != expected:
            what, which = words[field]
            raise Invalid(
                f"{what} in the page token {verbs[field]} not match the requested {which}. "
                f"Expected: {expected}. Found: {found}",
                path="page_token",
            )
    offset = parsed.get("offset") or 0
    if not isinstance(offset, int) or not 0 <= offset < 1 << 62:
        raise Invalid(f"Invalid page token: {token}", path="page_token")
    return offset
