"""Register models, let the gates decide about them, and have `@champion` lead to the best that passed, which is served.

Two versions must be refused: one that is worse than the champion, and one that would run a program when it is loaded.
One passes all gates and is found out by its traffic: it raises for airports that it does not know.
"""

from __future__ import annotations

import pickle
import tempfile
import time
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from examples.flights import serving, train
from examples.flights.console import Console
from examples.flights.errors import DemoError
from examples.flights.evaluate import Evaluation
from examples.flights.models import BOTH, Candidate
from examples.flights.platform import SERVER_HINT, ask
from examples.flights.serving import Served, Traffic
from examples.flights.train import EVALUATION, EXPERIMENT, Session

MODEL = EXPERIMENT
ALIAS = "champion"
DANGEROUS = "a file from the internet"
FORGETFUL = "the best, with another encoder"
#: Columns with more values than this are airports of destination.
KNOWN = 30
FLIGHTS = 3_000
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
MLMODEL = """flavors:
  python_function: {loader_module: mlflow.sklearn, model_path: model.pkl, python_version: 3.11.0}
  sklearn: {pickled_model: model.pkl, serialization_format: pickle, sklearn_version: 1.8.0}
"""


@dataclass(frozen=True)
class Answer:
    """What the gates said of a version: `reason` is empty when `@champion` leads there now.

    `seconds` is from registering to the last answer, by the server's clock; `gates` says how long each took.
    """

    version: int
    model: str
    seconds: float
    reason: str
    gates: dict[str, float]


@dataclass(frozen=True)
class Offered:
    """A version that is registered; its gates are at work. `since_ms`: when, in Unix milliseconds."""

    version: int
    model: str
    since_ms: int


@dataclass(frozen=True)
class Promoted:
    """What the gates said of each version, and what clients of the endpoint have seen."""

    answers: Sequence[Answer]
    served: Served


class Early:
    """Registers the first model that is good enough as soon as it is trained: its gates, and the environment that they
    build for it, are done while the others learn.

    Args:
        url: of the server.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.has_gates: bool | None = None
        self.offered: Offered | None = None

    def consider(self, candidate: Candidate, found: Evaluation) -> None:
        """Register the model of the run that has just ended, if it is to be the first version.

        It has the inputs of the best one: a version that takes other columns than the champion breaks its callers, and
        another gate would refuse it. Raises DemoError when the server fails.
        """
        if self.offered is None and candidate.columns == BOTH and found.overall.auc > LEAST_AUC:
            self.has_gates = _policy_applied(self._url)
            if self.has_gates:
                with _explained():
                    self.offered = self._first(candidate.name)

    def _first(self, name: str) -> Offered:
        client = mlflow.MlflowClient()
        with suppress(MlflowException):  # another demo registered it before
            client.create_registered_model(MODEL, description="Does a flight arrive more than 15 minutes late?")
        client.delete_registered_model_alias(MODEL, ALIAS)
        run = client.get_run(mlflow.last_active_run().info.run_id)
        return _offer(name, _logged_model(run))


def promote(console: Console, url: str, session: Session, ranked: Sequence[Run], early: Early) -> Promoted:
    """Register five versions one after the other: a good one, which is served, the best, a worse one, a dangerous one,
    and one that fails for some flights. The endpoint follows the alias.

    Returns what happened, or nothing where the server has no gates. Raises DemoError when the server lets something
    through, refuses what is good, or fails.
    """
    if early.has_gates is False:
        console.note("this server has no gates: nothing is registered")
        return Promoted([], Served())
    if early.offered is None:
        raise DemoError("no model is good enough to be registered", "the models' test AUC is in the ranking")
    with _explained():
        return _promote(console, url, session, ranked, early.offered)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise DemoError(f"registering failed: {error}", SERVER_HINT) from error


def _promote(console: Console, url: str, session: Session, ranked: Sequence[Run], first: Offered) -> Promoted:
    best, worse = ranked[0], ranked[-1]
    answers = [_moved(console, url, _gated(url, first), None)]
    revision = serving.deploy(url, f"{MODEL}@{ALIAS}")
    better = _gated(url, _offer(best.info.run_name, _logged_model(best)))  # while the first one is made ready
    address = serving.answering(url, revision)
    console.note(f"version {first.version} answers at {address}")
    traffic = Traffic(address, _flights(session, best))
    with traffic.flowing():
        answers.append(_moved(console, url, better, traffic))
        answers.append(_decided(console, url, worse.info.run_name, _logged_model(worse)))
        answers.append(_decided(console, url, DANGEROUS, _dangerous()))
        answers.append(_decided(console, url, FORGETFUL, _forgetful(session, best), traffic))
    _check(answers)
    serving.check(traffic.served, ["promoted", "rolled-back"])
    asked = sum(traffic.served.answers.values())
    console.note(f"{asked:,} requests about real flights, 0 failed")
    return Promoted(answers, traffic.served)


def _flights(session: Session, run: Run) -> pd.DataFrame:
    """Flights of the test months, as the model takes them."""
    model = mlflow.models.get_model_info(f"models:/{run.outputs.model_outputs[0].model_id}")
    test, _ = session.rows(session.split.test)
    return test[model.signature.inputs.input_names()].sample(FLIGHTS, random_state=0)


def _check(answers: Sequence[Answer]) -> None:
    passed = [not answer.reason for answer in answers]
    if passed != [True, True, False, False, True]:
        lines = "; ".join(f"{each.model}: {each.reason or 'promoted'}" for each in answers)
        raise DemoError(f"the gates decided otherwise than they must ({lines})", SERVER_HINT)
    champion = mlflow.MlflowClient().get_model_version_by_alias(MODEL, ALIAS)
    if int(champion.version) != answers[-1].version:
        raise DemoError(f"@{ALIAS} leads to version {champion.version}, not to {answers[-1].version}", SERVER_HINT)


def _decided(
    console: Console, url: str, name: str, source: Mapping[str, str], traffic: Traffic | None = None
) -> Answer:
    """Register, wait for the gates, and move the alias as any MLflow client does; the endpoint's rollout follows."""
    return _moved(console, url, _gated(url, _offer(name, source)), traffic)


