"""The search grammars of MLflow: filters and orders, from text to plain data.

One parser, one `Grammar` per thing that is searched. A filter is a list of comparisons that must all hold; `AND`
between them is the only connective. Errors are Invalid, in MLflow's own words, because people compare them.
"""

import ast
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from mlwright.kernel.errors import Invalid
from mlwright.kernel.search.tokens import Kind, Token, group, joined, statements

#: Most comparisons of one filter.
MAX_COMPARISONS = 500
#: What a comparison compares with: text, a number, a list of texts, or nothing (IS NULL).
Value = str | int | float | tuple[str, ...] | None

METRIC, PARAM, TAG, ATTRIBUTE, DATASET = "metric", "parameter", "tag", "attribute", "dataset"
_ENTITIES = [METRIC, PARAM, TAG, ATTRIBUTE, DATASET]
_ENTITY_ALIASES = {
    "metrics": METRIC, "parameters": PARAM, "param": PARAM, "params": PARAM, "tags": TAG,
    "attr": ATTRIBUTE, "attributes": ATTRIBUTE, "run": ATTRIBUTE, "datasets": DATASET,
} | {entity: entity for entity in _ENTITIES}  # fmt: skip
_DATASET_KEYS = ("context", "digest", "name")
_KEY_ALIASES = {
    "created": "start_time", "Created": "start_time",
    "run name": "run_name", "Run name": "run_name", "Run Name": "run_name",
}  # fmt: skip
NUMERIC_OPERATORS = ("!=", "<", "<=", "=", ">", ">=")
TEXT_OPERATORS = ("!=", "=", "ILIKE", "LIKE")
LIST_OPERATORS = ("!=", "=", "ILIKE", "IN", "LIKE", "NOT IN")
NULL_OPERATORS = ("!=", "=", "ILIKE", "IS NOT NULL", "IS NULL", "LIKE")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition of a filter.

    Attributes:
        entity: "metric", "parameter", "tag", "attribute" or "dataset".
        key: name of the metric, parameter or tag, or the attribute; aliases such as "created" are resolved.
        operator: in capitals: = != < <= > >= LIKE ILIKE IN, NOT IN, IS NULL, IS NOT NULL.
        value: a number for metrics and numeric attributes, a tuple for IN lists, None for IS [NOT] NULL, else text.
    """

    entity: str
    key: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Order:
    """One clause of an order: by what, and in which direction."""

    entity: str
    key: str
    ascending: bool


Resolve = Callable[[str, Collection[str]], tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What may be searched, and by what.

    Attributes:
        attributes: attributes a filter may name.
        orders: attributes an order may name.
        numeric: attributes with numbers.
        lists: attributes that may be compared with a list; None means all.
        resolve: from the text of an identifier to (entity, key), checked against the attributes given.
        nullable: entities that take IS [NOT] NULL, or None where MLflow has no such clause.
        strict: attribute values are always quoted text or lists, numbers excepted when `numeric` names the key.
        quoted_clauses: whether errors put the bad clauses in quotes.
        any_case: whether operators such as `like` may be written in small letters.
    """

    attributes: frozenset[str]
    orders: frozenset[str]
    numeric: frozenset[str]
    lists: frozenset[str] | None
    resolve: Resolve
    nullable: tuple[str, ...]
    registry: bool = False
    quoted_clauses: bool = False
    any_case: bool = False

    def filter(self, text: str | None) -> list[Comparison]:
        """The comparisons of a filter; an empty filter has none. Raises Invalid."""
        if not text:
            return []
        tokens = joined(_group(text))
        loose = [t.text for t in tokens if t.kind is not Kind.COMPARISON and not _is_and(t)]
        if loose:
            clauses = ", ".join(f"'{clause}'" if self.quoted_clauses else clause for clause in loose)
            raise Invalid(f"Invalid clause(s) in filter string: {clauses}", path="filter")
        found = [self._comparison(token) for token in tokens if token.kind is Kind.COMPARISON]
        if len(found) > MAX_COMPARISONS:  # SQLite's statements are at most 1,000 conditions deep
            raise Invalid(f"A filter may have at most {MAX_COMPARISONS} comparisons, not {len(found)}", path="filter")
        return found

    def order(self, text: str) -> Order:
        """One clause such as "metrics.loss DESC". Raises Invalid."""
        name, ascending = order_text(text)
        resolve = _resolve_tagged if self.registry else self.resolve  # as of experiments, which takes quotes
        entity, key = resolve(name.strip(), self.orders)
        return Order(entity, _KEY_ALIASES.get(key, key), ascending)

    def _comparison(self, token: Token) -> Comparison:
        left, middle, *rest = token.parts
        if left.kind is not Kind.IDENTIFIER:
            raise Invalid(f"Invalid comparison clause. Expected 'Identifier' found '{left.text}'", path="filter")
        entity, key = self.resolve(left.text, self.attributes)
        operator = middle.text.upper() if self.any_case or not rest else middle.text
        if not rest:
            self._check_null(entity, key)
            return Comparison(entity, _KEY_ALIASES.get(key, key), operator, None)
        value = self._value(entity, key, rest[0])
        return Comparison(entity, _KEY_ALIASES.get(key, key), operator, value)

    def _check_null(self, entity: str, key: str) -> None:
        if entity in self.nullable:
            return
        if PARAM in self.nullable:
            where = f"tags and params, not for '{entity}' '{key}'"
        elif self.nullable:
            where = f"tags, not for attribute '{key}'"
        else:
            raise Invalid("Invalid comparison clause. Expected 3 tokens found 2", path="filter")
        raise Invalid(f"IS NULL / IS NOT NULL is only supported for {where}", path="filter")

    def _value(self, entity: str, key: str, token: Token) -> Value:
        if entity == METRIC:
            if token.kind not in (Kind.INTEGER, Kind.FLOAT):
                raise Invalid(f"Expected numeric value type for metric. Found {token.text}", path="filter")
            return float(token.text)
        if entity == ATTRIBUTE and key in self.numeric and not self.registry:
            if token.kind not in (Kind.INTEGER, Kind.FLOAT):
                raise Invalid(
                    f"Expected numeric value type for numeric attribute: {key}. Found {token.text}", path="filter"
                )
            return _number(token)
        if token.kind in (Kind.STRING, Kind.IDENTIFIER):
            return _unquoted(token.text)
        if entity in (PARAM, TAG):
            raise Invalid(
                f"Expected a quoted string value for {entity} (e.g. 'my-value'). Got value {token.text}", path="filter"
            )
        if token.kind is Kind.PARENTHESIS:
            if entity == ATTRIBUTE:
                self._check_list(key)
            return _list(token.text)
        return self._odd_value(entity, key, token)

    def _odd_value(self, entity: str, key: str, token: Token) -> Value:
        if entity == DATASET:
            raise Invalid(
                f"Expected a quoted string value for dataset attributes. Got value {token.text}", path="filter"
            )
        if not self.registry:
            raise Invalid(f"Expected a quoted string value for attributes. Got value {token.text}", path="filter")
        if self.numeric and token.kind in (Kind.INTEGER, Kind.FLOAT):
            if key in self.numeric:
                return _number(token)
            raise Invalid(
                f"Only the '{as_set(self.numeric)}' attributes support comparison with numeric values.", path="filter"
            )
        raise Invalid(
            f"Expected a quoted string value or a list of quoted string values for attributes. Got value {token.text}",
            path="filter",
        )

    def _check_list(self, key: str) -> None:
        if self.lists is not None and key not in self.lists:
            raise Invalid(
                f"Only {sorted(self.lists)} attributes support comparison with a list of quoted string values.",
                path="filter",
            )


