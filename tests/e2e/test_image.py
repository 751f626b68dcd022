"""`mlwright image build` as somebody types it, and the image in a real Docker: asked, killed, and stopped."""

import base64
import json
import os
import pwd
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mlwright.app.cli import cli
from mlwright.app.commands.images import fetch
from mlwright.app.connect import connect
from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from mlwright.kernel.errors import GateClosed, Invalid, NotFound, Untrusted
from tests.components import docker_daemon, free_port
from tests.unit.registry.registered import ARTIFACTS, Registered

#: A graph that answers x + 10 y.
GRAPH = base64.b64decode(
    "CAg6egoRCgF4CgF3EgF5IgZNYXRNdWwKFAoBeQoBcxIDc3VtIgdSZXNoYXBlEgFnKhMIAggBEAEiCAAAgD8AACBBQgF3KhMIARAHOgr///////////8B"
    "QgFzWhEKAXgSDAoKCAESBgoACgIIAmIPCgNzdW0SCAoGCAESAgoAQgQKABAN"
)
MLMODEL = b"""flavors:
  onnx: {data: model.onnx, onnx_version: 1.20.0}
  python_function: {loader_module: mlflow.onnx, python_version: 3.11.2}
saved_input_example_info: {serving_input_path: example.json}
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}, {"type": "double", "name": "y", "required": true}]'
"""
EXAMPLE = b'{"dataframe_split": {"columns": ["x", "y"], "data": [[1.0, 2.0]]}}'
FILES = {
    "MLmodel": MLMODEL,
    "example.json": EXAMPLE,
    "model.onnx": GRAPH,
    # What reads the graph costs 100 MB and is there; what wrote it is not wanted.
    "requirements.txt": b"mlflow==3.17.2\nonnx\nnumpy\nonnxruntime>=1.20\n",
}
GATES = """apiVersion: mlwright.dev/v1
kind: GatePolicy
metadata: {name: release}
spec: {aliases: [champion], gates: [{name: two-people, approval: {approvers: [ann], count: 1}}]}
"""


class Typed:
    """Commands on a data directory that has the version sum/1, which is the champion."""

    def __init__(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLWRIGHT_DATA", str(data))
        monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)  # whose package index it is
        platform = Platform(Settings(data=data))
        registered = Registered(platform)
        for path, body in FILES.items():
            target = f"{ARTIFACTS}/artifacts/{registered.folder}/{path}"
            assert registered.ask("PUT", target, body).status == 200
        self.folder = registered.register()
        platform.close()
        self.run("models", "alias", "tree", "champion", "1")

    def try_(self, *words: str) -> Any:
        return CliRunner().invoke(cli, words)

    def run(self, *words: str) -> Any:
        done = self.try_(*words)
        assert done.exit_code == 0, (done.output, done.exception)
        return done


