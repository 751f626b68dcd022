"""Who needs a version: what is held cannot be deleted. Whoever holds versions says so here."""

from collections.abc import Iterable

from sqlalchemy import bindparam, delete, insert, select

from mlwright.kernel.errors import Conflict
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.registry.tables import model_versions, version_holds

_holds, _versions = version_holds.c, model_versions.c
_release = Query(delete(version_holds).where(_holds.holder == bindparam("holder_")))
_hold = Query(insert(version_holds).values(holder=bindparam("holder"), version=bindparam("version")))
_of_version = Query(
    select(_holds.holder).where(_holds.version == bindparam("version")).order_by(_holds.holder).limit(1)
)
_of_model = Query(
    select(_holds.holder, _versions.version)
    .join(model_versions, _versions.id == _holds.version)
    .where(_versions.model == bindparam("model"))
    .order_by(_holds.holder)
    .limit(1)
)


def hold(tx: Tx, holder: str, versions: Iterable[int]) -> None:
    """From now on, `holder` needs these versions, by their rows, and no other."""
    tx.run(_release, {"holder_": holder})
    tx.many(_hold, [{"holder": holder, "version": version} for version in sorted(set(versions))])


def require_free(tx: Tx, name: str, version: int, row: int) -> None:
    """Raises Conflict when somebody needs a version."""
    found = tx.one(_of_version, {"version": row})
    if found is not None:
        raise _held(f"version {version} of {name!r}", found[0])


def require_model_free(tx: Tx, name: str, model: int) -> None:
    """Raises Conflict when somebody needs a version of a model."""
    found = tx.one(_of_model, {"model": model})
    if found is not None:
        raise _held(f"version {found[1]} of {name!r}", found[0])


def _held(what: str, holder: str) -> Conflict:
    return Conflict(f"{what} is needed by {holder}", path="version", hint="have that do without it first")
