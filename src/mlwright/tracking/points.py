"""Metric histories as bytes: packed records, their order, and even samples of them.

A record is 24 bytes, little-endian: step (int64), timestamp in milliseconds (int64), value (float64). Chunks of
records hold a history (ADR 0002); NumPy reads a million points in a few milliseconds.
"""

import math
import struct
from collections.abc import Iterable, Sequence
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


class Point(NamedTuple):
    """One value of a metric."""

    step: int
    timestamp: int
    value: float

    @property
    def identity(self) -> tuple[int, int, float, bool]:
        """Equal for equal points, NaN included."""
        nan = math.isnan(self.value)
        return (self.timestamp, self.step, 0.0 if nan else self.value, nan)


def pack(points: Iterable[Point]) -> bytes:
    """Points as consecutive records."""
    return b"".join([_RECORD.pack(*point) for point in points])


def unpack(data: bytes) -> list[Point]:
    """The points of a chunk, in stored order."""
    return [Point._make(record) for record in _RECORD.iter_unpack(data)]


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


def points(records: "NDArray[np.void]") -> list[Point]:
    """Records as plain Python points."""
    columns = (records["step"].tolist(), records["timestamp"].tolist(), records["value"].tolist())
    return [Point(step, timestamp, value) for step, timestamp, value in zip(*columns, strict=True)]
