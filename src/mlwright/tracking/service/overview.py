"""The list of experiments as people look for them: by name and by what happened lately."""

from typing import Any

import msgspec
from sqlalchemy import bindparam, func, literal_column, or_, select

from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import experiments as service
from mlwright.tracking.spec import Experiment, ViewType
from mlwright.tracking.tables import experiments, runs

DAY_MS = 86_400_000
#: Counting goes no further than this: "more" is all one wants to know.
MOST_COUNTED = 100_000
#: Days of activity shown, and the most runs looked at for it.
DAYS = 30
_ACTIVITY_RUNS = 20_000


class Overview(msgspec.Struct, frozen=True):
    """An experiment in the list.

    Attributes:
        runs: live runs, counted up to MOST_COUNTED.
        activity_ms: when the newest run started or the experiment was changed, whichever is later.
        days: runs started on each of the last DAYS days, today last.
    """

    experiment: Experiment
    runs: int
    activity_ms: int
    days: list[int]


class OverviewPage(msgspec.Struct, frozen=True):
    items: list[Overview]
    more: bool


_newest = (
    select(func.max(runs.c.start_ms))
    .where(runs.c.experiment_id == experiments.c.id, runs.c.active == literal_column("1"))
    .scalar_subquery()
)
_counted = (
    select(runs.c.id)
    .where(runs.c.experiment_id == bindparam("experiment"), runs.c.active == bindparam("active"))
    .limit(MOST_COUNTED)
    .subquery()
)
_count = Query(select(func.count()).select_from(_counted))
_lately = (
    select(runs.c.start_ms)
    .where(
        runs.c.experiment_id == bindparam("experiment"),
        runs.c.active == literal_column("1"),
        runs.c.start_ms >= bindparam("since"),
    )
    .limit(_ACTIVITY_RUNS)
    .subquery()
)
_day = _lately.c.start_ms / literal_column(str(DAY_MS))
_days = Query(select(func.floor(_day), func.count()).group_by(func.floor(_day)))
_projects = Query(select(experiments.c.project).distinct().order_by(experiments.c.project))


def projects(tx: Tx, caller: Caller) -> list[str]:
    """The projects that hold experiments and that the caller may see."""
    return [row[0] for row in tx.all(_projects) if caller.may(row[0], Role.VIEWER)]


def list_experiments(
    tx: Tx, caller: Caller, text: str = "", view: ViewType = ViewType.ACTIVE_ONLY, project: str = "", offset: int = 0,
    limit: int = 50,
) -> OverviewPage:  # fmt: skip
    """Experiments whose name contains `text` (capitals do not matter), the latest active first.

    Raises Invalid when limit or offset is out of range.
    """
    if not 1 <= limit <= 1000 or offset < 0:
        raise Invalid("limit must be from 1 to 1000 and offset not below 0", path="limit")
    visible = [each for each in projects(tx, caller) if project in {"", each}]
    order = func.coalesce(_newest, literal_column("0"))
    greatest = (
        func.max(order, experiments.c.updated_ms)
        if tx.dialect == "sqlite"
        else func.greatest(order, experiments.c.updated_ms)
    )
    statement = (
        select(experiments, greatest)
        .where(experiments.c.project.in_(visible), experiments.c.active.in_(view.stages))
        .order_by(greatest.desc(), experiments.c.id.desc())
        .limit(limit + 1)
        .offset(offset)
    )
    if text:
        pattern = text.lower().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        statement = statement.where(
            or_(
                func.lower(experiments.c.name).like(f"%{pattern}%", escape="\\"),
                experiments.c.name.contains(text, autoescape=True),
            )
        )
    rows = tx.select(statement)
    found = service.load(tx, [row[:7] for row in rows[:limit]])
    items = [_overview(tx, each, row[7]) for each, row in zip(found, rows, strict=False)]
    return OverviewPage(items, len(rows) > limit)


def count_runs(tx: Tx, experiment_id: int, *, active: bool = True) -> int:
    """Runs of an experiment that the caller may read, up to MOST_COUNTED."""
    row = tx.one(_count, {"experiment": experiment_id, "active": int(active)})
    return int(row[0]) if row else 0


def _overview(tx: Tx, experiment: Experiment, activity_ms: Any) -> Overview:
    today = tx.now_ms() // DAY_MS
    since = (today - DAYS + 1) * DAY_MS
    days = [0] * DAYS
    for day, count in tx.all(_days, {"experiment": experiment.experiment_id, "since": since}):
        at = int(day) - (today - DAYS + 1)
        if 0 <= at < DAYS:
            days[at] = count
    return Overview(experiment, count_runs(tx, experiment.experiment_id), int(activity_ms), days)
