"""Whole metric histories at once: merged into what is stored, each point once, packed straight into chunks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import bindparam, delete, insert, select

from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import canonical
from mlwright.tracking.points import CHUNK_POINTS, RECORD_BYTES, TAIL_POINTS
from mlwright.tracking.service import waiting
from mlwright.tracking.spec import RunInfo
from mlwright.tracking.tables import metric_chunks, metric_series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_kept = ("key", "points", "ordered", "chunks", "last_timestamp_ms", "last_step", "tail")
_state = [metric_series.c[name] for name in _kept]
_one = Query(select(*_state).where(metric_series.c.run == bindparam("run"), metric_series.c.key == bindparam("key")))
_put = Query(
    upsert(metric_series)
    .values({column.name: bindparam(column.name) for column in metric_series.c})
    .on_conflict_do_update(
        index_elements=["run", "key"],
        set_={
            column.name: upsert(metric_series).excluded[column.name]
            for column in metric_series.c
            if column.name not in {"run", "key"}
        },
    )
)
_insert_chunk = Query(insert(metric_chunks).values({column.name: bindparam(column.name) for column in metric_chunks.c}))
_of_key = (metric_chunks.c.run == bindparam("run_"), metric_chunks.c.key == bindparam("key_"))
_drop_chunks = Query(delete(metric_chunks).where(*_of_key))
_chunks = Query(select(metric_chunks.c.data).where(*_of_key).order_by(metric_chunks.c.chunk))


class _Stored(NamedTuple):
    key: str
    points: int
    ordered: int
    chunks: int
    last_timestamp_ms: int
    last_step: int
    tail: bytes | None


class HistoryState(NamedTuple):
    """A stored history: how many points, and the digest of their canonical form."""

    points: int
    digest: str


def merge(tx: Tx, run: RunInfo, key: str, data: bytes, *, dry: bool = False) -> int:
    """Add the points of `data` (packed records, any order) that the history does not hold. Returns how many.

    With `dry` nothing is written. Raises Invalid when `data` is not whole records.
    """
    new = canonical.canonical(data)
    if not len(new):
        return 0
    waiting.settle(tx, runs=[run.row])
    row = tx.one(_one, {"run": run.row, "key": key})
    stored = _Stored(*row) if row else None
    if stored is None:
        return len(new) if dry else _rewrite(tx, run, key, new, 0)
    first = (int(new["timestamp"][0]), int(new["step"][0]))
    if first > (stored.last_timestamp_ms, stored.last_step) and stored.ordered:
        return len(new) if dry else _append(tx, run, stored, new)
    union = canonical.canonical(_bytes(tx, run.row, stored) + data)
    added = len(union) - stored.points
    if added and not dry:
        tx.run(_drop_chunks, {"run_": run.row, "key_": key})
        _rewrite(tx, run, key, union, 0)
    return added


def _append(tx: Tx, run: RunInfo, stored: _Stored, new: "NDArray[np.void]") -> int:
    """Add points that all lie above the stored ones: the chunks stay as they are."""
    everything = canonical.canonical(bytes(stored.tail or b"") + new.tobytes())
    _rewrite(tx, run, stored.key, everything, stored.chunks, before=stored)
    return len(new)


def _rewrite(
    tx: Tx, run: RunInfo, key: str, records: "NDArray[np.void]", first_chunk: int, before: _Stored | None = None
) -> int:
    """Write canonical records as chunks from `first_chunk` on, and the row of the series."""
    latest = _latest(records)
    is_nan = bool(latest["value"] != latest["value"])
    whole = len(records) - len(records) % CHUNK_POINTS
    rest = len(records) - whole
    chunked = whole if rest < TAIL_POINTS else len(records)
    chunks = [records[start : min(start + CHUNK_POINTS, chunked)] for start in range(0, chunked, CHUNK_POINTS)]
    tx.many(
        _insert_chunk,
        [
            {
                "run": run.row,
                "key": key,
                "chunk": first_chunk + number,
                "first_timestamp_ms": int(chunk["timestamp"][0]),
                "last_timestamp_ms": int(chunk["timestamp"][-1]),
                "data": chunk.tobytes(),
            }
            for number, chunk in enumerate(chunks)
        ],
    )
    values: dict[str, Any] = {
        "run": run.row,
        "key": key,
        "experiment_id": run.experiment_id,
        "value": None if is_nan else float(latest["value"]),
        "is_nan": int(is_nan),
        "step": int(latest["step"]),
        "timestamp_ms": int(latest["timestamp"]),
        "points": len(records),
        "ordered": int(canonical.rising(records)),
        "chunks": first_chunk + len(chunks),
        "last_timestamp_ms": int(records["timestamp"][-1]),
        "last_step": int(records["step"][-1]),
        "tail": records[chunked:].tobytes() or None,
    }
    if before is not None:
        values |= _with_before(tx, run, before, values, len(records))
    tx.run(_put, values)
    return len(records)


_latest_of = Query(
    select(metric_series.c.value, metric_series.c.is_nan, metric_series.c.step, metric_series.c.timestamp_ms).where(
        metric_series.c.run == bindparam("run"), metric_series.c.key == bindparam("key")
    )
)


def _with_before(tx: Tx, run: RunInfo, before: _Stored, after: Mapping[str, Any], written: int) -> dict[str, Any]:
    """What changes in the row of a series when the written records are only its end."""
    moved = len(before.tail or b"") // RECORD_BYTES
    changed: dict[str, Any] = {
        "points": before.points + written - moved,
        "ordered": int(after["ordered"] and before.ordered),
    }
    row = tx.one(_latest_of, {"run": run.row, "key": before.key})
    if row is not None:
        old = (row[2], row[3], row[0] or 0.0)
        if old > (after["step"], after["timestamp_ms"], after["value"] or 0.0):
            changed |= {"value": row[0], "is_nan": row[1], "step": row[2], "timestamp_ms": row[3]}
    return changed


def _latest(records: "NDArray[np.void]") -> "np.void":
    """The record of highest step, then timestamp, then value (NaN counts as 0)."""
    import numpy as np

    value = np.where(np.isnan(records["value"]), 0.0, records["value"])
    found: np.void = records[np.lexsort((value, records["timestamp"], records["step"]))[-1]]
    return found


def _bytes(tx: Tx, run: int, stored: _Stored) -> bytes:
    chunks = tx.all(_chunks, {"run_": run, "key_": stored.key}) if stored.chunks else []
    return b"".join([*(bytes(data) for (data,) in chunks), bytes(stored.tail or b"")])


def states(tx: Tx, runs: Sequence[int]) -> dict[int, dict[str, HistoryState]]:
    """Points and digest of every history of some runs, by run row and key."""
    waiting.settle(tx, runs=runs)
    statement = select(metric_series.c.run, *_state).where(metric_series.c.run.in_(runs))
    found: dict[int, dict[str, HistoryState]] = {run: {} for run in runs}
    for run, *row in tx.select(statement):
        stored = _Stored(*row)
        records = canonical.canonical(_bytes(tx, run, stored))
        found[run][stored.key] = HistoryState(len(records), canonical.digest(records))
    return found
