"""The verbs of gates: which ones a version must pass, how it stands, who has approved it, and the guard of aliases.

Invariant: nothing leads to a version by an alias or stage that a policy guards, unless each gate of the policy has been
passed with just this digest, this question, and beside the versions that stand there now; or an administrator has said
otherwise, with a reason, on the record.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import bindparam, insert, null, select, update

from mlwright.kernel import events, store
from mlwright.kernel.errors import Denied, GateClosed, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import Kind, Resource
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates import signed
from mlwright.registry.gates.spec import GROUP, Approval, Decision, Gate, GatePolicySpec, GateVerdict, Signed, Standing
from mlwright.registry.gates.tables import gate_approvals, gate_results
from mlwright.registry.service import evidence, rows
from mlwright.registry.service.answers import Answers, Result, Word
from mlwright.registry.service.models import topic
from mlwright.registry.signatures.spec import VersionSignature
from mlwright.registry.spec import ModelVersion, Stage
from mlwright.registry.tables import model_aliases, model_versions

KIND = Kind(
    "GatePolicy",
    "gatepolicies",
    GatePolicySpec,
    "Gates that a model version must pass before an alias or stage may lead to it.",
    changed_by=Role.ADMIN,
)
#: Topic of `Changes`: a gate is to run.
TOPIC = "gates"
#: Who reads policies and runs gates, whatever the caller may see.
SYSTEM = Caller("system", everywhere=Role.ADMIN)
_HOUR_MS = 3_600_000
#: An answer that nobody has renewed for so long was left behind by a server that died. So was one with a lease that
#: ends much later than that: the clock was moved back.
LEASE_MS = 30_000

_results = gate_results.c
_insert = Query(
    insert(gate_results).values({column.name: bindparam(column.name) for column in _results if column.name != "id"})
)
_open = Query(
    select(*_results)
    .where(
        (_results.state == "waiting")
        | (
            (_results.state == "running")
            & ((_results.lease_ms < bindparam("now")) | (_results.lease_ms > bindparam("beyond")))
        )
    )
    .order_by(_results.id)
    .limit(100)
)
_whole = (*rows.VERSION_COLUMNS, model_versions.c.facts, model_versions.c.model)
_version = Query(select(*_whole).where(model_versions.c.id == bindparam("version")))
_claim = Query(
    update(gate_results)
    .where(_results.id == bindparam("number"))
    .values(state="running", token=bindparam("new_token"), started_ms=bindparam("now"), lease_ms=bindparam("until"))
)
_abandon = Query(update(gate_results).where(_results.state == "running").values(lease_ms=0))
_abandoned = Query(
    update(gate_results).where(_results.state == "running", _results.token == bindparam("own_token")).values(lease_ms=0)
)
_running = Query(select(_results.token).where(_results.state == "running"))
_renew = Query(
    update(gate_results)
    .where(_results.id == bindparam("number"), _results.token == bindparam("own_token"), _results.state == "running")
    .values(lease_ms=bindparam("until"))
)
_finish = Query(
    update(gate_results)
    .where(_results.id == bindparam("number"), _results.token == bindparam("own_token"), _results.state == "running")
    .values(
        state="done",
        verdict=bindparam("new_verdict"),
        decision=bindparam("new_decision"),
        until_ms=bindparam("new_until"),
        ended_ms=bindparam("now"),
        lease_ms=null(),
    )
)
_approvals = gate_approvals.c
_approve = Query(
    insert(gate_approvals).values({column.name: bindparam(column.name) for column in _approvals if column.name != "id"})
)
_by_alias = Query(
    select(*_whole)
    .join(model_aliases, model_aliases.c.model == model_versions.c.model)
    .where(
        model_aliases.c.version == model_versions.c.version,
        model_versions.c.project == bindparam("project"),
        model_versions.c.name == bindparam("name"),
        model_aliases.c.alias == bindparam("alias"),
    )
)


class ClosedError(GateClosed):
    """A version may not be where it was to be.

    Attributes:
        version: that was refused.
    """

    def __init__(self, version: ModelVersion, reason: str) -> None:
        super().__init__(
            f"Version {version.version} of {version.name!r} {reason}",
            path="version",
            hint=f"see: mlwright gate explain {version.name}/{version.version}",
        )
        self.version = version


class Policy(NamedTuple):
    """A policy of a project; `version` is its generation."""

    name: str
    spec: GatePolicySpec
    version: int = 0


def _policy(resource: Resource) -> Policy:
    metadata = resource.metadata
    return Policy(metadata.name, msgspec.convert(resource.spec, GatePolicySpec), metadata.generation)


_NOT_YET = Decision(GateVerdict.INCONCLUSIVE, "it has not run for this version yet", [])


def policies(tx: Tx, project: str, model: str) -> list[Policy]:
    """The policies that are about a model."""
    return [policy for policy in all_policies(tx, project).get(project, []) if policy.spec.covers(model)]


def all_policies(tx: Tx, project: str = "") -> dict[str, list[Policy]]:
    """The policies by project, of one project or of all."""
    found: dict[str, list[Policy]] = defaultdict(list)
    for each in store.list_all(tx, SYSTEM, KIND, project):
        found[each.metadata.project].append(_policy(each))
    return found


def request(tx: Tx, caller: Caller, version: ModelVersion, policy: str = "", *, again: bool = False) -> int:
    """Have the gates of a version run that have no answer yet. Returns how many will.

    Args:
        policy: only this one.
        again: also those that have an answer.
    """
    found = [each for each in policies(tx, version.project, version.name) if policy in {"", each.name}]
    if policy and not found:
        raise NotFound(f"there is no gate policy {policy!r} about {version.name!r}", path="policy")
    states = {"missing", "done"} if again else {"missing"}
    return _request(tx, caller, version, found, lambda standing: standing.state in states)


def request_undecided(tx: Tx, caller: Caller, version: ModelVersion) -> int:
    """Have the gates run again that could not be decided, as something has changed since. Returns how many will."""

    def is_undecided(standing: Standing) -> bool:
        return standing.state == "done" and standing.decision.verdict is GateVerdict.INCONCLUSIVE

    return _request(tx, caller, version, policies(tx, version.project, version.name), is_undecided)


def _request(
    tx: Tx, caller: Caller, version: ModelVersion, found: Sequence[Policy], wanted: Callable[[Standing], bool]
) -> int:
    if found:
        tx.take_time()
    known = Answers(tx, [version], whole=False)
    count = 0
    for each in found:
        for place, gate in enumerate(each.spec.gates):
            state = standing(known, version, each, gate, tx.now_ms())
            if gate.asked.runs and wanted(state):
                tx.run(_insert, _waiting(tx, caller, version, each, gate, place, _beside(known, version, gate)))
                count += 1
    if found:
        tx.topics |= {TOPIC, topic(version.project, version.name)}
    return count


def _waiting(
    tx: Tx, caller: Caller, version: ModelVersion, policy: Policy, gate: Gate, place: int, beside: str
) -> dict[str, Any]:
    nothing = dict.fromkeys(("verdict", "started_ms", "ended_ms", "lease_ms", "until_ms"))
    return {
        **nothing,
        "version": version.row,
        "digest": version.digest or "",
        "policy": policy.name,
        "policy_version": policy.version,
        "gate": gate.name,
        "question": gate.question,
        "beside": beside,
        "state": "waiting",
        "place": place,
        "decision": "",
        "requested_by": caller.name,
        "created_ms": tx.now_ms(),
        "token": "",
    }


def standings(tx: Tx, version: ModelVersion, policy: str = "") -> list[Standing]:
    """How a version stands before all gates that are about it, in their order."""
    found = [each for each in policies(tx, version.project, version.name) if policy in {"", each.name}]
    return _stand(Answers(tx, [version]), version, found, tx.now_ms())


def standings_of(tx: Tx, versions: Sequence[ModelVersion]) -> dict[int, list[Standing]]:
    """How versions of one model stand, by their row, in brief: decisions hold nothing but their verdict."""
    if not versions:
        return {}
    found = policies(tx, versions[0].project, versions[0].name)
    known, now = Answers(tx, versions, whole=False), tx.now_ms()
    return {version.row: _stand(known, version, found, now) for version in versions}


def _stand(known: Answers, version: ModelVersion, policies: Sequence[Policy], now_ms: int) -> list[Standing]:
    return [standing(known, version, policy, gate, now_ms) for policy in policies for gate in policy.spec.gates]


def closed(tx: Tx, version: ModelVersion, alias: str = "", stage: Stage | None = None) -> list[Standing]:
    """The gates that keep an alias or stage from leading to a version."""
    found = policies(tx, version.project, version.name)
    return shut(tx, version, [policy for policy in found if policy.spec.guards(alias, stage)])


def shut(tx: Tx, version: ModelVersion, asked: Sequence[Policy]) -> list[Standing]:
    """The gates of some policies that a version has not passed."""
    if asked:
        tx.take_time()
    found = _stand(Answers(tx, [version]), version, asked, tx.now_ms())
    return [each for each in found if not each.is_open]


def reasons(standings: Sequence[Standing]) -> str:
    """Why gates are closed, in words."""
    return "; ".join(f"{each.policy}/{each.gate}: {_in_words(each)}" for each in standings)


def guard(
    tx: Tx, caller: Caller, version: ModelVersion, alias: str = "", stage: Stage | None = None, override: str = ""
) -> None:
    """Called before an alias or stage leads to a version. Raises GateClosed with what is missing.

    Args:
        override: why it shall lead there nevertheless; for administrators of the project.
    """
    found = closed(tx, version, alias, stage)
    if not found:
        return
    target = f"@{alias}" if alias else f"the stage {stage.value}" if stage else ""
    if not override:
        raise ClosedError(version, f"may not be {target}: {reasons(found)}")
    caller.require(version.project, Role.ADMIN)
    gates = [{"policy": each.policy, "gate": each.gate, "reason": _in_words(each)} for each in found]
    _emit(tx, caller, version, "overridden", {"target": target, "reason": override, "closed": gates})


def _in_words(standing: Standing) -> str:
    if standing.state in {"waiting", "running"}:
        return f"it is {standing.state}"
    return f"{standing.decision.verdict.value}: {standing.decision.reason}"


def standing(known: Answers, version: ModelVersion, policy: Policy, gate: Gate, now_ms: int) -> Standing:
    """How a version stands before one gate."""
    if gate.approval is not None:
        return _approved(known, version, policy, gate, gate.approval, now_ms)
    if gate.signature is not None:
        return _signed(known.signatures(version), policy, gate, gate.signature)
    beside = _beside(known, version, gate)
    for result in known.results(version, policy.name, gate.name, gate.question):
        if not _still_beside(result.beside, beside, version):
            continue
        if result.until_ms is not None and now_ms >= result.until_ms:
            break
        decision = _decision(known, result) if result.state == "done" else _NOT_YET
        return Standing(
            policy.name,
            gate.name,
            gate.kind,
            result.state,
            decision,
            result.started_ms,
            result.ended_ms,
            result.policy_version,
        )
    return Standing(policy.name, gate.name, gate.kind, "missing", _NOT_YET)


def _decision(known: Answers, result: Result) -> Decision:
    if not known.whole:
        return Decision(GateVerdict(result.verdict or GateVerdict.INCONCLUSIVE), "", [])
    return msgspec.json.decode(result.decision, type=Decision)


def _beside(known: Answers, version: ModelVersion, gate: Gate) -> str:
    """Which versions the gate compares with, as JSON: by alias, their digest; null where there is none."""
    return msgspec.json.encode({alias: known.beside(version, alias) for alias in gate.asked.beside}).decode()


def beside(tx: Tx, version: ModelVersion, alias: str) -> ModelVersion | None:
    """The version of the same model that an alias leads to now."""
    row = tx.one(_by_alias, {"project": version.project, "name": version.name, "alias": alias})
    return rows.whole_version(tx, row) if row else None


def _still_beside(then: str, now: str, version: ModelVersion) -> bool:
    """Whether an answer beside those versions still counts. What has got the alias since needs no new one."""
    before, after = (msgspec.json.decode(text, type=dict[str, str | None]) for text in (then, now))
    return before.keys() == after.keys() and all(after[alias] in {before[alias], version.digest} for alias in after)


# --- people -------------------------------------------------------------------------------------------------------


def approve(
    tx: Tx, caller: Caller, version: ModelVersion, policy: str, gate: str, *, approves: bool, comment: str = ""
) -> Standing:
    """Say yes or no to a version. The latest word of each person counts. Raises NotFound, Denied, Invalid."""
    found = next((each for each in policies(tx, version.project, version.name) if each.name == policy), None)
    asked = next((each for each in found.spec.gates if each.name == gate), None) if found else None
    if found is None or asked is None:
        raise NotFound(f"no gate {policy}/{gate} is about {version.name!r}", path="gate")
    if asked.approval is None:
        raise Invalid(f"the gate {policy}/{gate} is not passed by approval", path="gate")
    require_approver(caller, version, found, asked, asked.approval, approves=approves)
    values = {
        "version": version.row,
        "digest": version.digest or "",
        "policy": policy,
        "gate": gate,
        "question": asked.question,
        "principal": caller.name,
        "approves": int(approves),
        "comment": comment,
        "at_ms": max(tx.now_ms(), events.newest_ms(tx)),
    }
    tx.run(_approve, values)
    data = {"policy": policy, "gate": gate, "digest": version.digest, "comment": comment}
    if approves:
        _emit(tx, caller, version, "approved", data)
    else:
        _emit(tx, caller, version, "rejected", data)
    tx.topics.add(TOPIC)
    return standing(Answers(tx, [version]), version, found, asked, tx.now_ms())


def require_approver(
    caller: Caller, version: ModelVersion, policy: Policy, gate: Gate, asked: Approval, *, approves: bool
) -> None:
    """Raise Denied unless the caller may say yes, or no, to a version."""
    if not asked.approvers:
        caller.require(version.project, Role.ADMIN)
    elif not is_approver(caller, version.project, asked):
        raise Denied(f"{caller.name!r} is not among those who approve at {policy.name}/{gate.name}")
    if approves and asked.not_requester and caller.name == version.author:
        raise Denied("who registered a version does not approve it", hint="ask somebody else")


def is_approver(caller: Caller, project: str, asked: Approval) -> bool:
    """Whether the caller is one of those whom the gate asks, by name or by role."""
    if not asked.approvers:
        return caller.may(project, Role.ADMIN)
    groups = (each.removeprefix(GROUP) for each in asked.approvers if each.startswith(GROUP))
    return caller.name in asked.approvers or any(caller.may(project, Role.parse(group)) for group in groups)


def latest_words(known: Answers, version: ModelVersion, policy: Policy, gate: Gate) -> dict[str, Word]:
    """The latest word of each person at a gate, about this digest and question."""
    asked = (version.digest or "", policy.name, gate.name, gate.question)
    return {
        word.principal: word
        for word in known.words(version)
        if (word.digest, word.policy, word.gate, word.question) == asked
    }


def still_counts(known: Answers, version: ModelVersion, asked: Approval, word: Word, now_ms: int) -> bool:
    """Whether the latest word of a person counts: a no always; a yes until it expires, and while its author is asked.

    Who is asked by role must hold it now: a yes ends with the role that it was said in. For people's words it is never
    earlier than the newest event, so that a clock that is moved back revives none.
    """
    if not word.approves:
        return True
    expired = word.at_ms < max(now_ms, known.newest_ms) - asked.expires_hours * _HOUR_MS
    return not expired and is_approver(known.person(word.principal), version.project, asked)


def _approved(
    known: Answers, version: ModelVersion, policy: Policy, gate: Gate, asked: Approval, now_ms: int
) -> Standing:
    latest = latest_words(known, version, policy, gate)
    counting = {
        name: latest[name] for name in sorted(latest) if still_counts(known, version, asked, latest[name], now_ms)
    }
    decision = _counted(counting, asked)
    state = "missing" if decision.verdict is GateVerdict.INCONCLUSIVE else "done"
    last_ms = max((word.at_ms for word in latest.values()), default=None)
    return Standing(policy.name, gate.name, gate.kind, state, decision, last_ms, last_ms, policy.version)


def _counted(words: Mapping[str, Word], asked: Approval) -> Decision:
    """What people say, by the words that count."""
    against = [name for name, word in words.items() if not word.approves]
    if against:
        return Decision(GateVerdict.FAIL, f"rejected by {', '.join(against)}", [])
    in_favour = list(words)
    if len(in_favour) >= asked.count:
        return Decision(GateVerdict.PASS, f"approved by {', '.join(in_favour)}", [])
    return Decision(GateVerdict.INCONCLUSIVE, f"{len(in_favour)} of {asked.count} approvals", [])


def _signed(found: Sequence[VersionSignature], policy: Policy, gate: Gate, asked: Signed) -> Standing:
    decision = signed.decide(asked, found)
    state = "missing" if decision.verdict is GateVerdict.INCONCLUSIVE else "done"
    last_ms = max((each.at_ms for each in found), default=None)
    return Standing(policy.name, gate.name, gate.kind, state, decision, last_ms, last_ms, policy.version)


# --- running ------------------------------------------------------------------------------------------------------


class Work(NamedTuple):
    """A gate to run, claimed with a token."""

    result: Result
    version: ModelVersion
    policy: Policy
    gate: Gate


def claim(tx: Tx, token: str) -> Work | None:
    """Take the next gate that may run; None when there is none. Those that need not run any more are answered."""
    now = tx.now_ms()
    for row in tx.all(_open, {"now": now, "beyond": now + 4 * LEASE_MS}):
        result = Result._make(row)
        work = _work(tx, result)
        if work is None:
            _answer(tx, result, Decision(GateVerdict.INCONCLUSIVE, "the version or its policy has changed since", []))
            continue
        before = _before(tx, work)
        if before is None:
            tx.run(_claim, {"number": result.id, "new_token": token, "now": now, "until": now + LEASE_MS})
            tx.topics.add(topic(work.version.project, work.version.name))
            return work
        if before.state == "done":
            _answer(tx, result, Decision(GateVerdict.INCONCLUSIVE, f"{before.gate!r} before it was not passed", []))
    return None


def abandon(tx: Tx) -> None:
    """Give back all that is claimed: whoever was at it is gone. For the only server of a database, when it starts."""
    tx.run(_abandon)


def running(tx: Tx) -> set[str]:
    """The tokens of those who run gates."""
    return {str(row[0]) for row in tx.all(_running)}


def abandon_of(tx: Tx, tokens: Collection[str]) -> None:
    """Give back what was claimed with these tokens: whoever did so is gone."""
    for token in tokens:
        tx.run(_abandoned, {"own_token": token})


def renew(tx: Tx, number: int, token: str) -> bool:
    """Keep what was claimed for another while. Returns False when it is somebody else's by now."""
    return tx.run(_renew, {"number": number, "own_token": token, "until": tx.now_ms() + LEASE_MS}) > 0


