"""Runs: creating, changing, deleting, and reading them with all they logged."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from mlwright.kernel import checks
from mlwright.kernel.errors import Invalid, NotFound
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query, among
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking import validation
from mlwright.tracking.names import random_name
from mlwright.tracking.service import experiments as experiment_service
from mlwright.tracking.service import waiting
from mlwright.tracking.service.appending import append_to_models
from mlwright.tracking.service.waiting import Place
from mlwright.tracking.spec import (
    Dataset,
    DatasetInput,
    Metric,
    ModelOutput,
    Param,
    Run,
    RunInfo,
    RunStatus,
    Tag,
)
from mlwright.tracking.tables import (
    dataset_inputs,
    datasets,
    experiments,
    metric_series,
    metric_waiting,
    params,
    run_models,
    runs,
    tags,
)

RUN_NAME_TAG = "mlflow.runName"
MODEL_HISTORY_TAG = "mlflow.log-model.history"

#: In the order of the fields of search.runs.RunRow.
_info_columns = list(runs.c)
_waiting = (
    select(metric_waiting.c.batches)
    .where(metric_waiting.c.experiment_id == runs.c.experiment_id, metric_waiting.c.run == runs.c.id)
    .scalar_subquery()
)
_by_run_id = Query(
    select(*_info_columns, experiments.c.project, _waiting, waiting.ARRIVED)
    .join(experiments, experiments.c.id == runs.c.experiment_id)
    .where(runs.c.run_id == bindparam("run_id"))
)
_insert = Query(
    insert(runs)
    .values({column.name: bindparam(column.name) for column in runs.c if column.name != "id"})
    .returning(runs.c.id)
)
_update = Query(
    update(runs)
    .where(runs.c.id == bindparam("key"))
    .values(name=bindparam("new_name"), status=bindparam("new_status"), end_ms=bindparam("new_end"))
)
_set_active = Query(
    update(runs)
    .where(runs.c.id == bindparam("key"))
    .values(active=bindparam("new_active"), deleted_ms=bindparam("new_deleted"))
)
_set_tag = Query(
    upsert(tags)
    .values(run=bindparam("run"), key=bindparam("key"), value=bindparam("value"))
    .on_conflict_do_update(index_elements=["run", "key"], set_={"value": upsert(tags).excluded.value})
)
_tag = Query(select(tags.c.value).where(tags.c.run == bindparam("run"), tags.c.key == bindparam("key")))
_delete_tag = Query(delete(tags).where(tags.c.run == bindparam("run"), tags.c.key == bindparam("key")))
_insert_param = Query(insert(params).values(run=bindparam("run"), key=bindparam("key"), value=bindparam("value")))
_param = Query(select(params.c.value).where(params.c.run == bindparam("run"), params.c.key == bindparam("key")))

_series_columns = [metric_series.c[name] for name in ("run", "key", "value", "timestamp_ms", "step")]
# Not ordered: with ORDER BY, SQLite would rather walk the whole table in order than look the runs up.
_metrics_of = Query(select(*_series_columns).where(among(metric_series.c.run, "rows")))
_params_of = Query(select(params.c.run, params.c.key, params.c.value).where(among(params.c.run, "rows")))
_tags_of = Query(select(tags.c.run, tags.c.key, tags.c.value).where(among(tags.c.run, "rows")))
_inputs_of = Query(
    select(
        dataset_inputs.c.run,
        dataset_inputs.c.tags,
        *(datasets.c[name] for name in ("name", "digest", "source_type", "source", "schema", "profile")),
    )
    .join(datasets, datasets.c.id == dataset_inputs.c.dataset)
    .where(among(dataset_inputs.c.run, "rows"))
    .order_by(datasets.c.id)
)
_models_of = Query(
    select(run_models.c.run, run_models.c.direction, run_models.c.model_id, run_models.c.step).where(
        among(run_models.c.run, "rows")
    )
)

_key = attrgetter("key")
T = TypeVar("T")


class OpenRun(NamedTuple):
    """A run found for a caller, and the project it lies in.

    Attributes:
        waiting: how many batches of its metrics wait.
        arrived: how many points of whatever runs wait in small batches.
    """

    info: RunInfo
    project: str
    waiting: int = 0
    arrived: int = 0


def find(tx: Tx, caller: Caller, run_id: str, role: Role = Role.VIEWER) -> OpenRun:
    """The run, deleted or not. Raises NotFound, or Denied when the caller may see but not change it."""
    row = tx.one(_by_run_id, {"run_id": run_id})
    if row is None or not caller.may(row[11], Role.VIEWER):
        raise NotFound(f"Run with id={run_id} not found", path="run_id")
    caller.require(row[11], role)
    return OpenRun(info_from_row(row), row[11], row[12] or 0, row[13] or 0)


def find_active(tx: Tx, caller: Caller, run_id: str) -> OpenRun:
    """The run, for changing it. Raises Invalid when it is deleted."""
    found = find(tx, caller, run_id, Role.EDITOR)
    if not found.info.active:
        raise Invalid(
            f"The run {run_id} must be in the 'active' state. Current state is deleted.",
            path="run_id",
            hint="restore the run first",
        )
    return found


def info_from_row(row: Sequence[Any]) -> RunInfo:
    """All columns of a runs row as RunInfo."""
    number, run_id, experiment_id, name, user, status, start, end, active, _, uri = row[:11]
    return RunInfo(number, run_id, experiment_id, name, user, RunStatus(status), start, end, bool(active), uri)


def create(
    tx: Tx,
    caller: Caller,
    experiment_id: int,
    user_id: str = "",
    start_ms: int = 0,
    name: str = "",
    run_tags: Sequence[Tag] = (),
) -> Run:
    """Start a run in an active experiment. A name is made up when none is given."""
    experiment = experiment_service.require_active(tx, caller, experiment_id, Role.EDITOR)
    checks.check_many("tags", run_tags)
    for index, tag in enumerate(run_tags):
        validation.check_tag(tag, f"tags[{index}]")
    wanted = {tag.key: tag.value for tag in run_tags}
    tagged_name = wanted.get(RUN_NAME_TAG, "")
    if name and tagged_name and name != tagged_name:
        raise Invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values"
            f" (run_name='{name}', mlflow.runName='{tagged_name}').",
            path="run_name",
        )
    run_id = tx.ids.hex32()
    wanted[RUN_NAME_TAG] = name or tagged_name or random_name(run_id)
    values = {
        "run_id": run_id,
        "experiment_id": experiment_id,
        "name": wanted[RUN_NAME_TAG],
        "user_id": user_id,
        "status": RunStatus.RUNNING.value,
        "start_ms": start_ms,
        "end_ms": None,
        "active": 1,
        "deleted_ms": None,
        "artifact_uri": f"{experiment.artifact_location.rstrip('/')}/{run_id}/artifacts",
    }
    row = tx.one(_insert, values)
    number = int(row[0]) if row else 0
    tx.many(_set_tag, [{"run": number, "key": key, "value": value} for key, value in wanted.items()])
    info = _new_info(number, values)
    data = {"experiment": experiment_id, "name": wanted[RUN_NAME_TAG], "tags": wanted}
    _emit(tx, caller, OpenRun(info, experiment.project), "created", data)
    return Run(info, [], [], [Tag(key, wanted[key]) for key in sorted(wanted)], [], [], [])


def _new_info(number: int, values: dict[str, Any]) -> RunInfo:
    return info_from_row([number, *(values[column.name] for column in _info_columns[1:])])


def get(tx: Tx, caller: Caller, run_id: str) -> Run:
    """A run with everything it logged."""
    return load(tx, [find(tx, caller, run_id).info])[0]


def update_info(
    tx: Tx, caller: Caller, run_id: str, status: RunStatus | None = None, end_ms: int | None = None, name: str = ""
) -> RunInfo:
    """Change status, end time and name; what is not given stays."""
    found = find_active(tx, caller, run_id)
    before = found.info
    after = msgspec.structs.replace(
        before,
        status=before.status if status is None else status,
        end_ms=before.end_ms if end_ms is None else end_ms,
        name=name or before.name,
    )
    values = {"key": before.row, "new_name": after.name, "new_status": after.status.value, "new_end": after.end_ms}
    tx.run(_update, values)
    if found.waiting and after.end_ms is not None:
        waiting.take(tx, [Place(before.experiment_id, before.row)])
    if name:
        tx.run(_set_tag, {"run": before.row, "key": RUN_NAME_TAG, "value": name})
    _emit(tx, caller, found, "updated", {"before": _changing(before), "after": _changing(after)})
    return after


def _changing(info: RunInfo) -> dict[str, object]:
    return {"name": info.name, "status": info.status.name, "end_ms": info.end_ms}


def delete_run(tx: Tx, caller: Caller, run_id: str) -> None:
    """Mark the run deleted."""
    found = find(tx, caller, run_id, Role.EDITOR)
    tx.run(_set_active, {"key": found.info.row, "new_active": 0, "new_deleted": tx.now_ms()})
    _emit(tx, caller, found, "deleted", {"name": found.info.name})


def restore(tx: Tx, caller: Caller, run_id: str) -> None:
    """Bring a deleted run back."""
    found = find(tx, caller, run_id, Role.EDITOR)
    tx.run(_set_active, {"key": found.info.row, "new_active": 1, "new_deleted": None})
    _emit(tx, caller, found, "restored", {"name": found.info.name})


# --- what runs log ----------------------------------------------------------------------------------------------


def log_metric(tx: Tx, caller: Caller, run_id: str, metric: Metric) -> None:
    """Append one point. A point logged before is not stored again."""
    validation.check_metric(metric)
    found = find_active(tx, caller, run_id)
    _log_metrics(tx, found, [metric])


def _log_metrics(tx: Tx, found: OpenRun, metrics: Sequence[Metric]) -> None:
    if metrics:
        info = found.info
        waiting.log(tx, Place(info.experiment_id, info.row), found.waiting, found.arrived, metrics)
        append_to_models(tx, info, metrics)
        tx.topics.update((f"run/{info.run_id}", f"experiment/{info.experiment_id}"))


def log_param(tx: Tx, caller: Caller, run_id: str, param: Param) -> None:
    """Set a parameter for good. Raises Invalid when it has another value already."""
    validation.check_param(param)
    found = find_active(tx, caller, run_id)
    row = tx.one(_param, {"run": found.info.row, "key": param.key})
    if row is not None:
        if row[0] == param.value:
            return
        raise Invalid(
            f"Changing param values is not allowed. Param with key='{param.key}' was already logged with"
            f" value='{row[0]}' for run ID='{run_id}'. Attempted logging new value '{param.value}'.",
            path="value",
        )
    tx.run(_insert_param, {"run": found.info.row, "key": param.key, "value": param.value})
    _emit(tx, caller, found, "params_logged", {"params": {param.key: param.value}})


def set_tags(tx: Tx, caller: Caller, run_id: str, new_tags: Sequence[Tag]) -> None:
    """Set tags; of a repeated key the last one counts. The tag mlflow.runName renames the run."""
    for index, tag in enumerate(new_tags):
        validation.check_tag(tag, f"tags[{index}]" if len(new_tags) > 1 else "")
    _set_tags(tx, caller, find_active(tx, caller, run_id), new_tags)


def _set_tags(tx: Tx, caller: Caller, found: OpenRun, new_tags: Sequence[Tag]) -> None:
    if not new_tags:
        return
    row = found.info.row
    after = {tag.key: tag.value for tag in new_tags}
    before: dict[str, str | None] = {}
    for key in after:
        old = tx.one(_tag, {"run": row, "key": key})
        before[key] = old[0] if old else None
    tx.many(_set_tag, [{"run": row, "key": key, "value": value} for key, value in after.items()])
    if after.get(RUN_NAME_TAG):
        info = found.info
        values = {"key": row, "new_name": after[RUN_NAME_TAG], "new_status": info.status.value, "new_end": info.end_ms}
        tx.run(_update, values)
    _emit(tx, caller, found, "tags_set", {"before": before, "after": after})


def delete_tag(tx: Tx, caller: Caller, run_id: str, key: str) -> None:
    """Remove a tag. Raises NotFound when the run has none of that key."""
    found = find_active(tx, caller, run_id)
    old = tx.one(_tag, {"run": found.info.row, "key": key})
    if old is None:
        raise NotFound(f"No tag with name: {key} in run with id {run_id}", path="key")
    tx.run(_delete_tag, {"run": found.info.row, "key": key})
    _emit(tx, caller, found, "tag_deleted", {"before": {key: old[0]}})


def log_batch(
    tx: Tx,
    caller: Caller,
    run_id: str,
    metrics: Sequence[Metric],
    new_params: Sequence[Param],
    new_tags: Sequence[Tag],
) -> None:
    """Log metrics, parameters and tags together: all of them or, on any error, none."""
    validation.check_batch(metrics, new_params, new_tags)
    found = find_active(tx, caller, run_id)
    _log_params(tx, caller, found, new_params)
    _log_metrics(tx, found, metrics)
    _set_tags(tx, caller, found, new_tags)


def _log_params(tx: Tx, caller: Caller, found: OpenRun, new_params: Sequence[Param]) -> None:
    row = found.info.row
    added: dict[str, str] = {}
    changed: list[dict[str, str]] = []
    for param in new_params:
        old = tx.one(_param, {"run": row, "key": param.key})
        if old is None:
            added[param.key] = param.value
        elif old[0] != param.value:
            changed.append({"key": param.key, "old_value": old[0], "new_value": param.value})
    if changed:
        raise Invalid(
            f"Changing param values is not allowed. Params were already logged='{changed}' for run"
            f" ID='{found.info.run_id}'.",
            path="params",
        )
    if added:
        tx.many(_insert_param, [{"run": row, "key": key, "value": value} for key, value in added.items()])
        _emit(tx, caller, found, "params_logged", {"params": added})


def record_model(tx: Tx, caller: Caller, run_id: str, model_json: str) -> None:
    """Append a model's description to the tag mlflow.log-model.history, as clients before MLflow 3 expect."""
    found = find_active(tx, caller, run_id)
    try:
        model = msgspec.json.decode(model_json, type=dict[str, object])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise Invalid(f"Malformed model info. \n {model_json[:500]}. {error}", path="model_json") from error
    missing = sorted({"artifact_path", "flavors", "utc_time_created", "run_id"} - model.keys())
    if missing:
        raise Invalid(f"Model json is missing mandatory fields: {missing}", path="model_json")
    old = tx.one(_tag, {"run": found.info.row, "key": MODEL_HISTORY_TAG})
    history = msgspec.json.decode(old[0], type=list[object]) if old else []
    value = msgspec.json.encode([*history, model]).decode()
    tx.run(_set_tag, {"run": found.info.row, "key": MODEL_HISTORY_TAG, "value": value})
    _emit(tx, caller, found, "model_recorded", {"artifact_path": model["artifact_path"]})


