"""What tracking knows of lineage: datasets that runs read, models that they logged and used."""

from collections.abc import Mapping

from sqlalchemy import bindparam, literal_column, select

from mlwright.kernel.errors import NotFound
from mlwright.kernel.identity import Caller, Role
from mlwright.kernel.lineage import Hop, LineageNode, NodeKind
from mlwright.kernel.query import Query, among, among_texts
from mlwright.kernel.transaction import Tx
from mlwright.tracking.service import models as model_service
from mlwright.tracking.service import runs as run_service
from mlwright.tracking.spec import REPRODUCES_TAG, RunStatus
from mlwright.tracking.tables import dataset_inputs, datasets, experiments, logged_models, run_models, runs, tags

_owned_datasets = datasets.join(experiments, experiments.c.id == datasets.c.experiment_id)
_owned_runs = runs.join(experiments, experiments.c.id == runs.c.experiment_id)
_owned_models = logged_models.join(experiments, experiments.c.id == logged_models.c.experiment_id)
_dataset_columns = (datasets.c.id, datasets.c.name, datasets.c.digest, datasets.c.source, experiments.c.project)
_datasets_named = Query(
    select(*_dataset_columns).select_from(_owned_datasets).where(datasets.c.name == bindparam("name"))
)
_datasets_of = Query(select(*_dataset_columns).select_from(_owned_datasets).where(among(datasets.c.id, "wanted")))
_runs_of = Query(
    select(
        *(runs.c[name] for name in ("run_id", "name", "status", "start_ms", "end_ms", "active")),
        *(experiments.c[name] for name in ("id", "name", "project")),
    )
    .select_from(_owned_runs)
    .where(among_texts(runs.c.run_id, "wanted"))
)
_models_of = Query(
    select(
        *(logged_models.c[name] for name in ("model_id", "name", "model_type", "created_ms", "active")),
        experiments.c.project,
    )
    .select_from(_owned_models)
    .where(among_texts(logged_models.c.model_id, "wanted"))
)
_read = (
    select(datasets.c.id, runs.c.run_id)
    .join(dataset_inputs, dataset_inputs.c.dataset == datasets.c.id)
    .join(runs, runs.c.id == dataset_inputs.c.run)
)
_logged = select(logged_models.c.source_run_id, logged_models.c.model_id)
_handled = select(runs.c.run_id, run_models.c.model_id).join(run_models, run_models.c.run == runs.c.id)
_output = _handled.where(run_models.c.direction == "output")
_used = select(run_models.c.model_id, runs.c.run_id).join(runs, runs.c.id == run_models.c.run)
_input = _used.where(run_models.c.direction == "input")
# Spelled as the condition of the index, so that it is used.
_is_repeat = tags.c.key == literal_column(f"'{REPRODUCES_TAG}'")
_repeats = select(tags.c.value, runs.c.run_id).join(runs, runs.c.id == tags.c.run).where(_is_repeat)
_of_datasets, _of_runs = among(datasets.c.id, "wanted"), among_texts(runs.c.run_id, "wanted")
_of_models = among_texts(run_models.c.model_id, "wanted")


HOPS = (
    Hop.between(
        "dataset",
        "run",
        "read",
        _read.where(_of_datasets),
        _read.with_only_columns(runs.c.run_id, datasets.c.id).where(_of_runs),
    ),
    Hop.between(
        "run",
        "model",
        "logged",
        _logged.where(among_texts(logged_models.c.source_run_id, "wanted")),
        _logged.with_only_columns(logged_models.c.model_id, logged_models.c.source_run_id).where(
            among_texts(logged_models.c.model_id, "wanted"), logged_models.c.source_run_id.is_not(None)
        ),
    ),
    Hop.between(
        "run",
        "model",
        "logged",
        _output.where(_of_runs),
        _output.with_only_columns(run_models.c.model_id, runs.c.run_id).where(_of_models),
    ),
    Hop.between(
        "model",
        "run",
        "used",
        _input.where(_of_models),
        _input.with_only_columns(runs.c.run_id, run_models.c.model_id).where(_of_runs),
    ),
    Hop.between(
        "run",
        "run",
        "reproduced",
        _repeats.where(among_texts(tags.c.value, "wanted")),
        _repeats.with_only_columns(runs.c.run_id, tags.c.value).where(_of_runs),
    ),
)


def _find_datasets(tx: Tx, caller: Caller, text: str) -> list[int]:
    """Rows of the dataset NAME@DIGEST, or of all that are called NAME: each experiment has rows of its own."""
    name, _, digest = text.rpartition("@")
    for wanted, only in ((text, ""), (name, digest)):
        rows = [row for row in tx.all(_datasets_named, {"name": wanted}) if caller.may(row[4], Role.VIEWER)]
        found = [row[0] for row in rows if not only or row[2] == only]
        if found:
            return found
    raise NotFound(f"There is no dataset {text!r}", path="subject", hint="name it NAME or NAME@DIGEST")


def _find_run(tx: Tx, caller: Caller, text: str) -> list[str]:
    return [run_service.find(tx, caller, text).info.run_id]


def _find_model(tx: Tx, caller: Caller, text: str) -> list[str]:
    return [model_service.get(tx, caller, text, deleted=True).model_id]


def _describe_datasets(tx: Tx, wanted: str) -> Mapping[int, LineageNode]:
    return {
        row: LineageNode(f"dataset/{name}@{digest}", "dataset", name, project, {"digest": digest, "source": source})
        for row, name, digest, source, project in tx.all(_datasets_of, {"wanted": wanted})
    }


def _describe_runs(tx: Tx, wanted: str) -> Mapping[str, LineageNode]:
    found = {}
    for run_id, name, status, start, end, active, number, experiment, project in tx.all(_runs_of, {"wanted": wanted}):
        facts = {"status": RunStatus(status).name, "experiment": experiment, "experimentId": str(number)}
        facts |= {"startMs": start, "endMs": end, "deleted": None if active else True}
        found[run_id] = LineageNode(f"run/{run_id}", "run", name, project, _known(facts))
    return found


def _describe_models(tx: Tx, wanted: str) -> Mapping[str, LineageNode]:
    found = {}
    for model_id, name, kind, created_ms, active, project in tx.all(_models_of, {"wanted": wanted}):
        facts = {"type": kind, "createdMs": created_ms, "deleted": None if active else True}
        found[model_id] = LineageNode(f"model/{model_id}", "model", name, project, _known(facts))
    return found


def _known(facts: Mapping[str, object]) -> dict[str, object]:
    return {name: fact for name, fact in facts.items() if fact is not None}


KINDS = (
    NodeKind(
        "dataset",
        _find_datasets,
        Query(select(datasets.c.id, experiments.c.project).select_from(_owned_datasets).where(_of_datasets)),
        _describe_datasets,
    ),
    NodeKind(
        "run",
        _find_run,
        Query(select(runs.c.run_id, experiments.c.project).select_from(_owned_runs).where(_of_runs)),
        _describe_runs,
    ),
    NodeKind(
        "model",
        _find_model,
        Query(
            select(logged_models.c.model_id, experiments.c.project)
            .select_from(_owned_models)
            .where(among_texts(logged_models.c.model_id, "wanted"))
        ),
        _describe_models,
    ),
)
