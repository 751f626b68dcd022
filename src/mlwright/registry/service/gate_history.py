"""What gates and people have answered, of many versions, the newest first; and when gates were overridden."""

import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import ColumnElement, Select, and_, literal_column, or_, select

from mlwright.kernel.errors import Invalid
from mlwright.kernel.events import events
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.spec import Check, Decision, GateVerdict
from mlwright.registry.gates.tables import gate_approvals, gate_results
from mlwright.registry.service import models
from mlwright.registry.tables import model_versions
from mlwright.tracking.service.locations import is_number

#: What can be asked for: answers of gates, words of people, and what was done in spite of them.
OUTCOMES = ("pass", "fail", "inconclusive", "waiting", "running", "approved", "rejected", "overridden")
_WORDS = {"approved": 1, "rejected": 0}
_MOST_OUTPUT = 4_000
_MOST_CHECKS = 20
_results, _approvals, _versions, _events = gate_results.c, gate_approvals.c, model_versions.c, events.c


class Asked(msgspec.Struct, frozen=True):
    """Which answers; what is empty or 0 does not matter."""

    project: str = ""
    model: str = ""
    version: int = 0
    policy: str = ""
    outcome: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What a gate, a person, or an administrator said about a version.

    Attributes:
        token: where the next page would begin after it.
        at_ms: when it was asked for, or said.
        gate: empty where several were overridden at a time.
        who: who asked for it, or said it.
        checks: the first of `checked`, those that did not pass before the others.
        output: the end of what a program printed.
    """

    token: str
    at_ms: int
    project: str
    model: str
    version: int
    policy: str
    gate: str
    outcome: str
    reason: str
    who: str
    duration_ms: int | None = None
    checks: list[Check] = []
    checked: int = 0
    output: str = ""


class AnswerPage(NamedTuple):
    """Answers, and the token of the next page; empty on the last."""

    answers: list[Answer]
    next_token: str


class _Place(NamedTuple):
    """Answers after this one: its time, its source, and its number there."""

    at_ms: int = 1 << 62
    source: int = -1
    number: int = 0

    def condition(self, at: ColumnElement[Any], number: ColumnElement[Any], source: int) -> ColumnElement[bool]:
        """What comes later in the order: by time downwards, then by source, then by number downwards."""
        if source < self.source:
            return at < self.at_ms
        if source > self.source:
            return at <= self.at_ms
        return or_(at < self.at_ms, and_(at == self.at_ms, number < self.number))


def page(tx: Tx, caller: Caller, asked: Asked, limit: int, token: str = "") -> AnswerPage:
    """One page of answers about versions in projects that the caller may view. Raises Invalid, Denied."""
    if asked.outcome not in {"", *OUTCOMES}:
        raise Invalid(f"there is no outcome {asked.outcome!r}; there are {', '.join(OUTCOMES)}", path="outcome")
    if asked.project:
        caller.require(asked.project, Role.VIEWER)
    projects = [asked.project] if asked.project else models.projects(tx, caller)
    place = _decoded(token)
    sources = [source(tx, projects, asked, place, limit + 1) for source in (_gates, _people, _overrides)]
    merged = heapq.merge(*sources, key=lambda each: (-each.at_ms, _decoded(each.token).source))
    found = list(islice(merged, limit + 1))
    return AnswerPage(found[:limit], found[limit - 1].token if len(found) > limit else "")


def _gates(tx: Tx, projects: Sequence[str], asked: Asked, place: _Place, limit: int) -> list[Answer]:
    if asked.outcome in {*_WORDS, "overridden"}:
        return []
    wanted = [place.condition(_results.created_ms, _results.id, 0)]
    if asked.policy:
        wanted.append(_results.policy == asked.policy)
    if asked.outcome in {"waiting", "running"}:
        wanted.append(_results.state == asked.outcome)
    elif asked.outcome:
        wanted.append(_results.verdict == asked.outcome)
    columns = (
        _results.id, _results.created_ms, _results.policy, _results.gate, _results.state, _results.decision,
        _results.requested_by, _results.started_ms, _results.ended_ms,
    )  # fmt: skip
    statement = _about(select(*columns, *_named), gate_results, projects, asked).where(*wanted)
    rows = tx.select(statement.order_by(_results.created_ms.desc(), _results.id.desc()).limit(limit))
    return [_answered(row) for row in rows]


_named = (_versions.project, _versions.name, _versions.version)


def _about(statement: Select[Any], table: Any, projects: Sequence[str], asked: Asked) -> Select[Any]:
    statement = statement.join(model_versions, _versions.id == table.c.version).where(_versions.project.in_(projects))
    if asked.model:
        statement = statement.where(_versions.name == asked.model)
    return statement.where(_versions.version == asked.version) if asked.version else statement


def _answered(row: Sequence[Any]) -> Answer:
    number, at_ms, policy, gate, state, text, who, started, ended, project, model, version = row
    decision = msgspec.json.decode(text, type=Decision) if state == "done" else None
    return Answer(
        _encoded(_Place(at_ms, 0, number)), at_ms, project, model, version, policy, gate,
        decision.verdict.value if decision else state,
        decision.reason if decision else "",
        who,
        ended - started if started is not None and ended is not None else None,
        decisive(decision.checks)[:_MOST_CHECKS] if decision else [],
        len(decision.checks) if decision else 0,
        decision.output[-_MOST_OUTPUT:] if decision else "",
    )  # fmt: skip


def decisive(checks: Sequence[Check]) -> list[Check]:
    """Checks with those that did not pass before the others."""
    return sorted(checks, key=lambda check: check.verdict is GateVerdict.PASS)


def _people(tx: Tx, projects: Sequence[str], asked: Asked, place: _Place, limit: int) -> list[Answer]:
    if asked.outcome and asked.outcome not in _WORDS:
        return []
    wanted = [place.condition(_approvals.at_ms, _approvals.id, 1)]
    if asked.policy:
        wanted.append(_approvals.policy == asked.policy)
    if asked.outcome:
        wanted.append(_approvals.approves == _WORDS[asked.outcome])
    columns = (
        _approvals.id, _approvals.at_ms, _approvals.policy, _approvals.gate, _approvals.approves, _approvals.comment,
        _approvals.principal,
    )  # fmt: skip
    statement = _about(select(*columns, *_named), gate_approvals, projects, asked).where(*wanted)
    rows = tx.select(statement.order_by(_approvals.at_ms.desc(), _approvals.id.desc()).limit(limit))
    return [
        Answer(
            _encoded(_Place(at_ms, 1, number)), at_ms, project, model, version, policy, gate,
            "approved" if approves else "rejected", comment, who,
        )
        for number, at_ms, policy, gate, approves, comment, who, project, model, version in rows
    ]  # fmt: skip


def _overrides(tx: Tx, projects: Sequence[str], asked: Asked, place: _Place, limit: int) -> list[Answer]:
    if asked.outcome not in {"", "overridden"}:
        return []
    wanted = [
        literal_column("type = 'registry.gate.overridden'"),  # spelled as the condition of the index
        _events.project.in_(projects),
        place.condition(_events.at_ms, _events.seq, 2),
    ]
    if asked.model:
        start = f"model-version/{asked.model}/"
        one = f"{start}{asked.version}"
        wanted.append(
            _events.subject == one if asked.version else and_(_events.subject >= start, _events.subject < f"{start}:")
        )
    if asked.policy:
        wanted.append(_events.data.contains(f'"policy":"{asked.policy}"', autoescape=True))
    columns = (_events.seq, _events.at_ms, _events.actor, _events.project, _events.subject, _events.data)
    statement = select(*columns).where(*wanted).order_by(_events.at_ms.desc(), _events.seq.desc()).limit(limit)
    return [_overridden(row) for row in tx.select(statement)]


def _overridden(row: Sequence[Any]) -> Answer:
    seq, at_ms, actor, project, subject, text = row
    data = msgspec.json.decode(text)
    _, model, version = subject.split("/")
    policies = sorted({each["policy"] for each in data["closed"]})
    shut = "; ".join(f"{each['policy']}/{each['gate']}: {each['reason']}" for each in data["closed"])
    return Answer(
        _encoded(_Place(at_ms, 2, seq)), at_ms, project, model, int(version), ", ".join(policies), "", "overridden",
        f"{data['target']}: {data['reason']}", actor, output=shut,
    )  # fmt: skip


def _encoded(place: _Place) -> str:
    return ".".join(map(str, place))


def _decoded(token: str) -> _Place:
    if not token:
        return _Place()
    parts = token.split(".")
    if len(parts) != len(_Place._fields) or not all(is_number(part) for part in parts):
        raise Invalid("Invalid page token", path="token")
    return _Place(*map(int, parts))
