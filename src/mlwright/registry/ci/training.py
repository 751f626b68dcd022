"""Running a training program as it is, and finding what it logged by a tag, without a change in the program."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlwright.kernel.client import Client
from mlwright.kernel.errors import Conflict, Invalid, NotFound
from mlwright.registry.ci.spec import CiSpec, Mode
from mlwright.tracking.service import context

#: The tag of runs and versions that says which job made them.
JOB_TAG = "mlwright.ci.job"
_MOST_RUNS = 1_000


class Source(NamedTuple):
    """Where a job came from: the commit, and the page of the job; empty when nothing says so."""

    commit: str = ""
    url: str = ""


class Trained(NamedTuple):
    """A run and its model, as it is registered.

    Attributes:
        source: `models:/m-…` of a logged model, or `runs:/…/…`.
        model_id: of a logged model; empty for a folder of artifacts.
    """

    run_id: str
    name: str
    metrics: dict[str, float]
    source: str
    model_id: str = ""


def source_of(environment: Mapping[str, str]) -> Source:
    """What GitHub and GitLab say about the job."""
    if "GITHUB_SHA" in environment:
        server, repository = environment.get("GITHUB_SERVER_URL", ""), environment.get("GITHUB_REPOSITORY", "")
        number = environment.get("GITHUB_RUN_ID", "")
        return Source(environment["GITHUB_SHA"], f"{server}/{repository}/actions/runs/{number}" if number else "")
    return Source(environment.get("CI_COMMIT_SHA", ""), environment.get("CI_JOB_URL", ""))


def train(client: Client, spec: CiSpec, job: str, source: Source, environment: Mapping[str, str]) -> None:
    """Run the program to its end; what it prints goes to standard error. Raises Conflict when it fails."""
    address = client.address
    tags = {JOB_TAG: job, **({"mlflow.source.git.commit": source.commit} if source.commit else {})}
    variables = {
        **environment,
        "MLFLOW_TRACKING_URI": address.url,
        **context.variables(tags, environment),
        **({"MLFLOW_EXPERIMENT_NAME": spec.experiment} if spec.experiment else {}),
        **({"MLFLOW_TRACKING_TOKEN": address.token} if address.token else {}),
    }
    program = spec.train[0]
    try:
        done = subprocess.run(spec.train, env=variables, stdout=sys.stderr, timeout=spec.seconds, check=False)
    except OSError as error:
        raise Invalid(f"{program!r} cannot be started: {error.strerror}", path="train") from error
    except subprocess.TimeoutExpired as error:
        raise Conflict(f"training took longer than {spec.seconds:g} s", path="train") from error
    if done.returncode != 0:
        raise Conflict(
            f"{program!r} ended with exit status {done.returncode}", path="train", hint="see what it printed"
        )


def find(client: Client, spec: CiSpec, job: str) -> Trained:
    """What the job's program logged. Raises NotFound when there is no run, or none with the model."""
    runs = _runs(client, job)
    if not runs:
        raise NotFound(
            "training logged no run",
            path="train",
            hint="it must use MLflow's client, and the tracking URI that MLFLOW_TRACKING_URI says",
        )
    if spec.select is not None:
        runs = _ordered(runs, spec.select.metric, spec.select.mode)
    for run in runs:
        found = _model(client, run, spec.artifact)
        if found is not None:
            return found
    raise NotFound(
        f"none of {len(runs)} runs has a model {spec.artifact!r}",
        path="artifact",
        hint='log one: mlflow.sklearn.log_model(model, name="model")',
    )


def _runs(client: Client, job: str) -> list[dict[str, Any]]:
    """The finished runs with the job's tag, the newest first."""
    return context.runs(client, JOB_TAG, job, "DESC", _MOST_RUNS, "attributes.status = 'FINISHED'")


def _ordered(runs: Sequence[dict[str, Any]], metric: str, mode: Mode) -> list[dict[str, Any]]:
    """The runs that have the metric, the best first. Raises NotFound."""
    known = [(values[metric], place, run) for place, run in enumerate(runs) if metric in (values := _metrics(run))]
    if not known:
        raise NotFound(f"none of {len(runs)} runs has the metric {metric!r}", path="select.metric")
    sign = -1 if mode is Mode.MAX else 1
    return [run for _, _, run in sorted(known, key=lambda each: (sign * each[0], each[1]))]


def _metrics(run: dict[str, Any]) -> dict[str, float]:
    return {name: float(each["value"]) for name, each in run["metrics"].items()}


def _model(client: Client, run: dict[str, Any], artifact: str) -> Trained | None:
    """The run's model of that name: a logged model (MLflow 3), else a folder with a description."""
    run_id, name, metrics = run["run_id"], run["name"], _metrics(run)
    for output in run["model_outputs"]:
        model = client.get(f"/v1/logged-models/{output['model_id']}")
        if model["name"] == artifact:
            return Trained(run_id, name, metrics, f"models:/{model['model_id']}", model["model_id"])
    files = client.get("/api/2.0/mlflow/artifacts/list", run_id=run_id, path=artifact).get("files", [])
    if any(each["path"] == f"{artifact}/MLmodel" for each in files):
        return Trained(run_id, name, metrics, f"runs:/{run_id}/{artifact}")
    return None
