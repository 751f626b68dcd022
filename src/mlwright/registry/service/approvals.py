"""Which versions wait for people, and for whom.

A version waits while an approval is missing, nothing has failed at the other gates of the policy, and it has not been
overtaken: neither by what the guarded aliases and stages lead to by now, nor by ten newer versions of its model.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import bindparam, func, select

from mlwright.kernel.errors import Denied
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.spec import Approval, Gate, GatePolicySpec, Standing
from mlwright.registry.service import gates, rows
from mlwright.registry.service.answers import Answers
from mlwright.registry.service.gates import Policy
from mlwright.registry.spec import ModelVersion
from mlwright.registry.tables import model_aliases, model_versions, registered_models

#: So many of the newest versions of a model can wait at a time.
NEWEST = 10
#: … and so many of the newest versions at all: nobody would read more.
MOST = 500
_MOST_COUNTED = 100

_models, _versions = registered_models.c, model_versions.c
_names = Query(select(_models.id, _models.name).where(_models.project == bindparam("project")))
_newest = Query(
    select(_versions.id, _versions.model, _versions.version, _versions.created_ms)
    .join(registered_models, _models.id == _versions.model)
    .where(among(_versions.model, "models"), _versions.version > _models.last_version - NEWEST)
)
_whole = Query(select(*rows.VERSION_COLUMNS).where(among(_versions.id, "rows")))
_aliases = Query(
    select(model_aliases.c.model, model_aliases.c.alias, model_aliases.c.version).where(
        among(model_aliases.c.model, "models")
    )
)
_stages = Query(
    select(_versions.model, _versions.stage, func.max(_versions.version))
    .where(among(_versions.model, "models"), _versions.stage != "None")
    .group_by(_versions.model, _versions.stage)
)


class Waiting(msgspec.Struct, frozen=True):
    """A version that waits for people at a gate.

    Attributes:
        have, count: approvals so far, and how many it takes.
        others: how it stands before the policy's other gates.
        mine: whether the caller is among those who are waited for.
    """

    version: ModelVersion
    policy: str
    gate: str
    approvers: list[str]
    have: int
    count: int
    others: list[Standing]
    mine: bool


class _Candidate(NamedTuple):
    """A version, by its time and row, that a policy has people look at."""

    created_ms: int
    row: int
    policy: Policy


def waiting(tx: Tx, caller: Caller, project: str = "") -> list[Waiting]:
    """Everything in the projects that the caller may view, or in one of them; the newest versions first.

    Raises Denied for a project that the caller may not view.
    """
    if project:
        caller.require(project, Role.VIEWER)
    return _waiting(tx, caller, project, MOST, mine=False)


def count(tx: Tx, caller: Caller) -> int:
    """How many wait for the caller, among the newest hundred versions that might: pages show this all the time."""
    return sum(each.mine for each in _waiting(tx, caller, "", _MOST_COUNTED, mine=True))


def _waiting(tx: Tx, caller: Caller, project: str, most: int, *, mine: bool) -> list[Waiting]:
    """What waits; with `mine`, what could not wait for the caller is not even looked at."""
    candidates: list[_Candidate] = []
    for name, policies in gates.all_policies(tx, project).items():
        asking = [each for each in policies if _asks(each, caller, name, mine=mine)]
        if asking and caller.may(name, Role.VIEWER):
            candidates += _candidates(tx, name, asking)
    candidates = heapq.nlargest(most, candidates, key=lambda each: (each.created_ms, each.row))
    found = rows.versions(tx, tx.all(_whole, {"rows": str([each.row for each in candidates])})) if candidates else []
    versions = {each.row: each for each in found}
    known, now = Answers(tx, found, whole=False), tx.now_ms()
    return [
        each
        for _, row, policy in candidates
        for gate in policy.spec.gates
        if gate.approval is not None
        for each in _waits(known, caller, versions[row], policy, gate, gate.approval, now)
    ]


def _asks(policy: Policy, caller: Caller, project: str, *, mine: bool) -> bool:
    """Whether the policy asks people; with `mine`, whether the caller is one of them."""
    asked = [gate.approval for gate in policy.spec.gates if gate.approval is not None]
    if not mine:
        return bool(asked)
    return any(gates.is_approver(caller, project, each) for each in asked)


def _candidates(tx: Tx, project: str, policies: Sequence[Policy]) -> list[_Candidate]:
    covering = {
        row: [policy for policy in policies if policy.spec.covers(name)]
        for row, name in tx.all(_names, {"project": project})
    }
    wanted = {"models": str([row for row, covered in covering.items() if covered])}
    leads: dict[int, dict[str, int]] = defaultdict(dict)
    for model, alias, number in tx.all(_aliases, wanted):
        leads[model][f"@{alias}"] = number
    if any(policy.spec.stages for policy in policies):
        for model, stage, number in tx.all(_stages, wanted):
            leads[model][stage] = number
    return [
        _Candidate(created_ms, row, policy)
        for row, model, number, created_ms in tx.all(_newest, wanted)
        for policy in covering[model]
        if number > _overtaken(policy.spec, leads[model])
    ]


def _overtaken(spec: GatePolicySpec, leads: Mapping[str, int]) -> int:
    """Versions up to this number have been overtaken everywhere that the policy guards."""
    guarded = [*(f"@{alias}" for alias in spec.aliases), *(stage.value for stage in spec.stages)]
    return min((leads.get(each, 0) for each in guarded), default=0)


def _waits(
    known: Answers, caller: Caller, version: ModelVersion, policy: Policy, gate: Gate, asked: Approval, now_ms: int
) -> list[Waiting]:
    """One, or none when it does not wait at this gate."""
    standings = {each.name: gates.standing(known, version, policy, each, now_ms) for each in policy.spec.gates}
    own = standings.pop(gate.name)
    if own.state == "done" or any(each.state == "done" and not each.is_open for each in standings.values()):
        return []
    said = {
        name
        for name, word in gates.latest_words(known, version, policy, gate).items()
        if word.approves and gates.still_counts(known, version, asked, word, now_ms)
    }
    mine = caller.name not in said and may_approve(caller, version, policy, gate, asked)
    approvers = sorted(set(asked.approvers))
    return [Waiting(version, policy.name, gate.name, approvers, len(said), asked.count, list(standings.values()), mine)]


def may_approve(
    caller: Caller, version: ModelVersion, policy: Policy, gate: Gate, asked: Approval, *, approves: bool = True
) -> bool:
    """Whether the caller's yes, or no, would be taken."""
    try:
        gates.require_approver(caller, version, policy, gate, asked, approves=approves)
    except Denied:
        return False
    return True
