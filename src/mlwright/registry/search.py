"""Search of registered models and versions in MLflow's query language.

What of a search decides its SQL is its shape; the values are bound. Statements are cached by shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

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
#: The key of prompts is part of the text, so that the partial indexes of prompts fit.
_PROMPT: Sequence[ColumnElement[Any]] = literal_column(f"'{PROMPT_TAG}'"), literal_column("'true'")
_prompt_models = select(registered_model_tags.c.model).where(
    registered_model_tags.c.key == _PROMPT[0], registered_model_tags.c.value == _PROMPT[1]
)
_prompt_versions = (
    select(model_versions.c.model)
    .join(model_version_tags, model_version_tags.c.version == model_versions.c.id)
    .where(model_version_tags.c.key == _PROMPT[0], model_version_tags.c.value == _PROMPT[1])
)

Row = tuple[Any, ...]


class Reader(Protocol):
    """What a search needs of a transaction."""

    @property
    def dialect(self) -> str: ...
    def all(self, query: Query, params: Any = None) -> list[tuple[Any, ...]]: ...


@dataclass(frozen=True, eq=False)
class _Kind:
    """What is searched.

    Attributes:
        columns: what is read.
        attributes, orders: by the words of filters and orders.
        row, project: columns of the table.
        tags, owner: the table of tags, and its column that holds `row`.
        no_prompt: the condition that it is not a prompt.
    """

    columns: Sequence[ColumnElement[Any]]
    attributes: Mapping[str, ColumnElement[Any]]
    orders: Mapping[str, ColumnElement[Any]]
    row: ColumnElement[Any]
    project: ColumnElement[Any]
    tags: Any
    owner: str
    no_prompt: ColumnElement[bool]


_MODELS = _Kind(
    columns=rows.MODEL_COLUMNS,
    attributes={"name": registered_models.c.name},
    orders={
        "name": registered_models.c.name,
        "timestamp": registered_models.c.updated_ms,
        "last_updated_timestamp": registered_models.c.updated_ms,
    },
    row=registered_models.c.id,
    project=registered_models.c.project,
    tags=registered_model_tags,
    owner="model",
    no_prompt=registered_models.c.id.not_in(_prompt_models),
)
_VERSIONS = _Kind(
    columns=rows.VERSION_COLUMNS,
    attributes={
        "name": model_versions.c.name,
        "version_number": model_versions.c.version,
        "run_id": model_versions.c.run_id,
        "source_path": model_versions.c.source,
    },
    orders={
        "name": model_versions.c.name,
        "version_number": model_versions.c.version,
        "creation_timestamp": model_versions.c.created_ms,
        "last_updated_timestamp": model_versions.c.updated_ms,
    },
    row=model_versions.c.id,
    project=model_versions.c.project,
    tags=model_version_tags,
    owner="version",
    no_prompt=model_versions.c.model.not_in(_prompt_versions),
)
_of_run = Query(
    select(*rows.VERSION_COLUMNS, model_versions.c.model)
    .where(model_versions.c.run_id == bindparam("run"))
    .order_by(model_versions.c.id.desc())
    .limit(bindparam("limit"))
)
_of_model = Query(
    select(*rows.VERSION_COLUMNS)
    .where(model_versions.c.model == bindparam("model"))
    .order_by(model_versions.c.version.desc())
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)


class _Shape(NamedTuple):
    """What of a comparison decides its SQL: for attributes the key, for lists the length."""

    entity: str
    key: str
    operator: str
    length: int


class _By(NamedTuple):
    """A checked order."""

    key: str
    ascending: bool


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
    return _search(tx, _MODELS, projects, parsed, order, max_results, page_token)


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
    parsed = MODEL_VERSIONS.filter(filter)
    for each in parsed:
        _checked(each)  # MLflow complains about filters before orders here, and after them in searches of models
    order = _version_order(order_by or _DEFAULT_ORDER)
    return _search(tx, _VERSIONS, projects, parsed, order, max_results, page_token)


def versions_of(tx: Reader, model: int, max_results: int, page_token: str = "") -> Page[Row]:
    """One page of the versions of one model (its row number), newest first."""
    return _page(tx, _of_model, {"model": model}, max_results, page_token)


def versions_of_run(tx: Reader, run_id: str, limit: int) -> list[Row]:
    """Rows of `rows.VERSION_COLUMNS` and their models' row numbers, of all projects, the newest first."""
    return tx.all(_of_run, {"run": run_id, "limit": limit})


def _search(
    tx: Reader,
    kind: _Kind,
    projects: Sequence[str],
    parsed: Sequence[Comparison],
    order: Sequence[_By],
    max_results: int,
    page_token: str,
) -> Page[Row]:
    comparisons, prompts = _read(parsed)
    _check_lists(comparisons)
    values: dict[str, Any] = {f"p{at}": project for at, project in enumerate(projects)}
    for at, each in enumerate(comparisons):
        values |= _values(each, at, tx.dialect)
    shapes = tuple(_shape(each) for each in comparisons)
    query = _query(kind, len(projects), shapes, tuple(order), prompts, tx.dialect)
    return _page(tx, query, values, max_results, page_token)


