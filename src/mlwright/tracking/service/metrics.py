"""Appending to and reading metric histories (see points.py and ADR 0002)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import LargeBinary, bindparam, case, cast, func, insert, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.points import CHUNK_POINTS, OPEN_POINTS, RECORD_BYTES, Point
from mlwright.tracking.spec import Metric, RunInfo
from mlwright.tracking.tables import logged_model_metrics, logged_models, metric_chunks, metric_series
from mlwright.tracking.validation import clamp

#: Up to this many keys of a batch are looked up one by one; beyond it all keys of the run are read at once.
_LOOKUPS = 32

_series_columns = [column for column in metric_series.c if column.name not in {"run", "experiment_id"}]
_series = Query(
    select(*_series_columns).where(metric_series.c.run == bindparam("run"), metric_series.c.key == bindparam("key"))
)
_all_series = Query(select(*_series_columns).where(metric_series.c.run == bindparam("run")))
_insert_series = Query(
    insert(metric_series).values({column.name: bindparam(column.name) for column in metric_series.c})
)
_update_series = Query(
    update(metric_series)
    .where(metric_series.c.run == bindparam("run_"), metric_series.c.key == bindparam("key_"))
    .values({column.name: bindparam(f"{column.name}_") for column in _series_columns if column.name != "key"})
)
_insert_chunk = Query(insert(metric_chunks).values({column.name: bindparam(column.name) for column in metric_chunks.c}))
_extend_chunk = Query(
    update(metric_chunks)
    .where(
        metric_chunks.c.run == bindparam("run_"),
        metric_chunks.c.key == bindparam("key_"),
        metric_chunks.c.chunk == bindparam("chunk_"),
    )
    .values(
        data=cast(metric_chunks.c.data.op("||")(cast(bindparam("more_"), LargeBinary)), LargeBinary),
        first_timestamp_ms=case(
            (metric_chunks.c.first_timestamp_ms <= bindparam("first_"), metric_chunks.c.first_timestamp_ms),
            else_=bindparam("first_"),
        ),
        last_timestamp_ms=case(
            (metric_chunks.c.last_timestamp_ms >= bindparam("last_"), metric_chunks.c.last_timestamp_ms),
            else_=bindparam("last_"),
        ),
    )
)
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
    select(metric_chunks.c.chunk, func.length(metric_chunks.c.data) / literal_column(str(RECORD_BYTES)))
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
    chunk: int
    chunk_points: int
    last_timestamp_ms: int
    last_step: int

    @property
    def latest(self) -> Point:
        return Point(self.step, self.timestamp_ms, math.nan if self.value is None else self.value)

    @property
    def mark(self) -> tuple[int, int]:
        return (self.last_timestamp_ms, self.last_step)


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
        self._more_of_chunks: list[dict[str, Any]] = []

    def append(self, metrics: Sequence[Metric]) -> None:
        """Add the points that are not stored yet, and bring the latest values up to date."""
        if not metrics:
            return
        by_key: dict[str, list[Point]] = {}
        for metric in metrics:
            by_key.setdefault(metric.key, []).append(Point(metric.step, metric.timestamp, clamp(metric.value)))
        known = self._known(by_key)
        for key, points in by_key.items():
            self._append_key(key, known.get(key), points)
        self._flush()
        self._append_to_models(metrics)
        self._tx.topics.add(f"run/{self._run.run_id}")

    def _known(self, by_key: Mapping[str, object]) -> dict[str, Series]:
        if len(by_key) > _LOOKUPS:
            rows: list[tuple[Any, ...] | None] = list(self._tx.all(_all_series, {"run": self._run.row}))
        else:
            rows = [self._tx.one(_series, {"run": self._run.row, "key": key}) for key in by_key]
        return {row[0]: Series._make(row) for row in rows if row is not None}

    def _append_key(self, key: str, series: Series | None, points: list[Point]) -> None:
        mark = series.mark if series else (-1, 0)
        new, rising = _rising(points, mark)
        if not rising:
            new = self._not_stored(key, series, points)
            if not new:
                return
        latest = max(new, key=lambda point: point.rank)
        if series and latest.rank <= series.latest.rank:
            latest = series.latest
        top = max((point.timestamp, point.step) for point in new)
        chunk, filled = self._place(key, series, new)
        row = Series(
            key=key,
            value=None if math.isnan(latest.value) else latest.value,
            is_nan=int(math.isnan(latest.value)),
            step=latest.step,
            timestamp_ms=latest.timestamp,
            points=len(new) + (series.points if series else 0),
            ordered=int(rising and (series is None or series.ordered == 1)),
            chunk=chunk,
            chunk_points=filled,
            last_timestamp_ms=max(mark, top)[0],
            last_step=max(mark, top)[1],
        )
        self._remember(row, is_new=series is None)

    def _remember(self, row: Series, *, is_new: bool) -> None:
        values = row._asdict()
        if is_new:
            self._new_series.append({**values, "run": self._run.row, "experiment_id": self._run.experiment_id})
        else:
            self._old_series.append({**{f"{name}_": value for name, value in values.items()}, "run_": self._run.row})

    def _not_stored(self, key: str, series: Series | None, points: list[Point]) -> list[Point]:
        """The points, each once, that the history does not hold yet."""
        unique = {point.identity: point for point in points}
        if series is None:
            return list(unique.values())
        times = [point.timestamp for point in points]
        where = {"run": self._run.row, "key": key, "earliest": min(times), "latest": max(times)}
        for (data,) in self._tx.all(_chunks_at, where):
            for point in packed.unpack(bytes(data)):
                unique.pop(point.identity, None)
        return list(unique.values())

    def _place(self, key: str, series: Series | None, points: list[Point]) -> tuple[int, int]:
        """Queue the points for the last chunk or for new ones. Returns the last chunk and the points in it."""
        chunk, filled = (series.chunk, series.chunk_points) if series else (-1, OPEN_POINTS)
        if filled < OPEN_POINTS and filled + len(points) <= CHUNK_POINTS:
            self._more_of_chunks.append(
                {
                    "run_": self._run.row,
                    "key_": key,
                    "chunk_": chunk,
                    "more_": packed.pack(points),
                    "first_": min(point.timestamp for point in points),
                    "last_": max(point.timestamp for point in points),
                }
            )
            return chunk, filled + len(points)
        for start in range(0, len(points), CHUNK_POINTS):
            part = points[start : start + CHUNK_POINTS]
            chunk, filled = chunk + 1, len(part)
            self._new_chunks.append(
                {
                    "run": self._run.row,
                    "key": key,
                    "chunk": chunk,
                    "first_timestamp_ms": min(point.timestamp for point in part),
                    "last_timestamp_ms": max(point.timestamp for point in part),
                    "data": packed.pack(part),
                }
            )
        return chunk, filled

    def _flush(self) -> None:
        self._tx.many(_insert_series, self._new_series)
        self._tx.many(_update_series, self._old_series)
        self._tx.many(_insert_chunk, self._new_chunks)
        self._tx.many(_extend_chunk, self._more_of_chunks)

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


def _rising(points: list[Point], mark: tuple[int, int]) -> tuple[list[Point], bool]:
    """Whether each point lies above the one before it and the first above the mark: then all are new."""
    for point in points:
        place = (point.timestamp, point.step)
        if place <= mark:
            return points, False
        mark = place
    return points, True


# --- reading ----------------------------------------------------------------------------------------------------


def history(tx: Tx, run: RunInfo, key: str, offset: int = 0, limit: int | None = None) -> list[Point]:
    """Points of one metric in the order (timestamp, step, value), from `offset`, at most `limit`."""
    where = {"run": run.row, "key": key}
    row = tx.one(_series, where)
    if row is None:
        return []
    series = Series._make(row)
    if series.ordered and (offset or limit is not None):
        chunks, offset = _chunks_for(tx, where, offset, series.points if limit is None else limit)
    else:
        chunks = [bytes(data) for (data,) in tx.all(_chunks, where)]
    records = packed.sort(packed.load(chunks), by_step=False)
    end = len(records) if limit is None else offset + limit
    return packed.points(records[offset:end])


def _chunks_for(tx: Tx, where: dict[str, Any], offset: int, limit: int) -> tuple[list[bytes], int]:
    """Only the chunks that hold the wanted page, and the page's offset within them."""
    first, last, before, seen = -1, -1, 0, 0
    for chunk, size in tx.all(_chunk_sizes, where):
        if seen + size > offset and first < 0:
            first, before = chunk, seen
        if seen < offset + limit:
            last = chunk
        seen += size
    if first < 0:
        return [], 0
    rows = tx.all(_chunks_from, {**where, "first": first, "last": last})
    return [bytes(data) for (data,) in rows], offset - before


def sampled(tx: Tx, run: RunInfo, key: str, size: int, steps: tuple[int, int] | None = None) -> list[Point]:
    """At most `size` points of one metric, evenly spread over its points ordered by step; first and last included.

    Args:
        steps: first and last step to consider, inclusive.
    """
    chunks = [bytes(data) for (data,) in tx.all(_chunks, {"run": run.row, "key": key})]
    records = packed.load(chunks)
    if steps is not None:
        records = packed.between(records, *steps)
    return packed.points(packed.sample(packed.sort(records, by_step=True), max(1, size)))
