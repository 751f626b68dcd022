"""The query language: what is understood, what is refused, and in which words."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.kernel.search import grammar, tokens
from mlwright.kernel.search.grammar import Comparison, Order
from mlwright.tracking.search.models import model_filter
from tests.unit.tracking import search_world as world

_RUN_KEYS = (
    "{'Created', 'Run Name', 'Run name', 'artifact_uri', 'created', 'end_time', 'run name', 'run_id', 'run_name', "
    "'start_time', 'status', 'user_id'}"
)
_UNQUOTED = (
    "Parameter value is either not quoted or unidentified quote types used for string value x. "
    "Use either single or double quotes."
)
_NOT_TEXTS = (
    "While parsing a list in the query, expected string value, punctuation, or whitespace, "
    "but got different type in list: (1, 2)"
)


@given(world.filters())
@settings(max_examples=300)
def test_a_written_filter_is_read_back(query: tuple[str, list[Comparison]]) -> None:
    assert grammar.run_filter(query[0]) == query[1]


@given(world.orders())
@settings(max_examples=200)
def test_a_written_order_is_read_back(query: tuple[list[str], list[Order]]) -> None:
    assert grammar.run_orders(query[0]) == query[1]


@given(st.text(max_size=60) | st.text(alphabet="ab.=<>'\"`()[];, \n-/*#:%_19eEANDINOTLSUK", max_size=60))
@settings(max_examples=500)
def test_any_text_is_understood_or_refused(text: str) -> None:
    for parse in (
        grammar.run_filter, grammar.EXPERIMENTS.filter, grammar.REGISTERED_MODELS.filter,
        grammar.MODEL_VERSIONS.filter, grammar.EVALUATION_DATASETS.filter, model_filter, grammar.RUNS.order,
    ):  # fmt: skip
        with suppress(Invalid):
            parse(text)


@given(st.text(alphabet="ab.=<>'\"`()[];, -/*1eANDIO", max_size=40))
@settings(max_examples=300)
def test_tokens_lose_no_text(text: str) -> None:
    end = 0
    for token in tokens.group(text):
        assert token.text == text[token.start : token.end]
        assert not text[end : token.start].strip()
        end = token.end
    assert not text[end:].strip()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.a.b.c > -1.5", Comparison("metric", "a.b.c", ">", -1.5)),
        ("metric.`a b`<=1e-3", Comparison("metric", "a b", "<=", 0.001)),
        ("params.\"a/b\" = 'x'", Comparison("parameter", "a/b", "=", "x")),
        ('tag.x = "it\'s"', Comparison("tag", "x", "=", "it's")),
        ("tags.x is  not null", Comparison("tag", "x", "IS NOT NULL", None)),
        ("\"run name\" ilike 'a%'", Comparison("attribute", "run_name", "ILIKE", "a%")),
        ("attr.Created > 5", Comparison("attribute", "start_time", ">", 5)),
        ("run_id not   in ('a', \"b\")", Comparison("attribute", "run_id", "NOT IN", ("a", "b"))),
        ("run_id IN ('a',)", Comparison("attribute", "run_id", "IN", ("a",))),
        ("datasets.name = 'x'", Comparison("dataset", "name", "=", "x")),
        ("metrics.like > 1", Comparison("metric", "like", ">", 1.0)),
        ("metrics.日本 > 1", Comparison("metric", "日本", ">", 1.0)),
        ("params.x = 'it''s'", Comparison("parameter", "x", "=", "it''s")),
    ],
)
def test_one_comparison(text: str, expected: Comparison) -> None:
    assert grammar.run_filter(text) == [expected]


def test_and_is_tolerant_and_the_only_connective() -> None:
    two = [Comparison("metric", "a", ">", 1.0), Comparison("metric", "b", "<", 2.0)]
    for text in ("metrics.a > 1 and metrics.b < 2", "AND metrics.a > 1\nAND AND metrics.b < 2 AND"):
        assert grammar.run_filter(text) == two
    assert grammar.run_filter("") == []
    assert grammar.run_filter(None) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.a > 1 OR metrics.b < 2", "Invalid clause(s) in filter string: 'OR'"),
        ("(metrics.a > 1)", "Invalid clause(s) in filter string: '(metrics.a > 1)'"),
        ("metrics.a > 1;", "Invalid clause(s) in filter string: ';'"),
        ("a = 1; b = 2", "Search filter contained multiple expression 'a = 1; b = 2'. Provide AND-ed expression list."),
        ("   ", "Invalid filter '   '. Could not be parsed."),
        ("0 < metrics.a < 5", "Invalid comparison clause. Expected 'Identifier' found '0 < metrics.a'"),
        ("metrics.a-b > 1", "Invalid comparison clause. Expected 'Identifier' found 'metrics.a-b'"),
        ("metrics.a between 1 and 2", "Invalid clause(s) in filter string: 'metrics.a', 'between', '1', '2'"),
        ("metrics.a > 'x'", "Expected numeric value type for metric. Found 'x'"),
        ("metrics.a > NaN", "Expected numeric value type for metric. Found NaN"),
        ("metrics.a IS NULL", "IS NULL / IS NOT NULL is only supported for tags and params, not for 'metric' 'a'"),
        ("params.a = 1", "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 1"),
        (
            "params.a = x",
            _UNQUOTED,
        ),
        ("start_time > 'x'", "Expected numeric value type for numeric attribute: start_time. Found 'x'"),
        ("foo = 'x'", f"Invalid attribute key 'foo' specified. Valid keys are '{_RUN_KEYS}'"),
        (
            "foo.bar = 'x'",
            "Invalid entity type 'foo'. Valid values are ['metric', 'parameter', 'tag', 'attribute', 'dataset']",
        ),
        (
            "dataset.source = 'x'",
            "Invalid dataset key 'source' specified. Valid keys are '{'context', 'digest', 'name'}'",
        ),
        (
            "status IN ('a')",
            "Only ['run_id'] attributes support comparison with a list of quoted string values.",
        ),
        (
            "run_id IN ()",
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
        ),
        (
            "run_id IN (1, 2)",
            _NOT_TEXTS,
        ),
        (
            "run_id IN (a)",
            "While parsing a list in the query, expected a non-empty list of string values, but got ill-formed list.",
        ),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        grammar.run_filter(text)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("clauses", "message"),
    [
        (["metrics.a "], "Invalid order_by clause 'metrics.a '. Could not be parsed."),
        ([""], "Invalid order_by clause ''. Could not be parsed."),
        (["metrics.a DESC NULLS LAST"], "Invalid order_by clause 'metrics.a DESC NULLS LAST'. Could not be parsed."),
        (["metrics.a down"], "Invalid ordering key in order_by clause 'metrics.a down'."),
        (["start_time, end_time"], "Invalid order_by clause 'start_time, end_time'. Could not be parsed."),
        (["dataset.name"], "Invalid identifier type 'dataset'"),
        (["created", "start_time"], "`order_by` contains duplicate fields: ['created', 'start_time']"),
    ],
)
def test_which_orders_are_refused(clauses: list[str], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        grammar.run_orders(clauses)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metrics.a LIKE 1", "Invalid comparator 'LIKE' not one of '{'!=', '<', '<=', '=', '>', '>='}"),
        ("metrics.a == 1", "Invalid comparator '==' not one of '{'!=', '<', '<=', '=', '>', '>='}"),
        (
            "params.a > '1'",
            "Invalid comparator '>' not one of '{'!=', '=', 'ILIKE', 'IS NOT NULL', 'IS NULL', 'LIKE'}'",
        ),
        (
            "start_time LIKE 5",
            "Invalid comparator 'LIKE' not one of '{'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'}",
        ),
        (
            "run_id NOT LIKE 'a'",
            "Invalid comparator 'NOT LIKE' not one of '{'!=', '=', 'ILIKE', 'IN', 'LIKE', 'NOT IN'}'",
        ),
        ("run_id = ('a')", "Invalid value for comparator '=': ('a',)"),
    ],
)
def test_operators_must_suit(text: str, message: str) -> None:
    (comparison,) = grammar.run_filter(text)
    with pytest.raises(Invalid) as refused:
        grammar.check_operator(comparison, ("start_time", "end_time"), ("parameter", "tag"))
    assert refused.value.message == message


def test_the_other_grammars() -> None:
    assert grammar.EXPERIMENTS.filter("name LIKE 'a%' AND tags.`x y` IS NULL") == [
        Comparison("attribute", "name", "LIKE", "a%"),
        Comparison("tag", "x y", "IS NULL", None),
    ]
    assert grammar.REGISTERED_MODELS.filter("name IN ('a', 'b') AND tag.x != 'y'") == [
        Comparison("attribute", "name", "IN", ("a", "b")),
        Comparison("tag", "x", "!=", "y"),
    ]
    assert grammar.MODEL_VERSIONS.filter("version_number >= 2 and run_id = 'r' AND source_path ilike '%x'") == [
        Comparison("attribute", "version_number", ">=", 2),
        Comparison("attribute", "run_id", "=", "r"),
        Comparison("attribute", "source_path", "ILIKE", "%x"),
    ]
    assert grammar.EVALUATION_DATASETS.filter("tags.a = 'b'") == [Comparison("tag", "a", "=", "b")]
    assert grammar.REGISTERED_MODELS.order("last_updated_timestamp DESC") == Order(
        "attribute", "last_updated_timestamp", False
    )
    assert model_filter("metrics.f1 > 0.9 AND params.d = '3' AND creation_time < 5") == [
        Comparison("metric", "f1", ">", 0.9),
        Comparison("parameter", "d", "=", "3"),
        Comparison("attribute", "creation_timestamp_ms", "<", 5.0),
    ]


@pytest.mark.parametrize(
    "text", ["`name` = 'x'", "version_number IS NULL", "tags.a IS NULL", "params.a = 'x'", "name = 1"]
)
def test_the_registry_is_stricter(text: str) -> None:
    with pytest.raises(Invalid):
        grammar.REGISTERED_MODELS.filter(text)
