"""Metric histories on both databases, beside a plain model of MLflow's semantics."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlwright.kernel.database import Database
from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import LOCAL
from mlwright.tracking.points import Point
from mlwright.tracking.service import appending, metrics, runs, waiting
from mlwright.tracking.spec import Metric, RunInfo
from tests.contract.conftest import BOTH

_MAX_DOUBLE = 1.7976931348623157e308


class Stored(NamedTuple):
    """A point as MLflow's table holds it: NaN is 0 with a mark. The primary key is all of it."""

    step: int
    timestamp: int
    value: float
    is_nan: bool

    @classmethod
    def of(cls, metric: Metric) -> "Stored":
        nan = math.isnan(metric.value)
        value = 0.0 if nan else max(-_MAX_DOUBLE, min(_MAX_DOUBLE, metric.value))
        return cls(metric.step, metric.timestamp, value, nan)

    @property
    def shown(self) -> tuple[int, int, float | None]:
        return (self.step, self.timestamp, None if self.is_nan else self.value)


class Model:
    """What a run's metrics must be, computed the slow and obvious way."""

    def __init__(self) -> None:
        self.points: dict[str, set[Stored]] = {}
        self.latest: dict[str, Stored] = {}

    def log(self, batch: Sequence[Metric]) -> None:
        for metric in batch:
            point = Stored.of(metric)
            self.points.setdefault(metric.key, set()).add(point)
            best = self.latest.get(metric.key)
            if best is None or point[:3] > best[:3]:
                self.latest[metric.key] = point

    def history(self, key: str) -> list[Stored]:
        return sorted(self.points.get(key, ()), key=lambda p: (p.timestamp, p.step, p.value, p.is_nan))

    def sampled(self, key: str, size: int, steps: tuple[int, int] | None) -> list[Stored]:
        """The first row of each NTILE bucket, and the last row of all instead of the last of these."""
        first, last = steps or (-(2**63), 2**63)
        rows = sorted(point for point in self.points.get(key, ()) if first <= point.step <= last)
        wide, narrow = len(rows) % size, len(rows) // size
        found, at = [], 0
        for bucket in range(size):
            length = narrow + (bucket < wide)
            if length:
                found.append(rows[at])
            at += length
        if found and found[-1] != rows[-1]:
            found[-1:] = [rows[-1]] if len(found) >= size else [found[-1], rows[-1]]
        return found


def shown(points: Sequence[Point]) -> list[tuple[int, int, float | None]]:
    return [(p.step, p.timestamp, None if math.isnan(p.value) else p.value) for p in points]


def new_run(database: Database) -> RunInfo:
    return database.write_now(lambda tx: runs.create(tx, LOCAL, 0)).info


def log(database: Database, run: RunInfo, batch: Sequence[Metric]) -> None:
    database.write_now(lambda tx: runs.log_batch(tx, LOCAL, run.run_id, batch, [], []))


def history(database: Database, run: RunInfo, key: str = "a", offset: int = 0, limit: int | None = None) -> Any:
    return shown(database.read_now(lambda tx: metrics.history(tx, run, key, offset, limit)))


def sampled(database: Database, run: RunInfo, key: str, size: int, steps: tuple[int, int] | None = None) -> Any:
    return shown(database.read_now(lambda tx: metrics.sampled(tx, run, key, size, steps)))


def latest(database: Database, run: RunInfo) -> dict[str, tuple[int, int, float | None]]:
    found = database.read_now(lambda tx: runs.get(tx, LOCAL, run.run_id)).metrics
    return {m.key: (m.step, m.timestamp, None if math.isnan(m.value) else m.value) for m in found}


