"""Wide batches wait to be taken in together, and nobody sees a difference (see also test_tracking_metrics.py)."""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select

from mlwright.kernel.database import Database
from mlwright.kernel.identity import LOCAL
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.search import search_runs
from mlwright.tracking.service import columns, histories, metrics, purge, runs, waiting
from mlwright.tracking.spec import Metric, RunInfo, RunStatus
from mlwright.tracking.tables import metric_batches

KEYS = [f"m{number}" for number in range(40)]
_WAITING = Query(select(func.count()).select_from(metric_batches))


def new_run(database: Database) -> RunInfo:
    return database.write_now(lambda tx: runs.create(tx, LOCAL, 0)).info


def wide(step: int, value: float = 1.0) -> list[Metric]:
    return [Metric(key, value, 1_000 + step, step) for key in KEYS]


def log(database: Database, run: RunInfo, batch: Sequence[Metric]) -> None:
    database.write_now(lambda tx: runs.log_batch(tx, LOCAL, run.run_id, batch, [], []))


def count(database: Database) -> int:
    return int(database.read_now(lambda tx: tx.all(_WAITING))[0][0])


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
