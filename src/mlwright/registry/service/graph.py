"""What the registry knows of lineage: versions registered from models and runs, gates that decided about them."""

from collections.abc import Mapping

from sqlalchemy import exists, func, select, union

from mlwright.kernel.errors import Invalid
from mlwright.kernel.identity import Caller
from mlwright.kernel.lineage import Hop, LineageNode, NodeKind
from mlwright.kernel.query import Query, among, among_texts
from mlwright.kernel.transaction import Tx
from mlwright.registry import validation
from mlwright.registry.gates.tables import gate_approvals, gate_results
from mlwright.registry.service import aliases, versions
from mlwright.registry.spec import Stage
from mlwright.registry.tables import model_aliases, model_versions

#: How MLflow's URIs begin, and the subjects that they name.
_URIS = (("runs:/", "run/"), ("models:/m-", "model/m-"), ("models:/", "model-version/"))

_versions = model_versions.c
_results = gate_results.c
_words = gate_approvals.c
_later = gate_results.alias("later").c
_later_word = gate_approvals.alias("later").c
_decided_on = model_versions.alias("decided_on")
#: As in service/answers.py: an answer counts for the same files of the same run in the same project.
_about = (
    (_results.digest == func.coalesce(_versions.digest, ""))
    & ((_results.digest != "") | (_results.version == _versions.id))
    & exists().where(
        _decided_on.c.id == _results.version,
        _decided_on.c.project == _versions.project,
        _decided_on.c.run_id.is_not_distinct_from(_versions.run_id),
    )
)
_is_latest = ~exists().where(
    _later.digest == _results.digest,
    _later.policy == _results.policy,
    _later.gate == _results.gate,
    _later.id > _results.id,
    (_results.digest != "") | (_later.version == _results.version),
)
_is_latest_word = ~exists().where(
    _later_word.version == _words.version,
    _later_word.policy == _words.policy,
    _later_word.gate == _words.gate,
    _later_word.principal == _words.principal,
    _later_word.id > _words.id,
)
_decided = select(_versions.id, _results.id).join_from(model_versions, gate_results, _about).where(_is_latest)
_of_versions, _of_models = among(_versions.id, "wanted"), among_texts(_versions.model_id, "wanted")
_named = (model_aliases.c.model == _versions.model) & (model_aliases.c.version == _versions.version)
_in_use = union(
    select(_versions.id, _versions.project).join(model_aliases, _named),
    select(_versions.id, _versions.project).where(_versions.stage == Stage.PRODUCTION.value),
)

HOPS = (
    Hop.between(
        "model",
        "model-version",
        "registered",
        select(_versions.model_id, _versions.id).where(_of_models),
        select(_versions.id, _versions.model_id).where(_of_versions, _versions.model_id.is_not(None)),
    ),
    Hop.between(
        "run",
        "model-version",
        "registered",
        select(_versions.run_id, _versions.id).where(
            among_texts(_versions.run_id, "wanted"), _versions.model_id.is_(None)
        ),
        select(_versions.id, _versions.run_id).where(_of_versions, _versions.model_id.is_(None)),
    ),
    Hop.between(
        "model-version",
        "model-version",
        "copied",
        select(_versions.copied_from, _versions.id).where(
            among(_versions.copied_from, "wanted"), _versions.copied_from.is_not(None)
        ),
        select(_versions.id, _versions.copied_from).where(_of_versions, _versions.copied_from.is_not(None)),
    ),
    Hop.between(
        "model-version",
        "gate",
        "decided",
        _decided.where(_of_versions),
        select(_results.id, _results.version).where(among(_results.id, "wanted")),
    ),
    Hop.between(
        "model-version",
        "approval",
        "approved",
        select(_words.version, _words.id).where(among(_words.version, "wanted"), _is_latest_word),
        select(_words.id, _words.version).where(among(_words.id, "wanted")),
    ),
)
_versions_of = Query(
    select(*(_versions[name] for name in ("id", "name", "version", "project", "stage", "digest", "created_ms"))).where(
        _of_versions
    )
)
_aliases_of = Query(
    select(_versions.id, model_aliases.c.alias)
    .join(model_aliases, _named)
    .where(_of_versions)
    .order_by(model_aliases.c.alias)
)
_gates_of = Query(
    select(
        *(_results[name] for name in ("id", "policy", "gate", "state", "verdict", "ended_ms")),
        *(_versions[name] for name in ("name", "version", "project")),
    )
    .join(model_versions, _versions.id == _results.version)
    .where(among(_results.id, "wanted"))
)
_approvals_of = Query(
    select(
        *(_words[name] for name in ("id", "policy", "gate", "principal", "approves", "at_ms")),
        *(_versions[name] for name in ("name", "version", "project")),
    )
    .join(model_versions, _versions.id == _words.version)
    .where(among(_words.id, "wanted"))
)


