"""Short writes and reads, which may run on the event loop of their callers, on every database."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mlwright.app.wiring import prepare
from mlwright.kernel import events
from mlwright.kernel.database import Database
from mlwright.kernel.engine import Engine, open_engine
from mlwright.kernel.errors import AlreadyExists, Internal
from mlwright.kernel.transaction import Tx
from tests.contract.units import KEYS, broken, clashing, failing, keys, log, put


def briefly(database: Database, jobs: list[Callable[[Tx], Any]]) -> list[Any]:
    """Run the jobs at once as brief ones. Returns results and errors."""

    async def run() -> list[Any]:
        return await asyncio.gather(*(database.write(job, brief=True) for job in jobs), return_exceptions=True)

    return asyncio.run(run())


def test_short_writes_run_on_the_event_loop_of_an_embedded_database(database: Database, engine: Engine) -> None:
    threads = briefly(database, [lambda tx: threading.current_thread()] * 3)
    assert [each is threading.current_thread() for each in threads] == [engine.embedded] * 3


def test_a_short_job_that_fails_does_not_hurt_its_neighbours(database: Database) -> None:
    found = briefly(database, [put("a", event=True), failing, put("b", event=True), broken, clashing])
    assert [found[0], found[2]] == ["a", "b"]
    assert [type(found[1]), type(found[3]), type(found[4])] == [AlreadyExists, Internal, Internal]
    assert keys(database) == ["a", "b"]
    assert log(database) == ["tag/a", "tag/b"]
    assert database.read_now(events.verify).findings == []


def test_what_takes_time_does_not_hold_up_the_event_loop(database: Database) -> None:
    def work(tx: Tx) -> threading.Thread:
        put("before")(tx)
        tx.take_time()
        return threading.current_thread()

    found = briefly(database, [put("a"), work, put("b")])
    assert found[1] is not threading.current_thread()
    assert keys(database) == ["a", "b", "before"]


def test_short_writes_wait_for_a_transaction_under_way(database: Database) -> None:
    held, gate = threading.Event(), threading.Event()

    def hold(tx: Tx) -> None:
        held.set()
        gate.wait(10)
        put("first")(tx)

    async def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(database.write_now, hold)
            await asyncio.to_thread(held.wait, 10)
            second = asyncio.create_task(database.write(put("second"), brief=True))
            done, _ = await asyncio.wait([second], timeout=0.05)
            assert not done
            gate.set()
            await second
            first.result(10)

    asyncio.run(run())
    assert keys(database) == ["first", "second"]


def test_short_and_long_writes_of_many_tasks_all_happen_once(database: Database) -> None:
    async def write(number: int) -> str:
        return await database.write(put(f"k{number:03d}", event=True), brief=number % 3 > 0)

    async def run() -> list[str]:
        return await asyncio.gather(*(write(number) for number in range(400)))

    done = asyncio.run(run())
    assert keys(database) == sorted(done)
    assert sorted(log(database)) == [f"tag/{key}" for key in sorted(done)]
    assert database.read_now(events.verify).findings == []


def test_writes_of_two_event_loops_do_not_block_each_other(database: Database) -> None:
    def writes(name: str, brief: bool) -> list[str]:
        async def run() -> list[str]:
            return [await database.write(put(f"{name}{number:03d}"), brief=brief) for number in range(200)]

        return asyncio.run(run())

    with ThreadPoolExecutor(2) as pool:
        short, long = pool.submit(writes, "a", True), pool.submit(writes, "b", False)
        done = short.result(30) + long.result(30)
    assert keys(database) == sorted(done)


def test_a_short_write_does_not_wait_for_another_program_on_the_event_loop(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    prepare(engine)
    database = Database(engine)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None)

    async def run() -> float:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        write = asyncio.create_task(database.write(put("a"), brief=True))
        await asyncio.sleep(0.05)
        waited = time.monotonic() - begun
        other.execute("ROLLBACK")
        await write
        return waited

    assert asyncio.run(run()) < 2
    assert keys(database) == ["a"]
    other.close()
    database.close()


def test_other_writes_wait_for_another_program(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    prepare(engine)
    database = Database(engine)
    other = sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)
    for key in ("a", "b"):  # the second one on a connection that has been used
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        end.start()
        assert database.write_now(put(key)) == key
        end.join()
    assert keys(database) == ["a", "b"]
    other.close()
    database.close()


def test_short_reads_see_the_newest_state(database: Database) -> None:
    async def run() -> Any:
        await database.write(put("a"), brief=True)
        return await database.read(lambda tx: tx.all(KEYS), brief=True)

    assert asyncio.run(run()) == [("a",)]