# --- reading ----------------------------------------------------------------------------------------------------


def load(tx: Tx, infos: Sequence[RunInfo]) -> list[Run]:
    """The runs with everything they logged, in the given order, with one statement per kind of thing."""
    if not infos:
        return []
    rows = {"rows": msgspec.json.encode([info.row for info in infos]).decode()}
    waiting.settle(tx, runs={info.row for info in infos}, newest=True)
    found_metrics = _load_metrics(tx, rows)
    found_params = _load_pairs(tx, _params_of, rows, Param)
    found_tags = _load_pairs(tx, _tags_of, rows, Tag)
    inputs = _load_dataset_inputs(tx, rows)
    models_in, models_out = _load_models(tx, rows)
    return [
        Run(
            info,
            found_metrics[info.row],
            found_params[info.row],
            found_tags[info.row],
            inputs[info.row],
            models_in[info.row],
            models_out[info.row],
        )
        for info in infos
    ]


def _load_metrics(tx: Tx, rows: Mapping[str, str]) -> dict[int, list[Metric]]:
    found: dict[int, list[Metric]] = defaultdict(list)
    nan = float("nan")
    for row, key, value, timestamp, step in tx.all(_metrics_of, rows):
        found[row].append(Metric(key, nan if value is None else value, timestamp, step))
    return _sorted(found, _key)


