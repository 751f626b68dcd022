"""Moving in whole experiments, runs and models that were made elsewhere, with their ids and times.

Every verb says what it changed and changes nothing the second time: what is missing is added, what differs is brought
to the source's state, and what people added here stays. One event per run or model that changed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, insert, select, update

from mlwright.kernel.errors import Conflict, Invalid
from mlwright.kernel.events import Draft
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.query import Query
from mlwright.kernel.transaction import Tx
from mlwright.kernel.upsert import upsert
from mlwright.tracking.names import random_name
from mlwright.tracking.ports import MovedExperiment, MovedRun
from mlwright.tracking.service import experiments as experiment_service
from mlwright.tracking.service import histories
from mlwright.tracking.service import runs as run_service
from mlwright.tracking.service.experiments import DEFAULT_EXPERIMENT
from mlwright.tracking.service.locations import elsewhere
from mlwright.tracking.service.runs import RUN_NAME_TAG
from mlwright.tracking.spec import DatasetInput, Experiment, Param, Run, RunInfo, Tag, ViewType
from mlwright.tracking.tables import dataset_inputs, datasets, experiments, params, run_models, runs, tags

_CONTEXT_TAG = "mlflow.data.context"
_INT64 = 2**63

_set_times = Query(
    update(experiments)
    .where(experiments.c.id == bindparam("key"))
    .values(created_ms=bindparam("new_created"), updated_ms=bindparam("new_updated"), active=bindparam("new_active"))
)
_insert_run = Query(
    insert(runs)
    .values({column.name: bindparam(column.name) for column in runs.c if column.name != "id"})
    .returning(runs.c.id)
)
_update_run = Query(
    update(runs)
    .where(runs.c.id == bindparam("key"))
    .values({name: bindparam(f"new_{name}") for name in ("name", "user_id", "status", "start_ms", "end_ms", "active")})
)


def _upsert(table: Any, keys: Sequence[str]) -> Query:
    statement = upsert(table).values({column.name: bindparam(column.name) for column in table.c})
    rest = [column.name for column in table.c if column.name not in keys]
    return Query(
        statement.on_conflict_do_update(
            index_elements=list(keys), set_={name: statement.excluded[name] for name in rest}
        )
    )


_put_param = _upsert(params, ["run", "key"])
_put_tag = _upsert(tags, ["run", "key"])
_put_input = _upsert(dataset_inputs, ["run", "dataset"])
_put_model = _upsert(run_models, ["run", "direction", "model_id"])
_dataset_id = Query(
    select(datasets.c.id).where(
        datasets.c.experiment_id == bindparam("experiment_id"),
        datasets.c.name == bindparam("name"),
        datasets.c.digest == bindparam("digest"),
    )
)
_insert_dataset = Query(
    insert(datasets)
    .values({column.name: bindparam(column.name) for column in datasets.c if column.name != "id"})
    .returning(datasets.c.id)
)


class ImportedExperiment(msgspec.Struct, frozen=True):
    """Where an experiment is now. `experiment_id` is None when it would be created (dry run)."""

    source_id: str
    name: str
    experiment_id: int | None
    changed: bool


class ImportedRun(msgspec.Struct, frozen=True):
    """What moving in a run changed: `created`, or which parts of it; nothing when it was here already."""

    run_id: str
    created: bool
    changed: list[str]


class RunState(msgspec.Struct, frozen=True):
    """What is stored of a run, as counts and as one digest of everything in it but its files.

    Attributes:
        series: points and digest of each metric history.
    """

    run_id: str
    params: int
    tags: int
    datasets: int
    models: int
    points: int
    series: dict[str, tuple[int, str]]
    content: str


def import_experiment(
    tx: Tx, caller: Caller, project: str, moved: MovedExperiment, prefix: str = "", *, dry: bool = False
) -> ImportedExperiment:
    """The experiment that stands for `moved` here, created when there is none.

    An experiment of the same name and time of creation is the one moved in before; "Default" is the same everywhere.
    Raises Conflict when another experiment has the name.
    """
    name = prefix + moved.name
    found = experiment_service.get_by_name(tx, caller, name, project)
    if found is None:
        if dry:
            return ImportedExperiment(moved.source_id, name, None, changed=True)
        number = experiment_service.create(tx, caller, name, tags=moved.tags, project=project)
        times = {"new_created": _time(moved.created_ms), "new_updated": _time(moved.updated_ms)}
        tx.run(_set_times, {"key": number, "new_active": int(moved.active), **times})
        return ImportedExperiment(moved.source_id, name, number, changed=True)
    is_default = found.experiment_id == DEFAULT_EXPERIMENT and moved.source_id == str(DEFAULT_EXPERIMENT)
    if found.created_ms != moved.created_ms and not is_default:
        raise Conflict(
            f"project {found.project!r} has another experiment called {name!r}",
            path="name",
            hint="move it in under another name with --prefix, or rename the one that is there",
        )
    changed = _sync_experiment(tx, caller, found, moved, is_default=is_default, dry=dry)
    return ImportedExperiment(moved.source_id, name, found.experiment_id, changed)


def _sync_experiment(
    tx: Tx, caller: Caller, found: Experiment, moved: MovedExperiment, *, is_default: bool, dry: bool
) -> bool:
    caller.require(found.project, Role.EDITOR)
    known = {tag.key: tag.value for tag in found.tags}
    missing = [tag for tag in moved.tags if known.get(tag.key) != tag.value]
    moved_on = moved.active != found.active and not is_default
    if dry or not (missing or moved_on):
        return bool(missing or moved_on)
    if not found.active and (missing or moved_on):
        experiment_service.restore(tx, caller, found.experiment_id)
    for tag in missing:
        experiment_service.set_tag(tx, caller, found.experiment_id, tag)
    if not moved.active:
        experiment_service.delete_experiment(tx, caller, found.experiment_id)
    return True


def _time(value: int) -> int:
    if not 0 <= value < _INT64:
        raise Invalid(f"{value} is not a time in milliseconds", path="created_ms")
    return value


# --- runs -------------------------------------------------------------------------------------------------------


def import_runs(
    tx: Tx, caller: Caller, experiment_id: int, moved: Sequence[MovedRun], *, source: str = "", dry: bool = False
) -> list[ImportedRun]:
    """Move runs into an experiment, without their histories. Runs that are there already are compared and completed.

    Raises Conflict when a run id is taken by a run of another experiment.
    """
    experiment = experiment_service.get(tx, caller, experiment_id)
    caller.require(experiment.project, Role.EDITOR)
    known = _existing(tx, [each.run_id for each in moved])
    return [
        _import_run(tx, caller, experiment, each, known.get(each.run_id), source, dry=dry)
        for each in {each.run_id: each for each in moved}.values()
    ]


def _existing(tx: Tx, run_ids: Sequence[str]) -> dict[str, Run]:
    rows = tx.select(select(*runs.c).where(runs.c.run_id.in_(run_ids)))
    return {run.info.run_id: run for run in run_service.load(tx, [run_service.info_from_row(row) for row in rows])}


def _import_run(
    tx: Tx, caller: Caller, experiment: Experiment, moved: MovedRun, known: Run | None, source: str, *, dry: bool
) -> ImportedRun:
    _check(moved)
    moved = _named(moved)
    if known is not None and known.info.experiment_id != experiment.experiment_id:
        raise Conflict(
            f"run {moved.run_id} is already here, in experiment {known.info.experiment_id}",
            path="run_id",
            hint="move the same source into the same project, without another --prefix",
        )
    changed = _changes(moved, known)
    if dry or not changed:
        return ImportedRun(moved.run_id, known is None, changed)
    if known is None:
        number = _create(tx, experiment, moved)
    else:
        number = known.info.row
        tx.run(_update_run, {"key": number, **{f"new_{name}": value for name, value in _info(moved).items()}})
    _write(tx, experiment.experiment_id, number, moved, changed)
    subject = f"run/{moved.run_id}"
    tx.topics.update((subject, f"experiment/{experiment.experiment_id}"))
    data = {"experiment": experiment.experiment_id, "name": moved.name, "source": source, "changed": changed}
    tx.emit(Draft(caller.name, experiment.project, "tracking.run.imported", subject, data))
    return ImportedRun(moved.run_id, known is None, changed)


def _check(moved: MovedRun) -> None:
    if len(moved.run_id) != 32 or set(moved.run_id) - set("0123456789abcdef"):
        raise Invalid(f"{moved.run_id!r} is not a run id: it has 32 hexadecimal digits", path="run_id")
    steps = [output.step for output in moved.model_outputs]
    if any(not -_INT64 <= number < _INT64 for number in (moved.start_ms, moved.end_ms or 0, *steps)):
        raise Invalid("A number is beyond 64 bits", path="start_ms")


def _named(moved: MovedRun) -> MovedRun:
    """A run always has a name, and it is also its tag."""
    tagged = {tag.key: tag.value for tag in moved.tags}
    name = moved.name or tagged.get(RUN_NAME_TAG) or random_name(moved.run_id)
    others = [tag for tag in moved.tags if tag.key != RUN_NAME_TAG]
    return msgspec.structs.replace(moved, name=name, tags=[*others, Tag(RUN_NAME_TAG, name)])


def _info(moved: MovedRun) -> dict[str, Any]:
    return {
        "name": moved.name,
        "user_id": moved.user_id,
        "status": moved.status.value,
        "start_ms": moved.start_ms,
        "end_ms": moved.end_ms,
        "active": int(moved.active),
    }


def _stored_info(info: RunInfo) -> dict[str, Any]:
    found = {name: getattr(info, name) for name in ("name", "user_id", "start_ms", "end_ms")}
    return {**found, "status": info.status.value, "active": int(info.active)}


def _changes(moved: MovedRun, known: Run | None) -> list[str]:
    """The parts of a run that the source has and that are missing or different here."""
    if known is None:
        return ["info", "params", "tags", "inputs", "models"]
    links = _model_keys(known.model_inputs, known.model_outputs)
    missing = {
        "info": _info(moved).items() - _stored_info(known.info).items(),
        "params": _pairs(moved.params) - _pairs(known.params),
        "tags": _pairs(moved.tags) - _pairs(known.tags),
        "inputs": _input_keys(moved.inputs) - _input_keys(known.dataset_inputs),
        "models": _model_keys(moved.model_inputs, moved.model_outputs) - links,
    }
    return [part for part, rest in missing.items() if rest]


def _pairs(items: Sequence[Param] | Sequence[Tag]) -> set[tuple[str, str]]:
    return {(each.key, each.value) for each in items}


def _input_keys(inputs: Sequence[DatasetInput]) -> set[bytes]:
    return {msgspec.json.encode([each.dataset, sorted((tag.key, tag.value) for tag in each.tags)]) for each in inputs}


def _model_keys(inputs: Sequence[str], outputs: Sequence[Any]) -> set[tuple[str, str, int]]:
    return {("input", each, 0) for each in inputs} | {("output", each.model_id, each.step) for each in outputs}


def _create(tx: Tx, experiment: Experiment, moved: MovedRun) -> int:
    own = f"{experiment.artifact_location.rstrip('/')}/{moved.run_id}/artifacts"
    uri = moved.artifact_uri if elsewhere(moved.artifact_uri) else own
    values = {
        "run_id": moved.run_id,
        "experiment_id": experiment.experiment_id,
        "deleted_ms": None if moved.active else tx.now_ms(),
        "artifact_uri": uri,
    }
    row = tx.one(_insert_run, {**values, **_info(moved)})
    return int(row[0]) if row else 0


def _write(tx: Tx, experiment_id: int, number: int, moved: MovedRun, changed: Sequence[str]) -> None:
    if "params" in changed:
        tx.many(_put_param, [{"run": number, "key": each.key, "value": each.value} for each in moved.params])
    if "tags" in changed:
        tx.many(_put_tag, [{"run": number, "key": each.key, "value": each.value} for each in moved.tags])
    if "inputs" in changed:
        for each in moved.inputs:
            _write_input(tx, experiment_id, number, each)
    if "models" in changed:
        keys = sorted(_model_keys(moved.model_inputs, moved.model_outputs))
        rows = [
            {"run": number, "direction": direction, "model_id": model_id, "step": step}
            for direction, model_id, step in keys
        ]
        tx.many(_put_model, rows)


def _write_input(tx: Tx, experiment_id: int, number: int, each: DatasetInput) -> None:
    dataset = each.dataset
    place = {"experiment_id": experiment_id, "name": dataset.name, "digest": dataset.digest}
    content = {name: getattr(dataset, name) for name in ("source_type", "source", "schema", "profile")}
    row = tx.one(_dataset_id, place) or tx.one(_insert_dataset, {**place, **content})
    context = next((tag.value for tag in each.tags if tag.key == _CONTEXT_TAG), None)
    tx.run(
        _put_input,
        {
            "run": number,
            "dataset": int(row[0]) if row else 0,
            "context": context,
            "tags": msgspec.json.encode(each.tags).decode(),
        },
    )


def import_series(tx: Tx, caller: Caller, series: Sequence[tuple[str, str, bytes]], *, dry: bool = False) -> list[int]:
    """Merge histories (run id, key, packed points) into runs, deleted ones too. Returns how many points each added."""
    added = []
    for run_id, key, data in series:
        found = run_service.find(tx, caller, run_id, Role.EDITOR)
        if not key:
            raise Invalid("A metric needs a key", path="key")
        added.append(histories.merge(tx, found.info, key, data, dry=dry))
        if added[-1] and not dry:
            tx.topics.update((f"run/{run_id}", f"experiment/{found.info.experiment_id}"))
    return added


def states(tx: Tx, caller: Caller, run_ids: Sequence[str]) -> list[RunState]:
    """What is stored of those of the runs that are here and that the caller may see."""
    projects = {each.experiment_id: each.project for each in experiment_service.list_all(tx, caller, ViewType.ALL)}
    found = [run for run in _existing(tx, run_ids).values() if run.info.experiment_id in projects]
    stored = histories.states(tx, [run.info.row for run in found]) if found else {}
    return [_state(run, stored[run.info.row]) for run in found]


def _state(run: Run, series: Mapping[str, histories.HistoryState]) -> RunState:
    moved = MovedRun(
        run.info.run_id,
        run.info.name,
        run.info.user_id,
        run.info.status,
        run.info.start_ms,
        run.info.end_ms,
        run.info.active,
        "",
        run.params,
        run.tags,
        run.dataset_inputs,
        run.model_inputs,
        run.model_outputs,
    )
    return state_of(moved, {key: (state.points, state.digest) for key, state in series.items()})


def state_of(moved: MovedRun, series: dict[str, tuple[int, str]]) -> RunState:
    """The state a run has once it is moved in whole: what both sides compare."""
    moved = _named(moved)
    content = [
        sorted(_info(moved).items()),
        sorted(_pairs(moved.params)),
        sorted(_pairs(moved.tags)),
        sorted(_input_keys(moved.inputs)),
        sorted(_model_keys(moved.model_inputs, moved.model_outputs)),
    ]
    return RunState(
        moved.run_id,
        len(moved.params),
        len(moved.tags),
        len(moved.inputs),
        len(moved.model_inputs) + len(moved.model_outputs),
        sum(points for points, _ in series.values()),
        series,
        _hash(content),
    )


def _hash(content: object) -> str:
    return hashlib.sha256(msgspec.json.encode(content)).hexdigest()
