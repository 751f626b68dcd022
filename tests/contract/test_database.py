"""One suite over every database: group commit, durability, isolation, the event chain, lost connections, errors."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mlwright.app.wiring import prepare
from mlwright.kernel import events
from mlwright.kernel.changes import EVENTS
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Connection, Engine, open_engine
from mlwright.kernel.errors import AlreadyExists, Internal, Invalid, MlwrightError, StorageFull, Unavailable
from mlwright.kernel.transaction import Tx
from mlwright.tracking.tables import experiments, tags
from tests.components import postgres_server
from tests.contract.units import COUNT, PUT, broken, clashing, failing, keys, log, put


def together(database: Database, jobs: list[Callable[[Tx], Any]]) -> list[Any]:
    """Run the jobs in one commit: they queue up while the writer is held back. Returns results and errors."""
    gate, held = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        held.set()
        gate.wait(10)

    async def run() -> list[Any]:
        first = asyncio.create_task(database.write(hold))
        await asyncio.to_thread(held.wait, 10)
        others = [asyncio.create_task(database.write(job)) for job in jobs]
        await asyncio.sleep(0)
        gate.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    return asyncio.run(run())


# --- group commit ------------------------------------------------------------------------------------------------


def test_a_job_that_fails_does_not_hurt_its_neighbours(database: Database) -> None:
    jobs = [put("a", event=True), failing, put("b", event=True), broken, clashing, put("c", event=True)]
    found = together(database, jobs)
    assert [found[0], found[2], found[5]] == ["a", "b", "c"]
    assert isinstance(found[1], AlreadyExists)
    assert isinstance(found[3], Internal)
    assert "ZeroDivision" not in found[3].message
    assert isinstance(found[4], Internal)
    assert keys(database) == ["a", "b", "c"]
    assert log(database) == ["tag/a", "tag/b", "tag/c"]
    assert database.read_now(events.verify).findings == []


def test_many_jobs_take_few_commits(database: Database) -> None:
    commits: list[object] = []

    class Counting:
        """The connection's cursor, with its commits counted."""

        def __init__(self, connection: Connection) -> None:
            self.connection = connection

        def cursor(self) -> Any:
            cursor = self.connection.cursor()
            outer = self

            class Cursor:
                def execute(self, sql: str, *parameters: Any) -> Any:
                    if sql == "COMMIT":
                        commits.append(outer)
                    return cursor.execute(sql, *parameters)

                def __getattr__(self, name: str) -> Any:
                    return getattr(cursor, name)

            return Cursor()

        def close(self) -> None:
            self.connection.close()

    assert database._writer._connection is not None
    database._writer._connection = Counting(database._writer._connection)
    together(database, [put(f"k{number:03d}") for number in range(200)])
    assert len(commits) == 2
    assert len(keys(database)) == 200


def test_a_later_job_of_a_commit_sees_an_earlier_one(database: Database) -> None:
    count: Callable[[Tx], Any] = lambda tx: tx.one(COUNT)  # noqa: E731
    assert together(database, [count, put("a"), count, failing, count])[::2] == [(0,), (1,), (1,)]


# --- durability and isolation ------------------------------------------------------------------------------------


def test_an_answered_write_is_seen_by_everyone(database: Database, engine: Engine) -> None:
    database.write_now(put("a"))
    connection = engine.connect(writable=False)
    cursor = connection.cursor()
    cursor.execute("SELECT key FROM tags")
    assert cursor.fetchall() == [("a",)]
    connection.close()


def test_a_commit_reaches_the_disk(database: Database, engine: Engine) -> None:
    assert database._writer._connection is not None
    cursor = database._writer._connection.cursor()
    if engine.dialect == "postgresql":  # the server decides (the tests' own is fast instead of safe): we weaken nothing
        cursor.execute("SELECT source FROM pg_settings WHERE name = 'synchronous_commit'")
        assert cursor.fetchone()[0] not in {"client", "session", "user", "database"}
        return
    found = {}
    for name in ("synchronous", "journal_mode"):
        cursor.execute(f"PRAGMA {name}")
        found[name] = cursor.fetchone()[0]
    assert found == {"synchronous": 2, "journal_mode": "wal"}


def test_a_read_sees_one_state_of_the_database(database: Database) -> None:
    def work(tx: Tx) -> tuple[Any, Any]:
        before = tx.one(COUNT)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(database.write_now, put("a")).result()
        return before, tx.one(COUNT)

    before, after = database.read_now(work)
    assert before == after == (0,)
    assert keys(database) == ["a"]


def test_a_read_cannot_write(database: Database) -> None:
    with pytest.raises(Exception, match=r"read-?only|cannot be written|query_only"):
        database.read_now(put("a"))
    assert keys(database) == []


def test_reads_run_beside_a_long_write(database: Database) -> None:
    gate, inside = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        put("slow")(tx)
        inside.set()
        gate.wait(10)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(database.write_now, slow)
        inside.wait(10)
        assert keys(database) == []
        gate.set()
        writing.result()
    assert keys(database) == ["slow"]