def as_set(words: Collection[str]) -> str:
    """The words as MLflow prints a set of them, but in a fixed order."""
    return "{" + ", ".join(repr(word) for word in sorted(words)) + "}"


def check_operator(comparison: Comparison, numeric: Collection[str], null: Collection[str]) -> None:
    """Raises Invalid when the operator does not suit what is compared.

    Args:
        numeric: attributes with numbers.
        null: entities that take IS [NOT] NULL.
    """
    entity, operator = comparison.entity, comparison.operator
    start = f"Invalid comparator '{operator}' not one of '"
    text = NULL_OPERATORS if entity in null else TEXT_OPERATORS
    names: tuple[str, ...]
    if entity == ATTRIBUTE and comparison.key in numeric:
        fits, names, end = operator in NUMERIC_OPERATORS, LIST_OPERATORS, ""
    elif entity == ATTRIBUTE:
        fits, names, end = operator in LIST_OPERATORS, LIST_OPERATORS, "'"
    elif entity == METRIC:
        fits, names, end = operator in NUMERIC_OPERATORS, NUMERIC_OPERATORS, ""
    elif entity == PARAM:
        fits, names, end = operator in text, text, "'"
    elif entity == TAG:
        fits, names, end = operator in text, text, ""
    else:
        fits, names, end = operator in LIST_OPERATORS, LIST_OPERATORS, ""
    if not fits:
        raise Invalid(f"{start}{as_set(names)}{end}", path="filter")
    if isinstance(comparison.value, tuple) != (operator in ("IN", "NOT IN")):
        raise Invalid(f"Invalid value for comparator '{operator}': {comparison.value!r}", path="filter")


