"""Keys that open endpoints to callers who have no account here."""

import hashlib

from sqlalchemy import bindparam, delete, insert, select

from mlwright.kernel.errors import Conflict, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.resources import check_name
from mlwright.kernel.transaction import Tx
from mlwright.serving.service import endpoints
from mlwright.serving.service.endpoints import TOPIC, subject
from mlwright.serving.spec import EndpointKey
from mlwright.serving.tables import endpoint_keys

_PREFIX = "mlk_"

_keys = endpoint_keys.c
_insert = Query(insert(endpoint_keys).values({column.name: bindparam(column.name) for column in _keys}))
_list = Query(
    select(_keys.name, _keys.author, _keys.created_ms)
    .where(_keys.endpoint == bindparam("endpoint"))
    .order_by(_keys.name)
)
_digests = Query(select(_keys.name, _keys.digest).where(_keys.endpoint == bindparam("endpoint")))
_delete = Query(delete(endpoint_keys).where(_keys.endpoint == bindparam("endpoint_"), _keys.name == bindparam("name_")))


def create(tx: Tx, caller: Caller, endpoint: str, name: str, project: str = "") -> str:
    """A new key, which is shown this once. From the first one on, nobody gets in without. Raises Conflict."""
    check_name(name, "name")
    _, serving = endpoints.find(tx, caller, endpoint, Role.ADMIN, project)
    if name in digests(tx, serving.row):
        raise Conflict(f"the endpoint {endpoint!r} has a key {name!r}", path="name", hint="revoke it first")
    key = f"{_PREFIX}{tx.ids.hex32()}{tx.ids.hex32()}"
    values = {
        "endpoint": serving.row,
        "name": name,
        "digest": hashlib.sha256(key.encode()).hexdigest(),
        "author": caller.name,
        "created_ms": tx.now_ms(),
    }
    tx.run(_insert, values)
    tx.topics.add(TOPIC)
    tx.emit(Draft(caller.name, serving.project, "serving.key.created", subject(serving), {"name": name}))
    return key


def list_all(tx: Tx, caller: Caller, endpoint: str, project: str = "") -> list[EndpointKey]:
    """The keys of an endpoint, without what opens it."""
    _, serving = endpoints.find(tx, caller, endpoint, Role.ADMIN, project)
    return [EndpointKey(*row) for row in tx.all(_list, {"endpoint": serving.row})]


def revoke(tx: Tx, caller: Caller, endpoint: str, name: str, project: str = "") -> None:
    """The key opens nothing any more. Raises NotFound."""
    _, serving = endpoints.find(tx, caller, endpoint, Role.ADMIN, project)
    if not tx.run(_delete, {"endpoint_": serving.row, "name_": name}):
        raise NotFound(f"the endpoint {endpoint!r} has no key {name!r}", path="name")
    tx.topics.add(TOPIC)
    tx.emit(Draft(caller.name, serving.project, "serving.key.revoked", subject(serving), {"name": name}))


def digests(tx: Tx, endpoint: int) -> dict[str, str]:
    """What hosts check keys with, by name."""
    return {str(name): str(digest) for name, digest in tx.all(_digests, {"endpoint": endpoint})}
