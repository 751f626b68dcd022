"""Appending to and reading metric histories (see points.py and ADR 0002)."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.points import CHUNK_POINTS, RECORD_BYTES, TAIL_POINTS, Point
from mlwright.tracking.spec import Metric, RunInfo
from mlwright.tracking.tables import logged_model_metrics, logged_models, metric_chunks, metric_series
from mlwright.tracking.validation import clamp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Up to this many keys of a batch are looked up one by one; beyond it all keys of the run are read at once.
_LOOKUPS = 32

_series_columns = [column for column in metric_series.c if column.name not in {"run", "experiment_id"}]
_series = Query(
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
_insert_chunk = Query(insert(metric_chunks).values({column.name: bindparam(column.name) for column in metric_chunks.c}))
_chunks = Query(
    select(metric_chunks.c.data)
    .where(metric_chunks.c.run == bindparam("run"), metric_chunks.c.key == bindparam("key"))
    .order_by(metric_chunks.c.chunk)
)
_chunks_from = Query(
    select(metric_chunks.c.data)
    .where(
        metric_chunks.c.run == bindparam("run"),
        metric_chunks.c.key == bindparam("key"),
        metric_chunks.c.chunk.between(bindparam("first"), bindparam("last")),
    )
    .order_by(metric_chunks.c.chunk)
)
_chunks_at = Query(
    select(metric_chunks.c.data).where(
        metric_chunks.c.run == bindparam("run"),
        metric_chunks.c.key == bindparam("key"),
        metric_chunks.c.first_timestamp_ms <= bindparam("latest"),
        metric_chunks.c.last_timestamp_ms >= bindparam("earliest"),
    )
)
_chunk_sizes = Query(
    select(metric_chunks.c.chunk, func.length(metric_chunks.c.data))
    .where(metric_chunks.c.run == bindparam("run"), metric_chunks.c.key == bindparam("key"))
    .order_by(metric_chunks.c.chunk)
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


#: What is known of a metric that has no points yet.
_NOTHING = Series("", None, 0, -(2**63), -1, 0, 1, 0, -1, 0, None)


class MetricWriter:
    """Appends points to the histories of one run, within one transaction.

    Args:
        tx: the transaction.
        run: an active run that the caller may change.
    """

    def __init__(self, tx: Tx, run: RunInfo) -> None:
        self._tx = tx
        self._run = run
        self._new_series: list[dict[str, Any]] = []
        self._old_series: list[dict[str, Any]] = []
        self._new_chunks: list[dict[str, Any]] = []

    def append(self, metrics: Sequence[Metric]) -> None:
        """Add the points that are not stored yet, and bring the latest values up to date."""
        if not metrics:
            return
        by_key: dict[str, list[Point]] = {}
        for metric in metrics:
            point = Point(metric.step, metric.timestamp, clamp(metric.value))
            if metric.key in by_key:
                by_key[metric.key].append(point)
            else:
                by_key[metric.key] = [point]
        known = self._known(by_key)
        for key, points in by_key.items():
            self._append_key(key, known.get(key, _NOTHING), points)
        self._tx.many(_insert_series, self._new_series)
        self._tx.many(_update_series, self._old_series)
        self._tx.many(_insert_chunk, self._new_chunks)
        self._append_to_models(metrics)
        self._tx.topics.update((f"run/{self._run.run_id}", f"experiment/{self._run.experiment_id}"))

    def _known(self, by_key: Mapping[str, object]) -> dict[str, Series]:
        if len(by_key) > _LOOKUPS:
            rows: list[tuple[Any, ...] | None] = list(self._tx.all(_all_series, {"run": self._run.row}))
        else:
            rows = [self._tx.one(_series, {"run": self._run.row, "key": key}) for key in by_key]
        return {row[0]: Series._make(row) for row in rows if row is not None}

    def _append_key(self, key: str, old: Series, points: list[Point]) -> None:
        mark = (old.last_timestamp_ms, old.last_step)
        top = _rising(points, mark)
        rising = top is not None
        if top is None:
            points = self._not_stored(key, old, points)
            if not points:
                return
            top = max([mark, *((point.timestamp, point.step) for point in points)])
        latest = points[0] if len(points) == 1 else max(points, key=_rank)
        latest_value: float | None = latest.value
        is_nan = latest.value != latest.value
        if is_nan:
            latest_value = None
        if old.points and _rank(latest) <= (old.step, old.timestamp_ms, old.value or 0.0):
            latest_value, is_nan, latest = old.value, bool(old.is_nan), Point(old.step, old.timestamp_ms, 0.0)
        chunks, tail = self._place(key, old, points)
        (self._old_series if old.points else self._new_series).append(
            {
                "run_": self._run.row,
                "experiment_id_": self._run.experiment_id,
                "key_": key,
                "value_": latest_value,
                "is_nan_": int(is_nan),
                "step_": latest.step,
                "timestamp_ms_": latest.timestamp,
                "points_": old.points + len(points),
                "ordered_": int(rising and old.ordered),
                "chunks_": chunks,
                "last_timestamp_ms_": top[0],
                "last_step_": top[1],
                "tail_": tail,
            }
        )

    def _not_stored(self, key: str, old: Series, points: list[Point]) -> list[Point]:
        """The points, each once, that the history does not hold yet."""
        unique = {point.identity: point for point in points}
        times = [point.timestamp for point in points]
        where = {"run": self._run.row, "key": key, "earliest": min(times), "latest": max(times)}
        stored = [row[0] for row in self._tx.all(_chunks_at, where)] if old.chunks else []
        for data in (*stored, old.tail or b""):
            for point in packed.unpack(bytes(data)):
                unique.pop(point.identity, None)
        return list(unique.values())

    def _place(self, key: str, old: Series, points: list[Point]) -> tuple[int, bytes | None]:
        """The number of chunks and the new tail; a tail that grew long is queued as new chunks."""
        data = bytes(old.tail or b"") + packed.pack(points)
        if len(data) < TAIL_POINTS * RECORD_BYTES:
            return old.chunks, data
        chunks = old.chunks
        for start in range(0, len(data), CHUNK_POINTS * RECORD_BYTES):
            part = data[start : start + CHUNK_POINTS * RECORD_BYTES]
            times = [point.timestamp for point in packed.unpack(part)]
            self._new_chunks.append(
                {
                    "run": self._run.row,
                    "key": key,
                    "chunk": chunks,
                    "first_timestamp_ms": min(times),
                    "last_timestamp_ms": max(times),
                    "data": part,
                }
            )
            chunks += 1
        return chunks, None

    def _append_to_models(self, metrics: Sequence[Metric]) -> None:
        rows = []
        for metric in metrics:
            model = self._tx.one(_model_row, {"model_id": metric.model_id}) if metric.model_id else None
            if model is not None:
                value = clamp(metric.value)
                rows.append(
                    {
                        "model": model[0],
                        "key": metric.key,
                        "timestamp_ms": metric.timestamp,
                        "step": metric.step,
                        "run_id": self._run.run_id,
                        "value": None if math.isnan(value) else value,
                        "is_nan": int(math.isnan(value)),
                        "dataset_name": metric.dataset_name or None,
                        "dataset_digest": metric.dataset_digest or None,
                    }
                )
        self._tx.many(_insert_model_metric, rows)


def _rank(point: Point) -> tuple[int, int, float]:
    """The latest value of a metric is the point of highest rank: step, then time, then value (NaN counts as 0)."""
    value = point.value
    return (point.step, point.timestamp, value if value == value else 0.0)


def _rising(points: list[Point], mark: tuple[int, int]) -> tuple[int, int] | None:
    """The last (timestamp, step) if each lies above the one before and the first above the mark: then all are new."""
    for point in points:
        place = (point.timestamp, point.step)
        if place <= mark:
            return None
        mark = place
    return mark


# --- reading ----------------------------------------------------------------------------------------------------


def history(tx: Tx, run: RunInfo, key: str, offset: int = 0, limit: int | None = None) -> list[Point]:
    """Points of one metric in the order (timestamp, step, value), from `offset`, at most `limit`."""
    series = _find(tx, run, key)
    if series is None:
        return []
    if series.ordered and limit is not None:
        parts, offset = _parts_for(tx, run, series, offset, limit)
    else:
        parts = _all_parts(tx, run, series)
    records = packed.sort(packed.load(parts), by_step=False)
    end = len(records) if limit is None else offset + limit
    return packed.points(records[offset:end])


def sampled(tx: Tx, run: RunInfo, key: str, size: int, steps: tuple[int, int] | None = None) -> list[Point]:
    """At most `size` points of one metric, evenly spread over its points ordered by step; first and last included.

    Args:
        steps: first and last step to consider, inclusive.
    """
    series = _find(tx, run, key)
    if series is None:
        return []
    records = packed.load(_all_parts(tx, run, series))
    if steps is not None:
        records = packed.between(records, *steps)
    return packed.points(packed.sample(packed.sort(records, by_step=True), max(1, size)))


def _find(tx: Tx, run: RunInfo, key: str) -> Series | None:
    row = tx.one(_series, {"run": run.row, "key": key})
    return Series._make(row) if row is not None else None


def _all_parts(tx: Tx, run: RunInfo, series: Series) -> list[bytes]:
    """Everything stored of one metric, as packed parts."""
    chunks = tx.all(_chunks, {"run": run.row, "key": series.key}) if series.chunks else []
    return [*(bytes(data) for (data,) in chunks), bytes(series.tail or b"")]


def _parts_for(tx: Tx, run: RunInfo, series: Series, offset: int, limit: int) -> tuple[list[bytes], int]:
    """Only the parts that hold the wanted page of an ordered history, and the page's offset within them."""
    where = {"run": run.row, "key": series.key}
    sizes = [*tx.all(_chunk_sizes, where), (series.chunks, len(series.tail or b""))]
    wanted: list[int] = []
    seen, before = 0, 0
    for number, length in sizes:
        size = length // RECORD_BYTES
        if seen < offset + limit and seen + size > offset:
            if not wanted:
                before = seen
            wanted.append(number)
        seen += size
    if not wanted:
        return [], 0
    rows = tx.all(_chunks_from, {**where, "first": wanted[0], "last": wanted[-1]})
    tail = [bytes(series.tail or b"")] if wanted[-1] == series.chunks else []
    return [*(bytes(data) for (data,) in rows), *tail], offset - before


def records(tx: Tx, run: RunInfo, key: str) -> "NDArray[np.void]":
    """All points of one metric ordered by step, as a structured array with the fields step, timestamp, value."""
    series = _find(tx, run, key)
    return packed.sort(packed.load([] if series is None else _all_parts(tx, run, series)), by_step=True)
