"""Endpoints: the kind of resource, what they are asked to serve, and what they serve."""

from sqlalchemy import bindparam, delete, insert, select

from mlwright.kernel import store
from mlwright.kernel.errors import Conflict, NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import Kind, Resource, convert
from mlwright.kernel.transaction import Tx
from mlwright.registry.service import aliases, holds, versions
from mlwright.registry.spec import ModelVersion
from mlwright.serving.service import rows
from mlwright.serving.service.rows import Serving
from mlwright.serving.spec import Endpoint, ModelReference
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
        holds.hold(tx, subject(found), [])
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
    """What an endpoint is asked to do. Raises Invalid for what an earlier release took and this one does not."""
    return convert(resource.spec, Endpoint, f"endpoint/{resource.metadata.name} spec")


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


def inputs_of(tx: Tx, caller: Caller, name: str, project: str = "") -> list[tuple[str, str]]:
    """Names and MLflow's types of the columns that the version that serves takes; none where nothing says so."""
    _, serving = find(tx, caller, name, Role.VIEWER, project)
    revision = rows.revision(tx, serving.row, serving.traffic.stable)
    if revision is None:
        return []
    version = versions.get(tx, SYSTEM, revision.model, revision.version, serving.project)
    inputs = (version.facts.signature or {}).get("inputs")
    found = inputs if isinstance(inputs, list) else []
    return [(each["name"], str(each.get("type", ""))) for each in found if isinstance(each, dict) and each.get("name")]


def subject(serving: Serving) -> str:
    """What events about an endpoint are about."""
    return f"endpoint/{serving.name}"
