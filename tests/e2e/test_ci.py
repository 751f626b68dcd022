"""`mlwright ci`: the workflows that it writes are run step by step, and the training program is a client of MLflow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.components import free_port, mlflow_environment, mlflow_python, peer_python

pytestmark = [pytest.mark.component, pytest.mark.xdist_group("ci")]

MLMODEL = "flavors: {python_function: {loader_module: mlflow.sklearn}}"
TRAIN = f"""
import mlflow

for rate in (0.1, 0.3, 0.2):
    with mlflow.start_run(run_name=f"rate {{rate}}"):
        mlflow.log_metric("score", rate)
        mlflow.log_text("{MLMODEL}", "model/MLmodel")
"""
#: The same requests as MLflow's client sends, without the seconds that its import takes.
QUICK = f"""
import json, os, sys, urllib.request

def send(method, path, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    address = os.environ["MLFLOW_TRACKING_URI"] + path
    with urllib.request.urlopen(urllib.request.Request(address, data, method=method)) as answer:
        return json.loads(answer.read() or b"null")

if "fail" in sys.argv:
    raise SystemExit("out of data")
tags = json.loads(os.environ["MLFLOW_RUN_CONTEXT"])
for rate in (0.1, 0.3, 0.2):
    tagged = [{{"key": key, "value": value}} for key, value in tags.items()]
    asked = {{"experiment_id": "0", "run_name": f"rate {{rate}}", "start_time": int(rate * 1000), "tags": tagged}}
    run = send("POST", "/api/2.0/mlflow/runs/create", asked)["run"]["info"]
    metric = {{"run_id": run["run_id"], "key": "score", "value": rate, "timestamp": 1, "step": 0}}
    send("POST", "/api/2.0/mlflow/runs/log-metric", metric)
    if "nothing" not in sys.argv:
        place = f"/api/2.0/mlflow-artifacts/artifacts/0/{{run['run_id']}}/artifacts/model/MLmodel"
        send("PUT", place, b"{MLMODEL}")
    send("POST", "/api/2.0/mlflow/runs/update", {{"run_id": run["run_id"], "status": "FINISHED"}})
"""
POLICY = {
    "apiVersion": "mlwright.dev/v1",
    "kind": "GatePolicy",
    "metadata": {"name": "more"},
    "spec": {"models": ["strict", "people"], "aliases": ["candidate"], "gates": [{"name": "g"}]},
}


@dataclass(frozen=True)
class Repository:
    """A folder with a training program, and how commands run there."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in words],
            cwd=self.folder,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def ci(self, model: str, *words: str, train: str = "quick", **more: object) -> Any:
        """`mlwright ci run` on a description of its own; `quick` stands for the quick program."""
        words_of = train.split()
        program = [sys.executable, "quick.py", *words_of[1:]] if words_of[0] == "quick" else words_of
        spec = {"model": model, "train": program, "alias": "candidate", **more}
        (self.folder / f"{model}.yaml").write_text(yaml.safe_dump(spec))
        return self.run("mlwright", "ci", "run", "-f", f"{model}.yaml", "-o", "json", *words)

    def shown(self, path: str) -> Any:
        done = self.run("mlwright", "models", "show", path, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    """A repository with workflows of both services, and a platform started as they say."""
    folder = tmp_path_factory.mktemp("ci")
    programs = folder / "programs"
    programs.mkdir()
    for name, target in (("python", mlflow_python("3.17.2")), ("mlwright", Path(sys.executable).with_name("mlwright"))):
        (programs / name).write_text(f'#!/bin/sh\nexec "{target}" "$@"\n')
        (programs / name).chmod(0o755)
    (folder / "train.py").write_text(TRAIN)
    (folder / "quick.py").write_text(QUICK)
    environment = mlflow_environment(
        PATH=f"{programs}{os.pathsep}{os.environ['PATH']}", MLWRIGHT_DATA=str(folder / "data"), MLWRIGHT_SERVER=""
    )
    for name in ("MLFLOW_TRACKING_URI", "GITHUB_SHA", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    found = Repository(folder, environment)
    for service in ("github", "gitlab"):
        assert found.run("mlwright", "ci", "init", service, "--model", "steps").returncode == 0
    yield found
    found.run("mlwright", "down")


@pytest.fixture(scope="module")
def started(repository: Repository) -> Repository:
    """The steps of GitHub's workflow, in their order, but for the installation."""
    workflow = yaml.safe_load((repository.folder / ".github/workflows/mlwright.yml").read_text())
    steps = {step["name"]: step["run"] for step in workflow["jobs"]["model"]["steps"] if "run" in step}
    assert list(steps) == ["Install", "Start a platform", "Train, register, gate"]
    start = steps["Start a platform"].replace("up --detach", f"up --detach --port {free_port()}")
    done = repository.run("bash", "-e", "-c", start)
    assert done.returncode == 0, done.stderr
    github = {"GITHUB_SHA": "c0ffee", "GITHUB_SERVER_URL": "https://git.example", "GITHUB_REPOSITORY": "us/model"}
    summary = {"GITHUB_RUN_ID": "7", "GITHUB_STEP_SUMMARY": str(repository.folder / "summary.md")}
    done = repository.run("bash", "-e", "-c", steps["Train, register, gate"], **github, **summary)
    assert done.returncode == 0, done.stderr
    return repository


def test_the_steps_of_a_workflow_lead_to_a_version_with_an_alias(started: Repository) -> None:
    version = started.shown("steps@candidate")
    assert version["version"] == 1
    assert version["tags"]["mlwright.ci.commit"] == "c0ffee"
    assert version["tags"]["mlwright.ci.url"] == "https://git.example/us/model/actions/runs/7"
    summary = (started.folder / "summary.md").read_text()
    assert summary == (started.folder / "mlwright.md").read_text()
    assert "## steps/1: all 2 gates passed, now @candidate" in summary
    assert "| score | 0.2 |" in summary
    suites = ET.fromstring((started.folder / "mlwright-junit.xml").read_text())
    assert (suites.get("tests"), suites.get("failures")) == ("2", "0")
    assert json.loads((started.folder / "mlwright.sarif").read_text())["version"] == "2.1.0"


def test_gitlab_s_script_is_a_shell_s(started: Repository) -> None:
    job = yaml.safe_load((started.folder / ".gitlab-ci.yml").read_text())["model"]
    for line in (*job["before_script"], *job["script"]):
        assert started.run("bash", "-n", "-c", line).returncode == 0
    done = started.run("bash", "-e", "-c", job["script"][-1], CI_COMMIT_SHA="f00d", CI_JOB_URL="https://lab.example/1")
    assert done.returncode == 0, done.stderr
    assert started.shown("steps/2")["tags"]["mlwright.ci.url"] == "https://lab.example/1"


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.github-workflows", ".github/workflows/mlwright.yml"), ("vendor.gitlab-ci", ".gitlab-ci.yml")],
)
def test_workflows_keep_to_the_published_schemas(repository: Repository, schema: str, file: str) -> None:
    checker = peer_python("check-jsonschema")
    options = ["--data-transform", "gitlab-ci"] if "gitlab" in schema else []
    done = repository.run(checker, "-m", "check_jsonschema", "--builtin-schema", schema, *options, file)
    assert done.returncode == 0, done.stdout
    broken = repository.folder / f"broken-{Path(file).name}"
    broken.write_text((repository.folder / file).read_text().replace("steps:", "stepps:").replace("script:", "scrypt:"))
    done = repository.run(checker, "-m", "check_jsonschema", "--builtin-schema", schema, *options, broken)
    assert done.returncode != 0


def test_files_that_are_there_are_not_replaced(repository: Repository) -> None:
    done = repository.run("mlwright", "ci", "init", "github")
    assert done.returncode == 5
    assert "--force" in done.stderr
    assert ".github/workflows" not in done.stderr, "which says the same whatever the model is called"


def gated(started: Repository, gate: dict[str, Any]) -> None:
    manifest = json.loads(json.dumps(POLICY))
    manifest["spec"]["gates"] = [{"name": "g", **gate}]
    (started.folder / "more.yaml").write_text(yaml.safe_dump(manifest))
    assert started.run("mlwright", "apply", "-f", "more.yaml").returncode == 0


def test_a_gate_that_fails_fails_the_job(started: Repository) -> None:
    gated(started, {"command": {"command": ["false"]}})
    done = started.ci(
        "strict", "--junit", "failed.xml", "--markdown", "failed.md", select={"metric": "score", "mode": "max"}
    )
    assert done.returncode == 5
    assert "more/g: fail" in done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["alias"]) == ("fail", "")
    assert 'failures="1"' in (started.folder / "failed.xml").read_text()
    assert started.shown("strict@candidate") is None
    assert "| run | rate 0.3 |" in (started.folder / "failed.md").read_text()


def test_people_are_not_waited_for(started: Repository) -> None:
    gated(started, {"approval": {"notRequester": False}})
    done = started.ci("people")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "waits"
    assert started.shown("people@candidate") is None
    assert started.ci("people", "--require-approval").returncode == 5


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ({"train": "quick fail"}, 5, "exit status 1"),
        ({"train": "quick nothing"}, 1, "has a model 'model'"),
        ({"train": "python -c pass"}, 1, "logged no run"),
        ({"train": "no-such-program"}, 2, "cannot be started"),
        ({"train": "quick", "select": {"metric": "none"}}, 1, "has the metric 'none'"),
        ({"train": "sleep 60", "seconds": 0.2}, 5, "longer than 0.2 s"),
        ({"elephant": 1}, 2, "elephant"),
        ({"alias": "a b"}, 2, "alias"),
    ],
)
def test_what_goes_wrong_is_said(started: Repository, more: dict[str, Any], code: int, words: str) -> None:
    done = started.ci("wrong", **more)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert started.shown("wrong") is None


def test_without_a_server_or_a_file(repository: Repository, tmp_path: Path) -> None:
    done = repository.run("mlwright", "ci", "run", "--data", str(tmp_path / "other"))
    assert done.returncode != 0
    assert "mlwright up" in done.stderr
