"""Versions of registered models. What was registered stays as it is; text, tags and stage beside it may change."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from mlwright.artifacts import service as artifacts
from mlwright.kernel import checks
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.registry import validation
from mlwright.registry.service import gates, holds, models, pinning, rows
from mlwright.registry.service.models import Found
from mlwright.registry.signatures.tables import version_signatures
from mlwright.registry.spec import TOLD, ModelVersion, Stage
from mlwright.registry.tables import model_aliases, model_version_tags, model_versions

_ACTIVE_STAGES = (Stage.STAGING, Stage.PRODUCTION)

_versions = model_versions.c
_by_number = Query(
    select(*rows.VERSION_COLUMNS, _versions.facts, _versions.model).where(
        _versions.model == bindparam("model"), _versions.version == bindparam("version")
    )
)
_describe = Query(
    update(model_versions)
    .where(_versions.id == bindparam("version_"))
    .values(description=bindparam("text"), updated_ms=bindparam("now"))
)
_set_stage = Query(
    update(model_versions)
    .where(_versions.id == bindparam("version_"))
    .values(stage=bindparam("new_stage"), updated_ms=bindparam("now"))
)
_in_stage = Query(
    select(_versions.id, _versions.version)
    .where(
        _versions.model == bindparam("model"),
        _versions.stage == bindparam("stage"),
        _versions.version != bindparam("version"),
    )
    .order_by(_versions.version)
)
_set_tag = Query(
    upsert(model_version_tags)
    .values(version=bindparam("version"), key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_update(index_elements=["version", "key"], set_={"value": upsert(model_version_tags).excluded.value})
)
_delete_tag = Query(
    delete(model_version_tags).where(
        model_version_tags.c.version == bindparam("version_"), model_version_tags.c.key == bindparam("key_")
    )
)
_delete_tags = Query(delete(model_version_tags).where(model_version_tags.c.version == bindparam("version_")))
_delete_signatures = Query(delete(version_signatures).where(version_signatures.c.version == bindparam("version_")))
_delete_aliases = Query(
    delete(model_aliases).where(
        model_aliases.c.model == bindparam("model_"), model_aliases.c.version == bindparam("number_")
    )
)
_delete = Query(delete(model_versions).where(_versions.id == bindparam("version_")))


def get(tx: Tx, caller: Caller, name: str, version: int, project: str = "") -> ModelVersion:
    """One version with facts, tags and aliases. Raises NotFound."""
    return find(tx, caller, name, version, Role.VIEWER, project)[1]


def find(tx: Tx, caller: Caller, name: str, version: int, role: Role, project: str = "") -> tuple[Found, ModelVersion]:
    """A version and its model, if the caller holds `role` there. Raises NotFound and Denied."""
    missing = NotFound(f"Model Version (name={name}, version={version}) not found", path="version")
    try:
        model = models.find(tx, caller, name, role, project)
    except NotFound:
        raise missing from None
    row = tx.one(_by_number, {"model": model.row, "version": version})
    if row is None:
        raise missing
    return model, rows.whole_version(tx, row)


def describe(
    tx: Tx, caller: Caller, name: str, version: int, description: str | None, project: str = ""
) -> ModelVersion:
    """Change the description; None removes it."""
    checks.check_length("description", description or "", validation.MAX_TEXT_LENGTH)
    model, found = find(tx, caller, name, version, Role.EDITOR, project)
    tx.run(_describe, {"version_": found.row, "text": description, "now": tx.now_ms()})
    data = {"before": {"description": found.description}, "after": {"description": description}}
    _emit(tx, caller, model, version, "updated", data)
    return get(tx, caller, name, version, project)


def transition(
    tx: Tx, caller: Caller, name: str, version: int, stage: Stage, *, archive: bool = False, project: str = "",
    override: str = "",
) -> ModelVersion:  # fmt: skip
    """Move a version to a stage.

    Args:
        archive: whether the versions that are in that stage go to Archived; only for Staging and Production.
        override: why it shall go there though a gate is closed; for administrators of the project.
    """
    if archive and stage not in _ACTIVE_STAGES:
        raise Invalid(
            f"Model version transition cannot archive existing model versions because '{stage.value}' is not an Active"
            f" stage. Valid stages are {[each.value for each in _ACTIVE_STAGES]}",
            path="archive_existing_versions",
        )
    model, found = find(tx, caller, name, version, Role.EDITOR, project)
    gates.guard(tx, caller, found, stage=stage, override=override)
    now = tx.now_ms()
    others = tx.all(_in_stage, {"model": model.row, "stage": stage.value, "version": version}) if archive else []
    tx.many(_set_stage, [{"version_": row, "new_stage": Stage.ARCHIVED.value, "now": now} for row, _ in others])
    tx.run(_set_stage, {"version_": found.row, "new_stage": stage.value, "now": now})
    models.touch(tx, model.row)
    data: dict[str, object] = {"before": {"stage": found.stage.value}, "after": {"stage": stage.value}}
    _emit(tx, caller, model, version, "stage_moved", {**data, "archived": [number for _, number in others]})
    return get(tx, caller, name, version, project)


def delete_version(tx: Tx, caller: Caller, name: str, version: int, project: str = "") -> None:
    """Remove a version for good, with the aliases that lead to it. Its number is not given again.

    Raises Conflict while somebody needs it, such as an endpoint that serves it.
    """
    model, found = find(tx, caller, name, version, Role.EDITOR, project)
    holds.require_free(tx, name, version, found.row)
    tx.run(_delete_aliases, {"model_": model.row, "number_": version})
    tx.run(_delete_tags, {"version_": found.row})
    tx.run(_delete_signatures, {"version_": found.row})
    tx.run(_delete, {"version_": found.row})
    artifacts.purge(tx, pinning.folder(model.row, version))
    models.touch(tx, model.row)
    data = {"digest": found.digest, "source": found.source, "files": found.files, "aliases": found.aliases}
    _emit(tx, caller, model, version, "deleted", data)


def set_tag(tx: Tx, caller: Caller, name: str, version: int, key: str, value: str, project: str = "") -> None:
    """Set one tag."""
    validation.check_model_name(name)
    validation.check_tags({key: value})
    model, found = find(tx, caller, name, version, Role.EDITOR, project)
    tx.run(_set_tag, {"version": found.row, "key": key, "value": value})
    data = {"before": {key: found.tags.get(key)}, "after": {key: value}}
    _emit(tx, caller, model, version, "tags_set", data | models.prompt_flag(tx, model.row))


def delete_tag(tx: Tx, caller: Caller, name: str, version: int, key: str, project: str = "") -> None:
    """Remove one tag; does nothing when there is none of that key, as in MLflow."""
    validation.check_tag_key(key)
    model, found = find(tx, caller, name, version, Role.EDITOR, project)
    if key in found.tags:
        tx.run(_delete_tag, {"version_": found.row, "key_": key})
        data = {"before": {key: found.tags[key]}}
        _emit(tx, caller, model, version, "tag_deleted", data | models.prompt_flag(tx, model.row))


def add_tags(tx: Tx, row: int, tags: Mapping[str, str]) -> None:
    """Give a new version its tags."""
    tx.many(_set_tag, [{"version": row, "key": key, "value": value} for key, value in tags.items()])


def _emit(tx: Tx, caller: Caller, model: Found, version: int, what: str, data: Mapping[str, Any]) -> None:
    subject = f"model-version/{model.name}/{version}"
    tx.topics |= {TOLD, models.topic(model.project, model.name)}
    tx.emit(Draft(caller.name, model.project, f"registry.version.{what}", subject, data))
