"""Registered models: the names under which versions are kept."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select, update

from mlwright.artifacts import service as artifacts
from mlwright.kernel import checks, store
from mlwright.kernel.errors import AlreadyExists, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.registry import validation
from mlwright.registry.service import holds, pinning, rows
from mlwright.registry.signatures.tables import version_signatures
from mlwright.registry.spec import PROMPT_TAG, TOLD, ModelVersion, RegisteredModel, Stage
from mlwright.registry.tables import (
    model_aliases,
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)

_models = registered_models.c
_by_name = Query(
    select(*rows.MODEL_COLUMNS).where(_models.project == bindparam("project"), _models.name == bindparam("name"))
)
_insert = Query(
    insert(registered_models)
    .values({name: bindparam(name) for name in ("project", "name", "description", "created_ms", "updated_ms")})
    .values(last_version=0)
    .returning(_models.id)
)
_describe = Query(
    update(registered_models)
    .where(_models.id == bindparam("model_"))
    .values(description=bindparam("text"), updated_ms=bindparam("now"))
)
_touch = Query(update(registered_models).where(_models.id == bindparam("model_")).values(updated_ms=bindparam("now")))
_set_tag = Query(
    upsert(registered_model_tags)
    .values(model=bindparam("model"), key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_update(
        index_elements=["model", "key"], set_={"value": upsert(registered_model_tags).excluded.value}
    )
)
_delete_tag = Query(
    delete(registered_model_tags).where(
        registered_model_tags.c.model == bindparam("model_"), registered_model_tags.c.key == bindparam("key_")
    )
)
_tag = Query(
    select(registered_model_tags.c.value).where(
        registered_model_tags.c.model == bindparam("model"), registered_model_tags.c.key == bindparam("key")
    )
)
_count = Query(select(func.count()).select_from(registered_models).where(_models.project == bindparam("project")))
_version_rows = select(model_versions.c.id).where(model_versions.c.model == bindparam("model_"))
_delete_all = (
    Query(delete(model_version_tags).where(model_version_tags.c.version.in_(_version_rows))),
    Query(delete(version_signatures).where(version_signatures.c.version.in_(_version_rows))),
    Query(delete(model_aliases).where(model_aliases.c.model == bindparam("model_"))),
    Query(delete(model_versions).where(model_versions.c.model == bindparam("model_"))),
    Query(delete(registered_model_tags).where(registered_model_tags.c.model == bindparam("model_"))),
    Query(delete(registered_models).where(_models.id == bindparam("model_"))),
)
_projects = Query(select(_models.project).distinct().order_by(_models.project))
_projects_of = Query(select(_models.id, _models.project).where(among(_models.id, "wanted")))


class Found(NamedTuple):
    """A row of registered_models."""

    row: int
    name: str
    project: str
    description: str | None
    created_ms: int
    updated_ms: int
    last_version: int


def create(
    tx: Tx,
    caller: Caller,
    name: str,
    description: str = "",
    tags: Mapping[str, str] | None = None,
    project: str = "",
) -> RegisteredModel:
    """Create a model without versions. Raises AlreadyExists when the name is taken in the project."""
    project, tags = project or caller.project, tags or {}
    validation.check_model_name(name)
    validation.check_tags(tags)
    checks.check_length("description", description, validation.MAX_TEXT_LENGTH)
    caller.require(project, Role.EDITOR)
    store.require_project(tx, project)
    taken = tx.one(_by_name, {"project": project, "name": name})
    if taken is not None:
        raise _taken(tx, int(taken[0]), name, tags)
    now = tx.now_ms()
    values = {"project": project, "name": name, "description": description, "created_ms": now, "updated_ms": now}
    row = tx.one(_insert, values)
    number = int(row[0]) if row else 0
    tx.many(_set_tag, [{"model": number, "key": key, "value": value} for key, value in tags.items()])
    _emit(tx, caller, project, name, "created", {"description": description, "tags": dict(tags)})
    return rows.models(tx, [(number, name, project, description, now, now, 0)])[0]


def get(tx: Tx, caller: Caller, name: str, project: str = "") -> RegisteredModel:
    """One model. Raises NotFound."""
    return rows.models(tx, [find(tx, caller, name, Role.VIEWER, project)])[0]


def find(tx: Tx, caller: Caller, name: str, role: Role, project: str = "") -> Found:
    """The model's own row, if the caller holds `role` in its project. Raises NotFound and Denied."""
    validation.check_model_name(name)
    project = project or caller.project
    row = tx.one(_by_name, {"project": project, "name": name}) if caller.may(project, Role.VIEWER) else None
    if row is None:
        raise NotFound(f"Registered Model with name={name} not found", path="name")
    caller.require(project, role)
    return Found._make(row)


