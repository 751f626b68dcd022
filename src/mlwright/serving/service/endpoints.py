"""Endpoints: the kind of resource, what they are asked to serve, and what they serve."""

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from mlwright.kernel import store
from mlwright.kernel.errors import Conflict, GateClosed, MlwrightError, NotFound, Untrusted
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import Kind, Resource
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import aliases, gates, trust, versions
from mlwright.registry.spec import ModelVersion
from mlwright.serving.service import rows
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import Endpoint, EndpointRevision, ModelReference, RevisionState, model_reference
from mlwright.serving.tables import (
    endpoint_keys,
    endpoint_minutes,
    endpoint_revisions,
    endpoint_rewards,
    endpoints,
    rollout_looks,
    rollouts,
)

#: Topic of `Changes`: an endpoint is to serve something else.
TOPIC = "serving"
#: Who serves, whatever the caller may see.
SYSTEM = Caller("system", everywhere=Role.ADMIN)

_endpoints, _revisions = endpoints.c, endpoint_revisions.c
_insert = Query(
    insert(endpoints).values(
        project=bindparam("project"), name=bindparam("name"), stable=0, candidate=0, share=0.0, last_revision=0,
        considered="",
    )
)  # fmt: skip
_consider = Query(
    update(endpoints)
    .where(_endpoints.id == bindparam("endpoint_"))
    .values(considered=bindparam("asked"), last_revision=bindparam("last"))
)
_insert_revision = Query(
    insert(endpoint_revisions).values(
        {column.name: bindparam(column.name) for column in _revisions if column.name != "id"}
    )
)
_rollouts_of = select(rollouts.c.id).where(rollouts.c.endpoint == bindparam("endpoint_"))
_forget = [
    Query(delete(rollout_looks).where(rollout_looks.c.rollout.in_(_rollouts_of))),
    *(
        Query(delete(table).where(table.c.endpoint == bindparam("endpoint_")))
        for table in (rollouts, endpoint_revisions, endpoint_minutes, endpoint_keys, endpoint_rewards)
    ),
    Query(delete(endpoints).where(_endpoints.id == bindparam("endpoint_"))),
]


def _claim(tx: Tx, resource: Resource) -> None:
    """Called before an endpoint is made or changed. Raises Conflict when another project has the name."""
    name, project = resource.metadata.name, resource.metadata.project
    owner = rows.owner(tx, name)
    if owner is None:
        tx.run(_insert, {"project": project, "name": name})
    elif owner != project:
        raise Conflict(
            f"an endpoint {name!r} belongs to another project",
            path="metadata.name",
            hint="clients name an endpoint without its project: choose another name",
        )
    tx.topics.add(TOPIC)


def _remove(tx: Tx, resource: Resource) -> None:
    """Called before an endpoint is removed: it is served no longer, and nothing of it stays but events."""
    found = rows.by_name(tx, resource.metadata.project, resource.metadata.name)
    if found is not None:
        for each in _forget:
            tx.run(each, {"endpoint_": found.row})
    tx.topics.add(TOPIC)


KIND = Kind(
    "Endpoint",
    "endpoints",
    Endpoint,
    "A name under which a version of a model answers requests, and how a new version gets its traffic.",
    before_save=_claim,
    before_delete=_remove,
)


def spec_of(resource: Resource) -> Endpoint:
    """What an endpoint is asked to do."""
    return msgspec.convert(resource.spec, Endpoint)


def find(tx: Tx, caller: Caller, name: str, role: Role, project: str = "") -> tuple[Resource, Serving]:
    """An endpoint, if the caller holds `role` in its project. Raises NotFound and Denied."""
    resource = store.get(tx, caller, KIND, name, project)
    caller.require(resource.metadata.project, role)
    found = rows.by_name(tx, resource.metadata.project, name)
    if found is None:
        raise NotFound(f"there is no Endpoint {name!r}", path="name")
    return resource, found


def asked_version(tx: Tx, project: str, reference: ModelReference) -> ModelVersion:
    """The version that an endpoint of a project is asked to serve. Raises NotFound."""
    if reference.version is not None:
        return versions.get(tx, SYSTEM, reference.name, reference.version, project)
    return aliases.lookup(tx, SYSTEM, reference.name, reference.alias, project)


def deploy(tx: Tx, caller: Caller, name: str, project: str = "", override: str = "") -> EndpointRevision:
    """Have an endpoint serve what it is asked to, also when it has been tried before; the revision that will.

    Args:
        override: why it is served though a gate is closed; for administrators of the project.

    Raises NotFound, Denied, Untrusted, and GateClosed with what is missing.
    """
    resource, serving = find(tx, caller, name, Role.EDITOR, project)
    if override:
        caller.require(serving.project, Role.ADMIN)
    spec = spec_of(resource)
    version = asked_version(tx, serving.project, model_reference(spec.model))
    newest = rows.revision(tx, serving.row, serving.last_revision)
    if newest is not None and serving.considered == _asked(version, spec) and _is_on_its_way(serving, newest):
        return newest
    _require_servable(tx, version, model_reference(spec.model), override)
    return _revise(tx, caller.name, serving, version, spec, override)


