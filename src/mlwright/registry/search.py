"""Search of registered models and versions in MLflow's query language."""

from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Select, bindparam, exists, false, literal_column, select

from mlwright.kernel.errors import Invalid
from mlwright.kernel.query import Query
from mlwright.kernel.search import grammar
from mlwright.kernel.search.grammar import MODEL_VERSIONS, REGISTERED_MODELS, Comparison
from mlwright.kernel.search.match import bound, compare
from mlwright.kernel.search.page import Page, check_orders, decode, encode
from mlwright.registry.service import rows
from mlwright.registry.spec import PROMPT_TAG
from mlwright.registry.tables import model_version_tags, model_versions, registered_model_tags, registered_models

MAX_MODELS = 1_000
MAX_VERSIONS = 200_000
_DEFAULT_ORDER = ("last_updated_timestamp DESC", "name ASC", "version_number DESC")
_VERSION_COLUMNS: dict[str, ColumnElement[Any]] = {
    "name": model_versions.c.name,
    "version_number": model_versions.c.version,
    "run_id": model_versions.c.run_id,
    "source_path": model_versions.c.source,
    "creation_timestamp": model_versions.c.created_ms,
    "last_updated_timestamp": model_versions.c.updated_ms,
}
_MODEL_ORDERS: dict[str, ColumnElement[Any]] = {
    "name": registered_models.c.name,
    "timestamp": registered_models.c.updated_ms,
    "last_updated_timestamp": registered_models.c.updated_ms,
}
#: The keys of tags are part of the text, so that the partial indexes of prompts fit.
_IS_PROMPT: tuple[ColumnElement[Any], ColumnElement[Any]] = literal_column(f"'{PROMPT_TAG}'"), literal_column("'true'")
_prompt_models = select(registered_model_tags.c.model).where(
    registered_model_tags.c.key == _IS_PROMPT[0], registered_model_tags.c.value == _IS_PROMPT[1]
)
_prompt_versions = (
    select(model_versions.c.model)
    .join(model_version_tags, model_version_tags.c.version == model_versions.c.id)
    .where(model_version_tags.c.key == _IS_PROMPT[0], model_version_tags.c.value == _IS_PROMPT[1])
)


class Reader(Protocol):
    """What a search needs of a transaction."""

    @property
    def dialect(self) -> str: ...
    def all(self, query: Query, params: Any = None) -> list[tuple[Any, ...]]: ...


Row = tuple[Any, ...]


def search_models(
    tx: Reader,
    projects: Sequence[str],
    filter: str = "",  # noqa: A002 - MLflow's own word
    order_by: Sequence[str] = (),
    max_results: int = 100,
    page_token: str = "",
) -> Page[Row]:
    """One page of rows of `rows.MODEL_COLUMNS`, by name unless ordered otherwise; prompts only when asked for.

    Raises Invalid when the filter, an order, the token or max_results is wrong.
    """
    if not 0 <= max_results <= MAX_MODELS:
        raise Invalid(
            f"Invalid value for request parameter max_results. It must be at most {MAX_MODELS}, but got value"
            f" {max_results}",
            path="max_results",
        )
    parsed = REGISTERED_MODELS.filter(filter)
    order = _model_order(order_by)
    comparisons, prompts = _read(parsed)
    columns: dict[str, ColumnElement[Any]] = {"name": registered_models.c.name}
    statement = select(*rows.MODEL_COLUMNS).where(
        _in_projects(registered_models.c.project, projects),
        *(
            _condition(each, at, tx.dialect, columns, registered_model_tags, registered_model_tags.c.model,
                       registered_models.c.id)
            for at, each in enumerate(comparisons)
        ),
    )  # fmt: skip
    if not prompts:
        statement = statement.where(registered_models.c.id.not_in(_prompt_models))
    return _page(tx, statement.order_by(*order), max_results, page_token)


def search_versions(
    tx: Reader,
    projects: Sequence[str],
    filter: str = "",  # noqa: A002 - MLflow's own word
    order_by: Sequence[str] = (),
    max_results: int = 10_000,
    page_token: str = "",
) -> Page[Row]:
    """One page of rows of `rows.VERSION_COLUMNS`, last changed first unless ordered otherwise, without prompts.

    Raises Invalid when the filter, an order, the token or max_results is wrong.
    """
    if max_results < 1:
        raise Invalid(
            f"Invalid value for max_results. It must be a positive integer, but got {max_results}", path="max_results"
        )
    if max_results > MAX_VERSIONS:
        raise Invalid(
            f"Invalid value for request parameter max_results. It must be at most {MAX_VERSIONS}, but got value"
            f" {max_results}",
            path="max_results",
        )
    comparisons, prompts = _read(MODEL_VERSIONS.filter(filter))
    order = _version_order(order_by or _DEFAULT_ORDER)
    statement = select(*rows.VERSION_COLUMNS).where(
        _in_projects(model_versions.c.project, projects),
        *(
            _condition(each, at, tx.dialect, _VERSION_COLUMNS, model_version_tags, model_version_tags.c.version,
                       model_versions.c.id)
            for at, each in enumerate(comparisons)
        ),
    )  # fmt: skip
    if not prompts:
        statement = statement.where(model_versions.c.model.not_in(_prompt_versions))
    return _page(tx, statement.order_by(*order), max_results, page_token)


