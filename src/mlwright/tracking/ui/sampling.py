"""Histories as lines on a screen: as few points as the pixels can show, without losing what one looks for.

An outline keeps the smallest and largest value of every pixel column, so that a spike of a single point among a
million stays visible; means are for smoothed lines. A column with nothing but NaN becomes one NaN: a gap in the line.
Infinities have no place on an axis: they count as NaN, but an outline keeps the first of each column, so that it can
be named.
"""

from typing import TYPE_CHECKING, NamedTuple

from mlwright.web.formats import INFINITE

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
    infinite = np.abs(y) >= INFINITE
    finite = np.where(infinite, np.nan, y)
    low = np.fmin.reduceat(finite, starts)
    high = np.fmax.reduceat(finite, starts)
    keep = np.zeros(len(x), dtype=bool)
    for extreme in (low, high):
        _keep_first(keep, column, finite == extreme[column])
    _keep_first(keep, column, infinite)
    keep[starts[np.isnan(low)]] = True
    keep[0] = keep[-1] = True
    return Line(x[keep], y[keep])


def _keep_first(keep: "NDArray[np.bool_]", column: "NDArray[np.int64]", wanted: "NDArray[np.bool_]") -> None:
    """Sets `keep` for the first wanted point of each column."""
    import numpy as np

    hits = np.flatnonzero(wanted)
    keep[hits[np.unique(column[hits], return_index=True)[1]]] = True


def means(line: Line, width: int) -> Line:
    """One point per column: the mean of its values, at the first x of the column (the last column's at its last)."""
    import numpy as np

    x, y = line
    if len(x) <= width:
        return line
    _, starts = _columns(x, width)
    valid = np.abs(y) < INFINITE
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
