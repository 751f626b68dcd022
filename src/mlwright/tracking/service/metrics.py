"""Reading metric histories (see points.py and ADR 0002)."""

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking import points as packed
from mlwright.tracking.points import RECORD_BYTES, Columns, Point
from mlwright.tracking.service import waiting
from mlwright.tracking.service.appending import Series, series_query
from mlwright.tracking.spec import RunInfo
from mlwright.tracking.tables import metric_chunks

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
_chunk_sizes = Query(
    select(metric_chunks.c.chunk, func.length(metric_chunks.c.data))
    .where(metric_chunks.c.run == bindparam("run"), metric_chunks.c.key == bindparam("key"))
    .order_by(metric_chunks.c.chunk)
)


def history(tx: Tx, run: RunInfo, key: str, offset: int = 0, limit: int | None = None) -> list[Point]:
    """Points of one metric in the order (timestamp, step, value), from `offset`, at most `limit`."""
    return packed.points(_history(tx, run, key, offset, limit))


def history_columns(tx: Tx, run: RunInfo, key: str, offset: int = 0, limit: int | None = None) -> Columns:
    """The same as `history`, by field."""
    return packed.columns(_history(tx, run, key, offset, limit))


def _history(tx: Tx, run: RunInfo, key: str, offset: int, limit: int | None) -> "NDArray[np.void]":
    series = _find(tx, run, key)
    if series is None:
        return packed.load([])
    if series.ordered and limit is not None:
        parts, offset = _parts_for(tx, run, series, offset, limit)
    else:
        parts = _all_parts(tx, run, series)
    records = packed.sort(packed.load(parts), by_step=False)
    end = len(records) if limit is None else offset + limit
    return records[offset:end]


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
    waiting.settle(tx, runs=[run.row])
    row = tx.one(series_query, {"run": run.row, "key": key})
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