# --- events ------------------------------------------------------------------------------------------------------


def test_the_chain_stays_linear_under_many_writers(database: Database) -> None:
    def work(writer: int) -> None:
        for number in range(10):
            database.write_now(put(f"{writer}-{number}", writer, event=True))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    verdict = database.read_now(events.verify)
    assert verdict.findings == []
    assert len(log(database)) == 80
    for writer in range(8):
        mine = [each for each in log(database) if each.startswith(f"tag/{writer}-")]
        assert mine == [f"tag/{writer}-{number}" for number in range(10)]


def test_two_control_planes_keep_one_chain(database: Database, engine: Engine) -> None:
    other = Database(engine)
    try:

        def work(number: int) -> None:
            (database, other)[number % 2].write_now(put(f"{number}", number, event=True))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(60)))
        assert other.read_now(events.verify) == database.read_now(events.verify)
        assert database.read_now(events.verify).findings == []
        assert len(log(database)) == 60
    finally:
        other.close()


def test_commits_are_announced_once_they_can_be_read(database: Database) -> None:
    async def run() -> tuple[bool, list[str]]:
        waiting = asyncio.create_task(database.changes.wait(EVENTS, 10))
        await asyncio.sleep(0)
        await database.write(put("a", event=True))
        return await waiting, log(database)

    assert asyncio.run(run()) == (True, ["tag/a"])


def test_a_failed_job_announces_nothing(database: Database) -> None:
    async def run() -> bool:
        waiting = asyncio.create_task(database.changes.wait(EVENTS, 0.05))
        await asyncio.sleep(0)
        with pytest.raises(AlreadyExists):
            await database.write(failing)
        return await waiting

    assert asyncio.run(run()) is False


# --- closing, errors, lost connections ---------------------------------------------------------------------------


def test_a_closed_database_takes_no_writes(engine: Engine) -> None:
    prepare(engine)
    database = Database(engine)
    database.write_now(put("a"))
    database.close()
    database.close()
    with pytest.raises(Unavailable, match="stopping"):
        database.write_now(put("b"))


def test_closing_finishes_what_is_queued(engine: Engine) -> None:
    prepare(engine)
    database = Database(engine)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(database.write_now, put(f"k{number}")) for number in range(50)]
        done = [each.result() for each in waiting[:1]]
        database.close()
        done += [each.result() for each in waiting[1:] if each.exception() is None]
    again = Database(engine)
    assert sorted(keys(again)) == sorted(done)
    again.close()


@pytest.mark.parametrize("brief", [False, True])
def test_a_write_that_meets_the_end_is_answered(engine: Engine, brief: bool) -> None:
    prepare(engine)
    database = Database(engine)
    closing = threading.Thread(target=database.close)

    async def write(number: int) -> str:
        await asyncio.sleep(number / 10_000)
        if number == 100:
            closing.start()
        return await database.write(put(f"k{number:03d}"), brief=brief)

    async def run() -> list[Any]:
        return await asyncio.gather(*(write(number) for number in range(300)), return_exceptions=True)

    found = asyncio.run(run())
    closing.join(10)
    done = [each for each in found if isinstance(each, str)]
    assert [each for each in found if not isinstance(each, str | Unavailable)] == []
    assert 0 < len(done) < 300
    again = Database(engine)
    assert keys(again) == sorted(done)
    again.close()


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ud800"])
def test_text_that_a_database_cannot_hold_is_refused_or_kept(database: Database, text: str) -> None:
    def work(tx: Tx) -> None:
        tx.run(PUT, {"run": 1, "key": "k", "value": text})

    if outcome(database.write_now, work) is Invalid:
        assert keys(database) == []
    else:
        assert database.read_now(lambda tx: tx.select(select(tags.c.value))) == [(text,)]
    database.write_now(put("next"))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70])
def test_numbers_that_are_too_large_are_the_callers_fault(database: Database, number: int) -> None:
    def work(tx: Tx) -> Any:
        return tx.select(select(experiments.c.id).where(experiments.c.id == number))

    for call in (database.read_now, database.write_now):
        assert outcome(call, work) in ([], Invalid)


def outcome(call: Callable[[Callable[[Tx], Any]], Any], work: Callable[[Tx], Any]) -> Any:
    """What a call returned, or the type of error it raised."""
    try:
        return call(work)
    except MlwrightError as error:
        return type(error)


class Failing:
    """A connection whose commands fail from now on."""

    def __init__(self, connection: Connection, error: Exception, command: str) -> None:
        self.connection, self.error, self.command = connection, error, command

    def cursor(self) -> Any:
        cursor, outer = self.connection.cursor(), self

        class Cursor:
            def execute(self, sql: str, *parameters: Any) -> Any:
                if sql.startswith(outer.command):
                    raise outer.error
                return cursor.execute(sql, *parameters)

            def executemany(self, sql: str, rows: Any) -> Any:
                if sql.startswith(outer.command):
                    raise outer.error
                return cursor.executemany(sql, rows)

            def __getattr__(self, name: str) -> Any:
                return getattr(cursor, name)

        return Cursor()

    def close(self) -> None:
        self.connection.close()


