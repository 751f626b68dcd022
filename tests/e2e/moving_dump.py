"""Prints all that MLflow's client sees on each server, as JSON without what may differ between two servers.

Run by a peer's interpreter, never imported by ours: python moving_dump.py TRACKING_URI...
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import ViewType

V3 = int(mlflow.__version__.split(".")[0]) >= 3


def pairs(metrics: Iterable[Any]) -> list[list[Any]]:
    return [[m.key, repr(m.value), m.timestamp, m.step] for m in metrics]


def files(client: MlflowClient, run_id: str) -> dict[str, str]:
    if not client.list_artifacts(run_id):
        return {}  # the client cannot download nothing
    with tempfile.TemporaryDirectory() as folder:
        mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=folder)
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def described(client: MlflowClient, run_id: str) -> dict[str, Any]:
    run = client.get_run(run_id)  # a search leaves out which models it read
    found = {
        "name": run.info.run_name,
        "status": run.info.status,
        "user": run.info.user_id,
        "times": [run.info.start_time, run.info.end_time],
        "stage": run.info.lifecycle_stage,
        "params": run.data.params,
        "tags": run.data.tags,
        "latest": {key: repr(value) for key, value in run.data.metrics.items()},
        "inputs": [
            [each.dataset.to_dictionary(), sorted((t.key, t.value) for t in each.tags)]
            for each in run.inputs.dataset_inputs
        ],
        "histories": {key: pairs(client.get_metric_history(run.info.run_id, key)) for key in sorted(run.data.metrics)},
        "files": files(client, run.info.run_id),
    }
    if V3:
        found["models"] = [
            sorted(m.model_id for m in run.inputs.model_inputs or ()),
            sorted((m.model_id, m.step) for m in run.outputs.model_outputs or ()),
        ]
    return found


def models(client: MlflowClient, experiment_id: str) -> dict[str, Any]:
    if not V3:
        return {}
    return {
        model.model_id: {
            "name": model.name, "status": str(model.status), "type": model.model_type, "run": model.source_run_id,
            "times": [model.creation_timestamp, model.last_updated_timestamp],
            "params": model.params, "tags": model.tags,
            "metrics": sorted([*pair, m.dataset_name, m.dataset_digest, m.run_id]
                              for m in model.metrics or () for pair in pairs([m])),
        }
        for model in client.search_logged_models(experiment_ids=[experiment_id])
    }  # fmt: skip


def seen(uri: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    found = {}
    for experiment in client.search_experiments(view_type=ViewType.ALL):
        runs = client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL, max_results=1000)
        times = None if experiment.name == "Default" else experiment.creation_time
        found[experiment.name] = {
            "stage": experiment.lifecycle_stage,
            "tags": experiment.tags,
            "created": times,
            "runs": {run.info.run_id: described(client, run.info.run_id) for run in runs},
            "models": models(client, experiment.experiment_id),
        }
    return found


def version_files(version: Any) -> dict[str, str]:
    """What loading the version would download; nothing of what lies in a store of its own."""
    if version.source.startswith("s3:") or version.tags.get("mlflow.prompt.is_prompt"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        where = mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}", dst_path=folder)
        paths = [path for path in sorted(Path(where).rglob("*")) if path.is_file()] or [Path(where)]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def registry() -> dict[str, Any]:
    """Registered models and prompts of the server that was chosen last."""
    client = mlflow.MlflowClient()
    condition = "tags.`mlflow.prompt.is_prompt` = 'true'"
    found: dict[str, Any] = {}
    for model in [*client.search_registered_models(), *client.search_registered_models(condition)]:
        only = f" AND {condition}" if model.tags.get("mlflow.prompt.is_prompt") else ""
        versions = client.search_model_versions(f'name = "{model.name}"{only}')
        found[model.name] = {
            "description": model.description or "", "tags": model.tags, "aliases": model.aliases,
            "times": [model.creation_timestamp, model.last_updated_timestamp],
            "versions": {
                str(each.version): {
                    "source": each.source, "run": each.run_id or "", "link": each.run_link or "",
                    "user": each.user_id or "",
                    "description": each.description or "", "stage": each.current_stage, "tags": each.tags,
                    "times": [each.creation_timestamp, each.last_updated_timestamp],
                    "model": getattr(each, "model_id", None) or "", "files": version_files(each),
                }
                for each in versions
            },
        }  # fmt: skip
    return found


if __name__ == "__main__":
    json.dump([[seen(uri), registry()] for uri in sys.argv[1:]], sys.stdout, sort_keys=True, indent=1)
