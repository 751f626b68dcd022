"""Logged models (MLflow 3): the models that runs write, before anyone registers them."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from mlwright.kernel import checks
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import validation
from mlwright.tracking.names import random_name
from mlwright.tracking.service import experiments as experiment_service
from mlwright.tracking.spec import LoggedModel, Metric, ModelStatus, Param, Tag
from mlwright.tracking.tables import (
    experiments,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)

_FORBIDDEN_IN_NAMES = ("/", ":", ".", "%", '"', "'")

_columns = list(logged_models.c)
_by_id = Query(
    select(*_columns, experiments.c.project)
    .join(experiments, experiments.c.id == logged_models.c.experiment_id)
    .where(logged_models.c.model_id == bindparam("model_id"))
)
_insert = Query(
    insert(logged_models)
    .values({column.name: bindparam(column.name) for column in _columns if column.name != "id"})
    .returning(logged_models.c.id)
)
_finish = Query(
    update(logged_models)
    .where(logged_models.c.id == bindparam("key_"))
    .values(status=bindparam("new_status"), active=bindparam("new_active"), updated_ms=bindparam("now"))
)
_set_tag = Query(
    upsert(logged_model_tags)
    .values(model=bindparam("model"), key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_update(index_elements=["model", "key"], set_={"value": upsert(logged_model_tags).excluded.value})
)
_delete_tag = Query(
    delete(logged_model_tags).where(
        logged_model_tags.c.model == bindparam("model"), logged_model_tags.c.key == bindparam("key")
    )
)
_insert_param = Query(
    upsert(logged_model_params)
    .values(model=bindparam("model"), key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_nothing(index_elements=["model", "key"])
)


def create(
    tx: Tx,
    caller: Caller,
    experiment_id: int,
    name: str = "",
    model_type: str = "",
    source_run_id: str = "",
    params: Sequence[Param] = (),
    tags: Sequence[Tag] = (),
) -> LoggedModel:
    """Create a model in state PENDING; its artifacts are uploaded next, then `finalize` is called."""
    if name and any(character in name for character in _FORBIDDEN_IN_NAMES):
        raise Invalid(
            f"Invalid model name ({name!r}) provided. Model name must be a non-empty string and cannot contain the"
            f" following characters: {_FORBIDDEN_IN_NAMES}",
            path="name",
        )
    checks.check_many("params", params)
    checks.check_many("tags", tags)
    experiment = experiment_service.require_active(tx, caller, experiment_id, Role.EDITOR)
    digits = tx.ids.hex32()
    model_id = f"m-{digits}"
    now = tx.now_ms()
    values = {
        "model_id": model_id,
        "experiment_id": experiment_id,
        "name": name or random_name(digits),
        "artifact_uri": f"{experiment.artifact_location.rstrip('/')}/models/{model_id}/artifacts",
        "created_ms": now,
        "updated_ms": now,
        "status": ModelStatus.PENDING.value,
        "status_message": None,
        "model_type": model_type or None,
        "source_run_id": source_run_id or None,
        "active": 1,
    }
    row = tx.one(_insert, values)
    number = int(row[0]) if row else 0
    tx.many(_insert_param, [{"model": number, "key": each.key, "value": each.value} for each in params])
    tx.many(_set_tag, [{"model": number, "key": each.key, "value": each.value} for each in tags])
    _emit(tx, caller, experiment.project, model_id, "created", {"name": values["name"], "source_run": source_run_id})
    return get(tx, caller, model_id)


def get(tx: Tx, caller: Caller, model_id: str, *, deleted: bool = False) -> LoggedModel:
    """One model. Raises NotFound; a deleted one is only found when `deleted` says so."""
    model, _ = _find(tx, caller, model_id, Role.VIEWER)
    if not model.active and not deleted:
        raise _not_found(model_id)
    return model


def finalize(tx: Tx, caller: Caller, model_id: str, status: ModelStatus) -> LoggedModel:
    """Say how the upload ended: READY or FAILED."""
    model, project = _find(tx, caller, model_id, Role.EDITOR)
    values = {"key_": model.row, "new_status": status.value, "new_active": int(model.active), "now": tx.now_ms()}
    tx.run(_finish, values)
    _emit(
        tx,
        caller,
        project,
        model_id,
        "finalized",
        {"before": {"status": model.status.name}, "after": {"status": status.name}},
    )
    return _find(tx, caller, model_id, Role.VIEWER)[0]


def delete_model(tx: Tx, caller: Caller, model_id: str) -> None:
    """Mark the model deleted."""
    model, project = _find(tx, caller, model_id, Role.EDITOR)
    values = {"key_": model.row, "new_status": model.status.value, "new_active": 0, "now": tx.now_ms()}
    tx.run(_finish, values)
    _emit(tx, caller, project, model_id, "deleted", {"name": model.name})


def set_tags(tx: Tx, caller: Caller, model_id: str, tags: Sequence[Tag]) -> LoggedModel:
    """Set tags; of a repeated key the last one counts."""
    checks.check_many("tags", tags)
    for index, tag in enumerate(tags):
        validation.check_tag(tag, f"tags[{index}]")
    model, project = _find(tx, caller, model_id, Role.EDITOR)
    before = {tag.key: tag.value for tag in model.tags}
    after = {tag.key: tag.value for tag in tags}
    tx.many(_set_tag, [{"model": model.row, "key": key, "value": value} for key, value in after.items()])
    data = {"before": {key: before.get(key) for key in after}, "after": after}
    _emit(tx, caller, project, model_id, "tags_set", data)
    return _find(tx, caller, model_id, Role.VIEWER)[0]


def delete_tag(tx: Tx, caller: Caller, model_id: str, key: str) -> None:
    """Remove a tag. Raises NotFound when the model has none of that key."""
    model, project = _find(tx, caller, model_id, Role.EDITOR)
    if not tx.run(_delete_tag, {"model": model.row, "key": key}):
        raise NotFound(f"No tag with key {key!r} found for model with ID {model_id!r}.", path="tag_key")
    before = {tag.key: tag.value for tag in model.tags}
    _emit(tx, caller, project, model_id, "tag_deleted", {"before": {key: before.get(key)}})


def log_params(tx: Tx, caller: Caller, model_id: str, params: Sequence[Param]) -> None:
    """Add parameters; one that is there already keeps its value."""
    checks.check_many("params", params)
    model, project = _find(tx, caller, model_id, Role.EDITOR)
    tx.many(_insert_param, [{"model": model.row, "key": each.key, "value": each.value} for each in params])
    _emit(tx, caller, project, model_id, "params_logged", {"params": {each.key: each.value for each in params}})


def load(tx: Tx, rows: Sequence[Sequence[Any]]) -> list[LoggedModel]:
    """Rows of logged_models, in the given order, as models with parameters, tags and metrics."""
    numbers = [row[0] for row in rows]
    found_params = _pairs(tx, logged_model_params, numbers, Param)
    found_tags = _pairs(tx, logged_model_tags, numbers, Tag)
    metrics = _metrics(tx, {row[0]: row[1] for row in rows})
    models = []
    for row in rows:
        number, model_id, experiment_id, name, uri, created, updated, status, message, kind, source, active = row[:12]
        models.append(
            LoggedModel(
                row=number,
                model_id=model_id,
                experiment_id=experiment_id,
                name=name,
                artifact_uri=uri,
                created_ms=created,
                updated_ms=updated,
                status=ModelStatus(status),
                status_message=message,
                model_type=kind,
                source_run_id=source,
                active=bool(active),
                params=found_params[number],
                tags=found_tags[number],
                metrics=metrics[number],
            )
        )
    return models


def _find(tx: Tx, caller: Caller, model_id: str, role: Role) -> tuple[LoggedModel, str]:
    row = tx.one(_by_id, {"model_id": model_id})
    if row is None or not caller.may(row[-1], Role.VIEWER):
        raise _not_found(model_id)
    caller.require(row[-1], role)
    return load(tx, [row])[0], row[-1]


def _pairs(tx: Tx, table: Any, numbers: Sequence[int], kind: type[Any]) -> dict[int, list[Any]]:
    statement = (
        select(table.c.model, table.c.key, table.c.value)
        .where(table.c.model.in_(numbers))
        .order_by(table.c.model, table.c.key)
    )
    found: dict[int, list[Any]] = defaultdict(list)
    for number, key, value in tx.select(statement):
        found[number].append(kind(key, value))
    return found


def _metrics(tx: Tx, model_ids: Mapping[int, str]) -> dict[int, list[Metric]]:
    table = logged_model_metrics.c
    statement = (
        select(
            table.model,
            table.key,
            table.value,
            table.timestamp_ms,
            table.step,
            table.dataset_name,
            table.dataset_digest,
            table.run_id,
        )
        .where(table.model.in_(list(model_ids)))
        .order_by(table.model, table.key, table.timestamp_ms, table.step, table.run_id)
    )
    found: dict[int, list[Metric]] = defaultdict(list)
    for number, key, value, timestamp, step, name, digest, run_id in tx.select(statement):
        number_value = math.nan if value is None else value
        found[number].append(
            Metric(key, number_value, timestamp, step, model_ids[number], name or "", digest or "", run_id)
        )
    return found


def _not_found(model_id: str) -> NotFound:
    return NotFound(f"Logged model with ID '{model_id}' not found.", path="model_id")


def _emit(tx: Tx, caller: Caller, project: str, model_id: str, what: str, data: Mapping[str, object]) -> None:
    tx.emit(Draft(caller.name, project, f"tracking.model.{what}", f"model/{model_id}", data))
