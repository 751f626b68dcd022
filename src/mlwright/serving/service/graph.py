"""What serving knows of lineage: which versions answer requests, or did, at which endpoints."""

from collections.abc import Mapping

from sqlalchemy import func, select

from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.lineage import Hop, LineageNode, NodeKind
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.serving.service import endpoints as service
from mlwright.serving.tables import endpoint_revisions, endpoints

_endpoints, _revisions = endpoints.c, endpoint_revisions.c
#: Revisions that got requests: that serve, or served once.
_served = _revisions.state == "ready"
_of_endpoints = among(_endpoints.id, "wanted")

HOPS = (
    Hop.between(
        "model-version",
        "endpoint",
        "served",
        select(_revisions.version_row, _revisions.endpoint)
        .where(among(_revisions.version_row, "wanted"), _served)
        .distinct(),
        select(_revisions.endpoint, _revisions.version_row)
        .where(among(_revisions.endpoint, "wanted"), _served)
        .distinct(),
    ),
)
_described = Query(
    select(_endpoints.id, _endpoints.name, _endpoints.project, _endpoints.stable, func.count(_revisions.id))
    .join(endpoint_revisions, _revisions.endpoint == _endpoints.id, isouter=True)
    .where(_of_endpoints)
    .group_by(_endpoints.id, _endpoints.name, _endpoints.project, _endpoints.stable)
)
_serves = Query(
    select(_endpoints.id, _revisions.model, _revisions.version)
    .join(endpoint_revisions, (_revisions.endpoint == _endpoints.id) & (_revisions.number == _endpoints.stable))
    .where(_of_endpoints)
)


def _find(tx: Tx, caller: Caller, name: str) -> list[int]:
    """The endpoint called so. Raises NotFound."""
    return [service.find(tx, caller, name, Role.VIEWER)[1].row]


def _describe(tx: Tx, wanted: str) -> Mapping[int, LineageNode]:
    serves = {row[0]: f"{row[1]}/{row[2]}" for row in tx.all(_serves, {"wanted": wanted})}
    found = {}
    for row, name, project, stable, revisions in tx.all(_described, {"wanted": wanted}):
        facts: dict[str, object] = {"revisions": revisions}
        if stable:
            facts["serves"] = serves.get(row, "")
        found[row] = LineageNode(f"endpoint/{name}", "endpoint", name, project, facts)
    return found


KINDS = (
    NodeKind(
        "endpoint",
        _find,
        Query(select(_endpoints.id, _endpoints.project).where(_of_endpoints)),
        _describe,
        Query(select(_endpoints.id, _endpoints.project).where(_endpoints.stable > 0)),
    ),
)
