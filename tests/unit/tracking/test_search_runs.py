"""The SQL of a search of runs against a plain Python search, and how pages continue."""

import base64
import json
import math
import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlwright.kernel.errors import Invalid
from mlwright.kernel.search.grammar import Comparison, Order
from mlwright.kernel.search.page import MAX_ORDERS
from mlwright.tracking.search import (
    Page,
    RunRow,
    ViewType,
    search_experiments,
    search_logged_models,
    search_runs,
    walk,
)
from tests.unit.tracking import search_world as world

FACTS = world.make_world(7)
READER = world.loaded(FACTS)
RUN_IDS = [fact.run_id for fact in FACTS]
BOTH = [1, 2]
_PARENTS = [fact.tags["mlflow.parentRunId"] for fact in FACTS if "mlflow.parentRunId" in fact.tags]
PARENT = next(value for value in _PARENTS if value and "'" not in value)


def numbers(page: Page[RunRow]) -> list[int]:
    return [row.id for row in page.rows]


def search_all(experiments: list[int], text: str, view: ViewType, order_by: list[str], size: int) -> list[int]:
    found: list[int] = []
    token = ""
    while True:
        page = search_runs(READER, experiments, text, view, order_by, size, token)
        assert len(page.rows) == size or not page.next_page_token
        found += numbers(page)
        token = page.next_page_token
        if not token:
            return found


@given(
    world.filters(RUN_IDS),
    world.orders(),
    st.sampled_from(ViewType),
    st.sampled_from([[1], [2], BOTH, [1, 99], []]),
    st.sampled_from([1, 3, 7, 100]),
)
@settings(max_examples=400, deadline=None)
def test_a_search_finds_what_a_plain_search_finds(
    query: tuple[str, list[Comparison]],
    order: tuple[list[str], list[Order]],
    view: ViewType,
    experiments: list[int],
    size: int,
) -> None:
    expected = world.plain_search(FACTS, experiments, query[1], view.stages, order[1])
    assert search_all(experiments, query[0], view, order[0], size) == expected


@given(world.filters(RUN_IDS), world.orders(), st.sampled_from([1, 4, 100]), st.sampled_from([1, 2, 5, 1000]))
@settings(max_examples=150, deadline=None)
def test_probing_finds_the_same_as_reading_the_selective_condition_first(
    query: tuple[str, list[Comparison]], order: tuple[list[str], list[Order]], size: int, crowd: int
) -> None:
    expected = world.plain_search(FACTS, BOTH, query[1], [1], order[1])
    with patch.object(walk, "_driver", return_value=None), patch.object(walk, "_CROWD", crowd):
        assert search_all(BOTH, query[0], ViewType.ACTIVE_ONLY, order[0], size) == expected


@given(world.filters(RUN_IDS), st.sampled_from(["metrics.a", "metrics.a DESC", "metrics.loss ASC", ""]))
@settings(max_examples=100, deadline=None)
def test_walking_and_sorting_agree(query: tuple[str, list[Comparison]], order: str) -> None:
    """A second order that never decides anything forces the sort."""
    clauses = [order] if order else []
    walked = search_runs(READER, BOTH, query[0], ViewType.ALL, clauses, 100)
    text = base64.b64encode(json.dumps({"offset": 1}).encode()).decode()
    sorted_after_one = search_runs(READER, BOTH, query[0], ViewType.ALL, clauses, 100, text)
    assert numbers(walked)[1:] == numbers(sorted_after_one)


def test_random_worlds_agree_too() -> None:
    for seed in range(20):
        facts = world.make_world(seed, count=15, experiments=1)
        reader = world.loaded(facts)
        for clauses, orders in [(["metrics.a DESC"], [Order("metric", "a", False)]), ([], [])]:
            comparison = Comparison("metric", "loss", ">=", 1.0)
            expected = world.plain_search(facts, [1], [comparison], [1], orders)
            assert numbers(search_runs(reader, [1], "metrics.loss >= 1", order_by=clauses)) == expected


