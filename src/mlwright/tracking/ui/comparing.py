"""What the comparison of runs shows."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.search import search_runs
from mlwright.tracking.service import columns, experiments, runs
from mlwright.tracking.spec import RunInfo
from mlwright.tracking.ui.query import VIEWS, TableQuery
from mlwright.tracking.ui.table import duration
from mlwright.web import formats

MAX_RUNS = 500
#: Runs that a table shows side by side, and whose environments are read.
MAX_COLUMNS = 24
MAX_ENVIRONMENTS = 8
#: Lines of one chart; beyond, colours and eyes give up.
MAX_LINES = 100
_MAX_KEYS = 400
#: Of many runs only the keys that most of them have can be compared.
_MAX_KEYS_OF_MANY = 60
_MAX_OTHERS = 100
_LABEL_CHARACTERS = 32


class ComparedRun(msgspec.Struct, frozen=True):
    """A column of the comparison; `row` is the internal number, `label` a short name that differs where names do."""

    row: int
    run_id: str
    name: str
    label: str
    experiment_id: int
    status: str
    start_ms: int
    duration_ms: int | None
    user: str


class Line(msgspec.Struct, frozen=True):
    """One key and its value in each run (None where it is missing), in the order of the runs."""

    key: str
    values: list[Any]
    differs: bool


class Comparison(msgspec.Struct, frozen=True):
    """Attributes:
    tab: "charts", "table", "parallel", "scatter" or "environment".
    query: the part of the address that names the runs.
    curves: metrics with a history in some run.
    cut: whether the filter met more runs than are compared.
    others: further runs of the same experiments, to be added.
    """

    tab: str
    query: list[tuple[str, str]]
    runs: list[ComparedRun]
    metrics: list[Line]
    params: list[Line]
    tags: list[Line]
    curves: list[str]
    cut: bool
    others: list[tuple[str, str]]


def chosen(
    tx: Tx, caller: Caller, run_ids: Sequence[str], experiment_id: int | None, query: TableQuery
) -> list[RunInfo]:
    """The runs named, or those that a filter of an experiment meets; one more than MAX_RUNS when there are more.

    Raises NotFound, Invalid.
    """
    if run_ids:
        return [runs.find(tx, caller, run_id).info for run_id in list(dict.fromkeys(run_ids))[: MAX_RUNS + 1]]
    if experiment_id is None:
        return []
    experiments.get(tx, caller, experiment_id)
    order = [query.order] if query.order else []
    found = search_runs(tx, [experiment_id], query.filter, VIEWS[query.view], order, MAX_RUNS + 1)
    return [runs.info_from_row(row) for row in found.rows]


def load(tx: Tx, infos: Sequence[RunInfo], now_ms: int, tab: str, query: list[tuple[str, str]]) -> Comparison:
    """The comparison of runs that the caller may read."""
    cut = len(infos) > MAX_RUNS
    infos = infos[:MAX_RUNS]
    rows = [info.row for info in infos]
    shown = {"table": rows[:MAX_COLUMNS], "parallel": rows, "scatter": rows}.get(tab, [])
    lines = {kind: _lines(tx, kind, shown) for kind in (columns.METRICS, columns.PARAMS, columns.TAGS)}
    return Comparison(
        tab=tab,
        query=query,
        runs=[
            _run(info, label, now_ms) for info, label in zip(infos, labels([info.name for info in infos]), strict=True)
        ],
        metrics=lines[columns.METRICS],
        params=lines[columns.PARAMS],
        tags=lines[columns.TAGS],
        curves=columns.curves(tx, rows, _MAX_KEYS) if tab == "charts" else [],
        cut=cut,
        others=_others(tx, infos) if len(infos) < MAX_COLUMNS else [],
    )


def labels(names: Sequence[str], limit: int = _LABEL_CHARACTERS) -> list[str]:
    """Each name in at most `limit` characters, cut so that names that differ do not look alike if that can be."""
    cut = [formats.middle(name, limit) for name in names]
    alike: dict[str, set[str]] = {}
    for name, label in zip(names, cut, strict=True):
        alike.setdefault(label, set()).add(name)
    found = []
    for name, label in zip(names, cut, strict=True):
        same = _same_start(alike[label])
        # Some characters before the difference, so that it can be read.
        found.append(
            label if len(alike[label]) == 1 else formats.middle(f"…{name[max(0, same - limit // 4) :]}", limit)
        )
    return found


def _same_start(names: Collection[str]) -> int:
    """How many characters all names start with."""
    differs = (at for at, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1)
    return next(differs, min(len(name) for name in names))


def _run(info: RunInfo, label: str, now_ms: int) -> ComparedRun:
    took = duration(info.start_ms, info.end_ms, info.status.name, now_ms)
    return ComparedRun(
        info.row, info.run_id, info.name, label, info.experiment_id, info.status.name, info.start_ms, took, info.user_id
    )


def _lines(tx: Tx, kind: str, rows: Sequence[int]) -> list[Line]:
    limit = _MAX_KEYS if len(rows) <= MAX_COLUMNS else _MAX_KEYS_OF_MANY
    keys = sorted(columns.common_keys(tx, kind, rows, limit))
    found = columns.values(tx, kind, rows, keys)
    lines = []
    for key in keys:
        values = [found.get((row, key)) for row in rows]
        lines.append(Line(key, values, _differ(values)))
    return lines


def _differ(values: Sequence[Any]) -> bool:
    """Whether not all values are the same; NaN equals NaN here."""
    plain = {"NaN" if isinstance(value, float) and math.isnan(value) else value for value in values}
    return len(plain) > 1


def _others(tx: Tx, infos: Sequence[RunInfo]) -> list[tuple[str, str]]:
    """(id, name) of the newest further runs of the same experiments."""
    numbers = sorted({info.experiment_id for info in infos})[:5]
    have = {info.run_id for info in infos}
    found = search_runs(tx, numbers, max_results=_MAX_OTHERS) if numbers else None
    return [(row.run_id, row.name) for row in found.rows if row.run_id not in have] if found else []


def check_tab(tab: str) -> str:
    """Raises Invalid for an unknown page of the comparison."""
    if tab not in {"charts", "table", "parallel", "scatter", "environment"}:
        raise Invalid(f"There is no comparison called {tab!r}", path="tab")
    return tab