def versions_of(tx: Reader, model: int, max_results: int, page_token: str = "") -> Page[Row]:
    """One page of the versions of one model (its row number), newest first."""
    statement = select(*rows.VERSION_COLUMNS).where(model_versions.c.model == model)
    return _page(tx, statement.order_by(model_versions.c.version.desc()), max_results, page_token)


def _read(parsed: Sequence[Comparison]) -> tuple[list[Comparison], bool]:
    """The checked comparisons of a filter, and whether it wants prompts.

    As in MLflow, the first comparison of the prompts' tag decides; when prompts are not wanted, the tag says no more.
    """
    comparisons = [_checked(each) for each in parsed]
    others = [each for each in comparisons if each.entity != grammar.TAG or each.key != PROMPT_TAG]
    first = next((each for each in comparisons if each not in others), None)
    wanted = first is not None and (first.operator, str(first.value).lower()) in {("=", "true"), ("!=", "false")}
    return (comparisons if wanted else others), wanted


def _page(tx: Reader, statement: Select[Any], max_results: int, page_token: str) -> Page[Row]:
    offset = decode(page_token).offset
    found = tx.all(Query(statement.limit(max_results + 1).offset(offset)))
    token = encode(offset + max_results) if len(found) > max_results else ""
    return Page(found[:max_results], token)


def _in_projects(column: ColumnElement[Any], projects: Sequence[str]) -> ColumnElement[bool]:
    if not projects:
        return false()
    return column.in_([bindparam(f"p{at}", project) for at, project in enumerate(projects)])


def _model_order(clauses: Sequence[str]) -> list[ColumnElement[Any]]:
    check_orders(clauses)
    found: list[ColumnElement[Any]] = []
    seen: list[ColumnElement[Any]] = []
    for clause in clauses:
        name, ascending = grammar.order_text(clause)
        column = _MODEL_ORDERS.get(name.strip())
        if column is None:
            valid = grammar.as_set(("name", "timestamp"))
            raise Invalid(f"Invalid order by key '{name.strip()}' specified. Valid keys are '{valid}'", path="order_by")
        _check_new(column, seen, clauses)
        seen.append(column)
        found.append(column if ascending else column.desc())
    return found if registered_models.c.name in seen else [*found, registered_models.c.name]


def _version_order(clauses: Sequence[str]) -> list[ColumnElement[Any]]:
    check_orders(clauses)
    found: list[ColumnElement[Any]] = []
    seen: list[ColumnElement[Any]] = []
    for clause in clauses:
        order = MODEL_VERSIONS.order(clause)
        column = _VERSION_COLUMNS.get(order.key) if order.key in MODEL_VERSIONS.orders else None
        if column is None:
            valid = grammar.as_set(MODEL_VERSIONS.orders)
            raise Invalid(f"Invalid order by key '{order.key}' specified. Valid keys are {valid}", path="order_by")
        _check_new(column, seen, clauses)
        seen.append(column)
        found.append(column if order.ascending else column.desc())
    if model_versions.c.name not in seen:
        found.append(model_versions.c.name)
    if model_versions.c.version not in seen:
        found.append(model_versions.c.version.desc())
    return found


def _check_new(column: ColumnElement[Any], seen: Sequence[ColumnElement[Any]], clauses: Sequence[str]) -> None:
    if any(column is each for each in seen):
        raise Invalid(f"`order_by` contains duplicate fields: {list(clauses)}", path="order_by")


def _checked(comparison: Comparison) -> Comparison:
    """The comparison with a number where the column has numbers. Raises Invalid for an operator that does not suit."""
    key, operator, value = comparison.key, comparison.operator, comparison.value
    if comparison.entity == grammar.TAG:
        if operator not in grammar.TEXT_OPERATORS:
            raise Invalid(f"Invalid comparator for tag: {operator}", path="filter")
        return comparison
    if key == "version_number":
        if operator not in grammar.NUMERIC_OPERATORS:
            raise Invalid(f"Invalid comparator for attribute {key}: {operator}", path="filter")
        if not isinstance(value, int):
            raise Invalid(f"Invalid value for numeric attribute '{key}': {value!r}", path="filter")
        return comparison
    if operator not in grammar.LIST_OPERATORS or (operator in ("IN", "NOT IN") and key == "source_path"):
        raise Invalid(f"Invalid comparator for attribute: {operator}", path="filter")
    if isinstance(value, tuple) != (operator in ("IN", "NOT IN")):
        raise Invalid(f"Invalid value for comparator '{operator}': {value!r}", path="filter")
    return comparison


def _condition(
    comparison: Comparison,
    at: int,
    dialect: str,
    columns: dict[str, ColumnElement[Any]],
    tags: Any,
    owner: ColumnElement[Any],
    row: ColumnElement[Any],
) -> ColumnElement[Any]:
    """The condition for comparison number `at`.

    Args:
        columns: attributes of the table that is searched.
        tags, owner: the table of tags, and its column with the `row` that a tag belongs to.
    """
    key, operator, value = comparison.key, comparison.operator, comparison.value
    if comparison.entity == grammar.TAG:
        tag = tags.alias(f"t{at}")
        matching: Select[Any] = select(literal_column("1")).where(tag.c[owner.key] == row, tag.c.key == key)
        return exists(matching.where(compare(tag.c.value, operator, bound(operator, value, dialect), dialect)))
    if isinstance(value, tuple):
        listed = columns[key].in_([bindparam(f"v{at}_{i}", each) for i, each in enumerate(value)])
        return listed if operator == "IN" else ~listed
    return compare(columns[key], operator, bound(operator, value, dialect), dialect)
