"""What serving knows of lineage: which versions answer requests, or did, at which endpoints."""

from collections.abc import Mapping

from sqlalchemy import ColumnElement, and_, func, not_, select

from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.lineage import Hop, LineageNode, NodeKind
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.serving.service import endpoints as service
from mlwright.serving.tables import endpoint_revisions, endpoints

_endpoints, _revisions = endpoints.c, endpoint_revisions.c
_now = endpoint_revisions.alias().c
#: A revision gets requests now.
_serves_now = _revisions.number.in_((_endpoints.stable, _endpoints.candidate))
#: It got some once, and no revision of the same version gets any now.
_served_once = and_(
    _revisions.state == "ready",
    not_(
        select(_now.id)
        .where(
            _now.endpoint == _endpoints.id,
            _now.version_row == _revisions.version_row,
            _now.number.in_((_endpoints.stable, _endpoints.candidate)),
        )
        .exists()
    ),
)
_of_endpoints = among(_endpoints.id, "wanted")


def _hop(relation: str, which: ColumnElement[bool], *, is_over: bool = False) -> Hop:
    joined = _endpoints.id == _revisions.endpoint
    down = select(_revisions.version_row, _revisions.endpoint).join(endpoints, joined).where(which).distinct()
    up = select(_revisions.endpoint, _revisions.version_row).join(endpoints, joined).where(which).distinct()
    return Hop.between(
        "model-version",
        "endpoint",
        relation,
        down.where(among(_revisions.version_row, "wanted")),
        up.where(among(_revisions.endpoint, "wanted")),
        is_over=is_over,
    )


HOPS = (_hop("serves", _serves_now), _hop("served", _served_once, is_over=True))
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