def _read(parsed: Sequence[Comparison]) -> tuple[list[Comparison], bool]:
    """The checked comparisons of a filter, and whether it wants prompts.

    As in MLflow, the first comparison of the prompts' tag decides; when prompts are not wanted, the tag says no more.
    """
    comparisons = [_checked(each) for each in parsed]
    others = [each for each in comparisons if each.entity != grammar.TAG or each.key != PROMPT_TAG]
    first = next((each for each in comparisons if each not in others), None)
    wanted = first is not None and (first.operator, str(first.value).lower()) in {("=", "true"), ("!=", "false")}
    return (comparisons if wanted else others), wanted


def _page(tx: Reader, query: Query, values: dict[str, Any], max_results: int, page_token: str) -> Page[Row]:
    offset = decode(page_token).offset
    found = tx.all(query, {**values, "limit": max_results + 1, "offset": offset})
    token = encode(offset + max_results) if len(found) > max_results else ""
    return Page(found[:max_results], token)


@lru_cache(maxsize=256)
def _query(
    kind: _Kind, projects: int, shapes: tuple[_Shape, ...], order: tuple[_By, ...], prompts: bool, dialect: str
) -> Query:
    """The statement for all searches of one shape."""
    places: list[ColumnElement[Any]] = [bindparam(f"p{at}") for at in range(projects)]
    statement = select(*kind.columns).where(
        kind.project.in_(places) if places else false(),
        *(_condition(kind, shape, at, dialect) for at, shape in enumerate(shapes)),
    )
    if not prompts:
        statement = statement.where(kind.no_prompt)
    columns = (kind.orders[by.key] if by.ascending else kind.orders[by.key].desc() for by in order)
    return Query(statement.order_by(*columns).limit(bindparam("limit")).offset(bindparam("offset")))


def _condition(kind: _Kind, shape: _Shape, at: int, dialect: str) -> ColumnElement[Any]:
    """The condition for comparison number `at`."""
    value: ColumnElement[Any] = bindparam(f"v{at}")
    if shape.entity == grammar.TAG:
        tag = kind.tags.alias(f"t{at}")
        matching: Select[Any] = select(literal_column("1")).where(
            tag.c[kind.owner] == kind.row, tag.c.key == bindparam(f"k{at}")
        )
        return exists(matching.where(compare(tag.c.value, shape.operator, value, dialect)))
    column = kind.attributes[shape.key]
    if shape.operator in ("IN", "NOT IN"):
        listed = column.in_([bindparam(f"v{at}_{i}") for i in range(shape.length)])
        return listed if shape.operator == "IN" else ~listed
    return compare(column, shape.operator, value, dialect)


def _shape(each: Comparison) -> _Shape:
    length = len(each.value) if isinstance(each.value, tuple) else 0
    return _Shape(each.entity, "" if each.entity == grammar.TAG else each.key, each.operator, length)


def _values(each: Comparison, at: int, dialect: str) -> dict[str, Any]:
    """The values that `_condition(…, at, …)` needs, by parameter name."""
    if isinstance(each.value, tuple):
        return {f"v{at}_{i}": value for i, value in enumerate(each.value)}
    found = {f"v{at}": bound(each.operator, each.value, dialect)}
    return {**found, f"k{at}": each.key} if each.entity == grammar.TAG else found


def _model_order(clauses: Sequence[str]) -> list[_By]:
    check_orders(clauses)
    found: list[_By] = []
    for clause in clauses:
        text, ascending = grammar.order_text(clause)
        name = text.strip()
        if name not in _MODELS.orders:
            valid = grammar.as_set(("name", "timestamp"))
            raise Invalid(f"Invalid order by key '{name}' specified. Valid keys are '{valid}'", path="order_by")
        found.append(_By(name, ascending))
    return _complete(_MODELS, found, clauses, [_By("name", ascending=True)])


def _version_order(clauses: Sequence[str]) -> list[_By]:
    check_orders(clauses)
    found: list[_By] = []
    for clause in clauses:
        order = MODEL_VERSIONS.order(clause)
        if order.key not in _VERSIONS.orders:
            valid = grammar.as_set(MODEL_VERSIONS.orders)
            raise Invalid(f"Invalid order by key '{order.key}' specified. Valid keys are {valid}", path="order_by")
        found.append(_By(order.key, order.ascending))
    return _complete(_VERSIONS, found, clauses, [_By("name", ascending=True), _By("version_number", ascending=False)])


def _complete(kind: _Kind, found: Sequence[_By], clauses: Sequence[str], ends: Sequence[_By]) -> list[_By]:
    """The order with what decides between equals. Raises Invalid for a field named twice."""
    columns = [kind.orders[by.key] for by in found]
    if len({id(column) for column in columns}) < len(columns):
        raise Invalid(f"`order_by` contains duplicate fields: {list(clauses)}", path="order_by")
    named = {by.key for by in found}
    return [*found, *(end for end in ends if end.key not in named)]


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
    return comparison


def _check_lists(comparisons: Sequence[Comparison]) -> None:
    """Raises Invalid where a list meets an operator for one value, or the other way round. MLflow fails there, late."""
    for each in comparisons:
        if isinstance(each.value, tuple) != (each.operator in ("IN", "NOT IN")):
            raise Invalid(f"Invalid value for comparator '{each.operator}': {each.value!r}", path="filter")