@pytest.fixture(scope="module", params=BOTH)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """One database for all examples of a property: each makes a run of its own."""
    from mlwright.app.wiring import prepare
    from mlwright.kernel.engine import open_engine
    from mlwright.security import projects
    from mlwright.tracking.service import experiments
    from tests.contract.conftest import PROJECT

    if request.param == "sqlite":
        engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('metrics') / 'test.db'}")
    else:
        cluster = request.getfixturevalue("postgres_cluster")
        cluster.run("createdb", "metrics")
        engine = open_engine(cluster.url("metrics"))
    prepare(engine)
    database = Database(engine)
    database.write_now(lambda tx: projects.create_default(tx, PROJECT))
    database.write_now(experiments.create_default)
    yield database
    database.close()
    if request.param == "postgresql":
        cluster.run("dropdb", "metrics")


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few points make a chunk, so that short histories have several."""
    monkeypatch.setattr(appending, "TAIL_POINTS", 4)
    monkeypatch.setattr(appending, "CHUNK_POINTS", 6)
    monkeypatch.setattr(appending, "LOOKUPS", 1)


@pytest.fixture(params=[1, 100])
def wide_from(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two metrics wait, or none does."""
    monkeypatch.setattr(waiting, "LOOKUPS", request.param)
    monkeypatch.setattr(waiting, "MOST_BATCHES", 3)


_metric = st.builds(
    Metric,
    st.sampled_from(["a", "a", "b"]),
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, 0.0, 1.0, _MAX_DOUBLE, 5e-324]),
    st.integers(0, 4) | st.sampled_from([2**63 - 1]),
    st.integers(-2, 4) | st.sampled_from([-(2**63), 2**63 - 1]),
)
_rising = st.builds(
    lambda start, count: [Metric("a", float(n), start + n, n) for n in range(count)],
    st.integers(0, 9),
    st.integers(1, 9),
)
_batches = st.lists(st.lists(_metric, min_size=1, max_size=8) | _rising, min_size=1, max_size=6)


@pytest.mark.usefixtures("small_chunks", "wide_from")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_batches, st.data())
def test_any_interleaving_is_as_in_mlflow(shared: Database, batches: list[list[Metric]], data: st.DataObject) -> None:
    run, model = new_run(shared), Model()
    for batch in batches:
        log(shared, run, batch)
        model.log(batch)
    assert latest(shared, run) == {key: point.shown for key, point in model.latest.items()}
    for key in ("a", "b", "none"):
        expected = [point.shown for point in model.history(key)]
        assert history(shared, run, key) == expected
        offset, limit = data.draw(st.integers(0, len(expected) + 2)), data.draw(st.integers(1, 12))
        assert history(shared, run, key, offset, limit) == expected[offset : offset + limit]
        size = data.draw(st.integers(1, 8))
        steps = data.draw(st.none() | st.tuples(st.integers(-3, 2), st.integers(0, 5)))
        assert sampled(shared, run, key, size, steps) == [point.shown for point in model.sampled(key, size, steps)]


_several = st.lists(
    st.builds(
        Metric, st.sampled_from("abc"), st.sampled_from([math.nan, 0.0, 1.0]), st.integers(0, 3), st.integers(0, 3)
    ),
    min_size=1,
    max_size=7,
)
_events = st.lists(
    st.tuples(st.integers(0, 1), _several | _rising | st.sampled_from(["latest", "history"])), min_size=1, max_size=24
)


