"""Runs to search in, a plain Python search to compare with, and strategies for queries. Shared by the search tests."""

import math
import random
import re
import sqlite3
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any

from hypothesis import strategies as st
from sqlalchemy.schema import CreateIndex, CreateTable

from mlwright.kernel.columns import METADATA
from mlwright.kernel.query import Query, dialect_named
from mlwright.kernel.search.grammar import Comparison, Order
from mlwright.kernel.transaction import Tx
from mlwright.tracking import tables
from mlwright.tracking.search.conditions import STATUSES

KEYS = ["a", "loss", "b c", "x/y", "deep.er.key", "日本", "Ä-1", "mlflow.parentRunId"]
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "aXb",
    "a%b",
    "a_b",
    "a*b",
    "[a]",
    "it's",
    'say "x"',
    "é",
    "É",
    "back\\slash",
    "行",
    "a\nb",
]
PATTERNS = ["%", "_", "a%", "%b", "A%", "a_b", "%*%", "[a]", "%'%", "É", "%\\%", "", "__", "%行%", "a%b"]
NUMBERS = [-1.5, 0.0, 1.0, 2.0, 2.5, 1e-5, 1e300]
TIMES = [1000, 2000, 2000, 3000, 4000]
DATASETS = ["train", "Train", "test set", "it's"]


@dataclass
class Fact:
    """A run and all that it can be found by. A metric may be NaN."""

    number: int
    run_id: str
    experiment: int
    name: str
    user: str
    status: int
    start_ms: int
    end_ms: int | None
    active: int
    metrics: dict[str, float] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[tuple[str, str, str | None]] = field(default_factory=list)  # name, digest, context

    @property
    def artifact_uri(self) -> str:
        return f"s3://bucket/{self.experiment}/{self.run_id}"


def make_world(seed: int, count: int = 40, experiments: int = 2) -> list[Fact]:
    """Some runs, with many ties, missing values, NaN and odd texts."""
    chance = random.Random(seed)

    def some(values: Sequence[Any], odds: float) -> dict[str, Any]:
        return {key: chance.choice(values) for key in KEYS if chance.random() < odds}

    facts = []
    for number in range(1, count + 1):
        fact = Fact(
            number,
            f"{chance.getrandbits(128):032x}",
            chance.randint(1, experiments),
            chance.choice(TEXTS[1:]),
            chance.choice(["ann", "Bob", "bob"]),
            chance.choice(list(STATUSES)),
            chance.choice(TIMES),
            chance.choice([None, *TIMES]),
            int(chance.random() < 0.8),
            some([*NUMBERS, math.nan], 0.6),
            some(TEXTS, 0.5),
            some(TEXTS, 0.5),
        )
        for name in chance.sample(DATASETS, chance.choice([0, 0, 1, 2])):
            fact.datasets.append((name, f"d{chance.randint(0, 2)}", chance.choice([None, "train", "eval"])))
        facts.append(fact)
    return facts


class SqliteReader:
    """The transaction of a search, on SQLite in memory."""

    dialect = "sqlite"
    settled: frozenset[Hashable] | None = None

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.statements: list[str] = []
        for statement in table_statements("sqlite"):
            self.connection.execute(statement)

    def all(self, query: Query, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        text, values = query.bind(self.dialect, params)
        self.statements.append(text)
        return self.connection.execute(text, values).fetchall()

    def first(self, work: Callable[[Tx], None], names: Collection[Hashable]) -> None:
        raise AssertionError("nothing waits here")

    def insert(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
            self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)


def table_statements(dialect: str) -> list[str]:
    """The DDL of the tracking tables."""
    found = []
    for table in METADATA.sorted_tables:
        if table is getattr(tables, table.name, None):
            found.append(str(CreateTable(table).compile(dialect=dialect_named(dialect))))
            found += [str(CreateIndex(index).compile(dialect=dialect_named(dialect))) for index in table.indexes]
    return found


def world_rows(facts: Sequence[Fact]) -> dict[str, list[dict[str, Any]]]:
    """The facts as rows, by table."""
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("runs", "metric_series", "params", "tags", "datasets", "dataset_inputs")
    }
    known: dict[tuple[int, str, str], int] = {}
    for fact in facts:
        rows["runs"].append(
            {
                "id": fact.number, "run_id": fact.run_id, "experiment_id": fact.experiment, "name": fact.name,
                "user_id": fact.user, "status": fact.status, "start_ms": fact.start_ms, "end_ms": fact.end_ms,
                "active": fact.active, "artifact_uri": fact.artifact_uri,
            }
        )  # fmt: skip
        for key, value in fact.metrics.items():
            row: dict[str, Any] = {column.name: 0 for column in tables.metric_series.c if not column.nullable}
            row |= {"run": fact.number, "key": key, "experiment_id": fact.experiment}
            row |= {"value": None if math.isnan(value) else value, "is_nan": int(math.isnan(value))}
            rows["metric_series"].append(row)
        rows["params"] += [{"run": fact.number, "key": key, "value": value} for key, value in fact.params.items()]
        rows["tags"] += [{"run": fact.number, "key": key, "value": value} for key, value in fact.tags.items()]
        for name, digest, context in fact.datasets:
            identity = (fact.experiment, name, digest)
            if identity not in known:
                known[identity] = len(known) + 1
                rows["datasets"].append(
                    {
                        "id": known[identity], "experiment_id": fact.experiment, "name": name, "digest": digest,
                        "source_type": "local", "source": "x",
                    }
                )  # fmt: skip
            rows["dataset_inputs"].append(
                {"run": fact.number, "dataset": known[identity], "context": context, "tags": "[]"}
            )
    return rows


