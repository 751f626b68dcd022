"""What an endpoint is asked to serve becomes a revision: past gates and signatures, and once."""

from sqlalchemy import bindparam, insert, update

from mlwright.kernel import store
from mlwright.kernel.errors import GateClosed, MlwrightError, NotFound, Unavailable, Untrusted
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import Resource
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import gates, trust
from mlwright.registry.spec import ModelVersion
from mlwright.serving.service import rollouts, rows
from mlwright.serving.service.endpoints import KIND, SYSTEM, TOPIC, asked_version, find, spec_of, subject
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import Endpoint, EndpointRevision, ModelReference, RevisionState, model_reference
from mlwright.serving.tables import endpoint_revisions, endpoints

_endpoints, _revisions = endpoints.c, endpoint_revisions.c
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
    serves = _serves_already(tx, caller.name, serving, version, spec)
    if serves is not None:
        return serves
    _require_servable(tx, version, model_reference(spec.model), override)
    return _revise(tx, caller.name, serving, version, spec, override)


def _is_on_its_way(serving: Serving, newest: EndpointRevision) -> bool:
    """Whether a revision gets requests, or is about to."""
    gets = newest.number in {serving.traffic.stable, serving.traffic.candidate}
    return gets or newest.state is RevisionState.PREPARING


def _serves_already(
    tx: Tx, author: str, serving: Serving, version: ModelVersion, spec: Endpoint
) -> EndpointRevision | None:
    """The revision that serves, if it is what is asked for: what was to take its place is given up then."""
    stable = rows.revision(tx, serving.row, serving.traffic.stable)
    if stable is None or (stable.model, stable.version, stable.onnx) != (version.name, version.version, spec.onnx):
        return None
    tx.run(_consider, {"endpoint_": serving.row, "asked": _asked(version, spec), "last": serving.last_revision})
    rollouts.give_up(tx, author, serving)
    return stable


def unconsidered(tx: Tx) -> list[tuple[int, Resource, MlwrightError | None]]:
    """Rows of endpoints that are asked to serve something that they were not asked before, or why that cannot be."""
    known = {(each.project, each.name): each for each in rows.everything(tx)}
    found: list[tuple[int, Resource, MlwrightError | None]] = []
    for resource in store.list_all(tx, SYSTEM, KIND):
        serving = known.get((resource.metadata.project, resource.metadata.name))
        if serving is None:
            continue
        try:
            if _is_new(tx, serving, spec_of(resource)):
                found.append((serving.row, resource, None))
        except Unavailable:
            raise
        except MlwrightError as error:
            found.append((serving.row, resource, error))
    return found


def _is_new(tx: Tx, serving: Serving, spec: Endpoint) -> bool:
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
    serves = _serves_already(tx, SYSTEM.name, serving, version, spec)
    if serves is not None:
        return serves
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


def refusal(error: MlwrightError) -> str:
    """Why something is not served yet, in a word for a condition."""
    return {GateClosed: "GatesClosed", Untrusted: "Untrusted", NotFound: "NoSuchVersion"}.get(type(error), "Refused")
