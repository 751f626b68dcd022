"""The registry's verbs for contract tests, and models to register."""

from collections.abc import Mapping
from typing import Any

from mlwright.app.owners import AllOwners
from mlwright.artifacts import service as artifacts
from mlwright.kernel.blobs import blob_of
from mlwright.kernel.database import Database
from mlwright.kernel.identity import LOCAL, Caller
from mlwright.registry.service import models, registration
from mlwright.registry.service.registration import Description
from mlwright.registry.spec import ModelVersion, NewVersion
from tests.contract.tracking import Tracking

OWNERS = AllOwners()
MLMODEL = b"""
flavors:
  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.9}
  sklearn: {sklearn_version: 1.8.0, pickled_model: model.pkl}
saved_input_example_info: {artifact_path: input_example.json, type: ndarray}
signature:
  inputs: '[{"type": "double", "name": "x"}]'
  outputs: '[{"type": "long"}]'
"""
FILES = {"MLmodel": MLMODEL, "model.pkl": b"weights", "requirements.txt": b"scikit-learn==1.8.0\n"}


class Registry(Tracking):
    """Every verb in a transaction of its own, as of tracking."""

    def __init__(self, database: Database, caller: Caller = LOCAL) -> None:
        super().__init__(database, caller)
        self.run_id = ""

    def model(self, name: str = "m") -> None:  # type: ignore[override]
        self(models.create, name)

    def write(self, path: str, content: bytes) -> None:
        blob = blob_of(content)
        self.database.write_now(lambda tx: artifacts.put(tx, self.caller, OWNERS, path, blob, content))

    def logged(self, files: Mapping[str, bytes] = FILES) -> str:
        """A new run with a model in its artifacts. Returns the model's folder."""
        self.run_id = self.new_run()
        folder = f"0/{self.run_id}/artifacts/model"
        for path, content in files.items():
            self.write(f"{folder}/{path}", content)
        return folder

    def register(self, source: str, name: str = "m", **named: Any) -> ModelVersion:
        """Register an artifact folder of the newest run, or what another URI leads to."""
        run_id = None
        if ":" not in source:
            source, run_id = f"mlflow-artifacts:/{source}", self.run_id
        new = NewVersion(name, source, named.pop("run_id", run_id), **named)
        found: ModelVersion = self(registration.create, new, Description())
        return found

    def files(self, version: ModelVersion) -> dict[str, bytes | None]:
        """What lies at the version's storage location, by path."""
        root = version.storage.removeprefix("mlflow-artifacts:/")
        rows = self(artifacts.below, OWNERS, root)
        return {row.path.removeprefix(f"{root}/"): self(artifacts.get, row.path).content for row in rows}