def loaded(facts: Sequence[Fact]) -> SqliteReader:
    """A reader of a database that holds the facts."""
    reader = SqliteReader()
    for table, rows in world_rows(facts).items():
        reader.insert(table, rows)
    return reader


# --- the plain search -------------------------------------------------------------------------------------------


def _like(text: str, pattern: str, ignore_case: bool) -> bool:
    if ignore_case:  # ASCII letters only
        text, pattern = (re.sub("[A-Z]", lambda found: found[0].lower(), each) for each in (text, pattern))
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_like(text[at:], pattern[1:], False) for at in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and _like(text[1:], pattern[1:], False)


def _compare(found: Any, operator: str, value: Any) -> bool:
    if operator in ("LIKE", "ILIKE"):
        return _like(found, value, operator == "ILIKE")
    if operator in ("IN", "NOT IN"):
        return bool((found in value) == (operator == "IN"))
    if operator in ("=", "!="):
        return bool((found == value) == (operator == "="))
    return bool({"<": found < value, "<=": found <= value, ">": found > value, ">=": found >= value}[operator])


def _attribute(fact: Fact, key: str) -> Any:
    return {
        "run_id": fact.run_id, "run_name": fact.name, "user_id": fact.user, "status": STATUSES[fact.status],
        "start_time": fact.start_ms, "end_time": fact.end_ms, "artifact_uri": fact.artifact_uri,
    }[key]  # fmt: skip


def _value(fact: Fact, entity: str, key: str) -> Any:
    if entity == "attribute":
        return _attribute(fact, key)
    return {"metric": fact.metrics, "parameter": fact.params, "tag": fact.tags}[entity].get(key)  # type: ignore[attr-defined]


def holds(fact: Fact, comparison: Comparison) -> bool:
    """Whether the run satisfies one comparison."""
    if comparison.entity == "dataset":
        column = ("name", "digest", "context").index(comparison.key)
        found = [each[column] for each in fact.datasets if each[column] is not None]
        return any(_compare(each, comparison.operator, comparison.value) for each in found)
    value = _value(fact, comparison.entity, comparison.key)
    if comparison.operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (comparison.operator == "IS NULL")
    return value is not None and _compare(value, comparison.operator, comparison.value)


def plain_search(
    facts: Sequence[Fact], experiments: Sequence[int], comparisons: Sequence[Comparison], stages: Sequence[int],
    orders: Sequence[Order],
) -> list[int]:  # fmt: skip
    """Numbers of the runs found, in order."""
    chosen = [
        fact
        for fact in facts
        if fact.experiment in experiments
        and fact.active in stages
        and all(holds(fact, comparison) for comparison in comparisons)
    ]

    def rank(value: Any) -> int:
        return 2 if value is None else int(value != value)

    def order(first: Fact, second: Fact) -> int:
        for clause in [*orders, Order("attribute", "start_time", False), Order("attribute", "run_id", True)]:
            left, right = (_value(fact, clause.entity, clause.key) for fact in (first, second))
            if rank(left) != rank(right):
                return rank(left) - rank(right)
            if rank(left) == 0 and left != right:
                return -1 if (left < right) == clause.ascending else 1
        return 0

    return [fact.number for fact in sorted(chosen, key=cmp_to_key(order))]


# --- queries ----------------------------------------------------------------------------------------------------

_PREFIXES = {
    "metric": ["metrics", "metric"], "parameter": ["params", "param", "parameter", "parameters"],
    "tag": ["tags", "tag"], "attribute": ["attributes", "attribute", "attr", "run"],
    "dataset": ["dataset", "datasets"],
}  # fmt: skip
_NUMERIC = ["=", "!=", "<", "<=", ">", ">="]
_TEXT = ["=", "!="]
_LIKE = ["LIKE", "ILIKE"]


def write_key(draw: st.DrawFn, entity: str, key: str) -> str:
    """An identifier for the key: bare where it can be, else quoted in one of the ways there are."""
    quotes = ["`"] + ['"'] * ('"' not in key)
    written = [f"{quote}{key}{quote}" for quote in quotes]
    if re.fullmatch(r"[A-Za-z日][\w.]*", key) and key.isascii():
        written += [key] * 3
    if entity == "attribute" and draw(st.booleans()):
        return draw(st.sampled_from(written))
    return f"{draw(st.sampled_from(_PREFIXES[entity]))}.{draw(st.sampled_from(written))}"


