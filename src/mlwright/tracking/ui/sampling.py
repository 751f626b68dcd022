"""Histories as lines on a screen: as few points as the pixels can show, without losing what one looks for.

An outline keeps the smallest and largest value of every pixel column, so that a spike of a single point among a
million stays visible; means are for smoothed lines. A column with nothing but NaN becomes one NaN: a gap in the line.
"""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DIGITS = 7


class Line(NamedTuple):
    """x rises; y may hold NaN."""

    x: "NDArray[np.int64]"
    y: "NDArray[np.float64]"


def outline(line: Line, width: int) -> Line:
    """At most 2 × `width` points with the same extremes in each of `width` columns; first and last x are kept."""
    import numpy as np

    x, y = line
    if len(x) <= 2 * width:
        return line
    column, starts = _columns(x, width)
    low = np.fmin.reduceat(y, starts)
    high = np.fmax.reduceat(y, starts)
    keep = np.zeros(len(x), dtype=bool)
    for extreme in (low, high):
        hits = np.flatnonzero(y == extreme[column])
        keep[hits[np.unique(column[hits], return_index=True)[1]]] = True
    keep[starts[np.isnan(low)]] = True
    keep[0] = keep[-1] = True
    return Line(x[keep], y[keep])


def means(line: Line, width: int) -> Line:
    """One point per column: the mean of its values, at the first x of the column (the last column's at its last)."""
    import numpy as np

    x, y = line
    if len(x) <= width:
        return line
    _, starts = _columns(x, width)
    valid = ~np.isnan(y)
    count = np.add.reduceat(valid.astype(np.int64), starts)
    total = np.add.reduceat(np.where(valid, y, 0.0), starts)
    mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    at = x[starts].copy()
    at[-1] = x[-1]
    return Line(at, mean)


def _columns(x: "NDArray[np.int64]", width: int) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """For each point the number of its (non-empty) column, and where each column starts."""
    import numpy as np

    edges = np.linspace(float(x[0]), float(x[-1]), width + 1)[:-1]
    starts = np.unique(np.searchsorted(x, edges, side="left"))
    starts = starts[starts < len(x)]
    column = np.zeros(len(x), dtype=np.int64)
    column[starts[1:]] = 1
    return np.cumsum(column), starts


def rounded(values: "NDArray[np.float64]") -> list[float]:
    """Values with seven significant digits, which no screen exceeds: a third of the bytes on the wire."""
    import numpy as np

    with np.errstate(all="ignore"):
        scale = 10.0 ** (_DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        short = np.round(values * scale) / scale
    found: list[float] = np.where(np.isfinite(short), short, values).tolist()
    return found
