"""What the pages of one version show."""

from collections.abc import Sequence

import msgspec

from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.transaction import Tx
from mlwright.registry.gates.spec import Approval, Check, Gate, Standing
from mlwright.registry.service import approvals, gate_history, gates, history, rows, trust, versions
from mlwright.registry.service.answers import Answers
from mlwright.registry.service.gates import Policy
from mlwright.registry.service.history import Happened
from mlwright.registry.signatures.spec import VersionSignature
from mlwright.registry.spec import Alias, ModelVersion
from mlwright.registry.ui import address, signature
from mlwright.registry.ui.model import PAGE
from mlwright.registry.ui.signature import Signature
from mlwright.registry.ui.standing import Summary, summary, word
from mlwright.tracking.service import columns as values
from mlwright.tracking.spec import RunInfo, Tag
from mlwright.web.files import Files, Folder, StoredFile
from mlwright.web.preview import Preview

#: A scan checks every file, and a model may have thousands.
_MOST_CHECKS = 300


class VersionHead(msgspec.Struct, frozen=True):
    """The top of every page of a version. `model` is the address of its model, `base` its own."""

    tab: str
    version: ModelVersion
    model: str
    base: str
    gates: Summary
    run: RunInfo | None
    known_aliases: list[Alias]
    may_change: bool


class Environment(msgspec.Struct, frozen=True):
    """A file that says what the model needs; `preview` is shown folded."""

    path: str
    url: str
    preview: Preview | None = None


class VersionPage(msgspec.Struct, frozen=True):
    """The first page of a version."""

    head: VersionHead
    tags: list[Tag]
    signature: Signature | None
    example_url: str
    example: Preview | None
    environment: list[Environment]
    signatures: list[VersionSignature]


class WordView(msgspec.Struct, frozen=True):
    """What somebody said; `counts` is False when it has expired or was about something else."""

    principal: str
    approves: bool
    comment: str
    at_ms: int
    counts: bool


class ApprovalView(msgspec.Struct, frozen=True):
    """People at a gate, and whether the caller may say yes or no."""

    count: int
    approvers: list[str]
    expires_hours: float
    words: list[WordView]
    may_approve: bool
    may_reject: bool


class GateView(msgspec.Struct, frozen=True):
    """A gate with its evidence.

    Attributes:
        asked: the gate as its policy has it.
        runs: whether it can be run again.
        checks: the first of its checks, those that did not pass before the others.
    """

    standing: Standing
    state: str
    checks: list[Check]
    asked: str
    runs: bool
    duration_ms: int | None
    approval: ApprovalView | None


class PolicyView(msgspec.Struct, frozen=True):
    """A policy and how the version stands before its gates."""

    name: str
    aliases: list[str]
    stages: list[str]
    gates: list[GateView]
    summary: Summary


class GatesPage(msgspec.Struct, frozen=True):
    head: VersionHead
    policies: list[PolicyView]


class VersionFilesPage(msgspec.Struct, frozen=True):
    head: VersionHead
    folder: Folder


class VersionHistoryPage(msgspec.Struct, frozen=True):
    """What happened to a version; `before` leads to what is older."""

    head: VersionHead
    events: list[Happened]
    before: int


def head(tx: Tx, caller: Caller, name: str, number: int, project: str, tab: str) -> VersionHead:
    """Raises NotFound."""
    model, found = versions.find(tx, caller, name, number, Role.VIEWER, project)
    runs = values.readable_runs(tx, caller, [found.run_id] if found.run_id else [])
    return VersionHead(
        tab=tab,
        version=found,
        model=address.of_model(found.project, found.name),
        base=address.of_version(found.project, found.name, found.version),
        gates=summary(gates.standings_of(tx, [found])[found.row]),
        run=runs.get(found.run_id or ""),
        known_aliases=rows.aliases_of(tx, [model.row])[model.row],
        may_change=caller.may(found.project, Role.EDITOR),
    )