@pytest.fixture
def everything_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One or two points are a small batch, three metrics a wide one; few of either are taken in."""
    monkeypatch.setattr(waiting, "LOOKUPS", 2)
    monkeypatch.setattr(waiting, "MOST_BATCHES", 3)
    monkeypatch.setattr(waiting, "_SPREAD", 1)
    monkeypatch.setattr(waiting, "MOST_RUNS", 1)
    monkeypatch.setattr(waiting, "MOST_ARRIVED", 6)


@pytest.mark.usefixtures("small_chunks", "everything_waits")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_events)
def test_reads_between_batches_of_two_runs_show_the_same(
    shared: Database, events: list[tuple[int, list[Metric] | str]]
) -> None:
    made = [(new_run(shared), Model()) for _ in range(2)]
    for at, event in [*events, *((at, what) for at in (0, 1) for what in ("latest", "history"))]:
        run, model = made[at]
        if isinstance(event, list):
            log(shared, run, event)
            model.log(event)
        elif event == "latest":
            assert latest(shared, run) == {key: point.shown for key, point in model.latest.items()}
        else:
            for key in "abc":
                assert history(shared, run, key) == [point.shown for point in model.history(key)]


def test_pages_join_to_the_whole_history(database: Database) -> None:
    run = new_run(database)
    for start in range(0, 1_300, 100):
        log(database, run, [Metric("a", float(n), n, n) for n in range(start, start + 100)])
    whole = history(database, run)
    assert len(whole) == 1_300
    assert [row for offset in range(0, 1_400, 97) for row in history(database, run, "a", offset, 97)] == whole
    assert history(database, run, "a", 1_300, 5) == []


def test_a_large_history_is_kept_in_few_chunks(database: Database) -> None:
    run = new_run(database)
    for start in range(0, 9_000, 1_000):
        log(database, run, [Metric("a", float(n), n, n) for n in range(start, start + 1_000)])
    assert len(history(database, run)) == 9_000
    assert [row[0] for row in sampled(database, run, "a", 10)] == [
        0,
        900,
        1800,
        2700,
        3600,
        4500,
        5400,
        6300,
        7200,
        8999,
    ]
    late = [Metric("a", 5.0, 5, 5), Metric("a", -1.0, 5, 5)]
    log(database, run, late)
    assert len(history(database, run)) == 9_001
    assert history(database, run)[5:7] == [(5, 5, -1.0), (5, 5, 5.0)]
    assert latest(database, run)["a"] == (8_999, 8_999, 8_999.0)


def test_runs_and_keys_do_not_mix(database: Database) -> None:
    one, two = new_run(database), new_run(database)
    log(database, one, [Metric("a", 1.0, 1, 1), Metric("A", 2.0, 1, 1), Metric("a/b", 3.0, 1, 1)])
    log(database, two, [Metric("a", 4.0, 1, 1)])
    assert latest(database, one) == {"a": (1, 1, 1.0), "A": (1, 1, 2.0), "a/b": (1, 1, 3.0)}
    assert history(database, two) == [(1, 1, 4.0)]


@pytest.mark.parametrize("key", ["", "../a", "/a", "a//b", "a/./b", ".", "a\0", "a" * 251, "a;b", "a'b"])
def test_one_bad_name_stores_nothing_of_a_batch(database: Database, key: str) -> None:
    run = new_run(database)
    with pytest.raises(Invalid) as caught:
        log(database, run, [Metric("a", 1.0, 1, 1), Metric(key, 1.0, 1, 1)])
    assert "metrics[1].name" in caught.value.path or "Metric name" in caught.value.path
    assert latest(database, run) == {}


@pytest.mark.parametrize("key", ["日本", "a b", "a:b", "a-b_c.d/e", "É" * 250, "_"])
def test_names_may_use_any_script(database: Database, key: str) -> None:
    run = new_run(database)
    log(database, run, [Metric(key, 1.0, 1, 1)])
    assert latest(database, run) == {key: (1, 1, 1.0)}


def test_too_many_metrics_are_refused(database: Database) -> None:
    run = new_run(database)
    with pytest.raises(Invalid, match="at most 1000 metrics"):
        log(database, run, [Metric("a", 1.0, n, n) for n in range(1_001)])
    assert latest(database, run) == {}


def test_values_are_kept_to_the_last_bit(database: Database) -> None:
    run = new_run(database)
    values = [0.1, 1 / 3, math.pi, 5e-324, 1e308, -1e-308, 2**53 + 1.0]
    log(database, run, [Metric("a", value, n, n) for n, value in enumerate(values)])
    assert [row[2] for row in history(database, run)] == values
    assert latest(database, run)["a"][2] == values[-1]