def write_text(draw: st.DrawFn, text: str) -> str:
    quotes = ["'"] * ("'" not in text) + ['"'] * ('"' not in text)
    quote = draw(st.sampled_from(quotes))
    return f"{quote}{text}{quote}"


def _texts(draw: st.DrawFn, operator: str) -> str:
    return draw(st.sampled_from(PATTERNS if operator in _LIKE else TEXTS))


@st.composite
def comparisons(draw: st.DrawFn, run_ids: Sequence[str] = ("0" * 32,)) -> tuple[str, Comparison]:
    """A comparison as text and as it must be understood."""
    entity = draw(st.sampled_from(["metric", "metric", "parameter", "tag", "attribute", "dataset"]))
    value: Any
    if entity == "metric":
        key, operator, value = (
            draw(st.sampled_from(KEYS)),
            draw(st.sampled_from(_NUMERIC)),
            draw(st.sampled_from(NUMBERS)),
        )
        written = "1e300" if value == 1e300 else repr(value)
    elif entity in ("parameter", "tag"):
        key = draw(st.sampled_from(KEYS))
        operator = draw(st.sampled_from([*_TEXT, *_LIKE, "IS NULL", "IS NOT NULL"]))
        value = None if operator.startswith("IS") else _texts(draw, operator)
        written = "" if value is None else write_text(draw, value)
    elif entity == "dataset":
        key, operator = (
            draw(st.sampled_from(["name", "digest", "context"])),
            draw(st.sampled_from([*_TEXT, *_LIKE, "IN"])),
        )
        value = draw(st.sampled_from([*DATASETS, "d1", "train", "%a%", "T%"]))
        written = write_text(draw, value)
        if operator == "IN":
            value, written = (value, "d0"), f"({written}, 'd0')"
    else:
        return draw(_attributes(run_ids))
    operator_written = draw(st.sampled_from([operator, operator.lower()]))
    return f"{write_key(draw, entity, key)} {operator_written} {written}".rstrip(), Comparison(
        entity, key, operator, value
    )


@st.composite
def _attributes(draw: st.DrawFn, run_ids: Sequence[str]) -> tuple[str, Comparison]:
    key = draw(
        st.sampled_from(["run_id", "run_name", "run name", "status", "start_time", "created", "end_time", "user_id"])
    )
    real = {"run name": "run_name", "created": "start_time"}.get(key, key)
    value: Any
    if real in ("start_time", "end_time"):
        operator, value = draw(st.sampled_from(_NUMERIC)), draw(st.sampled_from([*TIMES, 2000.5, 10**30]))
        return f"{write_key(draw, 'attribute', key)} {operator} {value!r}".replace("e+30", "e30"), Comparison(
            "attribute", real, operator, value
        )
    operator = draw(st.sampled_from([*_TEXT, *_LIKE, *(["IN", "NOT IN"] if key == "run_id" else [])]))
    if operator in ("IN", "NOT IN"):
        value = tuple(draw(st.lists(st.sampled_from(list(run_ids)), min_size=1, max_size=3)))
        written = "(" + ", ".join(f"'{each}'" for each in value) + ")"
    else:
        pools = {
            "run_id": list(run_ids),
            "status": ["FINISHED", "F%", "%ED", "running", "x"],
            "user_id": ["ann", "b%", "B%"],
        }
        value = draw(st.sampled_from(pools.get(real, [*TEXTS, *PATTERNS])))
        written = write_text(draw, value)
    return f"{write_key(draw, 'attribute', key)} {operator} {written}", Comparison("attribute", real, operator, value)


@st.composite
def filters(draw: st.DrawFn, run_ids: Sequence[str] = ("0" * 32,)) -> tuple[str, list[Comparison]]:
    """A filter as text and as it must be understood."""
    found = draw(st.lists(comparisons(run_ids), max_size=3))
    joint = draw(st.sampled_from([" AND ", " and ", "  AND\n"]))
    return joint.join(text for text, _ in found), [comparison for _, comparison in found]


@st.composite
def orders(draw: st.DrawFn) -> tuple[list[str], list[Order]]:
    """Order clauses, no field twice."""
    fields = draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("metric"), st.sampled_from(KEYS)),
                st.tuples(st.sampled_from(["parameter", "tag"]), st.sampled_from(KEYS)),
                st.tuples(
                    st.just("attribute"),
                    st.sampled_from(
                        ["run_id", "run_name", "status", "start_time", "end_time", "user_id", "artifact_uri"]
                    ),
                ),
            ),
            max_size=2,
            unique=True,
        )
    )
    written, parsed = [], []
    for entity, key in fields:
        direction = draw(st.sampled_from(["", " ASC", " DESC", " desc"]))
        written.append(write_key(draw, entity, key) + direction)
        parsed.append(Order(entity, key, "desc" not in direction.lower()))
    return written, parsed