class Wanted(msgspec.Struct, frozen=True):
    """The page, and the files that are still to be read for it, by their path in the version."""

    page: VersionPage
    files: dict[str, StoredFile]


def load(tx: Tx, caller: Caller, files: Files, name: str, number: int, project: str) -> Wanted:
    """Raises NotFound."""
    top = head(tx, caller, name, number, project, "overview")
    facts = top.version.facts
    example = facts.input_example
    environment = facts.environment or []
    wanted = [*(each.path for each in environment), *([example.path] if example else [])]
    stored = {path: file for path in wanted for file in [_file(tx, caller, files, top.version, path)] if file}
    page = VersionPage(
        top,
        [Tag(*pair) for pair in top.version.tags.items()],
        signature.read(facts.signature),
        f"{top.base}/files/{address.path(example.path)}" if example else "",
        None,
        [Environment(each.path, f"{top.base}/files/{address.path(each.path)}") for each in environment],
        trust.signatures(tx, top.version),
    )
    return Wanted(page, stored)


def _file(tx: Tx, caller: Caller, files: Files, version: ModelVersion, path: str) -> StoredFile | None:
    """None when it is not kept here, or there is none in spite of what the model says."""
    try:
        return files.find(tx, caller, version.storage, path)
    except (NotFound, Invalid):
        return None


def load_gates(tx: Tx, caller: Caller, name: str, number: int, project: str) -> GatesPage:
    """Raises NotFound."""
    top = head(tx, caller, name, number, project, "gates")
    known, now = Answers(tx, [top.version]), tx.now_ms()
    found = gates.policies(tx, top.version.project, top.version.name)
    return GatesPage(top, [_policy(known, caller, top.version, each, now) for each in found])


def _policy(known: Answers, caller: Caller, version: ModelVersion, policy: Policy, now_ms: int) -> PolicyView:
    found = [_gate(known, caller, version, policy, each, now_ms) for each in policy.spec.gates]
    stages = [each.value for each in policy.spec.stages]
    return PolicyView(policy.name, policy.spec.aliases, stages, found, summary([each.standing for each in found]))


def _gate(known: Answers, caller: Caller, version: ModelVersion, policy: Policy, gate: Gate, now_ms: int) -> GateView:
    standing = gates.standing(known, version, policy, gate, now_ms)
    started, ended = standing.started_ms, standing.ended_ms
    took = ended - started if started is not None and ended is not None and gate.approval is None else None
    asked = msgspec.json.format(msgspec.json.encode(gate), indent=2).decode()
    people = _people(known, caller, version, policy, gate, gate.approval, now_ms) if gate.approval else None
    checks = gate_history.decisive(standing.decision.checks)[:_MOST_CHECKS]
    return GateView(standing, word(standing), checks, asked, gate.asked.runs, took, people)


def _people(
    known: Answers, caller: Caller, version: ModelVersion, policy: Policy, gate: Gate, asked: Approval, now_ms: int
) -> ApprovalView:
    latest = {each.id for each in gates.latest_words(known, version, policy, gate).values()}
    said = [
        WordView(
            each.principal,
            bool(each.approves),
            each.comment,
            each.at_ms,
            each.id in latest and gates.still_counts(known, version, asked, each, now_ms),
        )
        for each in reversed(known.words(version))
        if (each.policy, each.gate) == (policy.name, gate.name)
    ]
    may = {
        approves: approvals.may_approve(caller, version, policy, gate, asked, approves=approves)
        for approves in (True, False)
    }
    return ApprovalView(asked.count, sorted(set(asked.approvers)), asked.expires_hours, said, may[True], may[False])


def load_history(tx: Tx, caller: Caller, name: str, number: int, project: str, before: int) -> VersionHistoryPage:
    """Raises NotFound."""
    top = head(tx, caller, name, number, project, "history")
    events: Sequence[Happened] = history.of_version(tx, caller, name, number, project, PAGE, before)
    return VersionHistoryPage(top, list(events), events[-1].seq if len(events) == PAGE else 0)
