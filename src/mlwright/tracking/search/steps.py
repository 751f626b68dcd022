"""The statements of a walk: each reads some runs of one experiment from an index, in their final order.

Statements are cached by what decides their text; names of metrics, values and places are bound.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select, and_, bindparam, func, literal_column, or_, select
from sqlalchemy.sql import ColumnElement

from mlwright.kernel.query import Query
from mlwright.kernel.search import grammar
from mlwright.tracking.search.conditions import Shape, candidates, clause, metric_value
from mlwright.tracking.tables import metric_series, runs

Clause = ColumnElement[Any]
_ONE: Clause = literal_column("1")


class RunRow(NamedTuple):
    """A row of the table `runs`; times are Unix milliseconds."""

    id: int
    run_id: str
    experiment_id: int
    name: str
    user_id: str
    status: int
    start_ms: int
    end_ms: int | None
    active: int
    deleted_ms: int | None
    artifact_uri: str


COLUMNS = [runs.c[name] for name in RunRow._fields]


class Phase(IntEnum):
    """Which runs a step reads. Without a metric to order by, all runs count as missing it."""

    NUMBERS = 0  # by value
    NANS = 1
    MISSING = 2
    TIED = 3  # the runs with one given value, by start time: part of NUMBERS


class Behind(IntEnum):
    """Where a step starts."""

    NOTHING = 0
    ROW = 1  # behind a row: after_value, after_start, after_run
    VALUE = 2  # behind all rows with the value after_value


@dataclass(frozen=True, slots=True)
class Step:
    """What decides the text of a statement.

    Attributes:
        by_metric: whether the walk is by a metric.
        ascending: direction of the metric's values.
        oldest: whether equal runs go by start time ascending.
        shapes: the filter.
        driver: index of the comparison whose runs are read first, or None to walk the order and probe.
        behind: where to start.
        before: whether to stop before the value `edge`.
    """

    by_metric: bool
    ascending: bool
    oldest: bool
    phase: Phase
    shapes: tuple[Shape, ...]
    driver: int | None
    dialect: str
    behind: Behind = Behind.NOTHING
    before: bool = False


@lru_cache(maxsize=512)
def rows_query(step: Step) -> Query:
    """The columns of RunRow and the metric's value. Needs experiment, active, limit, the filter's values, and what
    the step is about: order_key, after_value, after_start, after_run, edge, most (with a driver)."""
    series = metric_series.alias("s")
    conditions: list[Clause] = [runs.c.active == bindparam("active")]
    if step.driver is not None:
        chosen = candidates(step.shapes[step.driver], step.driver, step.dialect)
        assert chosen is not None
        # There are fewer than `most`; saying so tells PostgreSQL to read just these.
        conditions.append(runs.c.id.in_(chosen.limit(bindparam("most"))))
    if step.phase in (Phase.NUMBERS, Phase.NANS):
        rows = select(*COLUMNS, series.c.value).select_from(series).join(runs, runs.c.id == series.c.run)
        conditions += _in_series(step, series)
    else:
        rows = select(*COLUMNS, literal_column("0").label("value")).select_from(runs)
        conditions += _in_runs(step, series)
    conditions += [clause(what, at, step.dialect) for at, what in enumerate(step.shapes) if not _is_about_order(what)]
    if step.behind is Behind.ROW and step.phase is not Phase.NUMBERS:
        conditions.append(_behind_start(step))
    return Query(rows.where(*conditions).order_by(*_order(step, series)).limit(bindparam("limit")))


@lru_cache(maxsize=256)
def count_query(what: Shape, at: int, dialect: str) -> Query | None:
    """How many runs satisfy a comparison, at most `most`; None when no index tells."""
    rows = candidates(what, at, dialect)
    if rows is None or _is_about_order(what):
        return None
    return Query(select(func.count()).select_from(rows.limit(bindparam("most")).subquery()))


@lru_cache(maxsize=256)
def edge_query(step: Step) -> Query:
    """The value of the row number `skip` of a NUMBERS step, read from the index alone."""
    series = metric_series.alias("s")
    direction = series.c.value if step.ascending else series.c.value.desc()
    rows = select(series.c.value).where(*_in_series(step, series, rows=False)).order_by(direction)
    return Query(rows.limit(_ONE).offset(bindparam("skip")))


@lru_cache(maxsize=1)
def crowd_query() -> Query:
    """How many rows have the value `edge`, at most `most`."""
    series = metric_series
    rows = select(_ONE).where(
        series.c.experiment_id == bindparam("experiment"),
        series.c.key == bindparam("order_key"),
        series.c.is_nan == literal_column("0"),
        series.c.value == bindparam("edge"),
    )
    return Query(select(func.count()).select_from(rows.limit(bindparam("most")).subquery()))


def _is_about_order(what: Shape) -> bool:
    return what.entity == grammar.METRIC and what.key == "order"


def _hidden(column: Any, step: Step) -> Clause:
    """The column, or with a driver a sum that keeps SQLite from using an index that begins with it.

    PostgreSQL knows from its statistics that the driver leaves few rows.
    """
    hide = step.driver is not None and step.dialect == "sqlite"
    found: Clause = column + literal_column("0") if hide else column
    return found


def _in_series(step: Step, series: Any, rows: bool = True) -> list[Clause]:
    """The conditions on the metric's own rows. `rows`: whether table runs is joined, so that a row can be the start."""
    found = [
        _hidden(series.c.experiment_id, step) == bindparam("experiment"),
        series.c.key == bindparam("order_key"),
        series.c.is_nan == literal_column("1" if step.phase is Phase.NANS else "0"),
    ]
    found += [
        metric_value(series, what, at, step.dialect) for at, what in enumerate(step.shapes) if _is_about_order(what)
    ]
    if step.phase is Phase.NANS:
        return found
    column: Clause = series.c.value
    value: Any = bindparam("after_value")
    if step.behind is not Behind.NOTHING:
        beyond = column > value if step.ascending else column < value
        reach = column >= value if step.ascending else column <= value
        found.append(beyond if step.behind is Behind.VALUE else reach)
        if step.behind is Behind.ROW and rows:
            # The term above bounds the walk of the index; this one is exact.
            found.append(or_(beyond, _behind_start(step)))
    if step.before:
        edge: Any = bindparam("edge")
        found.append(column < edge if step.ascending else column > edge)
    return found


def _in_runs(step: Step, series: Any) -> list[Clause]:
    """The conditions on runs that are read by start time."""
    found = [_hidden(runs.c.experiment_id, step) == bindparam("experiment")]
    if step.by_metric:
        own: Select[Any] = select(_ONE).where(series.c.run == runs.c.id, series.c.key == bindparam("order_key"))
        if step.phase is Phase.TIED:
            found.append(own.where(series.c.value == bindparam("edge")).exists())
        else:
            found.append(~own.exists())
    return found


def _order(step: Step, series: Any) -> list[Clause]:
    start: list[Clause] = [runs.c.start_ms if step.oldest else runs.c.start_ms.desc(), runs.c.run_id]
    if step.phase is not Phase.NUMBERS:
        return start
    return [series.c.value if step.ascending else series.c.value.desc(), *start]


def _behind_start(step: Step) -> Clause:
    """The runs that follow one by start time and run id; the first term bounds the walk of the index."""
    start: Any = bindparam("after_start")
    run: Any = bindparam("after_run")
    later = runs.c.start_ms > start if step.oldest else runs.c.start_ms < start
    reach = runs.c.start_ms >= start if step.oldest else runs.c.start_ms <= start
    return and_(reach, or_(later, runs.c.run_id > run))
