"""MLflow's own search, for the differential test: JSON lines in, JSON lines out. Runs in a peer's interpreter.

python search_peer.py FOLDER
{"load": {...}} fills a new store; {"search": "runs", ...} answers {"ids": [...]}, {"error": text} or {"crash": text}.
"""

# Only what the peer's interpreter has may be imported here.
import contextlib
import json
import math
import sys
from typing import Any

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels import models as rows
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.search_utils import SearchModelUtils, SearchModelVersionUtils

STATUSES = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}
VIEWS = {1: ViewType.ACTIVE_ONLY, 2: ViewType.DELETED_ONLY, 3: ViewType.ALL}


def stage(active: int) -> str:
    return "active" if active else "deleted"


def run_rows(fact: dict[str, Any], known: dict[Any, str]) -> list[Any]:
    """The rows of one run, as MLflow's models."""
    run = fact["run_id"]
    found: list[Any] = [
        rows.SqlRun(
            run_uuid=run, name=fact["name"], source_type="LOCAL", user_id=fact["user"],
            status=STATUSES[fact["status"]], start_time=fact["start_ms"], end_time=fact["end_ms"],
            lifecycle_stage=stage(fact["active"]), artifact_uri=fact["artifact_uri"],
            experiment_id=fact["experiment"],
        )
    ]  # fmt: skip
    for key, value in fact["metrics"].items():
        number = {"value": 0.0 if math.isnan(value) else value, "is_nan": math.isnan(value)}
        found.append(rows.SqlLatestMetric(run_uuid=run, key=key, timestamp=1, step=0, **number))
    found += [rows.SqlParam(run_uuid=run, key=key, value=value) for key, value in fact["params"].items()]
    tags = fact["tags"] | {"mlflow.runName": fact["name"]}
    found += [rows.SqlTag(run_uuid=run, key=key, value=value) for key, value in tags.items()]
    for name, digest, context in fact["datasets"]:
        identity = (fact["experiment"], name, digest)
        if identity not in known:
            known[identity] = f"dataset{len(known)}"
            found.append(
                rows.SqlDataset(
                    dataset_uuid=known[identity], experiment_id=fact["experiment"], name=name, digest=digest,
                    dataset_source_type="local", dataset_source="x",
                )
            )  # fmt: skip
        uuid = f"{run}-{known[identity]}"
        found.append(
            rows.SqlInput(
                input_uuid=uuid, source_type="DATASET", source_id=known[identity], destination_type="RUN",
                destination_id=run,
            )
        )  # fmt: skip
        if context is not None:
            found.append(rows.SqlInputTag(input_uuid=uuid, name="mlflow.data.context", value=context))
    return found


def model_rows(model: dict[str, Any]) -> list[Any]:
    """The rows of one logged model, as MLflow's models."""
    own = {"model_id": model["model_id"], "experiment_id": model["experiment_id"]}
    found: list[Any] = [
        rows.SqlLoggedModel(
            **own, name=model["name"], artifact_location=model["artifact_uri"],
            creation_timestamp_ms=model["created_ms"], last_updated_timestamp_ms=model["updated_ms"],
            status=model["status"], lifecycle_stage=stage(model["active"]), model_type=model["model_type"],
            source_run_id=model["source_run_id"],
        )
    ]  # fmt: skip
    found += [
        rows.SqlLoggedModelParam(**own, param_key=key, param_value=value) for key, value in model["params"].items()
    ]
    found += [rows.SqlLoggedModelTag(**own, tag_key=key, tag_value=value) for key, value in model["tags"].items()]
    for metric in model["metrics"]:
        found.append(
            rows.SqlLoggedModelMetric(
                **own, metric_name=metric["key"], metric_timestamp_ms=metric["timestamp_ms"],
                metric_step=metric["step"], metric_value=metric["value"], run_id=metric["run_id"],
                dataset_name=metric["dataset_name"], dataset_digest=metric["dataset_digest"],
            )
        )  # fmt: skip
    return found


def load(store: SqlAlchemyStore, world: dict[str, Any]) -> dict[str, Any]:
    """Fill the store: experiments, runs with all that belongs to them, logged models."""
    known: dict[Any, str] = {}
    with store.ManagedSessionMaker(read_only=False) as session:
        for each in world["experiments"]:
            number = each["id"]
            session.add(
                rows.SqlExperiment(
                    experiment_id=number, name=each["name"], artifact_location="x",
                    lifecycle_stage=stage(each["active"]), creation_time=each["created_ms"],
                    last_update_time=each["updated_ms"],
                )
            )  # fmt: skip
            for key, value in each["tags"].items():
                session.add(rows.SqlExperimentTag(experiment_id=number, key=key, value=value))
        session.flush()
        for batch in (run_rows(fact, known) for fact in world["runs"]):
            session.add_all(batch)
            session.flush()
        for batch in (model_rows(model) for model in world["models"]):
            session.add_all(batch)
            session.flush()
    return {"ids": []}


def search(store: SqlAlchemyStore, ask: dict[str, Any]) -> dict[str, Any]:
    kind, text = ask["search"], ask["filter"]
    if kind == "runs":
        experiments = [str(number) for number in ask["experiments"]]
        found = store.search_runs(experiments, text, VIEWS[ask["view"]], 1000, ask["order_by"])
        return {"ids": [run.info.run_id for run in found]}
    if kind == "experiments":
        found = store.search_experiments(VIEWS[ask["view"]], 1000, text, ask["order_by"])
        return {"ids": [int(each.experiment_id) for each in found]}
    if kind == "models":
        experiments = [str(number) for number in ask["experiments"]]
        found = store.search_logged_models(experiments, text, ask["datasets"] or None, 1000, ask["order_by"] or None)
        return {"ids": [each.model_id for each in found]}
    parser = {"registered models": SearchModelUtils, "model versions": SearchModelVersionUtils}[kind]
    return {
        "ids": [
            [each["type"], each["key"], each["comparator"], each["value"]] for each in parser.parse_search_filter(text)
        ]
    }


def answer(store: SqlAlchemyStore, ask: dict[str, Any]) -> dict[str, Any]:
    try:
        return load(store, ask["load"]) if "load" in ask else search(store, ask)
    except MlflowException as error:
        return {"error": error.message}
    except Exception as error:  # what MLflow does not foresee is an answer too: it refuses with a server error
        return {"crash": repr(error)}


def main() -> None:
    folder = sys.argv[1]
    with contextlib.redirect_stdout(sys.stderr):
        store = SqlAlchemyStore(f"sqlite:///{folder}/peer.db", folder)
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            found = answer(store, json.loads(line))
        print(json.dumps(found), flush=True)


main()