def _is_on_its_way(serving: Serving, newest: EndpointRevision) -> bool:
    """Whether a revision gets requests, or is about to."""
    gets = newest.number in {serving.traffic.stable, serving.traffic.candidate}
    return gets or newest.state is RevisionState.PREPARING


def is_new(tx: Tx, resource: Resource) -> bool:
    """Whether an endpoint is asked to serve something that it was not asked before. Raises NotFound."""
    serving = rows.by_name(tx, resource.metadata.project, resource.metadata.name)
    if serving is None:
        return False
    spec = spec_of(resource)
    return serving.considered != _asked(asked_version(tx, serving.project, model_reference(spec.model)), spec)


def consider(tx: Tx, resource: Resource) -> EndpointRevision | None:
    """Make a revision of what an endpoint is asked to serve, unless that was done already.

    Raises NotFound while there is no such version, Untrusted and GateClosed while it may not be served.
    """
    serving = rows.by_name(tx, resource.metadata.project, resource.metadata.name)
    if serving is None:
        return None
    spec = spec_of(resource)
    reference = model_reference(spec.model)
    version = asked_version(tx, serving.project, reference)
    if serving.considered == _asked(version, spec):
        return None
    _require_servable(tx, version, reference, "")
    return _revise(tx, SYSTEM.name, serving, version, spec, "")


def _asked(version: ModelVersion, spec: Endpoint) -> str:
    return f"{version.row}{'+onnx' if spec.onnx else ''}"


def _require_servable(tx: Tx, version: ModelVersion, reference: ModelReference, override: str) -> None:
    """What is asked for by number passes the gates of all aliases: nobody gets around them by writing a number."""
    if version.digest is None:
        raise Untrusted(
            f"version {version.version} of {version.name!r} cannot be served: its files are not kept here",
            path="model",
            hint="register it from artifacts of this platform",
        )
    trust.require(tx, version)
    if override:
        return
    found = gates.policies(tx, version.project, version.name)
    asked = (
        found if reference.version is not None else [each for each in found if each.spec.guards(reference.alias, None)]
    )
    closed = gates.shut(tx, version, asked)
    if closed:
        raise GateClosed(
            f"version {version.version} of {version.name!r} may not be served: {gates.reasons(closed)}",
            path="model",
            hint=f"mlwright gate run {version.name}/{version.version}",
        )


def _revise(
    tx: Tx, author: str, serving: Serving, version: ModelVersion, spec: Endpoint, override: str
) -> EndpointRevision:
    number, now = serving.last_revision + 1, tx.now_ms()
    asked = _asked(version, spec)
    tx.run(_consider, {"endpoint_": serving.row, "asked": asked, "last": number})
    values = {
        "endpoint": serving.row,
        "number": number,
        "model": version.name,
        "version": version.version,
        "version_row": version.row,
        "digest": version.digest or "",
        "onnx": int(spec.onnx),
        "state": RevisionState.PREPARING.value,
        "reason": "",
        "overridden": override,
        "author": author,
        "created_ms": now,
        "ready_ms": 0,
    }
    tx.run(_insert_revision, values)
    data = {"revision": number, "model": version.name, "version": version.version, "digest": version.digest}
    tx.topics.add(TOPIC)
    tx.emit(
        Draft(author, serving.project, "serving.revision.created", subject(serving), {**data, "override": override})
    )
    found = rows.revision(tx, serving.row, number)
    assert found is not None
    return found


def inputs_of(tx: Tx, caller: Caller, name: str, project: str = "") -> list[tuple[str, str]]:
    """Names and MLflow's types of the columns that the version that serves takes; none where nothing says so."""
    _, serving = find(tx, caller, name, Role.VIEWER, project)
    revision = rows.revision(tx, serving.row, serving.traffic.stable)
    if revision is None:
        return []
    try:
        version = versions.get(tx, SYSTEM, revision.model, revision.version, serving.project)
    except NotFound:  # deleted meanwhile; the endpoint still serves it
        return []
    inputs = (version.facts.signature or {}).get("inputs")
    found = inputs if isinstance(inputs, list) else []
    return [(each["name"], str(each.get("type", ""))) for each in found if isinstance(each, dict) and each.get("name")]


def subject(serving: Serving) -> str:
    """What events about an endpoint are about."""
    return f"endpoint/{serving.name}"


def refusal(error: MlwrightError) -> str:
    """Why something is not served yet, in a word for a condition."""
    return {GateClosed: "GatesClosed", Untrusted: "Untrusted", NotFound: "NoSuchVersion"}.get(type(error), "Refused")