def _offer(name: str, source: Mapping[str, str]) -> Offered:
    """Register a version."""
    version = mlflow.MlflowClient().create_model_version(MODEL, **source, await_creation_for=0)
    return Offered(int(version.version), name, version.creation_timestamp)


def _gated(url: str, offered: Offered) -> Answer:
    """Wait for a version's gates."""
    gates = _wait(url, offered.version)
    ended_ms = max((gate["ended_ms"] for gate in gates), default=offered.since_ms)
    seconds = {gate["gate"]: (gate["ended_ms"] - gate["started_ms"]) / 1000 for gate in gates}
    return Answer(offered.version, offered.model, (ended_ms - offered.since_ms) / 1000, "", seconds)


def _moved(console: Console, url: str, asked: Answer, traffic: Traffic | None) -> Answer:
    """Have the alias lead to a version, where its gates let it."""
    what = f"version {asked.version}, {asked.model}"
    try:
        mlflow.MlflowClient().set_registered_model_alias(MODEL, ALIAS, str(asked.version))
    except MlflowException as error:
        reason = str(error).partition(f"may not be @{ALIAS}: ")[2].partition(" Hint: ")[0] or str(error)
        console.note(f"{what}: refused after {asked.seconds:.1f} s")
        for line in reason.split("; "):
            console.note(f"    {line}")
        return replace(asked, reason=reason)
    console.note(f"{what}: all gates passed in {asked.seconds:.1f} s, now @{ALIAS}")
    if traffic is not None:
        _tell(console, serving.rolled_out(url, traffic, asked.version, time.perf_counter()))
    return asked


def _tell(console: Console, rollout: serving.Rollout) -> None:
    if rollout.whole_s is not None and rollout.first_s is not None:
        took = f"first answer after {rollout.first_s:.1f} s, all of the traffic after {rollout.whole_s:.1f} s"
        console.note(f"    promoted by evidence: {took}")
    else:
        console.note(f"    {rollout.state.replace('-', ' ')}: {rollout.reason}")
        console.note(f"    it failed {rollout.failed} requests, which the version before it answered")


def _wait(url: str, version: int) -> list[dict[str, Any]]:
    """The gates that were run, when all of them have answered."""
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        gates = ask(f"{url}/v1/models/{MODEL}/versions/{version}/gates")
        if not {gate["state"] for gate in gates} & {"waiting", "running"}:
            return [gate for gate in gates if gate["ended_ms"] is not None]
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


def _forgetful(session: Session, best: Run) -> dict[str, str]:
    """What is registered: the best model, built with an encoder that raises for the airports it does not know.

    Its evaluation is the best model's, made before somebody changed the encoder: no gate can know.
    """
    best_id = best.outputs.model_outputs[0].model_id
    pipeline = mlflow.sklearn.load_model(f"models:/{best_id}")
    codes = pipeline.named_steps["encode"].named_transformers_["classes"]
    codes.set_params(handle_unknown="error", unknown_value=None)
    codes.categories_ = [known[: len(known) * 2 // 3] if len(known) > KNOWN else known for known in codes.categories_]
    test, _ = session.rows(session.split.test)
    columns = list(pipeline.feature_names_in_)
    known = test[test["dest"].isin(codes.categories_[-1])][columns].head(train.EXAMPLE_ROWS)
    with mlflow.start_run(run_name=FORGETFUL, tags={"demo.role": "forgetful"}) as run:
        mlflow.log_params({"features": best.data.params["features"]})
        model_id = train.log_model(session, pipeline, known)
        with tempfile.TemporaryDirectory() as name:
            where = mlflow.MlflowClient().get_logged_model(best_id).artifact_location
            path = mlflow.artifacts.download_artifacts(f"{where}/{EVALUATION}", dst_path=name)
            mlflow.MlflowClient().log_model_artifact(model_id, path)
    return {"source": f"models:/{model_id}", "run_id": run.info.run_id, "model_id": model_id}


class _Dangerous:
    """Its pickle runs a harmless command where it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.system, ("echo this model runs what it likes",)


def _policy_applied(url: str) -> bool:
    """Apply the policy; False when the server is not one of ours."""
    try:
        ask(f"{url}/v1/resources", POLICY)
    except urllib.error.HTTPError as error:
        if error.code in {404, 405}:
            return False
        raise DemoError(f"the gate policy was refused: {error.read().decode(errors='replace')}", SERVER_HINT) from error
    return True
