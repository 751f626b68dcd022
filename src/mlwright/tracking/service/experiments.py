"""Experiments: the folders of runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from mlwright.kernel import checks, store
from mlwright.kernel.errors import AlreadyExists, Conflict, Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import DEFAULT_PROJECT, Caller, Role
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import validation
from mlwright.tracking.service import locations
from mlwright.tracking.spec import Experiment, Tag, ViewType
from mlwright.tracking.tables import experiment_tags, experiments, runs

#: The experiment that exists from the start.
DEFAULT_EXPERIMENT = 0

_columns = [experiments.c[name] for name in ("id", "project", "name", "artifact_location", "active")]
_times = [experiments.c.created_ms, experiments.c.updated_ms]
_by_id = Query(select(*_columns, *_times).where(experiments.c.id == bindparam("id")))
_by_name = Query(
    select(*_columns, *_times).where(
        experiments.c.project == bindparam("project"), experiments.c.name == bindparam("name")
    )
)
_tags_of = Query(
    select(experiment_tags.c.key, experiment_tags.c.value)
    .where(experiment_tags.c.experiment_id == bindparam("id"))
    .order_by(experiment_tags.c.key)
)
_insert = Query(
    insert(experiments)
    .values(
        {
            name: bindparam(name)
            for name in ("project", "name", "artifact_location", "active", "created_ms", "updated_ms")
        }
    )
    .returning(experiments.c.id)
)
_projects_of = Query(select(experiments.c.id, experiments.c.project).where(among(experiments.c.id, "wanted")))
_insert_default = Query(
    upsert(experiments)
    .values({column.name: bindparam(column.name) for column in experiments.c})
    .on_conflict_do_nothing(index_elements=["id"])
)
_place = Query(
    update(experiments)
    .where(experiments.c.id == bindparam("key"))
    .values(artifact_location=bindparam("artifact_location"))
)
_rename = Query(
    update(experiments)
    .where(experiments.c.id == bindparam("key"))
    .values(name=bindparam("new_name"), updated_ms=bindparam("now"))
)
_touch = Query(update(experiments).where(experiments.c.id == bindparam("key")).values(updated_ms=bindparam("now")))
_set_active = Query(
    update(experiments)
    .where(experiments.c.id == bindparam("key"))
    .values(active=bindparam("new_active"), updated_ms=bindparam("now"))
)
_set_runs_active = Query(
    update(runs)
    .where(runs.c.experiment_id == bindparam("key"))
    .values(active=bindparam("new_active"), deleted_ms=bindparam("now"))
)
_set_tag = Query(
    upsert(experiment_tags)
    .values(experiment_id=bindparam("experiment_id"), key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_update(
        index_elements=["experiment_id", "key"], set_={"value": upsert(experiment_tags).excluded.value}
    )
)
_count = Query(select(func.count()).select_from(experiments).where(experiments.c.project == bindparam("project")))
_delete_tag = Query(
    delete(experiment_tags).where(
        experiment_tags.c.experiment_id == bindparam("experiment_id"), experiment_tags.c.key == bindparam("key")
    )
)


def create_default(tx: Tx) -> None:
    """Make experiment 0 in a new database; does nothing when it is there."""
    now = tx.now_ms()
    tx.run(
        _insert_default,
        {
            "id": DEFAULT_EXPERIMENT,
            "project": DEFAULT_PROJECT,
            "name": "Default",
            "artifact_location": f"mlflow-artifacts:/{DEFAULT_EXPERIMENT}",
            "active": 1,
            "created_ms": now,
            "updated_ms": now,
        },
    )


def create(
    tx: Tx, caller: Caller, name: str, artifact_location: str = "", tags: Sequence[Tag] = (), project: str = ""
) -> int:
    """Create an experiment and return its id. Raises AlreadyExists when the name is taken, also by a deleted one."""
    project = project or caller.project
    caller.require(project, Role.EDITOR)
    store.require_project(tx, project)
    validation.check_experiment_name(name)
    validation.check_artifact_location(artifact_location)
    checks.check_many("tags", tags)
    locations.claim(tx, project, artifact_location)
    for tag in tags:
        validation.check_tag(tag, limit=validation.MAX_EXPERIMENT_TAG_LENGTH)
    if tx.one(_by_name, {"project": project, "name": name}):
        raise AlreadyExists(f"Experiment(name={name}) already exists.", path="name", hint="choose another name")
    now = tx.now_ms()
    row = tx.one(
        _insert,
        {
            "project": project,
            "name": name,
            "artifact_location": artifact_location,
            "active": 1,
            "created_ms": now,
            "updated_ms": now,
        },
    )
    experiment_id = int(row[0]) if row else 0
    if not artifact_location:
        artifact_location = f"mlflow-artifacts:/{experiment_id}"
        tx.run(_place, {"key": experiment_id, "artifact_location": artifact_location})
    for tag in tags:
        tx.run(_set_tag, {"experiment_id": experiment_id, "key": tag.key, "value": tag.value})
    data = {"name": name, "artifact_location": artifact_location, "tags": {tag.key: tag.value for tag in tags}}
    _emit(tx, caller, project, "created", experiment_id, data)
    return experiment_id


def get(tx: Tx, caller: Caller, experiment_id: int) -> Experiment:
    """One experiment, deleted or not. Raises NotFound."""
    return _load(tx, caller, experiment_id, Role.VIEWER)


def get_by_name(tx: Tx, caller: Caller, name: str, project: str = "") -> Experiment | None:
    """The experiment called `name` in the project, deleted or not."""
    project = project or caller.project
    caller.require(project, Role.VIEWER)
    row = tx.one(_by_name, {"project": project, "name": name})
    return _experiment(tx, row) if row else None


def list_all(tx: Tx, caller: Caller, view: ViewType = ViewType.ACTIVE_ONLY) -> list[Experiment]:
    """All experiments that the caller may see, by name."""
    statement = select(*_columns, *_times).order_by(experiments.c.name, experiments.c.id)
    if view != ViewType.ALL:
        statement = statement.where(experiments.c.active == (1 if view == ViewType.ACTIVE_ONLY else 0))
    rows = tx.select(statement)
    return [_experiment(tx, row) for row in rows if caller.may(row[1], Role.VIEWER)]


def require_active(tx: Tx, caller: Caller, experiment_id: int, role: Role) -> Experiment:
    """The experiment, if the caller holds `role` there. Raises Invalid when it is deleted."""
    experiment = _load(tx, caller, experiment_id, role)
    if not experiment.active:
        raise Invalid(
            f"The experiment {experiment_id} must be in the 'active' state. Current state is deleted.",
            path="experiment_id",
            hint="restore the experiment first",
        )
    return experiment


def rename(tx: Tx, caller: Caller, experiment_id: int, name: str) -> None:
    """Give the experiment another name."""
    validation.check_experiment_name(name)
    experiment = _load(tx, caller, experiment_id, Role.EDITOR)
    if not experiment.active:
        raise Conflict("Cannot rename a non-active experiment.", hint="restore the experiment first")
    taken = tx.one(_by_name, {"project": experiment.project, "name": name})
    if taken and taken[0] != experiment_id:
        raise AlreadyExists(f"Experiment(name={name}) already exists.", path="new_name", hint="choose another name")
    tx.run(_rename, {"key": experiment_id, "new_name": name, "now": tx.now_ms()})
    data = {"before": {"name": experiment.name}, "after": {"name": name}}
    _emit(tx, caller, experiment.project, "renamed", experiment_id, data)


def delete_experiment(tx: Tx, caller: Caller, experiment_id: int) -> None:
    """Mark the experiment and its runs deleted. Raises NotFound when it is not active."""
    experiment = _load(tx, caller, experiment_id, Role.EDITOR)
    if not experiment.active:
        raise _not_found(experiment_id)
    now = tx.now_ms()
    tx.run(_set_active, {"key": experiment_id, "new_active": 0, "now": now})
    count = tx.run(_set_runs_active, {"key": experiment_id, "new_active": 0, "now": now})
    _emit(tx, caller, experiment.project, "deleted", experiment_id, {"name": experiment.name, "runs": count})


def restore(tx: Tx, caller: Caller, experiment_id: int) -> None:
    """Bring a deleted experiment and its runs back. Raises NotFound when it is not deleted."""
    experiment = _load(tx, caller, experiment_id, Role.EDITOR)
    if experiment.active:
        raise _not_found(experiment_id)
    tx.run(_set_active, {"key": experiment_id, "new_active": 1, "now": tx.now_ms()})
    count = tx.run(_set_runs_active, {"key": experiment_id, "new_active": 1, "now": None})
    _emit(tx, caller, experiment.project, "restored", experiment_id, {"name": experiment.name, "runs": count})


def set_tag(tx: Tx, caller: Caller, experiment_id: int, tag: Tag) -> None:
    """Set one tag of an active experiment."""
    validation.check_tag(tag, limit=validation.MAX_EXPERIMENT_TAG_LENGTH)
    experiment = require_active(tx, caller, experiment_id, Role.EDITOR)
    before = {each.key: each.value for each in experiment.tags}.get(tag.key)
    tx.run(_set_tag, {"experiment_id": experiment_id, "key": tag.key, "value": tag.value})
    tx.run(_touch, {"key": experiment_id, "now": tx.now_ms()})
    data = {"before": {tag.key: before}, "after": {tag.key: tag.value}}
    _emit(tx, caller, experiment.project, "tags_set", experiment_id, data)


def delete_tag(tx: Tx, caller: Caller, experiment_id: int, key: str) -> None:
    """Remove one tag of an active experiment. Raises NotFound when there is none of that key."""
    experiment = require_active(tx, caller, experiment_id, Role.EDITOR)
    if not tx.run(_delete_tag, {"experiment_id": experiment_id, "key": key}):
        raise NotFound(f"No tag with name: {key} in experiment with id {experiment_id}", path="key")
    tx.run(_touch, {"key": experiment_id, "now": tx.now_ms()})
    before = {each.key: each.value for each in experiment.tags}.get(key)
    _emit(tx, caller, experiment.project, "tag_deleted", experiment_id, {"before": {key: before}})


def readable(tx: Tx, caller: Caller, experiment_ids: Sequence[int]) -> list[int]:
    """Those of the experiments that exist and that the caller may read, in the given order, each once."""
    wanted = list(dict.fromkeys(experiment_ids))
    rows = tx.all(_projects_of, {"wanted": str(wanted)})
    allowed = {row[0] for row in rows if caller.may(row[1], Role.VIEWER)}
    return [each for each in wanted if each in allowed]


def held_by(tx: Tx, project: str) -> str:
    """How many experiments a project holds, deleted ones included, in words; empty when none."""
    row = tx.one(_count, {"project": project})
    count = int(row[0]) if row else 0
    return f"{count} experiment{'s' if count > 1 else ''}" if count else ""


def load(tx: Tx, rows: Sequence[Sequence[Any]]) -> list[Experiment]:
    """Rows of experiments, in the given order, with their tags."""
    return [_experiment(tx, row) for row in rows]


def _load(tx: Tx, caller: Caller, experiment_id: int, role: Role) -> Experiment:
    row = tx.one(_by_id, {"id": experiment_id})
    if row is None or not caller.may(row[1], Role.VIEWER):
        raise _not_found(experiment_id)
    caller.require(row[1], role)
    return _experiment(tx, row)


def _experiment(tx: Tx, row: Sequence[Any]) -> Experiment:
    number, project, name, location, active, created, updated = row
    tags = [Tag(key, value) for key, value in tx.all(_tags_of, {"id": number})]
    return Experiment(number, project, name, location, bool(active), created, updated, tags)


def _not_found(experiment_id: int) -> NotFound:
    return NotFound(f"No Experiment with id={experiment_id} exists", path="experiment_id")


def _emit(tx: Tx, caller: Caller, project: str, what: str, experiment_id: int, data: Mapping[str, object]) -> None:
    subject = f"experiment/{experiment_id}"
    tx.emit(Draft(caller.name, project, f"tracking.experiment.{what}", subject, data))
