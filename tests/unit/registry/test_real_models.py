"""Gates on models that MLflow's own client has written: loaded by MLflow, and by scikit-learn alone."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlwright.compute.environments import Environments
from mlwright.compute.service import Flag
from mlwright.compute.spec import Environment, Limits
from mlwright.kernel.errors import NoEnvironment
from mlwright.registry.gate_runner import GateRunner
from mlwright.registry.gates.spec import GateVerdict
from tests.components import missing, mlflow_environment, mlflow_python
from tests.contract.test_gates import InDatabase
from tests.unit.registry.model_world import ModelGates, check

pytestmark = pytest.mark.component
_CLIENT = "3.17.2"
_LOG = """
import json, sys, mlflow
from importlib.metadata import version
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

inputs, labels = load_iris(return_X_y=True, as_frame=True)
model = LogisticRegression(max_iter=500).fit(inputs, labels)
signature = mlflow.models.infer_signature(inputs, model.predict(inputs))
few = [f"{name}=={version(name)}" for name in ("scikit-learn", "skops", "pandas")]
for folder, requirements in ((sys.argv[1], None), (sys.argv[2], few)):
    mlflow.sklearn.save_model(
        model, folder, signature=signature, input_example=inputs.head(3), pip_requirements=requirements,
        serialization_format="skops",
    )
head = inputs.iloc[[0, 60, 120]]
golden = {"dataframe_split": json.loads(head.to_json(orient="split", index=False))}
with open(sys.argv[3], "w") as file:
    json.dump({**golden, "predictions": model.predict(head).tolist()}, file)
"""
CONTRACT = {"name": "contract", "contract": {}}
ANSWERS = {"name": "answers", "integration": {"golden": "golden.json"}}


class OfTheClient:
    """The client's own environment, which has all that its models need: nothing is built."""

    @contextlib.contextmanager
    def ready(
        self, model: Path, limits: Limits, *, builds: bool = False, cancelled: Flag | None = None
    ) -> Iterator[Environment]:
        yield Environment(str(mlflow_python(_CLIENT).parents[1]), "3.11", "", [f"mlflow=={_CLIENT}"])


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model `whole`, which asks for MLflow, `few`, which does not, and golden rows."""
    folder = tmp_path_factory.mktemp("logged")
    targets = [folder / "whole", folder / "few", folder / "golden.json"]
    command: list[str | Path] = [mlflow_python(_CLIENT), "-c", _LOG, *targets]
    # Here what the client finds out about its requirements matters.
    environment = mlflow_environment(MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT="120")
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder


def files(folder: Path, name: str) -> dict[str, bytes]:
    model = folder / name
    found = {str(path.relative_to(model)): path.read_bytes() for path in model.rglob("*") if path.is_file()}
    return {**found, "golden.json": (folder / "golden.json").read_bytes()}


def test_loaded_by_mlflow(models: ModelGates, logged: Path, tmp_path: Path) -> None:
    models.runner = GateRunner(models.database, InDatabase(), OfTheClient(), tmp_path / "rooms")
    (answers,) = models.decided(ANSWERS, files=files(logged, "whole"))
    assert answers.verdict is GateVerdict.PASS, answers
    assert check(answers, "golden rows [0]").found == "3 rows as expected"


def test_built_from_what_it_asks_for_and_loaded_without_mlflow(
    models: ModelGates, logged: Path, tmp_path: Path
) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir  # the user's index and cache: the packages are those of the client
    environments = Environments(tmp_path / "environments", {**os.environ, "HOME": home})
    try:
        with environments.ready(logged / "few", Limits(300)):
            pass
    except NoEnvironment as error:
        missing(f"no package index can be reached: {error.message}")
    models.runner = GateRunner(models.database, InDatabase(), environments, tmp_path / "rooms")
    (contract,) = models.decided(CONTRACT, files=files(logged, "few"))
    assert contract.verdict is GateVerdict.PASS, contract
    assert "packages" in check(contract, "environment").found
