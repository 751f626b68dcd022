"""Batches wait to be taken in together, and nobody sees a difference (see also test_tracking_metrics.py)."""

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from mlwright.kernel.database import Database
from mlwright.kernel.errors import StorageFull
from mlwright.kernel.identity import LOCAL
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.search import search_runs
from mlwright.tracking.service import columns, experiments, histories, metrics, purge, runs, waiting
from mlwright.tracking.service.appending import MetricWriter
from mlwright.tracking.spec import Metric, RunInfo, RunStatus
from mlwright.tracking.tables import metric_arrivals, metric_batches

KEYS = [f"m{number}" for number in range(40)]
_WAITING = Query(select(func.count()).select_from(metric_batches))
_ARRIVED = Query(select(func.count()).select_from(metric_arrivals))


def new_run(database: Database, experiment: int = 0) -> RunInfo:
    return database.write_now(lambda tx: runs.create(tx, LOCAL, experiment)).info


def wide(step: int, value: float = 1.0) -> list[Metric]:
    return [Metric(key, value, 1_000 + step, step) for key in KEYS]


def log(database: Database, run: RunInfo, batch: Sequence[Metric]) -> None:
    database.write_now(lambda tx: runs.log_batch(tx, LOCAL, run.run_id, batch, [], []))


def count(database: Database) -> int:
    return int(database.read_now(lambda tx: tx.all(_WAITING))[0][0])


def log_small(database: Database, run: RunInfo, batch: Sequence[Metric]) -> None:
    for start in range(0, len(batch), 20):
        log(database, run, batch[start : start + 20])


def arrived(database: Database) -> int:
    return int(database.read_now(lambda tx: tx.all(_ARRIVED))[0][0])


def history(database: Database, run: RunInfo, key: str = "m7") -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in database.read_now(lambda tx: metrics.history(tx, run, key))]


Reader = tuple[Callable[[Tx, RunInfo], Any], Any]
HISTORIES: dict[str, Reader] = {
    "history": (lambda tx, run: [p.step for p in metrics.history(tx, run, "m7")], [1, 2]),
    "page": (lambda tx, run: [p.step for p in metrics.history(tx, run, "m7", 1, 1)], [2]),
    "sampled": (lambda tx, run: [p.step for p in metrics.sampled(tx, run, "m7", 1)], [2]),
    "records": (lambda tx, run: metrics.records(tx, run, "m7")["step"].tolist(), [1, 2]),
    "curves": (lambda tx, run: columns.curves(tx, [run.row], 99), sorted(KEYS)),
    "series": (lambda tx, run: [each.points for each in columns.series_of(tx, run.row)], [2] * len(KEYS)),
    "states": (lambda tx, run: histories.states(tx, [run.row])[run.row]["m7"].points, 2),
}
NEWEST: dict[str, Reader] = {
    "run": (lambda tx, run: {m.key: m.step for m in runs.get(tx, LOCAL, run.run_id).metrics}, dict.fromkeys(KEYS, 2)),
    "filter": (lambda tx, run: len(search_runs(tx, [0], "metrics.m7 = 1").rows), 1),
    "order": (lambda tx, run: search_runs(tx, [0], order_by=["metrics.m7"]).rows[0].run_id == run.run_id, True),
    "keys": (lambda tx, run: columns.metric_keys(tx, LOCAL, 0).names, sorted(KEYS)),
    "common": (lambda tx, run: columns.common_keys(tx, columns.METRICS, [run.row], 99), sorted(KEYS)),
    "values": (lambda tx, run: columns.values(tx, columns.METRICS, [run.row], ["m7"]), {(1, "m7"): 1.0}),
}


@pytest.mark.parametrize("reader", [*HISTORIES, *NEWEST])
def test_every_reader_sees_what_waits(database: Database, reader: str) -> None:
    run = new_run(database)
    log(database, run, wide(1))
    log(database, run, wide(2))
    read, expected = {**HISTORIES, **NEWEST}[reader]
    assert database.read_now(lambda tx: read(tx, run)) == expected
    assert count(database) == (0 if reader in HISTORIES else 2)