def report(work: Work, decision: Decision) -> evidence.Report:
    """What is kept of an answer as its evidence."""
    version, result = work.version, work.result
    beside = msgspec.json.decode(result.beside, type=dict[str, str | None]) if result.beside else {}
    return evidence.Report(
        version.name, version.version, version.digest, result.policy, result.policy_version, work.gate, beside, decision
    )


def finish(tx: Tx, work: Work, token: str, decision: Decision, stored: Mapping[str, evidence.Stored]) -> bool:
    """Answer a gate that was claimed. Returns False, and changes nothing, when it is somebody else's by now.

    Args:
        stored: its evidence, see `evidence.store`.
    """
    kept = evidence.planned(tx, work.version, work.result.id, stored)
    answer = msgspec.structs.replace(decision, documents={}, evidence=kept)
    if not tx.run(_finish, _answered(tx, work.result, token, answer)):
        return False
    evidence.name_all(tx, work.version.project, kept, stored)
    _told(tx, work.version, work.result, answer)
    return True


def _work(tx: Tx, result: Result) -> Work | None:
    """The gate behind a result; None when the version is gone or something else is asked by now."""
    row = tx.one(_version, {"version": result.version})
    if row is None:
        return None
    version = rows.whole_version(tx, row)
    known = Answers(tx, [version])
    for policy in policies(tx, version.project, version.name):
        for gate in policy.spec.gates:
            asked = (policy.name, gate.name, gate.question)
            if (
                asked == (result.policy, result.gate, result.question)
                and _beside(known, version, gate) == result.beside
            ):
                return Work(result, version, policy, gate)
    return None


