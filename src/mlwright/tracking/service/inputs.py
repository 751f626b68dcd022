"""What runs read and wrote: datasets and logged models."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import bindparam, select

from mlwright.kernel import checks
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import validation
from mlwright.tracking.service import experiments as experiment_service
from mlwright.tracking.service.runs import OpenRun, find_active
from mlwright.tracking.spec import DatasetInput, DatasetSummary, ModelOutput
from mlwright.tracking.tables import dataset_inputs, datasets, run_models

CONTEXT_TAG = "mlflow.data.context"
_MAX_SUMMARIES = 1_000

_dataset_id = Query(
    select(datasets.c.id).where(
        datasets.c.experiment_id == bindparam("experiment_id"),
        datasets.c.name == bindparam("name"),
        datasets.c.digest == bindparam("digest"),
    )
)
_insert_dataset = Query(
    upsert(datasets)
    .values({column.name: bindparam(column.name) for column in datasets.c if column.name != "id"})
    .returning(datasets.c.id)
)
_insert_input = Query(
    upsert(dataset_inputs)
    .values({column.name: bindparam(column.name) for column in dataset_inputs.c})
    .on_conflict_do_nothing(index_elements=["run", "dataset"])
)
_insert_model = Query(
    upsert(run_models)
    .values({column.name: bindparam(column.name) for column in run_models.c})
    .on_conflict_do_update(
        index_elements=["run", "direction", "model_id"], set_={"step": upsert(run_models).excluded.step}
    )
)


def log_inputs(
    tx: Tx, caller: Caller, run_id: str, inputs: Sequence[DatasetInput], model_ids: Sequence[str] = ()
) -> None:
    """Record datasets and models that the run reads. A dataset logged before is not recorded again."""
    checks.check_many("datasets", inputs)
    checks.check_many("models", model_ids)
    for index, each in enumerate(inputs):
        _check(each, f"datasets[{index}]")
    found = find_active(tx, caller, run_id)
    for each in inputs:
        context = next((tag.value for tag in each.tags if tag.key == CONTEXT_TAG), None)
        tx.run(
            _insert_input,
            {
                "run": found.info.row,
                "dataset": _dataset_row(tx, found, each),
                "context": context,
                "tags": msgspec.json.encode(each.tags).decode(),
            },
        )
    for model_id in model_ids:
        tx.run(_insert_model, {"run": found.info.row, "direction": "input", "model_id": model_id, "step": 0})
    data = {
        "datasets": [{"name": each.dataset.name, "digest": each.dataset.digest} for each in inputs],
        "models": list(model_ids),
    }
    _emit(tx, caller, found, "inputs_logged", data)


def log_outputs(tx: Tx, caller: Caller, run_id: str, models: Sequence[ModelOutput]) -> None:
    """Record models that the run wrote, with the step each was written at."""
    checks.check_many("models", models)
    found = find_active(tx, caller, run_id)
    for model in models:
        values = {"run": found.info.row, "direction": "output", "model_id": model.model_id, "step": model.step}
        tx.run(_insert_model, values)
    _emit(tx, caller, found, "outputs_logged", {"models": [model.model_id for model in models]})


def summaries(tx: Tx, caller: Caller, experiment_ids: Sequence[int]) -> list[DatasetSummary]:
    """The different datasets that runs of the experiments read, at most 1,000."""
    readable = experiment_service.readable(tx, caller, experiment_ids)
    statement = (
        select(datasets.c.experiment_id, datasets.c.name, datasets.c.digest, dataset_inputs.c.context)
        .distinct()
        .join(dataset_inputs, dataset_inputs.c.dataset == datasets.c.id)
        .where(datasets.c.experiment_id.in_(readable))
        .order_by(datasets.c.experiment_id, datasets.c.name, datasets.c.digest)
        .limit(_MAX_SUMMARIES)
    )
    return [DatasetSummary(*row) for row in tx.select(statement)]


def _dataset_row(tx: Tx, found: OpenRun, each: DatasetInput) -> int:
    dataset = each.dataset
    place = {"experiment_id": found.info.experiment_id, "name": dataset.name, "digest": dataset.digest}
    row = tx.one(_dataset_id, place) or tx.one(
        _insert_dataset,
        {
            **place,
            "source_type": dataset.source_type,
            "source": dataset.source,
            "schema": dataset.schema,
            "profile": dataset.profile,
        },
    )
    return int(row[0]) if row else 0


def _check(each: DatasetInput, path: str) -> None:
    dataset = each.dataset
    limits = (
        ("name", dataset.name, validation.MAX_DATASET_NAME_LENGTH),
        ("digest", dataset.digest, validation.MAX_DATASET_DIGEST_LENGTH),
        ("source", dataset.source, validation.MAX_DATASET_SOURCE_LENGTH),
        ("schema", dataset.schema or "", validation.MAX_DATASET_SCHEMA_LENGTH),
        ("profile", dataset.profile or "", validation.MAX_DATASET_PROFILE_LENGTH),
    )
    for name, value, limit in limits:
        checks.check_length(f"{path}.dataset.{name}", value, limit)
    for index, tag in enumerate(each.tags):
        checks.check_length(f"{path}.tags[{index}].key", tag.key, validation.MAX_INPUT_TAG_KEY_LENGTH)
        checks.check_length(f"{path}.tags[{index}].value", tag.value, validation.MAX_INPUT_TAG_VALUE_LENGTH)


def _emit(tx: Tx, caller: Caller, found: OpenRun, what: str, data: dict[str, object]) -> None:
    subject = f"run/{found.info.run_id}"
    tx.topics.update((subject, f"experiment/{found.info.experiment_id}"))
    tx.emit(Draft(caller.name, found.project, f"tracking.run.{what}", subject, data))
