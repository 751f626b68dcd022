"""The search of runs on every database: the same runs in the same order as a plain Python search."""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.search import Reader, ViewType, search_experiments, search_logged_models, search_runs, walk
from tests.unit.tracking import search_world as world

FACTS = world.make_world(13, count=50)
RUN_IDS = [fact.run_id for fact in FACTS]


class PostgresReader:
    """The transaction of a search, on PostgreSQL."""

    dialect = "postgresql"
    settled: frozenset[Hashable] | None = None

    def __init__(self, url: str) -> None:
        import psycopg

        self.connection = psycopg.connect(url.replace("+psycopg", ""), autocommit=True)
        for statement in world.table_statements(self.dialect):
            self.connection.execute(statement.encode())

    def all(self, query: Query, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        text, values = query.bind(self.dialect, params)
        return self.connection.execute(text.encode(), values).fetchall()

    def first(self, work: Callable[[Tx], None], names: Collection[Hashable]) -> None:
        raise AssertionError("nothing waits here")

    def insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            names, marks = ", ".join(f'"{name}"' for name in row), ", ".join(f"%({name})s" for name in row)
            self.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})".encode(), row)


def _sqlite(request: pytest.FixtureRequest) -> Iterator[Reader]:
    yield world.loaded(FACTS)


def _postgres(request: pytest.FixtureRequest) -> Iterator[Reader]:
    cluster = request.getfixturevalue("postgres_cluster")
    cluster.run("createdb", "search")
    reader = PostgresReader(cluster.url("search"))
    try:
        for table, rows in world.world_rows(FACTS).items():
            reader.insert(table, rows)
        yield reader
    finally:
        reader.connection.close()
        cluster.run("dropdb", "--force", "search")


@pytest.fixture(
    scope="module",
    params=[pytest.param(_sqlite, id="sqlite"), pytest.param(_postgres, id="postgresql", marks=pytest.mark.component)],
)
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    make: Callable[[pytest.FixtureRequest], Iterator[Reader]] = request.param
    yield from make(request)


@given(
    world.filters(RUN_IDS), world.orders(), st.sampled_from(ViewType), st.sampled_from([[1], [1, 2]]),
    st.sampled_from([3, 100]), st.booleans(),
)  # fmt: skip
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_runs_are_found_in_order_page_by_page(
    reader: Reader, query: Any, order: Any, view: ViewType, experiments: list[int], size: int, probe: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if probe:
            patch.setattr(walk, "_CROWD", 2)
            patch.setattr(walk, "_driver", lambda *_: None)
        found: list[int] = []
        token = ""
        while len(found) <= len(FACTS):
            page = search_runs(reader, experiments, query[0], view, order[0], size, token)
            found += [row.id for row in page.rows]
            token = page.next_page_token
            if not token:
                break
    assert found == world.plain_search(FACTS, experiments, query[1], view.stages, order[1])


@pytest.mark.parametrize(
    "text", ["", "name ILIKE 'a%' AND tags.x IS NULL", "experiment_id NOT IN ('1', '2') AND tags.x LIKE '%'"]
)
def test_experiments_can_be_searched(reader: Reader, text: str) -> None:
    assert search_experiments(reader, ["default"], text).rows == []


@pytest.mark.parametrize(
    "text", ["", "metrics.a > 1 AND params.x LIKE 'a%'", "status = 'READY' AND name IN ('a') AND tags.t != 'x'"]
)
def test_logged_models_can_be_searched(reader: Reader, text: str) -> None:
    assert search_logged_models(reader, [1, 2], text).rows == []