def test_nan_comes_after_numbers_and_before_missing_in_both_directions() -> None:
    facts = world.make_world(3, count=3, experiments=1)
    for fact, metrics in zip(facts, [{"a": math.nan}, {}, {"a": 1.0}], strict=True):
        fact.metrics, fact.active = metrics, 1
    reader = world.loaded(facts)
    for direction in ("ASC", "DESC"):
        assert numbers(search_runs(reader, [1], order_by=[f"metrics.a {direction}"])) == [3, 1, 2]
    assert numbers(search_runs(reader, [1], "metrics.a != 1")) == [1]
    assert numbers(search_runs(reader, [1], "metrics.a = 1")) == [3]


def test_a_page_continues_behind_its_last_row_though_newer_runs_arrive() -> None:
    facts = world.make_world(5, count=9, experiments=1)
    for at, fact in enumerate(facts):
        fact.start_ms, fact.active = 1000 + at, 1
    reader = world.loaded(facts[:-1])
    first = search_runs(reader, [1], max_results=3)
    for table, rows in world.world_rows(facts[-1:]).items():
        if table in ("runs",):
            reader.insert(table, rows)
    second = search_runs(reader, [1], max_results=3, page_token=first.next_page_token)
    assert numbers(first) == [8, 7, 6]
    assert numbers(second) == [5, 4, 3]


def test_a_full_last_page_has_no_token() -> None:
    facts = world.make_world(5, count=4, experiments=1)
    for fact in facts:
        fact.active = 1
    assert not search_runs(world.loaded(facts), [1], max_results=4).next_page_token
    assert search_runs(world.loaded(facts), [1], max_results=3).next_page_token


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("a", "Invalid page token, could not base64-decode"),
        ("é", "Invalid page token, could not base64-decode"),
        ("abcd", "Invalid page token, decoded value=b'i\\xb7\\x1d'"),
        (base64.b64encode(b"{}").decode(), "Invalid page token, parsed value={}"),
        (base64.b64encode(b"[1]").decode(), "Invalid page token, parsed value=[1]"),
        (base64.b64encode(b'{"offset": "x"}').decode(), "Invalid page token, not stringable x"),
        (base64.b64encode(b'{"offset": -1}').decode(), "Invalid page token, parsed value={'offset': -1}"),
    ],
)
def test_a_bad_token_is_refused(token: str, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        search_runs(READER, [1], page_token=token)
    assert refused.value.message == message


def test_a_token_of_another_query_counts_rows() -> None:
    """Its sort key means nothing there, so only its offset is used."""
    token = search_runs(READER, BOTH, order_by=["metrics.a DESC"], max_results=2).next_page_token
    everything = numbers(search_runs(READER, BOTH))
    assert numbers(search_runs(READER, BOTH, page_token=token)) == everything[2:]


@pytest.mark.parametrize("after", [[0, "x", 1, "y"], [9, 1, 1, "y"], [1], [0, None, 1, "a"], "abc", [0, 1, 1, 5]])
def test_a_forged_sort_key_is_ignored(after: object) -> None:
    page = search_runs(READER, BOTH, order_by=["metrics.a DESC"], max_results=2)
    token = json.loads(base64.b64decode(page.next_page_token))
    forged = base64.b64encode(json.dumps({**token, "after": after}).encode()).decode()
    rest = search_runs(READER, BOTH, order_by=["metrics.a DESC"], page_token=forged)
    assert numbers(rest) == numbers(search_runs(READER, BOTH, order_by=["metrics.a DESC"]))[2:]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "Invalid value 0 for parameter 'max_results' supplied. It must be a positive integer"),
        (50_001, "Invalid value 50001 for parameter 'max_results' supplied. It must be at most 50000"),
    ],
)
def test_max_results_has_bounds(size: int, message: str) -> None:
    with pytest.raises(Invalid) as refused:
        search_runs(READER, [1], max_results=size)
    assert refused.value.message == message


