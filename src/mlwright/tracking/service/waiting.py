"""Batches of many metrics wait, and are taken into the histories together (ADR 0002).

Taking in a batch of a thousand metrics changes a thousand rows and index entries, most of them on pages of their own;
taking in fifty such batches of a run at once changes hardly more. So a wide batch is stored as one row as it came. It
is taken in when enough of its run wait, when the run ends, or before anybody reads the history of a metric; and its
newest values are shown before anybody reads these. So no reader sees a difference.

Even a single metric changes several pages in its history, and a row at the end of a table not one of its own. So the
small batches of all runs first become such rows, and are taken in together, too: when they have many points, or before
anybody reads metrics of one of these runs.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, update

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.service.appending import LOOKUPS, MetricWriter
from mlwright.tracking.spec import Metric
from mlwright.tracking.tables import metric_arrivals, metric_batches, metric_waiting
from mlwright.tracking.validation import clamp

#: So many batches of a run wait at most, and so many runs have any: it bounds what a reader waits for.
MOST_BATCHES = 64
MOST_RUNS = 32
#: Small batches, of all runs together, are taken in when they have so many points.
MOST_ARRIVED = 512
#: Runs that log in step with each other are taken in at different times: they differ by up to so many batches.
_SPREAD = 16
#: So many points of a metric that waited become a chunk of their own.
_CHUNK_POINTS = 32
_ALL = "all batches"
_SMALL = "small batches"

_of_run = metric_batches.c.run == bindparam("run")
_insert = Query(insert(metric_batches).values({column.name: bindparam(column.name) for column in metric_batches.c}))
_batches = Query(
    select(metric_batches.c.points)
    .where(_of_run, metric_batches.c.number >= bindparam("first"))
    .order_by(metric_batches.c.number)
)
_delete = Query(delete(metric_batches).where(_of_run))

_place = (metric_waiting.c.experiment_id == bindparam("experiment_id"), metric_waiting.c.run == bindparam("run"))
_runs = Query(select(metric_waiting))
_begin = Query(insert(metric_waiting).values({column.name: bindparam(column.name) for column in metric_waiting.c}))
_count = Query(update(metric_waiting).where(*_place).values(batches=bindparam("count")))
_shown = Query(select(metric_waiting.c.shown).where(*_place))
_set_shown = Query(update(metric_waiting).where(*_place).values(shown=metric_waiting.c.batches))
_end = Query(delete(metric_waiting).where(*_place))

#: How many points wait in small batches; None when none do.
ARRIVED = select(func.max(metric_arrivals.c.upto)).scalar_subquery()
_arrive = Query(insert(metric_arrivals).values({column.name: bindparam(column.name) for column in metric_arrivals.c}))
_arrived_at = Query(select(metric_arrivals.c.experiment_id, metric_arrivals.c.run).distinct())
_arrivals = Query(
    select(metric_arrivals.c.experiment_id, metric_arrivals.c.run, metric_arrivals.c.points).order_by(
        metric_arrivals.c.upto
    )
)
_arrived_of = Query(select(metric_arrivals.c.upto).where(metric_arrivals.c.run == bindparam("run")).limit(1))
_clear = Query(delete(metric_arrivals))

_encode = msgspec.msgpack.Encoder().encode
#: As many keys as packed points.
_decode = msgspec.msgpack.Decoder(tuple[list[str], bytes]).decode


class Reader(Protocol):
    """What of a transaction is needed to find out whether something waits."""

    settled: frozenset[Hashable] | None

    def first(self, work: Callable[[Tx], None], names: Collection[Hashable]) -> None: ...
    def all(self, query: Query, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]: ...


class Place(NamedTuple):
    """A run, as the rows of its metrics name it."""

    experiment_id: int
    run: int


def log(tx: Tx, place: Place, waiting: int, arrived: int, metrics: Sequence[Metric]) -> None:
    """Add points to a run.

    Args:
        waiting: how many batches of the run wait. If any, this one waits behind them.
        arrived: how many points of all runs wait in small batches.
        metrics: at least one point.
    """
    keys = [metric.key for metric in metrics]
    points = packed.pack([(metric.step, metric.timestamp, clamp(metric.value)) for metric in metrics])
    if waiting:
        tx.run(_count, {**place._asdict(), "count": waiting + 1})
        _keep(tx, place, waiting, keys, points)
    elif len(keys) <= LOOKUPS:
        _keep_small(tx, place, arrived, keys, points)
    else:
        if arrived and tx.one(_arrived_of, {"run": place.run}):
            take_arrived(tx)
        if len(set(keys)) <= LOOKUPS:
            MetricWriter(tx, *place).append(packed.split([(keys, points)]))
        else:
            _make_room(tx)
            tx.run(_begin, {**place._asdict(), "batches": 1, "shown": 0})
            _keep(tx, place, 0, keys, points)


def _keep(tx: Tx, place: Place, number: int, keys: list[str], points: bytes) -> None:
    tx.run(_insert, {"run": place.run, "number": number, "points": _encode((keys, points))})
    if number + 1 >= MOST_BATCHES - place.run % _SPREAD:
        take(tx, [place], _CHUNK_POINTS)


def _keep_small(tx: Tx, place: Place, arrived: int, keys: list[str], points: bytes) -> None:
    experiment_id, run = place
    upto = arrived + len(keys)
    tx.run(_arrive, {"upto": upto, "experiment_id": experiment_id, "run": run, "points": _encode((keys, points))})
    if upto >= MOST_ARRIVED:
        take_arrived(tx)


def take_arrived(tx: Tx) -> None:
    """Take all small batches into their histories. Of a run with batches that wait otherwise there are none."""
    tx.take_time()
    batches: defaultdict[Place, list[tuple[list[str], bytes]]] = defaultdict(list)
    for experiment_id, run, points in tx.all(_arrivals):
        batches[Place(experiment_id, run)].append(_decode(points))
    for place, parts in batches.items():
        MetricWriter(tx, *place).append(packed.split(parts))
    tx.run(_clear)


def take(tx: Tx, places: Collection[Place], tail_points: int | None = None) -> None:
    """Take what waits of some runs into their histories. `tail_points`: see MetricWriter."""
    tx.take_time()
    for place in places:
        MetricWriter(tx, *place, tail_points).append(_waiting(tx, place))
        tx.run(_delete, {"run": place.run})
        tx.run(_end, place._asdict())


def show(tx: Tx, places: Collection[Place]) -> None:
    """Bring the newest values of some runs up to date with what waits."""
    tx.take_time()
    for place in places:
        row = tx.one(_shown, place._asdict())
        if row is not None:
            MetricWriter(tx, *place).show(_waiting(tx, place, first=row[0]))
            tx.run(_set_shown, place._asdict())


def settle(tx: Reader, *, experiments: Collection[int] = (), runs: Collection[int] = (), newest: bool = False) -> None:
    """Have written what waits of some experiments and runs (their rows) before their metrics are read.

    With `newest`, only newest values and the names of metrics are going to be read.
    """
    done = tx.settled or frozenset()
    if _ALL in done:
        return
    rows = tx.all(_runs)
    needed = [
        Place(experiment_id, run)
        for experiment_id, run, batches, shown in rows
        if (experiment_id in experiments or run in runs)
        and not (newest and shown == batches)
        and done.isdisjoint(_names([experiment_id], [run], newest) | _names([experiment_id], [run], newest=False))
    ]
    arrived = [] if _SMALL in done else tx.all(_arrived_at)
    small = any(experiment_id in experiments or run in runs for experiment_id, run in arrived)
    if needed or small:
        names = _names(experiments, runs, newest) if needed else set()
        tx.first(partial(_settle, needed, small, newest), {*names, _SMALL} if small else names)
    elif not rows and not arrived and tx.settled is not None:
        tx.settled = done | {_ALL}  # what a read sees does not change: it has to ask only once


def _settle(needed: Sequence[Place], small: bool, newest: bool, tx: Tx) -> None:
    if small:
        take_arrived(tx)
    if needed:
        (show if newest else take)(tx, needed)


def _names(experiments: Collection[int], runs: Collection[int], newest: bool) -> set[tuple[str, int, bool]]:
    return {*(("experiment", number, newest) for number in experiments), *(("run", row, newest) for row in runs)}


def _waiting(tx: Tx, place: Place, first: int = 0) -> dict[str, bytes]:
    """The points of the batches from the number `first` on, by key."""
    return packed.split([_decode(data) for (data,) in tx.all(_batches, {"run": place.run, "first": first})])


def _make_room(tx: Tx) -> None:
    places = [Place(*row[:2]) for row in tx.all(_runs)]
    if len(places) >= MOST_RUNS:
        take(tx, [min(places, key=lambda place: place.run)])
