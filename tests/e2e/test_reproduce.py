"""`mlwright run` and `mlwright reproduce` with MLflow's own client, real git, real uv, and real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from benchmarks.servers import Server, mlwright_command
from tests.components import mlflow_python
from tests.e2e.harness import new_server
from tests.unit.compute.wheels import variables, wheel
from tests.unit.reproduction.repositories import git, repository

pytestmark = pytest.mark.component
_CLIENT = "3.17.2"
#: What there is to wait for takes a few seconds; so long means that it does not come.
_PATIENCE_S = 60.0
#: Its argument is a file that says how it goes on, of which the record knows nothing.
_TRAIN = """
import random, sys, time
import mlflow, tiny
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.dataset_source_registry import resolve_dataset_source

mlflow.set_experiment("tiny")
with mlflow.start_run():
    mlflow.log_param("depth", 3)
    mlflow.log_input(MetaDataset(resolve_dataset_source("rows.csv"), name="rows", digest="1"))
    total = sum(map(float, open("rows.csv").read().split()))
    for step in range(3):
        mlflow.log_metric("loss", total / (step + tiny.VALUE), step=step)
    mlflow.log_metric("fit_seconds", time.perf_counter())
    mlflow.log_text("1 2 3", "weights.txt")
    mlflow.log_metric("chance", random.random())
    way = open(sys.argv[1]).read()
    if way == "hang":
        time.sleep(600)
    if way == "fail":
        raise SystemExit(3)
"""


class World:
    """A server, a repository with data, and an environment of one package; MLflow comes by PYTHONPATH."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.server, self.code, self.scratch = server, folder / "code", folder / "tmp"
        self.scratch.mkdir()
        repository(self.code, train_py=_TRAIN)
        (self.code / "rows.csv").write_text("1 2")
        self.way = folder / "way"
        (self.code / ".gitignore").write_text("*.csv\n")
        git(self.code, "add", ".gitignore")
        git(self.code, "commit", "-q", "-m", "second")
        wheel(folder / "wheels", "tiny", "1.0", {"tiny.py": "VALUE = 1\n"})
        self.variables = variables(folder / "wheels", folder / "cache")
        uv = [find_uv_bin(), "--quiet"]
        subprocess.run([*uv, "venv", "--python", sys.executable, folder / "own"], check=True, env=self.variables)
        install: list[str | Path] = [
            *uv,
            "pip",
            "install",
            "--no-index",
            "--python",
            folder / "own" / "bin" / "python",
            "tiny",
        ]
        subprocess.run(install, check=True, env=self.variables)
        self._client = next(mlflow_python(_CLIENT).parents[1].glob("lib/python*/site-packages"))
        self.variables |= {
            "PATH": f"{folder}/own/bin:{os.environ['PATH']}",
            "TMPDIR": str(self.scratch),
            "MLWRIGHT_DATA": str(server.data),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            **{name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        }

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*mlwright_command(), *words], cwd=self.code, env=self.variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def cli(self, *words: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def record(self) -> str:
        """Train on record. Returns the run."""
        self.way.write_text("")
        settings = ["--set", f"PYTHONPATH={self._client}", "--set", "MLFLOW_DISABLE_TELEMETRY=true"]
        done = self.cli("run", *settings, "--", "python", "train.py", str(self.way))
        assert done.returncode == 0, done.stderr
        return str(self.newest()["run_id"])

    def reproduce(self, run_id: str, *words: str) -> tuple[int, dict[str, Any]]:
        done = self.cli("reproduce", run_id, "-o", "json", *words)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def newest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("runs", "list", "--limit", "1", "-o", "json").stdout)[0]
        return found

    def left_over(self) -> list[str]:
        return [each.name for each in self.scratch.iterdir() if each.name.startswith("mlwright-reproduce-")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("reproduce")
    server = new_server(folder)
    server.start()
    try:
        yield World(folder, server)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def original(world: World) -> str:
    """A run of code that was not committed."""
    train = world.code / "train.py"
    committed = train.read_text()
    train.write_text(committed.replace("1 2 3", "3 2 1"))
    run_id = world.record()
    train.write_text(committed)
    return run_id


def test_it_is_repeated_from_commit_changes_packages_and_data(world: World, original: str) -> None:
    status, report = world.reproduce(original, "--history")
    assert (status, report["reason"]) == (1, "metric chance, history chance differ")
    found = {(each["kind"], each["name"]): each["likeness"] for each in report["likened"]}
    assert found[("artifact", "weights.txt")] == found[("history", "loss")] == found[("dataset", "rows")] == "same"
    assert found[("metric", "fit_seconds")] == "apart"
    again = world.newest()
    assert again["run_id"] == report["reproduction"] != original
    assert again["tags"]["mlwright.reproduces"] == original
    assert "report.md" in world.cli("artifacts", "list", again["run_id"], "reproduction").stdout
    status, report = world.reproduce(again["run_id"], "--tolerance", "chance=1")  # it is on record as well
    assert (status, report["outcome"]) == (0, "reproduced"), report
    listed = json.loads(world.cli("lineage", f"run/{original}", "-o", "json").stdout)["edges"]
    assert {"source": f"run/{original}", "target": f"run/{again['run_id']}", "relation": "reproduced"} in listed
    assert world.left_over() == []


def test_a_command_that_fails(world: World, original: str) -> None:
    world.way.write_text("fail")
    status, report = world.reproduce(original)
    assert (status, report["outcome"]) == (1, "differs")
    assert "exit status 3" in report["reason"]
    assert world.newest()["status"] == "FAILED"


def test_what_is_missing_is_told_before_anything_runs(world: World, original: str) -> None:
    rows, wheels = world.code / "rows.csv", world.code.parent / "wheels"
    newest, before = world.newest()["run_id"], rows.read_text()
    shutil.move(wheels, wheels.with_name("away"))
    wheels.mkdir()
    shutil.rmtree(world.code.parent / "cache")
    rows.write_text("5")
    try:
        status, report = world.reproduce(original, "--commit", "0" * 40)
        assert (status, [each["what"] for each in report["missing"]]) == (2, ["commit", "data", "package"])
        assert world.newest()["run_id"] == newest
    finally:
        rows.write_text(before)
        wheels.rmdir()
        shutil.move(wheels.with_name("away"), wheels)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_half_way(world: World, original: str, number: signal.Signals) -> None:
    world.way.write_text("hang")
    newest = world.newest()["run_id"]
    process = world.start("reproduce", original)
    try:
        assert eventually(lambda: world.newest()["run_id"] != newest)
        process.send_signal(number)
        process.wait(_PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert eventually(lambda: world.newest()["status"] == "KILLED" and not world.left_over())
    assert eventually(lambda: world.newest()["tags"].get("mlwright.reproduces") == original)


def eventually(holds: Any) -> bool:
    """Whether it comes to hold."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.05)
    return False
