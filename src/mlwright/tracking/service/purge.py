"""Removing for good what was deleted long enough ago. The events stay."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import and_, delete, or_, select

from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service.experiments import DEFAULT_EXPERIMENT
from mlwright.tracking.tables import (
    comments,
    dataset_inputs,
    datasets,
    experiment_tags,
    experiments,
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
    metric_arrivals,
    metric_batches,
    metric_chunks,
    metric_series,
    metric_waiting,
    params,
    run_models,
    runs,
    saved_views,
    tags,
)

_OF_RUN = (
    metric_arrivals,
    metric_batches,
    metric_waiting,
    metric_chunks,
    metric_series,
    params,
    tags,
    dataset_inputs,
    run_models,
    comments,
)
_OF_MODEL = (logged_model_params, logged_model_tags, logged_model_metrics)
_OF_EXPERIMENT = (datasets, experiment_tags, saved_views)


class Purged(msgspec.Struct, frozen=True):
    """A run, logged model or experiment that is gone, or would be: its id, and where its files are."""

    id: str
    artifact_uri: str


def _gone_experiment(before_ms: int) -> Any:
    return and_(experiments.c.active == 0, experiments.c.updated_ms < before_ms)


def purge_runs(tx: Tx, caller: Caller, before_ms: int, limit: int, *, dry: bool = False) -> list[Purged]:
    """Remove up to `limit` runs deleted before `before_ms`, alone or with their experiment."""
    caller.require_server_admin()
    gone = or_(and_(runs.c.active == 0, runs.c.deleted_ms < before_ms), _gone_experiment(before_ms))
    statement = (
        select(runs.c.id, runs.c.run_id, runs.c.artifact_uri, runs.c.name, experiments.c.project)
        .join(experiments, experiments.c.id == runs.c.experiment_id)
        .where(gone)
        .order_by(runs.c.id)
        .limit(limit)
    )
    rows = tx.select(statement)
    if not dry:
        _delete(tx, _OF_RUN, "run", [row[0] for row in rows])
        _delete(tx, (runs,), "id", [row[0] for row in rows])
        for row in rows:
            tx.emit(Draft(caller.name, row[4], "tracking.run.purged", f"run/{row[1]}", {"before": {"name": row[3]}}))
    return [Purged(row[1], row[2]) for row in rows]


def purge_models(tx: Tx, caller: Caller, before_ms: int, limit: int, *, dry: bool = False) -> list[Purged]:
    """Remove up to `limit` logged models deleted before `before_ms`, alone or with their experiment."""
    caller.require_server_admin()
    models = logged_models.c
    gone = or_(and_(models.active == 0, models.updated_ms < before_ms), _gone_experiment(before_ms))
    statement = (
        select(models.id, models.model_id, models.artifact_uri, models.name, experiments.c.project)
        .join(experiments, experiments.c.id == models.experiment_id)
        .where(gone)
        .order_by(models.id)
        .limit(limit)
    )
    rows = tx.select(statement)
    if not dry:
        _delete(tx, _OF_MODEL, "model", [row[0] for row in rows])
        _delete(tx, (logged_models,), "id", [row[0] for row in rows])
        for row in rows:
            data = {"before": {"name": row[3]}}
            tx.emit(Draft(caller.name, row[4], "tracking.model.purged", f"model/{row[1]}", data))
    return [Purged(row[1], row[2]) for row in rows]


def purge_experiments(tx: Tx, caller: Caller, before_ms: int, limit: int, *, dry: bool = False) -> list[Purged]:
    """Remove up to `limit` experiments deleted before `before_ms`; their runs and models must be gone already.

    The experiment that exists from the start stays.
    """
    caller.require_server_admin()
    table = experiments.c
    statement = (
        select(table.id, table.name, table.artifact_location, table.project)
        .where(_gone_experiment(before_ms), table.id != DEFAULT_EXPERIMENT)
        .order_by(table.id)
        .limit(limit)
    )
    rows = tx.select(statement)
    if not dry:
        _delete(tx, _OF_EXPERIMENT, "experiment_id", [row[0] for row in rows])
        _delete(tx, (experiments,), "id", [row[0] for row in rows])
        for row in rows:
            data = {"before": {"name": row[1]}}
            tx.emit(Draft(caller.name, row[3], "tracking.experiment.purged", f"experiment/{row[0]}", data))
    return [Purged(str(row[0]), row[2]) for row in rows]


def _delete(tx: Tx, tables: Sequence[Any], column: str, numbers: Sequence[int]) -> None:
    if numbers:
        for table in tables:
            tx.change(delete(table).where(table.c[column].in_(numbers)))
