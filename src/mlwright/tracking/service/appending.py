"""Appending to metric histories (see points.py and ADR 0002)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import points as packed
from mlwright.tracking.points import CHUNK_POINTS, RECORD_BYTES, TAIL_POINTS, Record
from mlwright.tracking.spec import Metric, RunInfo
from mlwright.tracking.tables import logged_model_metrics, logged_models, metric_chunks, metric_series
from mlwright.tracking.validation import clamp

#: Up to this many keys are looked up one by one; beyond it all keys of the run are read at once.
LOOKUPS = 32

_series_columns = [column for column in metric_series.c if column.name not in {"run", "experiment_id"}]
series_query = Query(
    select(*_series_columns).where(metric_series.c.run == bindparam("run"), metric_series.c.key == bindparam("key"))
)
_all_series = Query(select(*_series_columns).where(metric_series.c.run == bindparam("run")))
# Both take the same values, named as the columns with "_" behind: SQLAlchemy keeps the plain names for itself.
_insert_series = Query(
    insert(metric_series).values({column.name: bindparam(f"{column.name}_") for column in metric_series.c})
)
_update_series = Query(
    update(metric_series)
    .where(metric_series.c.run == bindparam("run_"), metric_series.c.key == bindparam("key_"))
    .values({column.name: bindparam(f"{column.name}_") for column in _series_columns if column.name != "key"})
)
_newest = [metric_series.c[name] for name in ("key", "step", "timestamp_ms", "value")]
_all_newest = Query(select(*_newest).where(metric_series.c.run == bindparam("run")))
_update_newest = Query(
    update(metric_series)
    .where(metric_series.c.run == bindparam("run_"), metric_series.c.key == bindparam("key_"))
    .values({name: bindparam(f"{name}_") for name in ("value", "is_nan", "step", "timestamp_ms")})
)
_insert_chunk = Query(insert(metric_chunks).values({column.name: bindparam(column.name) for column in metric_chunks.c}))
_chunks_at = Query(
    select(metric_chunks.c.data).where(
        metric_chunks.c.run == bindparam("run"),
        metric_chunks.c.key == bindparam("key"),
        metric_chunks.c.first_timestamp_ms <= bindparam("latest"),
        metric_chunks.c.last_timestamp_ms >= bindparam("earliest"),
    )
)
_model_row = Query(select(logged_models.c.id).where(logged_models.c.model_id == bindparam("model_id")))
_insert_model_metric = Query(
    upsert(logged_model_metrics)
    .values({column.name: bindparam(column.name) for column in logged_model_metrics.c})
    .on_conflict_do_nothing()
)


class Series(NamedTuple):
    """A metric_series row without run and experiment."""

    key: str
    value: float | None
    is_nan: int
    step: int
    timestamp_ms: int
    points: int
    ordered: int
    chunks: int
    last_timestamp_ms: int
    last_step: int
    tail: bytes | None


#: Below every (timestamp, step).
_BEFORE_ALL = (-1, 0)
#: What is known of a metric that has no points yet.
_NOTHING = Series("", None, 0, -(2**63), -1, 0, 1, 0, -1, 0, None)


class MetricWriter:
    """Appends points to the histories of one run, within one transaction.

    Args:
        tx: the transaction.
        experiment_id, run: the rows of an active run that the caller may change, and of its experiment.
        tail_points: how many points of a metric become a chunk; usually TAIL_POINTS.
    """

    def __init__(self, tx: Tx, experiment_id: int, run: int, tail_points: int | None = None) -> None:
        self._tx = tx
        self._experiment_id = experiment_id
        self._run = run
        self._tail_bytes = RECORD_BYTES * (tail_points or TAIL_POINTS)
        self._new_series: list[dict[str, Any]] = []
        self._old_series: list[dict[str, Any]] = []
        self._new_chunks: list[dict[str, Any]] = []

    def append(self, by_key: Mapping[str, bytes]) -> None:
        """Add the points of some metrics (packed) that are not stored yet, and bring the latest values up to date."""
        known = self._known(by_key)
        for key, data in by_key.items():
            self._append_key(key, known.get(key, _NOTHING), data)
        self._tx.many(_insert_series, self._new_series)
        self._tx.many(_update_series, self._old_series)
        self._tx.many(_insert_chunk, self._new_chunks)

    def show(self, by_key: Mapping[str, bytes]) -> None:
        """Bring the latest values up to date with points that will be appended later."""
        known = {key: tuple(rest) for key, *rest in self._tx.all(_all_newest, {"run": self._run})}
        changed: list[dict[str, Any]] = []
        for key, data in by_key.items():
            points = packed.unpack(data)
            latest = _latest_if_rising(points, _BEFORE_ALL) or max(points, key=_rank)
            old = known.get(key)
            if old is None:
                self._new_series.append({**self._nothing(), **self._newest(key, latest)})
            elif _rank(latest) > (old[0], old[1], old[2] or 0.0):
                changed.append(self._newest(key, latest))
        self._tx.many(_insert_series, self._new_series)
        self._tx.many(_update_newest, changed)

    def _known(self, by_key: Mapping[str, object]) -> dict[str, Series]:
        if len(by_key) > LOOKUPS:
            rows: list[tuple[Any, ...] | None] = list(self._tx.all(_all_series, {"run": self._run}))
        else:
            rows = [self._tx.one(series_query, {"run": self._run, "key": key}) for key in by_key]
        return {row[0]: Series._make(row) for row in rows if row is not None}

    def _append_key(self, key: str, old: Series, data: bytes) -> None:
        points = packed.unpack(data)
        mark = (old.last_timestamp_ms, old.last_step)
        latest = _latest_if_rising(points, mark)
        rising = latest is not None
        if latest is None:
            points = self._not_stored(key, old, points)
            if not points:
                return
            data = packed.pack(points)
            latest = max(points, key=_rank)
            top = max([mark, *((timestamp, step) for step, timestamp, _ in points)])
        else:
            top = (points[-1][1], points[-1][0])
        if old is not _NOTHING and _rank(latest) <= (old.step, old.timestamp_ms, old.value or 0.0):
            latest = (old.step, old.timestamp_ms, math.nan if old.value is None else old.value)
        chunks, tail = self._place(key, old, data)
        row = self._newest(key, latest)
        row["experiment_id_"] = self._experiment_id
        row["points_"] = old.points + len(points)
        row["ordered_"] = int(rising and old.ordered)
        row["chunks_"] = chunks
        row["last_timestamp_ms_"], row["last_step_"] = top
        row["tail_"] = tail
        (self._new_series if old is _NOTHING else self._old_series).append(row)

    def _nothing(self) -> dict[str, Any]:
        """The values of _insert_series for a metric without points, except its key and latest value."""
        return {f"{name}_": value for name, value in _NOTHING._asdict().items()} | {
            "experiment_id_": self._experiment_id
        }

    def _newest(self, key: str, latest: Record) -> dict[str, Any]:
        """The values of _update_newest."""
        step, timestamp, value = latest
        is_nan = value != value
        return {
            "run_": self._run,
            "key_": key,
            "value_": None if is_nan else value,
            "is_nan_": int(is_nan),
            "step_": step,
            "timestamp_ms_": timestamp,
        }

    def _not_stored(self, key: str, old: Series, points: list[Record]) -> list[Record]:
        """The points, each once, that the history does not hold yet."""
        unique = {packed.identity(point): point for point in points}
        times = [timestamp for _, timestamp, _ in points]
        where = {"run": self._run, "key": key, "earliest": min(times), "latest": max(times)}
        if old.chunks:
            self._tx.take_time()
        stored = [row[0] for row in self._tx.all(_chunks_at, where)] if old.chunks else []
        for data in (*stored, old.tail or b""):
            for point in packed.unpack(bytes(data)):
                unique.pop(packed.identity(point), None)
        return list(unique.values())

    def _place(self, key: str, old: Series, added: bytes) -> tuple[int, bytes | None]:
        """The number of chunks and the new tail; a tail that grew long is queued as new chunks."""
        data = bytes(old.tail or b"") + added
        if len(data) < self._tail_bytes:
            return old.chunks, data
        chunks = old.chunks
        for start in range(0, len(data), CHUNK_POINTS * RECORD_BYTES):
            part = data[start : start + CHUNK_POINTS * RECORD_BYTES]
            first, last = packed.times(part)
            self._new_chunks.append(
                {
                    "run": self._run,
                    "key": key,
                    "chunk": chunks,
                    "first_timestamp_ms": first,
                    "last_timestamp_ms": last,
                    "data": part,
                }
            )
            chunks += 1
        return chunks, None


def append_to_models(tx: Tx, run: RunInfo, metrics: Sequence[Metric]) -> None:
    """Note the points that were measured on logged models, as rows of these."""
    rows = []
    for metric in metrics:
        model = tx.one(_model_row, {"model_id": metric.model_id}) if metric.model_id else None
        if model is not None:
            rows.append(model_metric_row(model[0], metric, run.run_id))
    tx.many(_insert_model_metric, rows)


def model_metric_row(model: int, metric: Metric, run_id: str) -> dict[str, Any]:
    """A row of logged_model_metrics."""
    value = clamp(metric.value)
    return {
        "model": model,
        "key": metric.key,
        "timestamp_ms": metric.timestamp,
        "step": metric.step,
        "run_id": run_id,
        "value": None if math.isnan(value) else value,
        "is_nan": int(math.isnan(value)),
        "dataset_name": metric.dataset_name or None,
        "dataset_digest": metric.dataset_digest or None,
    }


def _rank(point: Record) -> Record:
    """The latest value of a metric is the point of highest rank: step, then time, then value (NaN counts as 0)."""
    step, timestamp, value = point
    return (step, timestamp, value if value == value else 0.0)


def _latest_if_rising(points: list[Record], mark: tuple[int, int]) -> Record | None:
    """The point of highest rank if each lies above the one before, and the first above the mark: then all are new."""
    last_timestamp, last_step = mark
    latest = points[0]
    for point in points:
        step, timestamp, _ = point
        if timestamp < last_timestamp or (timestamp == last_timestamp and step <= last_step):
            return None
        if step >= latest[0]:
            latest = point
        last_timestamp, last_step = timestamp, step
    return latest
