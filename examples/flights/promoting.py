"""Register models, let the gates decide about them, and have `@champion` lead to the best that passed.

Two versions must be refused: one that is worse than the champion, and one that would run a program when it is loaded.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from examples.flights.console import Console
from examples.flights.errors import DemoError
from examples.flights.train import EVALUATION, EXPERIMENT

MODEL = EXPERIMENT
ALIAS = "champion"
DANGEROUS = "a file from the internet"
LEAST_AUC = 0.58
WAIT_SECONDS = 120.0
POLL_SECONDS = 0.1
POLICY: dict[str, Any] = {
    "apiVersion": "mlwright.dev/v1",
    "kind": "GatePolicy",
    "metadata": {"name": "production"},
    "spec": {
        "models": [MODEL],
        "aliases": [ALIAS],
        "gates": [
            {"name": "files", "security": {}},
            {"name": "contract", "contract": {"compatibleWith": ALIAS}},
            {
                "name": "quality",
                "validation": {
                    "evaluation": EVALUATION,
                    "columns": {"label": "late", "prediction": "predicted", "score": "probability", "key": "flight"},
                    "positive": "1",
                    "thresholds": [{"metric": "roc_auc", "min": LEAST_AUC}],
                    "noWorseThan": [{"metric": "roc_auc", "alias": ALIAS}, {"metric": "log_loss", "alias": ALIAS}],
                    "slices": [{"columns": ["month"], "thresholds": [{"metric": "roc_auc", "min": 0.53}]}],
                },
            },
            {"name": "answers", "integration": {}},
        ],
    },
}
SERVER_HINT = "this is a fault of the server: please report it with the server's log"
MLMODEL = """flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl, python_version: 3.11.0}
  sklearn: {pickled_model: model.pkl, serialization_format: pickle, sklearn_version: 1.8.0}
"""


@dataclass(frozen=True)
class Answer:
    """What the gates said of a version: `reason` is empty when `@champion` leads there now.

    `seconds` is from registering to the last answer; `gates` says how long each took.
    """

    version: int
    model: str
    seconds: float
    reason: str
    gates: dict[str, float]


def promote(console: Console, url: str, ranked: Sequence[Run]) -> list[Answer]:
    """Register four versions one after the other: a good one, the best, a worse one, and a dangerous one.

    Returns what happened, or nothing where the server has no gates. Raises DemoError when the server lets something
    through, refuses what is good, or fails.
    """
    try:
        return _promote(console, url, ranked)
    except MlflowException as error:
        raise DemoError(f"registering failed: {error}", SERVER_HINT) from error


def _promote(console: Console, url: str, ranked: Sequence[Run]) -> list[Answer]:
    if not _policy_applied(url):
        console.note("this server has no gates: nothing is registered")
        return []
    client = mlflow.MlflowClient()
    with suppress(MlflowException):  # another demo registered it before
        client.create_registered_model(MODEL, description="Does a flight arrive more than 15 minutes late?")
    client.delete_registered_model_alias(MODEL, ALIAS)
    best, worse = ranked[0], ranked[-1]
    # A version that takes other columns than the champion breaks its callers: another gate would refuse it.
    alike = [run for run in ranked if run.data.params["features"] == best.data.params["features"]]
    first = [run for run in alike if run.data.metrics["test_auc"] > LEAST_AUC][-1]
    answers = [_offered(console, url, run.info.run_name, _logged_model(run)) for run in (first, best, worse)]
    answers.append(_offered(console, url, DANGEROUS, _dangerous()))
    _check(answers)
    return answers


def _check(answers: Sequence[Answer]) -> None:
    passed = [not answer.reason for answer in answers]
    if passed != [True, True, False, False]:
        lines = "; ".join(f"{each.model}: {each.reason or 'promoted'}" for each in answers)
        raise DemoError(f"the gates decided otherwise than they must ({lines})", SERVER_HINT)
    champion = mlflow.MlflowClient().get_model_version_by_alias(MODEL, ALIAS)
    if int(champion.version) != answers[1].version:
        raise DemoError(f"@{ALIAS} leads to version {champion.version}, not to {answers[1].version}", SERVER_HINT)


def _offered(console: Console, url: str, name: str, source: Mapping[str, str]) -> Answer:
    """Register, wait for the gates, and move the alias as any MLflow client does."""
    client = mlflow.MlflowClient()
    started = time.perf_counter()
    version = int(client.create_model_version(MODEL, **source, await_creation_for=0).version)
    gates = _wait(url, version)
    seconds = time.perf_counter() - started
    try:
        client.set_registered_model_alias(MODEL, ALIAS, str(version))
    except MlflowException as error:
        reason = str(error).partition(f"may not be @{ALIAS}: ")[2].partition(" Hint: ")[0] or str(error)
        console.note(f"version {version}, {name}: refused after {seconds:.1f} s")
        for line in reason.split("; "):
            console.note(f"    {line}")
        return Answer(version, name, seconds, reason, gates)
    console.note(f"version {version}, {name}: all gates passed in {seconds:.1f} s, now @{ALIAS}")
    return Answer(version, name, seconds, "", gates)


def _wait(url: str, version: int) -> dict[str, float]:
    """How long each gate took, when all of them have answered."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        gates = _ask(f"{url}/v1/models/{MODEL}/versions/{version}/gates")
        if not {gate["state"] for gate in gates} & {"waiting", "running"}:
            return {
                gate["gate"]: (gate["ended_ms"] - gate["started_ms"]) / 1000
                for gate in gates
                if gate["ended_ms"] is not None
            }
        time.sleep(POLL_SECONDS)
    raise DemoError(f"the gates of version {version} take longer than {WAIT_SECONDS:g} s", SERVER_HINT)


def _logged_model(run: Run) -> dict[str, str]:
    """What is registered: the model that a run logged."""
    model_id = run.outputs.model_outputs[0].model_id
    return {"source": f"models:/{model_id}", "run_id": run.info.run_id, "model_id": model_id}


def _dangerous() -> dict[str, str]:
    """What is registered: a model as anybody could send it around; loading its pickle starts a program."""
    role = {"demo.role": "dangerous"}
    with mlflow.start_run(run_name=DANGEROUS, tags=role) as run, tempfile.TemporaryDirectory() as name:
        Path(name, "MLmodel").write_text(MLMODEL, encoding="utf-8")
        Path(name, "model.pkl").write_bytes(pickle.dumps(_Dangerous()))
        mlflow.log_artifacts(name, "model")
    return {"source": f"runs:/{run.info.run_id}/model", "run_id": run.info.run_id}


class _Dangerous:
    """Its pickle runs a harmless command where it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("echo this model runs what it likes",)


def _policy_applied(url: str) -> bool:
    """Apply the policy; False when the server is not one of ours."""
    try:
        _ask(f"{url}/v1/resources", POLICY)
    except urllib.error.HTTPError as error:
        if error.code in {404, 405}:
            return False
        raise DemoError(f"the gate policy was refused: {error.read().decode(errors='replace')}", SERVER_HINT) from error
    return True


def _ask(address: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