def _group(text: str) -> list[Token]:
    try:
        text.encode()
        count = statements(text) if "\0" not in text else -1
    except ValueError:
        count = -1
    if count < 0:
        raise Invalid(f"Error on parsing filter '{ascii(text)[1:-1][:500]}'", path="filter")
    if count == 0:
        raise Invalid(f"Invalid filter '{text}'. Could not be parsed.", path="filter")
    if count > 1:
        raise Invalid(
            f"Search filter contained multiple expression {text!r}. Provide AND-ed expression list.", path="filter"
        )
    return group(text)


def _is_and(token: Token) -> bool:
    return token.kind is Kind.KEYWORD and token.text.upper() == "AND"


def _number(token: Token) -> int | float:
    return int(token.text) if token.kind is Kind.INTEGER else float(token.text)


def _is_quoted(text: str, quotes: str) -> bool:
    return len(text) >= 2 and text[0] == text[-1] and text[0] in quotes


def _unquoted(text: str) -> str:
    if not _is_quoted(text, "'\""):
        raise Invalid(
            f"Parameter value is either not quoted or unidentified quote types used for string value {text}. "
            "Use either single or double quotes.",
            path="filter",
        )
    return text[1:-1]


def _key(text: str) -> str:
    if _is_quoted(text, "'\""):
        text = text[1:-1]
    return text[1:-1] if _is_quoted(text, "`") else text


def _list(text: str) -> tuple[str, ...]:
    start = "While parsing a list in the query, expected "
    try:
        found = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError, TypeError) as error:
        raise Invalid(f"{start}a non-empty list of string values, but got ill-formed list.", path="filter") from error
    values = found if isinstance(found, tuple) else (found,)
    if not values:
        raise Invalid(f"{start}a non-empty list of string values, but got empty list", path="filter")
    if not all(isinstance(value, str) for value in values):
        raise Invalid(
            f"{start}string value, punctuation, or whitespace, but got different type in list: {values}", path="filter"
        )
    return values


def order_text(text: str) -> tuple[str, bool]:
    """The name and whether ascending, from an order clause. Raises Invalid."""
    unclear = Invalid(f"Invalid order_by clause '{text}'. Could not be parsed.", path="order_by")
    try:
        text.encode()
        tokens = group(text) if "\0" not in text and statements(text) == 1 else []
        if len(tokens) != 1 or tokens[0].kind is not Kind.IDENTIFIER or tokens[0].text != text:
            raise unclear
        words = shlex.split(text.replace("`", '"'))
    except ValueError as error:
        raise unclear from error
    if len(words) > 2:
        raise unclear
    if len(words) < 2:
        return text, True
    direction = words[1].lower()
    if direction not in ("asc", "desc"):
        raise Invalid(f"Invalid ordering key in order_by clause '{text}'.", path="order_by")
    return words[0], direction == "asc"


def _bad_attribute(key: str, valid: Collection[str]) -> Invalid:
    return Invalid(f"Invalid attribute key '{key}' specified. Valid keys are '{as_set(valid)}'", path="filter")


def _resolve_run(text: str, valid: Collection[str]) -> tuple[str, str]:
    owner, dot, key = text.partition(".")
    if dot:
        owner = owner[1:-1] if _is_quoted(owner, "`") else owner
        if owner not in _ENTITY_ALIASES:
            raise Invalid(f"Invalid entity type '{owner}'. Valid values are {_ENTITIES}", path="filter")
        entity = _ENTITY_ALIASES[owner]
    else:
        entity, key = ATTRIBUTE, owner
    key = _key(key)
    if entity == ATTRIBUTE and key not in valid:
        raise _bad_attribute(key, valid)
    if entity == DATASET and key not in _DATASET_KEYS:
        raise Invalid(f"Invalid dataset key '{key}' specified. Valid keys are '{as_set(_DATASET_KEYS)}'", path="filter")
    return entity, key


