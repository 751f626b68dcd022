"""Logs what people have in MLflow, through MLflow's own client. Run by a peer's interpreter, never imported by ours.

python moving_source.py TRACKING_URI
"""

import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Metric, Param, RunTag
from sklearn.linear_model import LogisticRegression

V3 = int(mlflow.__version__.split(".")[0]) >= 3


def tree_of_runs() -> None:
    """A parent with children, parameters, tags, a history, and files with difficult names."""
    mlflow.set_experiment("sweep 扫描")
    mlflow.set_experiment_tag("team", "red")
    client = mlflow.MlflowClient()
    with mlflow.start_run(run_name="parent", description="# A note") as parent:
        mlflow.log_params({"rate": "0.1", "long": "x" * 400, "empty": "", "nested/key": "é"})
        mlflow.set_tags({"phase": "one", "long.tag": "y" * 3000})
        for depth in range(3):
            with mlflow.start_run(run_name=f"depth {depth}", nested=True):
                mlflow.log_param("depth", depth)
                mlflow.log_metric("auc", 0.7 + depth / 100)
    points = [Metric("loss", 1.0 / (step + 1), 1_700_000_000_000 + step, step) for step in range(2_000)]
    points += [
        Metric("odd/values", value, 1_700_000_000_000, step)
        for step, value in ((-3, 1.5), (0, float("nan")), (1, float("inf")), (2, float("-inf")), (2, 7.0))
    ]
    run_id = parent.info.run_id
    for start in range(0, len(points), 1_000):
        client.log_batch(run_id, metrics=points[start : start + 1_000])
    client.log_batch(
        run_id,
        metrics=[Metric("loss", 0.5, 1_600_000_000_000, 5)],
        params=[Param("late", "1")],
        tags=[RunTag("late", "2")],
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "plots & more").mkdir()
        # A server of MLflow 2 cannot send a file whose name has other letters: it refuses its own header.
        name = "曲线 1+1.txt" if V3 or sys.argv[1].startswith("file:") else "curve 1+1.txt"
        (root / "plots & more" / name).write_text("curve")
        (root / "empty.bin").touch()
        (root / "big.bin").write_bytes(bytes(range(256)) * 12_000)
        (root / "same.bin").write_bytes(bytes(range(256)) * 12_000)
        client.log_artifacts(run_id, folder)
    client.log_text(run_id, "deep", "a/b/c/deep.txt")


def trained() -> None:
    """An autologged scikit-learn model with its dataset; on MLflow 3 also metrics of the model on a dataset."""
    mlflow.set_experiment("training")
    mlflow.sklearn.autolog(log_input_examples=False, log_datasets=False)
    x = np.arange(200, dtype=float).reshape(100, 2)
    y = (x[:, 0] > 90).astype(int)
    data = mlflow.data.from_numpy(x, targets=y, name="numbers")
    with mlflow.start_run(run_name="autolog"):
        mlflow.log_input(data, context="training", tags={"split": "a"})
        LogisticRegression(max_iter=50).fit(x, y)
    mlflow.sklearn.autolog(disable=True)
    if V3:
        with mlflow.start_run(run_name="evaluation") as run:
            models = mlflow.search_logged_models(output_format="list")
            mlflow.log_metric("accuracy", 0.9, model_id=models[0].model_id, dataset=data)
            mlflow.log_metric("accuracy", 0.95, step=1, model_id=models[0].model_id, dataset=data)
            external = mlflow.create_external_model(
                name="external", source_run_id=run.info.run_id, params={"size": "7"}, tags={"kind": "remote"}
            )
            mlflow.set_logged_model_tags(external.model_id, {"later": "yes"})


def bin_of_things() -> None:
    """A deleted run, a failed one, a running one, and a deleted experiment with a run."""
    client = mlflow.MlflowClient()
    where = client.create_experiment("states")
    for name, status in (("deleted", "FINISHED"), ("failed", "FAILED"), ("running", None), ("killed", "KILLED")):
        run = client.create_run(where, run_name=name, start_time=1_700_000_000_123)
        client.log_metric(run.info.run_id, "m", 1.0, step=4)
        if status:
            client.set_terminated(run.info.run_id, status, 1_700_000_009_999)
        if name == "deleted":
            client.delete_run(run.info.run_id)
    gone = client.create_experiment("gone", tags={"why": "old"})
    run = client.create_run(gone, run_name="inside")
    client.log_param(run.info.run_id, "p", "q")
    client.delete_experiment(gone)
    default = client.create_run("0", run_name="in Default")
    client.log_metric(default.info.run_id, "m", 2.0)
    client.set_terminated(default.info.run_id)


def registered() -> None:
    """Versions with holes in their numbers, aliases, stages, tags; files elsewhere; a copy; on MLflow 3 a prompt."""
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(
        [client.get_experiment_by_name("training").experiment_id], "attributes.run_name = 'autolog'"
    )
    run_id = run.info.run_id
    client.log_text(run_id, "weights", "by hand/deep/weights.txt")
    name = "churn é's"
    client.create_registered_model(name, tags={"team": "red"}, description="Who leaves")
    logged = mlflow.search_logged_models(output_format="list") if V3 else []
    whole = next((f"models:/{each.model_id}" for each in logged if each.name == "model"), "")
    sources = [whole or f"{run.info.artifact_uri}/model", f"{run.info.artifact_uri}/by hand", "s3://far/model"]
    for number, source in enumerate([sources[0], *sources, sources[0]], 1):
        own = None if source.startswith("s3:") else run_id
        model_id = {"model_id": source.removeprefix("models:/")} if source.startswith("models:/") else {}
        client.create_model_version(name, source, own, {"n": str(number)}, description=f"No. {number}", **model_id)
    client.delete_model_version(name, "2")
    client.delete_model_version(name, "5")
    for which, stage in (("1", "Archived"), ("3", "Production")):
        client.transition_model_version_stage(name, which, stage)
    for alias, which in (("champion", "3"), ("old", "1"), ("far", "4")):
        client.set_registered_model_alias(name, alias, which)
    client.create_registered_model("without versions")
    client.create_registered_model("gone")
    client.delete_registered_model("gone")
    if V3:
        client.copy_model_version(f"models:/{name}/1", "copied")
        if not sys.argv[1].startswith("file:"):
            mlflow.genai.register_prompt("greeting", "Hello {{name}}", commit_message="first", tags={"by": "ada"})
            mlflow.genai.register_prompt("greeting", "Hi {{name}}")
            mlflow.genai.set_prompt_alias("greeting", "live", 2)


if __name__ == "__main__":
    mlflow.set_tracking_uri(sys.argv[1])
    tree_of_runs()
    trained()
    bin_of_things()
    registered()
