"""A gate whose server is killed runs again, and nothing of it stays."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import Server
from mlwright.registry.service.gates import LEASE_MS
from tests.components import PostgresCluster
from tests.e2e.harness import API, ARTIFACTS, Client, kill, new_server
from tests.unit.compute.wheels import variables
from tests.unit.registry.model_world import EXAMPLE, PREDICTIONS, model, prepare_wheels

BOTH = [pytest.param(False, id="sqlite"), pytest.param(True, id="postgresql", marks=pytest.mark.component)]
#: Says that it runs, and goes on until it may end.
PROGRAM = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder / "ran").open("a") as file: print('once', file=file)
while not (folder / "enough").exists(): time.sleep(0.01)
"""


def wait_for(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.05)
    return holds()


def running(words: str) -> list[int]:
    """The programs, other than servers, in whose command these words occur."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            found += [int(entry.name)] if words in command and " up " not in command else []
    return found


def policy(client: Client, **kind: object) -> None:
    """Ask for one gate of a kind before a version may be champion."""
    document = {"apiVersion": "mlwright.dev/v1", "kind": "GatePolicy", "metadata": {"name": "p"}}
    answer = client.post(
        "/v1/resources", {**document, "spec": {"aliases": ["champion"], "gates": [{"name": "g", **kind}]}}
    )
    assert answer.status in {200, 201}, answer.body


def register(client: Client, files: Mapping[str, bytes]) -> str:
    """Log a model and register it; its version."""
    run_id = client.new_run()
    for path, content in files.items():
        assert client.request("PUT", f"{ARTIFACTS}/0/{run_id}/artifacts/m/{path}", content).status == 200
    new = {"name": "m", "source": f"runs:/{run_id}/m", "run_id": run_id}
    return str(client.ok("POST", f"{API}/model-versions/create", new)["model_version"]["version"])


def gate(client: Client, version: str = "1") -> tuple[str, str]:
    (standing,) = client.ok("GET", f"/v1/models/m/versions/{version}/gates")
    return standing["state"], standing["decision"]["verdict"]


def promote(client: Client, version: str = "1") -> int:
    """Make a version champion; the status of the answer."""
    alias = {"name": "m", "alias": "champion", "version": version}
    return client.post(f"{API}/registered-models/alias", alias).status


@pytest.mark.crash
@pytest.mark.parametrize("shared", BOTH)
def test_kill_9_in_a_gate(tmp_path: Path, shared: bool, request: pytest.FixtureRequest) -> None:
    """On a database for many servers, another one takes it up long before the lease has ended."""
    options = ["--artifacts", str(tmp_path / "files")]
    if shared:
        cluster: PostgresCluster = request.getfixturevalue("postgres_cluster")
        cluster.run("createdb", "gatecrash")
        options += ["--database", cluster.url("gatecrash")]
    server = new_server(tmp_path / "first", *options)
    next_one = new_server(tmp_path / "second", *options) if shared else server
    server.start()
    ran = tmp_path / "ran"
    try:
        with contextlib.closing(Client(server.port)) as client:
            policy(client, command={"command": [sys.executable, "-c", PROGRAM, str(tmp_path)]})
            client.ok("POST", f"{API}/registered-models/create", {"name": "m"})
            register(client, {"weights.json": b"{}"})
        assert wait_for(ran.exists, 10)
        assert running(f"{PROGRAM} {tmp_path}")
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert wait_for(lambda: not running(f"{PROGRAM} {tmp_path}"), 5)
        (tmp_path / "enough").touch()
        next_one.start()
        with contextlib.closing(Client(next_one.port)) as client:
            assert wait_for(lambda: gate(client) == ("done", "pass"), LEASE_MS / 2_000), gate(client)
        assert len(ran.read_text().split()) == 2
    finally:
        server.stop()
        next_one.stop()


#: What the function of the `python` gate does: as PROGRAM, and then it says yes.
FUNCTION = f"""
def decide(facts):
    import subprocess
    subprocess.run([{sys.executable!r}, "-c", {PROGRAM!r}, FOLDER], check=True)
    return True
