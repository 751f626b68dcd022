"""Aliases: names such as "champion" that lead to one version of a model, and can be moved."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType
from sqlalchemy import bindparam, delete, select

from mlwright.kernel.errors import Conflict, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.registry import validation
from mlwright.registry.service import gates, models, versions
from mlwright.registry.service.models import Found
from mlwright.registry.spec import TOLD, Alias, ModelVersion
from mlwright.registry.tables import model_aliases

#: Leads to the newest version without being set, in small letters or capitals.
LATEST = "latest"

_aliases = model_aliases.c
_get = Query(select(_aliases.version).where(_aliases.model == bindparam("model"), _aliases.alias == bindparam("alias")))
_put = Query(
    upsert(model_aliases)
    .values(model=bindparam("model"), alias=bindparam("alias"), version=bindparam("version"))
    .on_conflict_do_update(index_elements=["model", "alias"], set_={"version": upsert(model_aliases).excluded.version})
)
_delete = Query(
    delete(model_aliases).where(_aliases.model == bindparam("model_"), _aliases.alias == bindparam("alias_"))
)


def move(
    tx: Tx,
    caller: Caller,
    name: str,
    alias: str,
    version: int,
    expected: int | UnsetType | None = UNSET,
    project: str = "",
    override: str = "",
) -> Alias:
    """Let an alias lead to a version.

    Args:
        expected: where it must lead until now, None for nowhere; when not given, the last one to move it wins.
        override: why it shall lead there though a gate is closed; for administrators of the project.

    Raises Conflict when it leads elsewhere than expected, GateClosed, and NotFound.
    """
    validation.check_new_alias(alias)
    model, found = versions.find(tx, caller, name, version, Role.EDITOR, project)
    before = _version_of(tx, model, alias)
    if expected is not UNSET and before != expected:
        where = f"leads to version {before}" if before is not None else "does not exist"
        raise Conflict(
            f"The alias {alias!r} of {name!r} {where}, not {'to' if expected else 'free'}"
            f"{f' version {expected}' if expected else ''}",
            path="expected",
            hint="somebody moved it; look again",
        )
    gates.guard(tx, caller, found, alias=alias, override=override)
    tx.run(_put, {"model": model.row, "alias": alias, "version": version})
    _emit(tx, caller, model, "moved", {"alias": alias, "before": {"version": before}, "after": {"version": version}})
    return Alias(alias, version)


def remove(tx: Tx, caller: Caller, name: str, alias: str, project: str = "") -> bool:
    """Remove an alias. Returns whether there was one."""
    validation.check_alias(alias)
    model = models.find(tx, caller, name, Role.EDITOR, project)
    before = _version_of(tx, model, alias)
    if before is None:
        return False
    tx.run(_delete, {"model_": model.row, "alias_": alias})
    _emit(tx, caller, model, "removed", {"alias": alias, "before": {"version": before}})
    return True


def lookup(tx: Tx, caller: Caller, name: str, alias: str, project: str = "") -> ModelVersion:
    """The version an alias leads to; "latest" leads to the newest. Raises NotFound."""
    validation.check_alias(alias)
    if alias.lower() == LATEST:
        newest = models.latest(tx, caller, name, (), project)
        if not newest:
            raise NotFound(f"Latest version not found for model {name}.", path="name")
        return max(newest, key=lambda each: each.version)
    model = models.find(tx, caller, name, Role.VIEWER, project)
    version = _version_of(tx, model, alias)
    if version is None:
        raise NotFound(f"Registered model alias {alias} not found.", path="alias")
    return versions.get(tx, caller, name, version, project)


def _version_of(tx: Tx, model: Found, alias: str) -> int | None:
    row = tx.one(_get, {"model": model.row, "alias": alias})
    return int(row[0]) if row else None


def _emit(tx: Tx, caller: Caller, model: Found, what: str, data: Mapping[str, Any]) -> None:
    subject, flag = f"registered-model/{model.name}", models.prompt_flag(tx, model.row)
    tx.topics |= {TOLD, models.topic(model.project, model.name)}
    tx.emit(Draft(caller.name, model.project, f"registry.alias.{what}", subject, {**data, **flag}))