def describe(tx: Tx, caller: Caller, name: str, description: str, project: str = "") -> RegisteredModel:
    """Change the description."""
    checks.check_length("description", description, validation.MAX_TEXT_LENGTH)
    found, now = find(tx, caller, name, Role.EDITOR, project), tx.now_ms()
    tx.run(_describe, {"model_": found.row, "text": description, "now": now})
    data = {"before": {"description": found.description}, "after": {"description": description}}
    _emit(tx, caller, found.project, name, "updated", data)
    return rows.models(tx, [found._replace(description=description, updated_ms=now)])[0]


def delete_model(tx: Tx, caller: Caller, name: str, project: str = "") -> None:
    """Remove the model with all its versions, for good: their files are free to be collected.

    Raises Conflict while somebody needs one of them.
    """
    found = find(tx, caller, name, Role.EDITOR, project)
    holds.require_model_free(tx, name, found.row)
    versions = tx.select(
        select(model_versions.c.version, model_versions.c.digest)
        .where(model_versions.c.model == found.row)
        .order_by(model_versions.c.version)
    )
    for query in _delete_all:
        tx.run(query, {"model_": found.row})
    files = artifacts.purge(tx, pinning.folder(found.row))
    data = {"versions": {str(version): digest for version, digest in versions}, "files": files}
    _emit(tx, caller, found.project, name, "deleted", data)


def set_tag(tx: Tx, caller: Caller, name: str, key: str, value: str, project: str = "") -> None:
    """Set one tag."""
    validation.check_tags({key: value})
    found = find(tx, caller, name, Role.EDITOR, project)
    before = tx.one(_tag, {"model": found.row, "key": key})
    tx.run(_set_tag, {"model": found.row, "key": key, "value": value})
    data = {"before": {key: before[0] if before else None}, "after": {key: value}}
    _emit(tx, caller, found.project, name, "tags_set", data | prompt_flag(tx, found.row))


def delete_tag(tx: Tx, caller: Caller, name: str, key: str, project: str = "") -> None:
    """Remove one tag; does nothing when there is none of that key, as in MLflow."""
    validation.check_tag_key(key)
    found = find(tx, caller, name, Role.EDITOR, project)
    before = tx.one(_tag, {"model": found.row, "key": key})
    if before is not None:
        tx.run(_delete_tag, {"model_": found.row, "key_": key})
        data = {"before": {key: before[0]}}
        _emit(tx, caller, found.project, name, "tag_deleted", data | prompt_flag(tx, found.row))


def latest(tx: Tx, caller: Caller, name: str, stages: Sequence[Stage] = (), project: str = "") -> list[ModelVersion]:
    """The newest version of each stage, or of those stages, with aliases."""
    model = get(tx, caller, name, project)
    chosen = [version for version in model.latest if not stages or version.stage in stages]
    return [rows.with_aliases(version, model.aliases) for version in chosen]


def is_prompt(tx: Tx, model: int) -> bool:
    """Whether the model with this row number is a prompt."""
    row = tx.one(_tag, {"model": model, "key": PROMPT_TAG})
    return row is not None and _is_true(row[0])


def prompt_flag(tx: Tx, model: int) -> dict[str, Any]:
    """What events about a prompt say beyond those about a model: webhooks tell them apart."""
    return {"prompt": True} if is_prompt(tx, model) else {}


def touch(tx: Tx, model: int) -> None:
    """Note that something of the model changed now."""
    tx.run(_touch, {"model_": model, "now": tx.now_ms()})


def projects(tx: Tx, caller: Caller) -> list[str]:
    """The projects that hold models and that the caller may see."""
    return [row[0] for row in tx.all(_projects) if caller.may(row[0], Role.VIEWER)]


def held_by(tx: Tx, project: str) -> str:
    """How many models a project holds, in words; empty when none."""
    row = tx.one(_count, {"project": project})
    count = int(row[0]) if row else 0
    return f"{count} registered model{'s' if count > 1 else ''}" if count else ""


def project_of(tx: Tx, model: int) -> str | None:
    """The project of the model with this row number."""
    row = tx.one(_projects_of, {"wanted": str([model])})
    return str(row[1]) if row else None


def _taken(tx: Tx, number: int, name: str, tags: Mapping[str, str]) -> AlreadyExists:
    old, new = _kind(prompt=is_prompt(tx, number)), _kind(prompt=_is_true(tags.get(PROMPT_TAG, "")))
    if old != new:
        return AlreadyExists(
            f"Tried to create a {new.lower()} with name {name!r}, but the name is already taken by a {old.lower()}."
            " MLflow does not allow creating a model and a prompt with the same name.",
            path="name",
        )
    return AlreadyExists(f"{new} (name={name}) already exists.", path="name", hint="choose another name")


def topic(project: str, name: str) -> str:
    """The topic of `Changes` that tells of a model, its versions, aliases and gates."""
    return f"registered-model/{project}/{name}"


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _kind(*, prompt: bool) -> str:
    return "Prompt" if prompt else "Registered Model"


def _emit(tx: Tx, caller: Caller, project: str, name: str, what: str, data: Mapping[str, Any]) -> None:
    tx.topics |= {TOLD, topic(project, name)}
    tx.emit(Draft(caller.name, project, f"registry.model.{what}", f"registered-model/{name}", data))
