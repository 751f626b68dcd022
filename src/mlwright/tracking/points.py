"""Metric histories as bytes: packed records, their order, and even samples of them.

A record is 24 bytes, little-endian: step (int64), timestamp in milliseconds (int64), value (float64). Chunks of
records hold a history (ADR 0002); NumPy reads a million points in a few milliseconds.
"""

import math
import struct
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RECORD_BYTES = 24
#: So many points make the tail a chunk. Each append rewrites the tail, so it must stay within a database page.
TAIL_POINTS = 128
#: Most points in one chunk (96 KiB).
CHUNK_POINTS = 4_096

_RECORD = struct.Struct("<qqd")
_WHOLE = struct.Struct(f"{RECORD_BYTES}s")
_TIME = struct.Struct("<8xq8x")
#: A point while it is being written: step, timestamp, value.
Record = tuple[int, int, float]


class Point(NamedTuple):
    """One value of a metric."""

    step: int
    timestamp: int
    value: float


def identity(record: Record) -> tuple[int, int, float, bool]:
    """Equal for equal points, NaN included."""
    step, timestamp, value = record
    nan = math.isnan(value)
    return (timestamp, step, 0.0 if nan else value, nan)


def pack(points: Sequence[Record]) -> bytes:
    """Points as consecutive records."""
    if len(points) == 1:
        return _RECORD.pack(*points[0])
    return struct.pack(f"<{'qqd' * len(points)}", *chain.from_iterable(points))


def unpack(data: bytes) -> list[Record]:
    """The points of a chunk, in stored order."""
    return list(_RECORD.iter_unpack(data))


def split(parts: Sequence[tuple[Sequence[str], bytes]]) -> dict[str, bytes]:
    """The records of each key, in the given order. A part has as many keys as records."""
    keys = parts[0][0] if parts else ()
    if len(parts) == len(keys) == 1:
        return {keys[0]: parts[0][1]}
    if len(set(keys)) == len(keys) and all(others == keys for others, _ in parts):
        places = range(0, len(keys) * RECORD_BYTES, RECORD_BYTES)
        columns = [b"".join([data[at : at + RECORD_BYTES] for _, data in parts]) for at in places]
        return dict(zip(keys, columns, strict=True))
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    for keys, data in parts:
        for key, (record,) in zip(keys, _WHOLE.iter_unpack(data), strict=True):
            found[key].append(record)
    return {key: b"".join(records) for key, records in found.items()}


def times(data: bytes) -> tuple[int, int]:
    """The first and the last time in a chunk."""
    found = [time for (time,) in _TIME.iter_unpack(data)]
    return min(found), max(found)


def load(chunks: Sequence[bytes]) -> "NDArray[np.void]":
    """All records of a history as a structured array with the fields step, timestamp, value."""
    import numpy as np  # heavy, and only needed to read histories

    return np.frombuffer(b"".join(chunks), dtype=[("step", "<i8"), ("timestamp", "<i8"), ("value", "<f8")])


def sort(records: "NDArray[np.void]", by_step: bool) -> "NDArray[np.void]":
    """Records in MLflow's order: (timestamp, step, value), or (step, timestamp, value); NaN counts as 0, after 0."""
    import numpy as np

    first, second = ("step", "timestamp") if by_step else ("timestamp", "step")
    major, minor = records[first], records[second]
    rising = major[1:] > major[:-1]
    if bool(np.all(rising | ((major[1:] == major[:-1]) & (minor[1:] > minor[:-1])))):
        return records
    nan = np.isnan(records["value"])
    return records[np.lexsort((nan, np.where(nan, 0.0, records["value"]), minor, major))]


def between(records: "NDArray[np.void]", start_step: int, end_step: int) -> "NDArray[np.void]":
    """The records with start_step ≤ step ≤ end_step."""
    steps = records["step"]
    return records[(steps >= start_step) & (steps <= end_step)]


def sample(records: "NDArray[np.void]", size: int) -> "NDArray[np.void]":
    """Up to `size` records spread evenly over sorted `records`: the first of each of `size` equal parts, and the last.

    The same rows that MLflow's NTILE query picks: the first `count mod size` parts hold one record more.
    """
    import numpy as np

    count = len(records)
    if count <= size:
        return records
    part = np.arange(size, dtype=np.int64)
    wide, narrow = count % size, count // size
    starts = part * narrow + np.minimum(part, wide)
    starts[-1] = count - 1
    return records[starts]


class Columns(NamedTuple):
    """The fields of points, each of all points: much faster to go through than points are to make."""

    steps: list[int]
    timestamps: list[int]
    values: list[float]


def columns(records: "NDArray[np.void]") -> Columns:
    """Records as plain Python numbers."""
    return Columns(records["step"].tolist(), records["timestamp"].tolist(), records["value"].tolist())


def points(records: "NDArray[np.void]") -> list[Point]:
    """Records as plain Python points."""
    return list(map(Point, *columns(records)))
