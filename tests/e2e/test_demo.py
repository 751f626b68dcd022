"""The demo as a user runs it: a process that starts the platform, trains through it, and leaves what it says.

The platform keeps running (`--keep`) for the checks, which read it through plain REST.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.components import free_port
from tests.unit.examples.environment import ROOT, demo_python

pytestmark = [pytest.mark.component, pytest.mark.xdist_group("demo")]

SECONDS = 240  # a busy machine; alone it takes 11
BROKEN = """
import sys
from dataclasses import replace
from examples.flights import models
from examples.flights.__main__ import main
models.QUICK_CANDIDATES = (models.QUICK_CANDIDATES[0], replace(models.QUICK_CANDIDATES[1], settings={"C": -1.0}))
models.QUICK_SWEEP = ({**models.QUICK_SWEEP[0], "max_iter": 3}, {**models.QUICK_SWEEP[1], "max_iter": -3})
sys.exit(main(sys.argv[1:]))
"""


def start(*words: str, code: str | None = None) -> subprocess.Popen[str]:
    """The demo in the repository's root, or `code` in its place; stdout and stderr are pipes."""
    what = ["-m", "examples.flights"] if code is None else ["-c", code]
    return subprocess.Popen(
        [str(demo_python()), *what, *words],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "KEEP"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ask(url: str, path: str, body: object = None) -> Any:
    """JSON answer of a POST with a body, or a GET without one."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def runs(summary: dict[str, Any], query: str = "", order: str = "attributes.start_time ASC") -> list[dict[str, Any]]:
    """The demo's runs that match, in that order."""
    mine = f"tags.`demo.session` = '{summary['session']}'" + (f" AND {query}" if query else "")
    body = {"experiment_ids": [summary["experiment_id"]], "filter": mine, "order_by": [order], "max_results": 100}
    found: list[dict[str, Any]] = ask(summary["url"], "runs/search", body).get("runs", [])
    return found


def values(run: dict[str, Any], kind: str) -> dict[str, Any]:
    """The run's metrics, params or tags by key."""
    return {item["key"]: item["value"] for item in run["data"].get(kind, [])}


def stop(pid: int) -> None:
    """End a kept server and wait for it."""
    process = psutil.Process(pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except psutil.TimeoutExpired:
        process.kill()


@dataclass(frozen=True)
class Done:
    """A finished demo whose server still runs."""

    code: int
    out: str
    err: str
    summary: dict[str, Any]


def finish(folder: Path, code: str | None = None) -> Iterator[Done]:
    """Run a quick demo to its end, yield the outcome, and stop its server."""
    file = folder / "summary.json"
    process = start("--quick", "--keep", "--data", str(folder / "data"), "--summary", str(file), code=code)
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.terminate()  # it stops its server by itself
        process.communicate()
        raise
    assert file.exists(), out + err
    summary = json.loads(file.read_text())
    try:
        yield Done(process.returncode, out, err, summary)
    finally:
        stop(summary["pid"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A demo in which everything works."""
    yield from finish(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    """A demo in which one model and one setting of the sweep have impossible settings."""
    yield from finish(tmp_path_factory.mktemp("broken"), BROKEN)


def test_ends_well_and_says_what_it_did(demo: Done) -> None:
    assert demo.code == 0, demo.err
    assert demo.summary["failed"] == 0
    assert "[ 1/9]" in demo.out
    assert "336,776 flights" in demo.out
    assert demo.summary["experiment_url"] in demo.out
    assert f"pid {demo.summary['pid']}" in demo.out
    assert "mlwright down --data" in demo.out


def test_ranking_is_what_the_server_has(demo: Done) -> None:
    ranked = runs(demo.summary, "metrics.test_auc > 0", "metrics.test_auc DESC")
    names = [run["info"]["run_name"] for run in ranked]
    assert names == [row["model"] for row in demo.summary["ranking"]]
    assert names[0].startswith("gradient boosting")
    assert names[-1] == "constant"
    auc = [values(run, "metrics")["test_auc"] for run in ranked]
    assert auc == [row["auc"] for row in demo.summary["ranking"]]
    assert auc[-1] == 0.5
    # Above 0.8 some input must have known the future.
    assert all(0.6 < value < 0.8 for value in auc[:-1])
    places = [demo.out.index(f"{place}. {name}") for place, name in enumerate(names, start=1)]
    assert places == sorted(places)


def test_all_runs_are_finished_and_repeatable(demo: Done) -> None:
    found = runs(demo.summary)
    assert len(found) == demo.summary["runs"] == 7
    for run in found:
        tags = values(run, "tags")
        assert run["info"]["status"] == "FINISHED"
        assert tags["mlwright.git.dirty"] in ("true", "false")
        assert len(tags["mlwright.git.commit"]) == 40
        assert "examples.flights --quick" in tags["mlwright.command"]
        listed = ask(demo.summary["url"], f"artifacts/list?run_id={run['info']['run_id']}&path=environment")
        names = [item["path"] for item in listed["files"]]
        assert names == [f"environment/{name}" for name in ("dirty.diff", "environment.json", "requirements.lock.txt")]


def test_the_best_is_promoted_and_what_is_worse_or_dangerous_is_refused(demo: Done) -> None:
    versions = {each["model"]: each for each in demo.summary["versions"]}
    best = demo.summary["ranking"][0]["model"]
    assert [each["version"] for each in demo.summary["versions"]] == [1, 2, 3, 4, 5]
    assert versions[best]["reason"] == ""
    assert "production/quality: fail: roc_auc" in versions["constant"]["reason"]
    dangerous = versions["a file from the internet"]["reason"]
    assert f"production/files: fail: model/model.pkl: {os.name}.system is not on the allow-list" in dangerous
    champion = ask(demo.summary["url"], "registered-models/alias?name=flights-late&alias=champion")["model_version"]
    assert int(champion["version"]) == 5  # which passed its gates, and fails in traffic


def test_the_best_serves_and_what_fails_in_traffic_is_rolled_back(demo: Done) -> None:
    best = demo.summary["versions"][1]["version"]
    good, bad = demo.summary["rollouts"]
    assert (good["version"], good["state"]) == (best, "promoted")
    assert good["first_s"] <= good["whole_s"]
    assert (bad["version"], bad["state"]) == (5, "rolled-back")
    assert 0 < bad["failed"] <= 60
    assert demo.summary["unanswered"] == {}
    assert set(demo.summary["answered"]) >= {"1", str(best)}
    page = f"{demo.summary['url']}/projects/default/endpoints/flights?format=json"
    with urllib.request.urlopen(page, timeout=30) as answer:
        found = json.load(answer)
    assert found["endpoint"]["summary"]["serves"] == f"flights-late/{best}"
    assert [each["state"] for each in found["rollouts"]] == ["rolled-back", "promoted"]
    assert found["explained"]["replayed"]
    assert f"version {best} of flights-late serves" in demo.out


def test_sweep_is_nested(demo: Done) -> None:
    (parent,) = runs(demo.summary, "tags.`demo.role` = 'sweep'")
    children = runs(demo.summary, f"tags.`mlflow.parentRunId` = '{parent['info']['run_id']}'")
    assert len(children) == 2
    best = min(values(run, "metrics")["valid_log_loss"] for run in children)
    assert values(parent, "metrics")["valid_log_loss"] == best


def test_curves_months_datasets_and_models(demo: Done) -> None:
    (best,) = runs(demo.summary, "attributes.run_name = 'gradient boosting, schedule + weather'")
    key = best["info"]["run_id"]
    for metric, steps in (("valid_auc", list(range(1, 101))), ("month_auc", list(range(4, 13)))):
        history = ask(demo.summary["url"], f"metrics/get-history?run_id={key}&metric_key={metric}")["metrics"]
        assert [point["step"] for point in history] == steps
    contexts = {
        item["dataset"]["name"]: [tag["value"] for tag in item["tags"]] for item in best["inputs"]["dataset_inputs"]
    }
    assert contexts == {"flights-train": ["training"], "flights-test": ["testing"]}
    assert len(best["outputs"]["model_outputs"]) == 1


def test_a_failing_run_is_failed_and_the_others_go_on(broken: Done) -> None:
    assert broken.code == 1
    assert broken.summary["failed"] == 2
    states = {run["info"]["run_name"]: run["info"]["status"] for run in runs(broken.summary)}
    assert states.pop("logistic regression, schedule + weather") == "FAILED"
    assert sorted(states.values()) == ["FAILED", "FINISHED", "FINISHED", "FINISHED", "FINISHED"]
    assert states["gradient boosting, sweep"] == "FINISHED"
    assert broken.out.count("FAILED  ") == 4  # each when it happened, and again at the end
    assert "C" in broken.summary["failures"][0]


def training(*words: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A demo that has come to the training, and its server's processes."""
    process = start("--quick", *words)
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if line.startswith("[ 4/9]"):
            break
    servers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    assert servers, seen
    return process, servers


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_stops_the_server(tmp_path: Path, number: signal.Signals) -> None:
    process, servers = training("--data", str(tmp_path / "data"))
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    _, alive = psutil.wait_procs(servers, timeout=20)
    assert not alive


def test_a_server_that_dies_ends_the_demo_with_a_hint(tmp_path: Path) -> None:
    process, servers = training("--data", str(tmp_path / "data"))
    for server in servers:
        server.kill()
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "the server is gone" in err
    assert "hint:" in err
    assert "Traceback" not in out + err


def test_missing_data_is_explained(tmp_path: Path) -> None:
    process = start("--flights", str(tmp_path))
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "lacks flights.csv.zip" in err
    assert "hint:" in err
    assert "Traceback" not in out + err


def test_damaged_data_is_explained_and_the_server_stopped(tmp_path: Path) -> None:
    for name in ("flights.csv.zip", "weather.csv", "airports.csv"):
        (tmp_path / name).write_text("damaged")
    port = free_port()
    process = start("--flights", str(tmp_path), "--data", str(tmp_path / "data"), "--port", str(port))
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "cannot be read" in err
    assert "Traceback" not in err
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass


def test_unreachable_server_is_explained() -> None:
    process = start("--url", f"http://127.0.0.1:{free_port()}")
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "no tracking server answers" in err
    assert "hint:" in err
