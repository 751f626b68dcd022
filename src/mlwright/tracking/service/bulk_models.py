"""Moving in logged models that were made elsewhere (see bulk.py)."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, select, update

from mlwright.kernel.errors import Conflict, Invalid
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking.ports import MovedModel
from mlwright.tracking.service import experiments as experiment_service
from mlwright.tracking.service import models as model_service
from mlwright.tracking.service.appending import model_metric_row
from mlwright.tracking.service.locations import elsewhere
from mlwright.tracking.spec import Experiment, LoggedModel, Metric, Param, Tag
from mlwright.tracking.tables import (
    experiments,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)
from mlwright.tracking.validation import clamp

_INT64 = 2**63
_changing = ("name", "created_ms", "updated_ms", "status", "status_message", "model_type", "source_run_id", "active")
_insert = Query(
    upsert(logged_models)
    .values({column.name: bindparam(column.name) for column in logged_models.c if column.name != "id"})
    .returning(logged_models.c.id)
)
_update = Query(
    update(logged_models)
    .where(logged_models.c.id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in _changing})
)


def _put(table: Any, keys: Sequence[str], changing: Sequence[str]) -> Query:
    statement = upsert(table).values({column.name: bindparam(column.name) for column in table.c})
    return Query(
        statement.on_conflict_do_update(
            index_elements=list(keys), set_={name: statement.excluded[name] for name in changing}
        )
    )


_put_param = _put(logged_model_params, ["model", "key"], ["value"])
_put_tag = _put(logged_model_tags, ["model", "key"], ["value"])
_put_metric = _put(
    logged_model_metrics,
    ["model", "key", "timestamp_ms", "step", "run_id"],
    ["value", "is_nan", "dataset_name", "dataset_digest"],
)


class ImportedModel(msgspec.Struct, frozen=True):
    """What moving in a logged model changed: `created`, or which parts of it; nothing when it was here already."""

    model_id: str
    created: bool
    changed: list[str]


class ModelState(msgspec.Struct, frozen=True):
    """What is stored of a logged model, as counts and as one digest of everything in it but its files."""

    model_id: str
    params: int
    tags: int
    metrics: int
    content: str


def import_models(
    tx: Tx, caller: Caller, experiment_id: int, moved: Sequence[MovedModel], *, source: str = "", dry: bool = False
) -> list[ImportedModel]:
    """Move logged models into an experiment. Raises Conflict when an id is taken by a model of another experiment."""
    experiment = experiment_service.get(tx, caller, experiment_id)
    caller.require(experiment.project, Role.EDITOR)
    known = _existing(tx, [each.model_id for each in moved])
    return [
        _import(tx, caller, experiment, each, known.get(each.model_id), source, dry=dry)
        for each in {each.model_id: each for each in moved}.values()
    ]


def states(tx: Tx, caller: Caller, model_ids: Sequence[str]) -> list[ModelState]:
    """What is stored of those of the models that are here and that the caller may see."""
    statement = (
        select(logged_models.c.model_id, experiments.c.project)
        .join(experiments, experiments.c.id == logged_models.c.experiment_id)
        .where(logged_models.c.model_id.in_(model_ids))
    )
    visible = [row[0] for row in tx.select(statement) if caller.may(row[1], Role.VIEWER)]
    return [state_of(_moved(model)) for model in _existing(tx, visible).values()]


def state_of(moved: MovedModel) -> ModelState:
    """The state a model has once it is moved in whole: what both sides compare."""
    content = [
        sorted((name, value) for name, value in _info(moved).items()),
        sorted(_pairs(moved.params)),
        sorted(_pairs(moved.tags)),
        sorted(_metric_keys(moved.metrics)),
    ]
    digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()
    counts = (len(moved.params), len(moved.tags), len(_metric_keys(moved.metrics)))
    return ModelState(moved.model_id, *counts, digest)


def _existing(tx: Tx, model_ids: Sequence[str]) -> dict[str, LoggedModel]:
    rows = tx.select(select(*logged_models.c).where(logged_models.c.model_id.in_(model_ids)))
    return {model.model_id: model for model in model_service.load(tx, rows)}


def _moved(model: LoggedModel) -> MovedModel:
    return MovedModel(
        model.model_id,
        model.name,
        model.created_ms,
        model.updated_ms,
        model.status,
        model.status_message or "",
        model.model_type or "",
        model.source_run_id or "",
        model.active,
        "",
        model.params,
        model.tags,
        model.metrics,
    )


def _import(
    tx: Tx, caller: Caller, experiment: Experiment, moved: MovedModel, known: LoggedModel | None, source: str, *,
    dry: bool,
) -> ImportedModel:  # fmt: skip
    _check(moved)
    if known is not None and known.experiment_id != experiment.experiment_id:
        raise Conflict(f"model {moved.model_id} is already here, in experiment {known.experiment_id}", path="model_id")
    changed = _changes(moved, known)
    if dry or not changed:
        return ImportedModel(moved.model_id, known is None, changed)
    number = _create(tx, experiment, moved) if known is None else known.row
    if known is not None:
        tx.run(_update, {"key": number, **{f"new_{name}": value for name, value in _row(moved).items()}})
    tx.many(_put_param, [{"model": number, "key": each.key, "value": each.value} for each in moved.params])
    tx.many(_put_tag, [{"model": number, "key": each.key, "value": each.value} for each in moved.tags])
    tx.many(_put_metric, [model_metric_row(number, each, each.run_id) for each in moved.metrics])
    data = {"experiment": experiment.experiment_id, "name": moved.name, "source": source, "changed": changed}
    tx.emit(Draft(caller.name, experiment.project, "tracking.model.imported", f"model/{moved.model_id}", data))
    return ImportedModel(moved.model_id, known is None, changed)


def _check(moved: MovedModel) -> None:
    digits = moved.model_id.removeprefix("m-")
    if len(digits) != 32 or not moved.model_id.startswith("m-") or set(digits) - set("0123456789abcdef"):
        raise Invalid(f"{moved.model_id!r} is not the id of a logged model", path="model_id")
    numbers = [number for metric in moved.metrics for number in (metric.step, metric.timestamp)]
    if any(not -_INT64 <= number < _INT64 for number in (moved.created_ms, moved.updated_ms, *numbers)):
        raise Invalid("A number is beyond 64 bits", path="created_ms")


def _info(moved: MovedModel) -> dict[str, Any]:
    found = {name: getattr(moved, name) for name in _changing}
    return {**found, "status": moved.status.value, "active": int(moved.active)}


def _row(moved: MovedModel) -> dict[str, Any]:
    """The columns, where nothing is NULL."""
    optional = ("status_message", "model_type", "source_run_id")
    return {name: (value or None) if name in optional else value for name, value in _info(moved).items()}


def _changes(moved: MovedModel, known: LoggedModel | None) -> list[str]:
    if known is None:
        return ["info", "params", "tags", "metrics"]
    stored = _moved(known)
    missing = {
        "info": _info(moved).items() - _info(stored).items(),
        "params": _pairs(moved.params) - _pairs(stored.params),
        "tags": _pairs(moved.tags) - _pairs(stored.tags),
        "metrics": _metric_keys(moved.metrics) - _metric_keys(stored.metrics),
    }
    return [part for part, rest in missing.items() if rest]


def _pairs(items: Sequence[Param] | Sequence[Tag]) -> set[tuple[str, str]]:
    return {(each.key, each.value) for each in items}


def _metric_keys(metrics: Sequence[Metric]) -> set[tuple[Any, ...]]:
    """The points, each once; the value as text because NaN is not equal to itself."""
    return {
        (
            each.key,
            each.timestamp,
            each.step,
            each.run_id,
            repr(clamp(each.value)),
            each.dataset_name,
            each.dataset_digest,
        )
        for each in metrics
    }


def _create(tx: Tx, experiment: Experiment, moved: MovedModel) -> int:
    own = f"{experiment.artifact_location.rstrip('/')}/models/{moved.model_id}/artifacts"
    values = {
        "model_id": moved.model_id,
        "experiment_id": experiment.experiment_id,
        "artifact_uri": moved.artifact_uri if elsewhere(moved.artifact_uri) else own,
        **_row(moved),
    }
    row = tx.one(_insert, values)
    return int(row[0]) if row else 0