def _before(tx: Tx, work: Work) -> Standing | None:
    """The first gate before this one, in its policy, that ran and was not passed; people come in any order."""
    known, now = Answers(tx, [work.version], whole=False), tx.now_ms()
    for gate in work.policy.spec.gates:
        if gate.name == work.gate.name:
            return None
        found = standing(known, work.version, work.policy, gate, now)
        if gate.asked.runs and not found.is_open:
            return found
    return None


def _answer(tx: Tx, result: Result, decision: Decision) -> None:
    """Answer a gate that does not run."""
    tx.run(_claim, {"number": result.id, "new_token": "", "now": tx.now_ms(), "until": tx.now_ms()})
    tx.run(_finish, _answered(tx, result, "", decision))


def _answered(tx: Tx, result: Result, token: str, decision: Decision) -> dict[str, Any]:
    return {
        "number": result.id,
        "own_token": token,
        "new_verdict": decision.verdict.value,
        "new_decision": msgspec.json.encode(decision).decode(),
        "new_until": decision.until_ms,
        "now": tx.now_ms(),
    }


def _told(tx: Tx, version: ModelVersion, result: Result, decision: Decision) -> None:
    data = {"policy": result.policy, "gate": result.gate, "digest": result.digest, "reason": decision.reason}
    if decision.verdict is GateVerdict.PASS:
        _emit(tx, SYSTEM, version, "passed", data)
    elif decision.verdict is GateVerdict.FAIL:
        _emit(tx, SYSTEM, version, "failed", data)
    else:
        _emit(tx, SYSTEM, version, "inconclusive", data)
    tx.topics.add(TOPIC)


def _emit(tx: Tx, caller: Caller, version: ModelVersion, what: str, data: Mapping[str, object]) -> None:
    subject = f"model-version/{version.name}/{version.version}"
    tx.topics.add(topic(version.project, version.name))
    tx.emit(Draft(caller.name, version.project, f"registry.gate.{what}", subject, data))
