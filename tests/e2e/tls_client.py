"""An MLflow client behind TLS: a run, and a file that is sent in parts. Prints what came back."""

import os
import tempfile
from pathlib import Path

import mlflow

with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
    mlflow.log_metric("loss", 0.5)
    path = Path(folder, "big.bin")
    path.write_bytes(os.urandom(1 << 20) * 11)
    mlflow.log_artifact(str(path))
client = mlflow.MlflowClient()
found = client.list_artifacts(run.info.run_id)
print(client.get_run(run.info.run_id).data.metrics, [(each.path, each.file_size) for each in found])