def test_newest_and_metric_orders_never_sort_an_experiment() -> None:
    """What makes a page cheap at a million runs: SQLite reads an index and sorts ties at most."""
    for text, clauses in [
        ("", []),
        ("metrics.a > 0", ["metrics.a DESC"]),
        ("", ["metrics.a ASC"]),
        ("params.a LIKE 'a%'", []),
    ]:
        READER.statements.clear()
        search_runs(READER, [1], text, order_by=clauses, max_results=5)
        statement = READER.statements[-1] if not clauses else READER.statements[0]
        bound = dict.fromkeys(_names(statement), 0)
        plan = [row[3] for row in READER.connection.execute("EXPLAIN QUERY PLAN " + statement, bound)]
        assert not any(step == "USE TEMP B-TREE FOR ORDER BY" for step in plan), plan


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (f"tags.mlflow.parentRunId = '{PARENT}'", "ix_tags_parent"),
        ("params.a = 'a'", "ix_params_value"),
        ("metrics.a > 0", "ix_metric_series_value"),
        (f"run_id IN ('{RUN_IDS[0]}', '{RUN_IDS[1]}')", "sqlite_autoindex_runs"),
    ],
)
def test_a_condition_that_leaves_few_runs_is_read_from_its_index(text: str, index: str) -> None:
    READER.statements.clear()
    search_runs(READER, [1], text)
    count, rows = READER.statements[-2:]
    for statement in (count, rows):
        bound = dict.fromkeys(_names(statement), 0)
        plan = [row[3] for row in READER.connection.execute("EXPLAIN QUERY PLAN " + statement, bound)]
        assert any(index in step for step in plan), plan
        assert not any("ix_runs_newest" in step for step in plan), plan


def _names(statement: str) -> list[str]:
    return re.findall(r":(\w+)", statement)


def test_many_experiments_and_hostile_texts() -> None:
    assert numbers(search_runs(READER, [*range(1, 3000)])) == numbers(search_runs(READER, BOTH))
    assert not search_runs(READER, BOTH, "params.a = 'x'' OR 1=1 --'").rows
    with pytest.raises(Invalid, match="pattern"):
        search_runs(READER, BOTH, f"params.a LIKE '{'%' * 20_000}'")
    with pytest.raises(Invalid, match="Error on parsing filter"):
        search_runs(READER, BOTH, "params.a = 'x\0'")
    with pytest.raises(Invalid, match="Error on parsing filter"):
        search_runs(READER, BOTH, "params.a = '\ud800'")
    with pytest.raises(Invalid, match="Error on parsing filter"):
        search_runs(READER, BOTH, "(" * 20_000)
    with pytest.raises(Invalid, match="Error on parsing filter"):
        search_runs(READER, BOTH, "/*" * 1_000_000)


def test_a_search_of_too_many_conditions_is_refused_before_it_harms_the_database() -> None:
    orders = [f"metrics.m{number} DESC" for number in range(MAX_ORDERS)]
    assert len(numbers(search_runs(READER, BOTH, "", ViewType.ALL, orders))) == len(FACTS)
    searches: list[Callable[..., Any]] = [search_runs, search_experiments, search_logged_models]
    for search in searches:
        with pytest.raises(Invalid, match="at most 24 clauses, not 25"):
            search(READER, BOTH, order_by=[*orders, "x"])
    many = ["params.a != 'x'"] * 500
    assert not search_runs(READER, BOTH, " AND ".join(many)).next_page_token
    with pytest.raises(Invalid, match="at most 500 comparisons, not 501"):
        search_runs(READER, BOTH, " AND ".join([*many, "params.a = 'x'"]))


def test_a_search_of_very_many_experiments_takes_no_time() -> None:
    page = search_runs(READER, range(1, 200_000), order_by=["params.a"])  # quadratic, this took minutes
    assert numbers(page) == numbers(search_runs(READER, BOTH, order_by=["params.a"]))