def _resolve_tagged(text: str, valid: Collection[str], *, quoted: bool = True) -> tuple[str, str]:
    """For things that have only attributes and tags. `quoted`: whether an attribute may be written in quotes."""
    owner, dot, key = text.partition(".")
    if dot and owner not in ("attribute", "tag", "tags"):
        valid_entities = ("attribute", "tag", "tags")
        raise Invalid(f"Invalid entity type '{owner}'. Valid entity types are {valid_entities}", path="filter")
    entity = TAG if dot and owner != "attribute" else ATTRIBUTE
    key = key if dot else owner
    found = _key(key)
    if entity == ATTRIBUTE and (found if quoted else key) not in valid:
        raise _bad_attribute(found if quoted else key, valid)
    return entity, found


def _resolve_registry(text: str, valid: Collection[str]) -> tuple[str, str]:
    return _resolve_tagged(text, valid, quoted=False)


def _resolve_evaluation_dataset(text: str, valid: Collection[str]) -> tuple[str, str]:
    owner, dot, key = text.partition(".")
    if not dot:
        if owner not in valid:
            raise Invalid(f"Invalid attribute key '{owner}' specified. Valid keys are: {as_set(valid)}", path="filter")
        return ATTRIBUTE, owner
    if owner != "tags":
        raise Invalid(f"Invalid identifier token '{owner}' specified", path="filter")
    return TAG, key


_RUN_ORDERS = frozenset(
    {"artifact_uri", "created", "Created", "end_time", "run_id", "run_name", "start_time", "status", "user_id"}
)
_EXPERIMENT_KEYS = frozenset({"name", "experiment_id", "creation_time", "last_update_time"})
_TIMESTAMPS = frozenset({"creation_timestamp", "last_updated_timestamp"})

#: Runs: metrics, params, tags, attributes and datasets.
RUNS = Grammar(
    attributes=_RUN_ORDERS | {"run name", "Run name", "Run Name"},
    orders=_RUN_ORDERS,
    numeric=frozenset({"start_time", "end_time", "created", "Created"}),
    lists=frozenset({"run_id"}),
    resolve=_resolve_run,
    nullable=(PARAM, TAG),
    quoted_clauses=True,
    any_case=True,
)
#: Experiments: attributes and tags. Operators must be in capitals, as in MLflow.
EXPERIMENTS = Grammar(
    attributes=_EXPERIMENT_KEYS,
    orders=_EXPERIMENT_KEYS,
    numeric=frozenset({"creation_time", "last_update_time"}),
    lists=frozenset({"experiment_id"}),
    resolve=_resolve_tagged,
    nullable=(TAG,),
)
#: Registered models: name and tags.
REGISTERED_MODELS = Grammar(
    attributes=frozenset({"name"}),
    orders=_TIMESTAMPS | {"name"},
    numeric=frozenset(),
    lists=frozenset({"name"}),
    resolve=_resolve_registry,
    nullable=(),
    registry=True,
    any_case=True,
)
#: Model versions: name, version_number, run_id, source_path and tags.
MODEL_VERSIONS = Grammar(
    attributes=frozenset({"name", "version_number", "run_id", "source_path"}),
    orders=_TIMESTAMPS | {"name", "version_number"},
    numeric=_TIMESTAMPS | {"version_number"},
    lists=frozenset({"name", "run_id"}),
    resolve=_resolve_registry,
    nullable=(),
    registry=True,
    any_case=True,
)
#: Evaluation datasets: attributes and tags.
EVALUATION_DATASETS = Grammar(
    attributes=frozenset({"name", "created_time", "last_update_time", "created_by", "last_updated_by"}),
    orders=frozenset({"name", "created_time", "last_update_time"}),
    numeric=frozenset({"created_time", "last_update_time"}),
    lists=frozenset({"name"}),
    resolve=_resolve_evaluation_dataset,
    nullable=(TAG,),
)


def run_filter(text: str | None) -> list[Comparison]:
    """The comparisons of a filter of runs. Raises Invalid."""
    return RUNS.filter(text)


def run_orders(clauses: Sequence[str]) -> list[Order]:
    """The orders of a search of runs. Raises Invalid, also for a field named twice and for datasets."""
    found: list[Order] = []
    for clause in clauses:
        order = RUNS.order(clause)
        if order.entity == DATASET:
            raise Invalid(f"Invalid identifier type '{order.entity}'", path="order_by")
        if any((order.entity, order.key) == (seen.entity, seen.key) for seen in found):
            raise Invalid(f"`order_by` contains duplicate fields: {list(clauses)}", path="order_by")
        found.append(order)
    return found