@pytest.fixture
def typed(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    return Typed(data_dir, monkeypatch)


@pytest.fixture
def docker() -> Iterator[str]:
    with docker_daemon() as host:
        yield host


def get(port: int, path: str, body: bytes | None = None) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def until(wanted: Any, seconds: float = 60.0) -> Any:
    """What `wanted` says once it says something, and nothing is refused."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = wanted()
        except OSError:
            found = None
        if found or time.monotonic() > end:
            return found
        time.sleep(0.05)


@pytest.mark.component
def test_an_image_answers_in_docker_and_is_the_same_twice(
    typed: Typed, docker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", docker)
    build = ("image", "build", "tree@champion", "--format", "json")
    loaded = json.loads(typed.run(*build).stdout)
    assert (loaded["image"], loaded["written_to"]) == ("mlwright/tree:1", "Docker")
    assert loaded["size"] < 200e6
    written = json.loads(typed.run(*build, "-o", f"oci:{tmp_path / 'layout'}").stdout)
    assert written["digest"] == loaded["digest"]
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == loaded["digest"]

    def docker_says(*words: str, check: bool = True) -> str:
        done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    port = free_port()
    locked = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp"]
    listens = ["--network", "host", "--env", f"MLWRIGHT_PORT={port}", "--env", "MLWRIGHT_ADDRESS=127.0.0.1"]
    quick = ["--health-interval", "1s"]
    docker_says("run", "--detach", "--name", "tree", *locked, *listens, *quick, "mlwright/tree:1")
    try:
        assert until(lambda: get(port, "/v2/health/ready")) == {"ready": True}
        asked = b'{"inputs": [[1, 2], [3, 4]]}'
        assert get(port, "/invocations", asked) == {"predictions": [21.0, 43.0]}
        assert until(lambda: docker_says("inspect", "tree", "--format", "{{.State.Health.Status}}") == "healthy")
        inside = "import os, ssl; print(os.getuid(), len(ssl.create_default_context().get_ca_certs()) > 50)"
        assert docker_says("exec", "tree", "/usr/bin/python3", "-c", inside) == "65532 True"
        assert "no such file" in docker_says("exec", "tree", "/bin/sh", "-c", "true", check=False)

        # A host that is killed leaves a process behind, and is replaced.
        one_killed = (
            "import os, signal, pathlib as p\n"
            "for each in p.Path('/proc').glob('[0-9]*/cmdline'):\n"
            "    if b'serving.host.main' in each.read_bytes() and each.parent.name not in {'1', str(os.getpid())}:\n"
            "        os.kill(int(each.parent.name), signal.SIGKILL)\n"
        )
        docker_says("exec", "tree", "/usr/bin/python3", "-c", one_killed)
        assert until(lambda: get(port, "/invocations", asked)) == {"predictions": [21.0, 43.0]}
        # Those that Docker itself starts, such as health checks, have no parent in the container.
        left = (
            "import pathlib as p\n"
            "found = [f.read_text() for f in p.Path('/proc').glob('[0-9]*/stat')]\n"
            "print(*[each for each in found if each.rpartition(')')[2].split()[0] == 'Z' and ') Z 0 ' not in each])\n"
        )
        assert until(lambda: not docker_says("exec", "tree", "/usr/bin/python3", "-c", left, check=False)), docker_says(
            "exec", "tree", "/usr/bin/python3", "-c", left
        )
        assert docker_says("stop", "-t", "30", "tree") == "tree"
        assert docker_says("inspect", "tree", "--format", "{{.State.ExitCode}}") == "0"
    finally:
        docker_says("rm", "--force", "tree", check=False)


def test_files_are_downloaded_once_and_looked_at_each_time(typed: Typed, data_dir: Path, tmp_path: Path) -> None:
    def fetched() -> Path:
        with click.Context(cli):
            return fetch(connect("", data_dir), "tree/1", "", tmp_path).folder

    folder = fetched()
    inode = (folder / "model.onnx").stat().st_ino
    assert (fetched() / "model.onnx").stat().st_ino == inode
    (folder / "model.onnx").write_bytes(b"another")
    (folder / "more.py").write_bytes(b"")
    found = {path.name: path.read_bytes() for path in fetched().iterdir() if path.is_file()}
    assert found == FILES
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_may_not_be_served_is_not_built(typed: Typed, data_dir: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "image.tar")
    (tmp_path / "gates.yaml").write_text(GATES)
    typed.run("apply", "-f", str(tmp_path / "gates.yaml"))
    for version in ("tree@champion", "tree/1"):  # nobody gets around a gate by writing a number
        refused = typed.try_("image", "build", version, "-o", target)
        assert isinstance(refused.exception, GateClosed)
        assert "release/two-people" in refused.exception.message
    typed.run("models", "alias", "tree", "staging", "1")
    unknown = typed.try_("image", "build", "tree@nobody", "-o", target)
    assert isinstance(unknown.exception, NotFound)
    assert isinstance(typed.try_("image", "build", "tree", "-o", target).exception, Invalid)
    assert isinstance(typed.try_("image", "build", "tree/1", "-o", target, "--docker").exception, Invalid)
    (blob,) = [path for path in (data_dir / "blobs" / "sha256").rglob("*") if path.is_file()]
    blob.write_bytes(b"y" + blob.read_bytes()[1:])
    changed = typed.try_("image", "build", "tree@staging", "-o", target)
    assert isinstance(changed.exception, Untrusted)
    assert not Path(target).exists()