def subject_of(text: str) -> str:
    """A subject from what people write: itself, or a URI of MLflow's."""
    for start, subject in _URIS:
        if text.startswith(start):
            return subject + text.removeprefix(start)
    return text


def _find_version(tx: Tx, caller: Caller, text: str) -> list[int]:
    """The version NAME/NUMBER or NAME@ALIAS."""
    name, slash, number = text.rpartition("/")
    if not slash:
        name, _, alias = text.rpartition("@")
        return [aliases.lookup(tx, caller, name, alias).row]
    return [versions.get(tx, caller, name, validation.parse_version(number)).row]


def _find_nothing(tx: Tx, caller: Caller, text: str) -> list[int]:
    raise Invalid("a lineage does not begin at a gate", path="subject", hint="begin at model-version/NAME/NUMBER")


def _describe_versions(tx: Tx, wanted: str) -> Mapping[int, LineageNode]:
    named: dict[int, list[str]] = {}
    for row, alias in tx.all(_aliases_of, {"wanted": wanted}):
        named.setdefault(row, []).append(alias)
    found = {}
    for row, name, number, project, stage, digest, created_ms in tx.all(_versions_of, {"wanted": wanted}):
        facts = {"aliases": named.get(row), "stage": None if stage == Stage.NONE.value else stage, "digest": digest}
        known = {key: fact for key, fact in {**facts, "createdMs": created_ms}.items() if fact is not None}
        subject = f"model-version/{name}/{number}"
        found[row] = LineageNode(subject, "model-version", f"{name} version {number}", project, known)
    return found


def _describe_gates(tx: Tx, wanted: str) -> Mapping[int, LineageNode]:
    found = {}
    for row, policy, gate, state, verdict, ended_ms, name, number, project in tx.all(_gates_of, {"wanted": wanted}):
        facts = {"verdict": verdict or state, **({"endedMs": ended_ms} if ended_ms is not None else {})}
        subject = f"gate/{name}/{number}/{policy}/{gate}"
        found[row] = LineageNode(subject, "gate", f"{policy}/{gate}", project, facts)
    return found


def _describe_approvals(tx: Tx, wanted: str) -> Mapping[int, LineageNode]:
    found = {}
    for row, policy, gate, who, approves, at_ms, name, number, project in tx.all(_approvals_of, {"wanted": wanted}):
        facts: dict[str, object] = {"verdict": "approved" if approves else "rejected", "by": who, "atMs": at_ms}
        subject = f"approval/{name}/{number}/{policy}/{gate}/{who}"
        found[row] = LineageNode(subject, "approval", f"{policy}/{gate} by {who}", project, facts)
    return found


KINDS = (
    NodeKind(
        "model-version",
        _find_version,
        Query(select(_versions.id, _versions.project).where(_of_versions)),
        _describe_versions,
        Query(_in_use),
        is_scoped=True,
    ),
    NodeKind(
        "gate",
        _find_nothing,
        Query(
            select(_results.id, _versions.project)
            .join(model_versions, _versions.id == _results.version)
            .where(among(_results.id, "wanted"))
        ),
        _describe_gates,
        is_scoped=True,
    ),
    NodeKind(
        "approval",
        _find_nothing,
        Query(
            select(_words.id, _versions.project)
            .join(model_versions, _versions.id == _words.version)
            .where(among(_words.id, "wanted"))
        ),
        _describe_approvals,
        is_scoped=True,
    ),
)
