"""What an ordinary user does with an unmodified MLflow client. Runs in a peer's interpreter; prints facts as JSON.

Usage: client_story.py TRACKING_URI FOLDER FLAVOR...    (flavors to autolog: sklearn, xgboost, lightgbm)
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

MAJOR = int(mlflow.__version__.partition(".")[0])


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    features = rng.random((60, 3))
    return features, (features[:, 0] > 0.5).astype(int)


def log_by_hand(folder: Path) -> str:
    import pandas as pd

    features, _ = data()
    with mlflow.start_run(run_name="by hand", description="a note") as run:
        mlflow.log_params({"depth": 3, "model": "tree"})
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"acc": 0.9, "nan": float("nan")})
        mlflow.set_tags({"team": "blue"})
        mlflow.log_dict({"a": [1, 2]}, "tables/a.json")
        mlflow.log_text("文字", "notes/空 白.txt")
        (folder / "many").mkdir(exist_ok=True)
        for number in range(5):
            (folder / "many" / f"{number}.bin").write_bytes(bytes([number]) * 1000)
        mlflow.log_artifacts(str(folder / "many"), "many")
        frame = pd.DataFrame(features, columns=["x", "y", "z"])
        mlflow.log_input(mlflow.data.from_pandas(frame, name="frame"), context="training")
        for depth in (1, 2):
            with mlflow.start_run(run_name=f"child {depth}", nested=True):
                mlflow.log_param("depth", depth)
                mlflow.log_metric("loss", depth)
    return str(run.info.run_id)


def autolog(flavor: str) -> dict[str, Any]:
    features, labels = data()
    getattr(mlflow, flavor).autolog(silent=True)
    with mlflow.start_run(run_name=flavor) as run:
        if flavor == "sklearn":
            LogisticRegression().fit(features, labels)
        elif flavor == "xgboost":
            import xgboost

            xgboost.train({"max_depth": 2, "nthread": 1}, xgboost.DMatrix(features, labels), 3)
        else:
            import lightgbm

            settings = {"objective": "binary", "num_threads": 1, "verbose": -1, "min_data_in_leaf": 5}
            lightgbm.train(settings, lightgbm.Dataset(features, labels), 3)
    getattr(mlflow, flavor).autolog(disable=True)
    found = mlflow.get_run(run.info.run_id)
    files = [file.path for file in MlflowClient().list_artifacts(run.info.run_id)]
    return {"params": len(found.data.params), "files": files, "status": found.info.status}


def log_model(run_id: str) -> str:
    features, labels = data()
    model = LogisticRegression().fit(features, labels)
    with mlflow.start_run(run_id=run_id):
        place = {"name": "model"} if MAJOR >= 3 else {"artifact_path": "model"}
        info = mlflow.sklearn.log_model(model, input_example=features[:2], **place)
    loaded = mlflow.sklearn.load_model(info.model_uri)
    assert (loaded.predict(features) == model.predict(features)).all()
    return str(info.model_uri)


def system_metrics() -> list[str]:
    mlflow.set_system_metrics_sampling_interval(0.2)
    with mlflow.start_run(run_name="system", log_system_metrics=True) as run:
        time.sleep(1.2)
    return sorted(key for key in mlflow.get_run(run.info.run_id).data.metrics if key.startswith("system/"))


def change_and_search(run_id: str, folder: Path) -> dict[str, Any]:
    client = MlflowClient()
    history = client.get_metric_history(run_id, "loss")
    found = mlflow.search_runs(filter_string="params.model = 'tree'", order_by=["metrics.loss ASC"])
    downloaded = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(folder / "down")))
    client.set_tag(run_id, "team", "red")
    client.delete_tag(run_id, "team")
    client.update_run(run_id, status="FAILED", name="renamed")
    client.delete_run(run_id)
    deleted = client.get_run(run_id).info.lifecycle_stage
    client.restore_run(run_id)
    try:
        client.log_param(run_id, "depth", 4)
        refused = ""
    except mlflow.MlflowException as error:
        refused = error.error_code
    return {
        "history": [[metric.step, metric.value] for metric in history],
        "searched": list(found["run_id"]),
        "files": sorted(str(path.relative_to(downloaded)) for path in downloaded.rglob("*") if path.is_file()),
        "text": (downloaded / "notes" / "空 白.txt").read_text(),
        "deleted": deleted,
        "name": client.get_run(run_id).info.run_name,
        "refused": refused,
        "inputs": [[each.dataset.name, each.tags[0].value] for each in client.get_run(run_id).inputs.dataset_inputs],
    }


def main() -> None:
    uri, folder = sys.argv[1], Path(sys.argv[2])
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(f"story {mlflow.__version__}")
    run_id = log_by_hand(folder)
    facts: dict[str, Any] = {"version": mlflow.__version__, "run_id": run_id}
    facts["autolog"] = {flavor: autolog(flavor) for flavor in sys.argv[3:]}
    facts["model"] = log_model(run_id)
    facts["system"] = system_metrics()
    facts |= change_and_search(run_id, folder)
    if MAJOR >= 3:
        facts["logged_models"] = len(mlflow.search_logged_models(output_format="list"))
    print(json.dumps(facts))


main()
