"""What one server commits, the others on the same PostgreSQL database hear of."""

import asyncio
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from mlwright.backends.postgres_notices import announcements
from mlwright.kernel.database import Database
from mlwright.kernel.engine import open_engine
from mlwright.kernel.transaction import Tx

pytestmark = pytest.mark.component


@pytest.fixture
def pair(shared_postgres: str) -> Iterator[tuple[Database, Database]]:
    """Two servers on one database; the second listens."""
    first, second = Database(open_engine(shared_postgres)), Database(open_engine(shared_postgres))
    second.listen()
    _until_listening(shared_postgres)
    time.sleep(0.2)  # once it listens it wakes everyone, whom the tests must not take for a notice
    yield first, second
    first.close()
    second.close()


def _until_listening(url: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for _ in range(200):
            if connection.execute("SELECT 1 FROM pg_stat_activity WHERE query = 'LISTEN mlwright'").fetchone():
                return
            time.sleep(0.05)
    raise AssertionError("nobody listens")


def _commit(database: Database, *topics: str) -> Callable[[], None]:
    def work(tx: Tx) -> None:
        tx.topics.update(topics)

    return lambda: database.write_now(work)


async def _heard(database: Database, topic: str, timeout_s: float, write: Callable[[], None]) -> bool:
    waiting = asyncio.create_task(database.changes.wait(topic, timeout_s))
    await asyncio.sleep(0)
    await asyncio.to_thread(write)
    return await waiting


def test_a_commit_is_heard_by_another_server(pair: tuple[Database, Database]) -> None:
    first, second = pair
    assert asyncio.run(_heard(second, "run/1", 10, _commit(first, "run/1", "run/2")))


def test_other_topics_wake_nobody(pair: tuple[Database, Database]) -> None:
    first, second = pair
    assert not asyncio.run(_heard(second, "run/1", 0.5, _commit(first, "run/2")))


def test_many_topics_fit_into_several_notices(pair: tuple[Database, Database]) -> None:
    first, second = pair
    topics = [f"run/{number:032}" for number in range(500)]
    assert asyncio.run(_heard(second, topics[-1], 10, _commit(first, *topics)))
    assert all(len(values[1]) < 8_000 for _, values in announcements("x" * 16, topics))


def test_who_does_not_listen_hears_nothing(pair: tuple[Database, Database]) -> None:
    first, second = pair
    assert not asyncio.run(_heard(first, "run/1", 0.5, _commit(second, "run/1")))


def test_a_lost_connection_is_made_again_and_everyone_woken(
    pair: tuple[Database, Database], shared_postgres: str
) -> None:
    first, second = pair

    def cut() -> None:
        with psycopg.connect(shared_postgres.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'LISTEN mlwright'")

    assert asyncio.run(_heard(second, "anything", 10, cut))
    _until_listening(shared_postgres)
    assert asyncio.run(_heard(second, "run/3", 10, _commit(first, "run/3")))


def test_who_listens_is_there_until_its_connection_ends(pair: tuple[Database, Database]) -> None:
    first, second = pair
    assert set(first.engine.servers()) == {second.engine.server}
    second.close()
    assert set(first.engine.servers()) == set()