def _load_pairs(tx: Tx, query: Query, rows: Mapping[str, str], kind: type[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    for row, key, value in tx.all(query, rows):
        found[row].append(kind(key, value))
    return _sorted(found, _key)


def _load_dataset_inputs(tx: Tx, rows: Mapping[str, str]) -> dict[int, list[DatasetInput]]:
    found: dict[int, list[DatasetInput]] = defaultdict(list)
    for row, input_tags, *content in tx.all(_inputs_of, rows):
        found[row].append(DatasetInput(Dataset(*content), msgspec.json.decode(input_tags, type=list[Tag])))
    return found


def _load_models(tx: Tx, rows: Mapping[str, str]) -> tuple[dict[int, list[str]], dict[int, list[ModelOutput]]]:
    inputs: dict[int, list[str]] = defaultdict(list)
    outputs: dict[int, list[ModelOutput]] = defaultdict(list)
    for row, direction, model_id, step in tx.all(_models_of, rows):
        if direction == "input":
            inputs[row].append(model_id)
        else:
            outputs[row].append(ModelOutput(model_id, step))
    return _sorted(inputs, str), _sorted(outputs, lambda each: each.model_id)


def _sorted(found: dict[int, list[T]], key: Callable[[T], Any]) -> dict[int, list[T]]:
    for each in found.values():
        each.sort(key=key)
    return found


def _emit(tx: Tx, caller: Caller, found: OpenRun, what: str, data: Mapping[str, object]) -> None:
    subject = f"run/{found.info.run_id}"
    tx.topics.update((subject, f"experiment/{found.info.experiment_id}"))
    tx.emit(Draft(caller.name, found.project, f"tracking.run.{what}", subject, data))
