"""A gate whose server is killed runs again, and nothing of it stays."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlwright.registry.service.gates import LEASE_MS
from tests.components import PostgresCluster
from tests.e2e.harness import API, ARTIFACTS, Client, new_server

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


def running(folder: Path) -> list[int]:
    """The programs of gates that were given this folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            found += [int(entry.name)] if words[1:2] == [b"-c"] and str(folder).encode() in words else []
    return found


def register(client: Client, folder: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    policy = {"apiVersion": "mlwright.dev/v1", "kind": "GatePolicy", "metadata": {"name": "p"}}
    spec = {"aliases": ["champion"], "gates": [{"name": "g", "command": {"command": command}}]}
    answer = client.post("/v1/resources", {**policy, "spec": spec})
    assert answer.status in {200, 201}, answer.body
    run_id = client.new_run()
    assert client.request("PUT", f"{ARTIFACTS}/0/{run_id}/artifacts/m/weights.json", b"{}").status == 200
    client.ok("POST", f"{API}/registered-models/create", {"name": "m"})
    client.ok("POST", f"{API}/model-versions/create", {"name": "m", "source": f"runs:/{run_id}/m", "run_id": run_id})


def gate(client: Client) -> tuple[str, str]:
    (standing,) = client.ok("GET", "/v1/models/m/versions/1/gates")
    return standing["state"], standing["decision"]["verdict"]


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
            register(client, tmp_path)
        assert wait_for(ran.exists, 10)
        assert running(tmp_path)
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        assert wait_for(lambda: not running(tmp_path), 5)
        (tmp_path / "enough").touch()
        next_one.start()
        with contextlib.closing(Client(next_one.port)) as client:
            assert wait_for(lambda: gate(client) == ("done", "pass"), LEASE_MS / 2_000), gate(client)
        assert len(ran.read_text().split()) == 2
    finally:
        server.stop()
        next_one.stop()
