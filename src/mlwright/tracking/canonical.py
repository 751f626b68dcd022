"""Metric histories in one form: every point once, in MLflow's order. Two histories are equal when their digests are."""

import hashlib
import math
from typing import TYPE_CHECKING

from mlwright.kernel.errors import Invalid
from mlwright.tracking import points
from mlwright.tracking.points import RECORD_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_DOUBLE = 1.7976931348623157e308


def canonical(data: bytes) -> "NDArray[np.void]":
    """Packed points by (timestamp, step, value), each once, infinities clamped to ±max double, NaN in one form.

    Raises Invalid when `data` is not whole records.
    """
    import numpy as np

    if len(data) % RECORD_BYTES:
        raise Invalid(f"A history consists of records of {RECORD_BYTES} bytes, not {len(data)} bytes", path="data")
    records = points.load([data]).copy()
    records["value"] = np.clip(records["value"], -_MAX_DOUBLE, _MAX_DOUBLE)
    nan = np.isnan(records["value"])
    records["value"][nan] = math.nan
    records = points.sort(records, by_step=False)
    return records[_differs(records)]


def _differs(records: "NDArray[np.void]") -> "NDArray[np.bool_]":
    """Which sorted records are not the same point as the one before."""
    import numpy as np

    keep = np.ones(len(records), dtype=bool)
    value, nan = records["value"], np.isnan(records["value"])
    same = (value[1:] == value[:-1]) | (nan[1:] & nan[:-1])
    same &= (records["timestamp"][1:] == records["timestamp"][:-1]) & (records["step"][1:] == records["step"][:-1])
    keep[1:] = ~same
    return keep


def rising(records: "NDArray[np.void]") -> bool:
    """Whether (timestamp, step) grows strictly from each record to the next."""
    time, step = records["timestamp"], records["step"]
    return bool(((time[1:] > time[:-1]) | ((time[1:] == time[:-1]) & (step[1:] > step[:-1]))).all())


def digest(records: "NDArray[np.void]") -> str:
    """SHA-256 of a canonical history, in hexadecimal digits."""
    return hashlib.sha256(records.tobytes()).hexdigest()
