"""The walk: pages of runs, newest first or by one metric, without sorting an experiment.

Each part of the answer (experiment and life stage) is read in phases: numbers, NaN, then runs without the metric.
Parts are merged. Two things are measured with bounded counts before reading, because they decide the cheapest way:
whether a filter leaves few runs (then these are read and sorted), and whether very many runs share one value (then
they are read by start time instead of being sorted).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from mlwright.kernel.search import grammar
from mlwright.kernel.search.grammar import Comparison
from mlwright.tracking.search.conditions import Shape, shape, values
from mlwright.tracking.search.reader import Reader
from mlwright.tracking.search.steps import Behind, Phase, RunRow, Step, count_query, crowd_query, edge_query, rows_query

#: A filter that leaves fewer runs than this many pages is read first.
_SELECTIVE_PAGES = 20
#: From so many runs with one value on, they are read by start time. Sorting them all costs some 10 ms.
_CROWD = 10_000
_NOTHING = -1


@dataclass(frozen=True, slots=True)
class Walk:
    """An order that an index can be walked in.

    Attributes:
        metric: the metric ordered by, or None for newest (or oldest) first.
        ascending: direction of the metric.
        oldest: whether equal runs (without a metric, all) go by start time ascending.
    """

    metric: str | None = None
    ascending: bool = True
    oldest: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """An experiment and a value of `active`."""

    experiment: int
    active: int


class Found(NamedTuple):
    """A run with its sort key (phase, value, start_ms, run_id): as stored in tokens, and as to be compared."""

    key: tuple[Any, ...]
    sort: tuple[Any, ...]
    row: RunRow


def is_key(after: tuple[Any, ...]) -> bool:
    """Whether this, which came from outside, can be a sort key."""
    if len(after) != 4:
        return False
    phase, value, start, run_id = after
    return (
        phase in (Phase.NUMBERS, Phase.NANS, Phase.MISSING)
        and isinstance(value, float)
        and value == value
        and isinstance(start, int)
        and -(1 << 63) <= start < 1 << 63
        and isinstance(run_id, str)
        and run_id.isascii()
        and "\0" not in run_id
    )


def walk_page(
    tx: Reader,
    parts: Sequence[Part],
    comparisons: Sequence[Comparison],
    walk: Walk,
    limit: int,
    after: tuple[Any, ...],
) -> list[Found]:
    """The first `limit` runs behind the sort key `after` (empty: from the start), merged from all parts."""
    lists = [_PartWalk(tx, part, comparisons, walk, after).read(limit) for part in parts]
    if len(lists) == 1:
        return lists[0]
    merged = heapq.merge(*lists, key=lambda found: found.sort)
    return [found for found, _ in zip(merged, range(limit), strict=False)]


class _PartWalk:
    """The walk through one part."""

    def __init__(
        self, tx: Reader, part: Part, comparisons: Sequence[Comparison], walk: Walk, after: tuple[Any, ...]
    ) -> None:
        self.tx = tx
        self.walk = walk
        self.after = after
        self.shapes = tuple(shape(comparison, walk.metric) for comparison in comparisons)
        self.bound: dict[str, Any] = {"experiment": part.experiment, "active": part.active, "order_key": walk.metric}
        for at, comparison in enumerate(comparisons):
            self.bound |= values(comparison, at, tx.dialect)
        if after:
            self.bound |= {"after_value": after[1], "after_start": after[2], "after_run": after[3]}
        self.found: list[Found] = []

    def read(self, limit: int) -> list[Found]:
        self.bound["most"] = _SELECTIVE_PAGES * limit
        driver = _driver(self.tx, self.shapes, self.bound)
        if driver == _NOTHING:
            return []
        walk = self.walk
        for phase in self._phases():
            if self.after and phase < self.after[0]:
                continue
            behind = Behind.ROW if self.after and phase == self.after[0] else Behind.NOTHING
            by_metric = walk.metric is not None
            step = Step(by_metric, walk.ascending, walk.oldest, phase, self.shapes, driver, self.tx.dialect, behind)
            if phase is Phase.NUMBERS and driver is None:
                self._read_numbers(step, limit)
            else:
                self._read_step(step, limit)
            if len(self.found) >= limit:
                break
        return self.found

    def _phases(self) -> list[Phase]:
        if self.walk.metric is None:
            return [Phase.MISSING]
        same = [each.operator for each in self.shapes if each.entity == grammar.METRIC and each.key == "order"]
        if any(operator != "!=" for operator in same):
            return [Phase.NUMBERS]
        return [Phase.NUMBERS, Phase.NANS] if same else [Phase.NUMBERS, Phase.NANS, Phase.MISSING]

    def _read_numbers(self, step: Step, limit: int) -> None:
        """All values in order; where very many runs share a value, these are read by their start time."""
        while len(self.found) < limit:
            edge = self._crowd(step, limit - len(self.found))
            if edge is None:
                self._read_step(step, limit)
                return
            self.bound["edge"] = edge
            starts_inside = step.behind is Behind.ROW and edge == self.bound["after_value"]
            if not starts_inside:
                self._read_step(replace(step, before=True), limit)
            if len(self.found) < limit:
                behind = Behind.ROW if starts_inside else Behind.NOTHING
                self._read_step(replace(step, phase=Phase.TIED, behind=behind), limit)
            self.bound["after_value"] = edge
            step = replace(step, behind=Behind.VALUE)

    def _crowd(self, step: Step, wanted: int) -> float | None:
        """The value of the run number `wanted` from here, if very many runs have that value."""
        rows = self.tx.all(edge_query(step), {**self.bound, "skip": wanted - 1})
        if not rows:
            return None
        edge: float = rows[0][0]
        count = self.tx.all(crowd_query(), {**self.bound, "edge": edge, "most": _CROWD})[0][0]
        return edge if count >= _CROWD else None

    def _read_step(self, step: Step, limit: int) -> None:
        rows = self.tx.all(rows_query(step), {**self.bound, "limit": limit - len(self.found)})
        self.found += [self._found(step.phase, row) for row in rows]

    def _found(self, phase: Phase, row: tuple[Any, ...]) -> Found:
        run = RunRow._make(row[:-1])
        value = 0.0
        if phase is Phase.TIED:
            phase, value = Phase.NUMBERS, self.bound["edge"]
        elif phase is Phase.NUMBERS:
            value = row[-1]
        start = run.start_ms if self.walk.oldest else -run.start_ms
        sort = (phase, value if self.walk.ascending else -value, start, run.run_id)
        return Found((int(phase), value, run.start_ms, run.run_id), sort, run)


def _driver(tx: Reader, shapes: Sequence[Shape], bound: dict[str, Any]) -> int | None:
    """The comparison that leaves the fewest runs if these are fewer than `most`; None to walk and probe instead."""
    counts: list[tuple[int, int]] = []
    for at, what in enumerate(shapes):
        query = count_query(what, at, tx.dialect)
        if query is not None:
            counts.append((tx.all(query, bound)[0][0], at))
    if not counts:
        return None
    count, at = min(counts)
    if count == 0:
        return _NOTHING
    return at if count < bound["most"] else None