"""
#: Each kind of gate that runs the model: what is asked, and the words of the program that must be running when the
#: server is killed; the load generator has its own, and the others wait in the model or the function.
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "contract": ({"contract": {}}, "model_host.py"),
    "integration": ({"integration": {"golden": "golden.json"}}, "model_host.py"),
    "performance": ({"performance": {"rate": 20, "seconds": 2, "warmupSeconds": 0, "timeoutSeconds": 5}}, "load.py"),
    "python": ({"python": {"function": "checks:decide"}}, "function_host.py"),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a server that builds models' environments from a folder of wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    prepare_wheels(folder)
    return variables(folder / "wheels", folder / "cache")


def with_variables(server: Server, more: Mapping[str, str]) -> Server:
    return replace(server, environment={**server.environment, **more})


@pytest.mark.crash
@pytest.mark.parametrize("kind", KINDS)
def test_kill_9_while_the_model_runs(tmp_path: Path, wheels: dict[str, str], kind: str) -> None:
    """Its processes end, nobody is promoted by half an answer, and the gate is run again to the same answer."""
    asked, program = KINDS[kind]
    waits = {} if kind in {"performance", "python"} else {"waits": str(tmp_path)}
    golden = json.dumps([{**EXAMPLE, "predictions": PREDICTIONS}]).encode()
    checks = FUNCTION.replace("FOLDER", repr(str(tmp_path))).encode()
    server = with_variables(new_server(tmp_path), wheels)
    server.start()
    try:
        with contextlib.closing(Client(server.port)) as client:
            policy(client, **asked)
            client.ok("POST", f"{API}/registered-models/create", {"name": "m"})
            register(client, model({"golden.json": golden, "checks.py": checks}, **waits))
            assert wait_for(lambda: bool(running(program)), 60), gate(client)
            assert kind == "performance" or wait_for((tmp_path / "ran").exists, 30)
            assert gate(client) == ("running", "inconclusive")
            assert promote(client) == 403
        kill_server_alone(server)
        assert wait_for(lambda: not running(program), 5), running(program)
        (tmp_path / "enough").touch()
        server.start()
        with contextlib.closing(Client(server.port)) as client:
            assert promote(client) == 403 or gate(client) == ("done", "pass")
            assert wait_for(lambda: gate(client) == ("done", "pass"), 60), gate(client)
            assert promote(client) == 200
        assert kind == "performance" or len((tmp_path / "ran").read_text().split()) >= 2
    finally:
        server.stop()


def kill_server_alone(server: Server) -> None:
    """`kill -9` the server's process only: what it had started must find its own end."""
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()


@pytest.mark.crash
def test_kill_9_while_people_approve(tmp_path: Path) -> None:
    """Every yes that was acknowledged counts after a kill, a version without one waits on, and none was made up."""
    versions = [str(number) for number in range(1, 41)]
    server = new_server(tmp_path)
    server.start()
    said: list[str] = []
    enough = threading.Event()
    try:
        with contextlib.closing(Client(server.port)) as client:
            policy(client, approval={"notRequester": False})
            client.ok("POST", f"{API}/registered-models/create", {"name": "m"})
            for number in versions:
                assert register(client, {"weights.json": number.encode()}) == number

        def approve() -> None:
            with (
                contextlib.closing(Client(server.port)) as one,
                contextlib.suppress(OSError, http.client.HTTPException),
            ):
                for number in versions[1:]:
                    one.ok("PUT", f"/v1/models/m/versions/{number}/gates/p/g/approval", {"approves": True})
                    said.append(number)
                    if len(said) == 6:
                        enough.set()

        person = threading.Thread(target=approve)
        person.start()
        assert enough.wait(10)
        kill(server)
        person.join()
        assert len(said) < len(versions) - 1, "it was killed too late"
        server.start()
        with contextlib.closing(Client(server.port)) as client:
            passed = [number for number in versions if gate(client, number)[1] == "pass"]
            in_flight = versions[len(said) + 1]
            assert passed in (said, [*said, in_flight])
            assert promote(client, versions[0]) == 403
            assert promote(client, said[-1]) == 200
            last = versions[-1]
            client.ok("PUT", f"/v1/models/m/versions/{last}/gates/p/g/approval", {"approves": True})
            assert promote(client, last) == 200
    finally:
        server.stop()
