"""What happened to a model or a version: read from the event log, across renames."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, bindparam, literal_column, or_, select

from mlwright.kernel.events import events
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import models, versions
from mlwright.registry.service.models import Found

_MOST = 1 << 62
_events = events.c
#: Spelled as the condition of the index on the log, so that it is used.
_ours: ColumnElement[bool] = literal_column("type >= 'registry.' AND type < 'registry/'")
_of_subject = (
    select(_events.seq, _events.at_ms, _events.actor, _events.type, _events.data)
    .where(
        _events.project == bindparam("project"),
        _events.subject == bindparam("subject"),
        _events.seq > bindparam("after"),
        _events.seq < bindparam("before"),
        _ours,
    )
    .order_by(_events.seq.desc())
    .limit(bindparam("limit"))
)


def _only(*types: str) -> Query:
    return Query(_of_subject.where(or_(*(_events.type == each for each in types))))


_all = Query(_of_subject)
_lives = _only("registry.model.created", "registry.model.renamed")
_moves = _only("registry.alias.moved", "registry.alias.removed")


class Happened(msgspec.Struct, frozen=True):
    """An event, as far as a reader wants to know it."""

    seq: int
    at_ms: int
    actor: str
    type: str
    data: dict[str, Any]


class Named(NamedTuple):
    """The model had this name after one event and until another, by their numbers in the log."""

    name: str
    after: int
    before: int


def of_model(tx: Tx, caller: Caller, name: str, project: str, limit: int, before: int = _MOST) -> list[Happened]:
    """What happened to a model itself and its aliases, the newest first; `before` is an event's number."""
    return _read(tx, _all, models.find(tx, caller, name, Role.VIEWER, project), "registered-model/{}", limit, before)


def of_version(
    tx: Tx, caller: Caller, name: str, number: int, project: str, limit: int, before: int = _MOST
) -> list[Happened]:
    """What happened to a version and at its gates, the newest first."""
    model, _ = versions.find(tx, caller, name, number, Role.VIEWER, project)
    return _read(tx, _all, model, f"model-version/{{}}/{number}", limit, before)


def of_aliases(tx: Tx, model: Found, limit: int) -> list[Happened]:
    """How the aliases of a model moved, the newest first."""
    return _read(tx, _moves, model, "registered-model/{}", limit, _MOST)


def _read(tx: Tx, query: Query, model: Found, subject: str, limit: int, before: int) -> list[Happened]:
    found: list[Happened] = []
    for named in _names(tx, model):
        if len(found) >= limit:
            break
        if before > named.after:
            until = min(before, named.before)
            of = {"project": model.project, "subject": subject.format(named.name), "after": named.after}
            rows = tx.all(query, {**of, "before": until, "limit": limit - len(found)})
            found += [_happened(row) for row in rows]
    return found


def _names(tx: Tx, model: Found) -> list[Named]:
    """The names that this very model had, the present one first: others may have had the same names before."""
    found: list[Named] = []
    name, before = model.name, _MOST
    while True:
        asked = {"project": model.project, "subject": f"registered-model/{name}", "after": 0, "before": before}
        rows = tx.all(_lives, {**asked, "limit": 1})
        if not rows:
            return [*found, Named(name, 0, before)]
        begin = _happened(rows[0])
        found.append(Named(name, begin.seq - 1, before))
        if begin.type == "registry.model.created":
            return found
        name, before = str(begin.data["before"]["name"]), begin.seq


def _happened(row: Sequence[Any]) -> Happened:
    seq, at_ms, actor, kind, data = row
    return Happened(seq, at_ms, actor, kind, msgspec.json.decode(data))