def full_disk(engine: Engine) -> Exception:
    if engine.dialect == "sqlite":
        import sqlite3

        return sqlite3.OperationalError("database or disk is full")
    import psycopg

    return psycopg.errors.DiskFull("could not extend file")


@pytest.mark.parametrize("command", ["INSERT INTO tags", "INSERT INTO events", "COMMIT", "SAVEPOINT", "BEGIN"])
def test_a_full_disk_is_storage_full_and_passes(database: Database, engine: Engine, command: str) -> None:
    healthy = database._writer._connection
    assert healthy is not None
    database._writer._connection = Failing(healthy, full_disk(engine), command)
    for found in together_plain(database, [put("a", event=True), put("b", event=True)]):
        assert isinstance(found, StorageFull), repr(found)
    if database._writer._connection is not None:
        database._writer._connection = healthy
    assert keys(database) == []
    database.write_now(put("c", event=True))
    assert log(database) == ["tag/c"]
    assert database.read_now(events.verify).findings == []


def together_plain(database: Database, jobs: list[Callable[[Tx], Any]]) -> list[Any]:
    async def run() -> list[Any]:
        return await asyncio.gather(*(database.write(job) for job in jobs), return_exceptions=True)

    return asyncio.run(run())


# --- only SQLite -------------------------------------------------------------------------------------------------


def test_a_file_that_became_read_only_is_unavailable(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    prepare(engine)
    database = Database(engine)
    try:
        assert database._writer._connection is not None
        database._writer._connection.cursor().execute("PRAGMA query_only=1")
        with pytest.raises(Unavailable, match="cannot be written"):
            database.write_now(put("a"))
        database.write_now(put("a"))  # on a new connection
        assert keys(database) == ["a"]
    finally:
        database.close()


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match="damaged") as caught:
        prepare(open_engine(f"sqlite:///{tmp_path / 'x.db'}"))
    assert "doctor" in caught.value.hint


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "oracle+x://y"])
def test_an_unknown_database_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="unknown database"):
        open_engine(url)


# --- only PostgreSQL ---------------------------------------------------------------------------------------------


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Database]:
    engine = open_engine(postgres_url)
    prepare(engine)
    database = Database(engine)
    yield database
    database.close()


_TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def terminate(engine: Engine) -> None:
    """End all other connections to the database, as a fail-over would."""
    connection = engine.connect(writable=True)
    connection.cursor().execute(_TERMINATE)
    connection.close()


@pytest.mark.component
def test_ended_connections_are_made_anew(on_postgres: Database) -> None:
    on_postgres.write_now(put("a", event=True))
    assert keys(on_postgres) == ["a"]
    for key in ("b", "c"):
        terminate(on_postgres.engine)
        on_postgres.write_now(put(key, event=True))
        terminate(on_postgres.engine)
        assert keys(on_postgres)[-1] == key
    assert on_postgres.read_now(events.verify).findings == []


@pytest.mark.component
def test_a_connection_lost_within_a_job_runs_it_again_whole(on_postgres: Database) -> None:
    attempts: list[int] = []

    def work(tx: Tx) -> None:
        attempts.append(len(attempts))
        put("a", event=True)(tx)
        if len(attempts) == 1:
            terminate(on_postgres.engine)
        put("b", event=True)(tx)

    on_postgres.write_now(work)
    assert len(attempts) == 2
    assert keys(on_postgres) == ["a", "b"]
    assert log(on_postgres) == ["tag/a", "tag/b"]


@pytest.mark.component
def test_a_standby_is_unavailable(on_postgres: Database) -> None:
    on_postgres.write_now(lambda tx: tx.command("SET default_transaction_read_only = on"))
    with pytest.raises(Unavailable, match="cannot be written"):
        on_postgres.write_now(put("a"))
    terminate(on_postgres.engine)
    on_postgres.write_now(put("a"))
    assert keys(on_postgres) == ["a"]


@pytest.mark.component
def test_a_restarted_server_is_waited_for(tmp_path: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mlw-pg-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with postgres_server(folder=folder) as cluster:
            port = cluster.port
            cluster.run("createdb", "restart")
            engine = open_engine(cluster.url("restart"))
            prepare(engine)
            database = Database(engine)
            database.write_now(put("a", event=True))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(database.write_now, put("b", event=True))
            with pytest.raises(Unavailable):
                keys(database)
            with postgres_server(folder=folder, port=port):
                assert waiting.result(30) == "b"
                assert keys(database) == ["a", "b"]
                assert database.read_now(events.verify).findings == []
                database.close()


@pytest.mark.component
def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="PostgreSQL"):
        prepare(open_engine("postgresql://nobody@127.0.0.1:9/none"))