@pytest.mark.parametrize("reader", [*HISTORIES, *NEWEST])
def test_every_reader_sees_small_batches(database: Database, reader: str) -> None:
    run = new_run(database)
    read, expected = {**HISTORIES, **NEWEST}[reader]
    for step in (1, 2, 0):
        log_small(database, run, wide(step))
        assert arrived(database) == (2 if step == 0 else 2 * step)
        if step == 2:
            assert database.read_now(lambda tx: read(tx, run)) == expected
            assert arrived(database) == 0
    assert history(database, run) == [(0, 1.0), (1, 1.0), (2, 1.0)]
    assert arrived(database) == 0


@pytest.mark.parametrize("reader", [*HISTORIES, *NEWEST])
def test_every_reader_sees_what_waits_when_nothing_can_be_written(
    database: Database, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(database)
    log_small(database, run, wide(1))
    log(database, run, wide(2))
    read, expected = {**HISTORIES, **NEWEST}[reader]

    def full(work: object) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(database, "write_now", full)
        assert database.read_now(lambda tx: read(tx, run)) == expected
    assert count(database) == 1
    assert database.read_now(lambda tx: read(tx, run)) == expected


@pytest.mark.parametrize("reader", NEWEST)
def test_newest_values_are_shown_again_and_again(database: Database, reader: str) -> None:
    run = new_run(database)
    read, expected = NEWEST[reader]
    log(database, run, wide(1, 5.0))
    database.read_now(lambda tx: read(tx, run))
    log(database, run, wide(2))
    assert database.read_now(lambda tx: read(tx, run)) == expected
    log(database, run, wide(0, 7.0))
    assert database.read_now(lambda tx: read(tx, run)) == expected
    assert count(database) == 3
    assert [p.step for p in database.read_now(lambda tx: metrics.history(tx, run, "m7"))] == [0, 1, 2]
    assert database.read_now(lambda tx: read(tx, run)) == expected


def test_a_search_without_metrics_waits_for_nothing(database: Database) -> None:
    log(database, new_run(database), wide(1))
    assert len(database.read_now(lambda tx: search_runs(tx, [0], "attributes.status = 'RUNNING'")).rows) == 1
    assert count(database) == 1


def test_a_reader_of_one_run_leaves_the_others(database: Database) -> None:
    one, two = new_run(database), new_run(database)
    log(database, one, wide(1))
    log(database, two, wide(1))
    assert history(database, one) == [(1, 1.0)]
    assert count(database) == 1


def test_what_comes_later_waits_behind(database: Database) -> None:
    """The first of two points at one step and time is the latest value, when one is NaN and the other is 0."""
    run = new_run(database)
    log(database, run, wide(1, math.nan))
    database.write_now(lambda tx: runs.log_metric(tx, LOCAL, run.run_id, Metric("m7", 0.0, 1_001, 1)))
    assert count(database) == 2
    found = {m.key: m.value for m in database.read_now(lambda tx: runs.get(tx, LOCAL, run.run_id)).metrics}
    assert math.isnan(found["m7"])
    assert [repr(value) for _, value in history(database, run)] == ["0.0", "nan"]


def test_a_batch_sent_again_is_stored_once(database: Database) -> None:
    run = new_run(database)
    for step in (1, 2, 1, 2):
        log(database, run, wide(step))
    assert history(database, run) == [(1, 1.0), (2, 1.0)]
    log(database, run, wide(2))
    assert history(database, run) == [(1, 1.0), (2, 1.0)]


def test_many_batches_are_taken_in(database: Database) -> None:
    run = new_run(database)
    seen = []
    for step in range(waiting.MOST_BATCHES * 5):
        log(database, run, wide(step))
        seen.append(count(database))
    assert waiting.MOST_BATCHES / 2 < max(seen) < waiting.MOST_BATCHES
    assert seen.count(0) >= 5
    assert [step for step, _ in history(database, run)] == list(range(waiting.MOST_BATCHES * 5))


def test_a_short_write_that_has_to_take_in_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_BATCHES", 2)
    monkeypatch.setattr(waiting, "_SPREAD", 1)
    run = new_run(database)
    log(database, run, wide(1))
    single = Metric("m7", 2.0, 1_002, 2)
    asyncio.run(database.write(lambda tx: runs.log_metric(tx, LOCAL, run.run_id, single), brief=True))
    assert count(database) == 0
    assert history(database, run) == [(1, 1.0), (2, 2.0)]


def test_few_runs_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_RUNS", 2)
    made = [new_run(database) for _ in range(3)]
    for run in made:
        log(database, run, wide(1))
    assert count(database) == 2
    assert [history(database, run) for run in made] == [[(1, 1.0)]] * 3


def test_nothing_of_an_ended_run_waits(database: Database) -> None:
    run = new_run(database)
    log(database, run, wide(1))
    database.write_now(lambda tx: runs.update_info(tx, LOCAL, run.run_id, name="still running"))
    assert count(database) == 1
    database.write_now(lambda tx: runs.update_info(tx, LOCAL, run.run_id, RunStatus.FINISHED, 5))
    assert count(database) == 0
    assert history(database, run) == [(1, 1.0)]


def test_a_history_moved_in_meets_what_waits(database: Database) -> None:
    run = new_run(database)
    log(database, run, wide(1))
    data = packed.pack([(1, 1_001, 1.0), (2, 1_002, 2.0)])
    assert database.write_now(lambda tx: histories.merge(tx, run, "m7", data)) == 1
    assert history(database, run) == [(1, 1.0), (2, 2.0)]


def test_a_purged_run_leaves_nothing(database: Database) -> None:
    run = new_run(database)
    log(database, run, wide(1))
    database.write_now(lambda tx: runs.delete_run(tx, LOCAL, run.run_id))
    database.write_now(lambda tx: purge.purge_runs(tx, LOCAL, 2**62, 10))
    assert count(database) == 0


def test_a_reader_ends_while_others_go_on_logging(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees what was there when it began, and is not sent back for what came later."""
    run = new_run(database)
    log(database, run, wide(1))
    taken: list[int] = []

    def take(tx: Tx, places: Any, *rest: Any) -> None:
        original(tx, places, *rest)
        taken.append(len(taken) + 2)
        runs.log_batch(tx, LOCAL, run.run_id, wide(taken[-1]), [], [])

    original = waiting.take
    monkeypatch.setattr(waiting, "take", take)
    assert history(database, run) == [(1, 1.0)]
    assert taken == [2]


# --- small batches -------------------------------------------------------------------------------------------------


def single(step: int, value: float = 1.0, key: str = "m7") -> list[Metric]:
    return [Metric(key, value, 1_000 + step, step)]


def test_a_reader_elsewhere_leaves_small_batches(database: Database) -> None:
    other = database.write_now(lambda tx: experiments.create(tx, LOCAL, "other"))
    one, two, elsewhere = new_run(database), new_run(database), new_run(database, other)
    log(database, one, single(1))
    assert history(database, two) == []
    assert database.read_now(lambda tx: runs.get(tx, LOCAL, two.run_id)).metrics == []
    assert database.read_now(lambda tx: search_runs(tx, [other], "metrics.m7 = 1").rows) == []
    assert len(database.read_now(lambda tx: search_runs(tx, [0], "attributes.status = 'RUNNING'")).rows) == 2
    assert arrived(database) == 1
    log(database, elsewhere, single(1))
    assert len(database.read_now(lambda tx: search_runs(tx, [other], "metrics.m7 = 1").rows)) == 1
    assert arrived(database) == 0


def test_so_many_points_wait_in_small_batches_at_most(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "MOST_ARRIVED", 5)
    one, two = new_run(database), new_run(database)
    seen = []
    for step in range(9):
        log(database, one, single(step))
        log(database, two, [*single(step), *single(step, 2.0, "m8")])
        seen.append(arrived(database))
    assert seen == [2, 0, 2, 0, 2, 0, 2, 0, 2]
    expected = [(step, 1.0) for step in range(9)]
    assert [history(database, run) for run in (one, two)] == [expected, expected]
    assert history(database, two, "m8") == [(step, 2.0) for step in range(9)]


def test_short_writes_take_in_small_batches(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes time does not happen on the event loop; nothing is lost when the short ones are begun again."""
    threads = []

    def writer(*arguments: Any) -> MetricWriter:
        threads.append(threading.current_thread())
        return MetricWriter(*arguments)

    monkeypatch.setattr(waiting, "MetricWriter", writer)
    monkeypatch.setattr(waiting, "MOST_ARRIVED", 16)
    made = [new_run(database) for _ in range(3)]

    async def write(number: int) -> None:
        [metric] = single(number)
        run_id = made[number % 3].run_id
        await database.write(lambda tx: runs.log_metric(tx, LOCAL, run_id, metric), brief=True)

    async def write_all() -> None:
        await asyncio.gather(*(write(number) for number in range(150)))

    asyncio.run(write_all())
    assert arrived(database) == 150 % 16
    assert threads
    assert threading.current_thread() not in threads
    for at, run in enumerate(made):
        assert history(database, run) == [(number, 1.0) for number in range(at, 150, 3)]


def test_one_read_of_several_runs_sees_the_small_batches_of_each(database: Database) -> None:
    made = [new_run(database) for _ in range(3)]
    log(database, made[1], single(1))
    log(database, made[2], single(2))
    found = database.read_now(lambda tx: [[p.step for p in metrics.history(tx, run, "m7")] for run in made])
    assert found == [[], [1], [2]]


def test_small_batches_are_taken_in_as_they_came(database: Database) -> None:
    run = new_run(database)
    log(database, run, single(1, math.nan))
    log(database, run, single(1, 0.0))
    assert math.isnan(database.read_now(lambda tx: runs.get(tx, LOCAL, run.run_id)).metrics[0].value)


@pytest.mark.parametrize("later", [wide(1, 0.0), [*single(1, 0.0), *(Metric("m7", 0.0, 1_001, 0) for _ in range(40))]])
def test_larger_batches_come_after_the_small_ones(database: Database, later: list[Metric]) -> None:
    """The first of two points at one step and time is the latest value, when one is NaN and the other is 0."""
    run, other = new_run(database), new_run(database)
    log(database, run, single(1, math.nan))
    log(database, run, later)
    assert arrived(database) == 0
    found = {m.key: m.value for m in database.read_now(lambda tx: runs.get(tx, LOCAL, run.run_id)).metrics}
    assert math.isnan(found["m7"])
    assert repr(history(database, run)[-1]) == "(1, nan)"
    log(database, other, single(1))
    log(database, run, later)
    assert arrived(database) == 1


def test_a_small_batch_sent_again_is_stored_once(database: Database) -> None:
    run = new_run(database)
    for step in (1, 2, 1, 2):
        log(database, run, [*single(step), *single(step)])
    assert history(database, run) == [(1, 1.0), (2, 1.0)]
    log(database, run, single(1))
    log(database, run, wide(2))
    assert history(database, run) == [(1, 1.0), (2, 1.0)]


def test_a_history_moved_in_meets_small_batches(database: Database) -> None:
    run = new_run(database)
    log(database, run, single(1))
    data = packed.pack([(1, 1_001, 1.0), (2, 1_002, 2.0)])
    assert database.write_now(lambda tx: histories.merge(tx, run, "m7", data)) == 1
    assert history(database, run) == [(1, 1.0), (2, 2.0)]


def test_a_purged_run_leaves_no_small_batches(database: Database) -> None:
    gone, kept = new_run(database), new_run(database)
    for run in (gone, kept, gone):
        log(database, run, single(1))
    database.write_now(lambda tx: runs.delete_run(tx, LOCAL, gone.run_id))
    database.write_now(lambda tx: purge.purge_runs(tx, LOCAL, 2**62, 10))
    assert arrived(database) == 1
    log(database, kept, single(2))
    assert history(database, kept) == [(1, 1.0), (2, 1.0)]


def test_a_reader_ends_while_others_go_on_logging_little(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new_run(database)
    log(database, run, single(1))
    taken: list[int] = []

    def take(tx: Tx) -> None:
        original(tx)
        taken.append(len(taken) + 2)
        runs.log_batch(tx, LOCAL, run.run_id, single(taken[-1]), [], [])

    original = waiting.take_arrived
    monkeypatch.setattr(waiting, "take_arrived", take)
    assert history(database, run) == [(1, 1.0)]
    assert taken == [2]
