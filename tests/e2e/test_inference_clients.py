"""Clients that others wrote, as they are, against a host."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import mlflow_environment, mlflow_python, peer_python
from tests.unit.serving.hosting import SIGNATURE, Site, site, toy

CLIENTS = Path(__file__).parent / "inference_clients"
ANSWERS = {"outputs": [{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("clients")
    revisions = [
        toy(folder, number, version) | {"signature": SIGNATURE | ANSWERS} for number, version in ((0, 1), (100, 2))
    ]
    with site(folder, *revisions, grpc=True) as found:
        yield found


def run(python: Path, script: str, host: Site, environment: dict[str, str]) -> None:
    ports = [str(host.port), str(host.grpc)]
    done = subprocess.run(
        [str(python), str(CLIENTS / script), *ports],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (host.folder / "log").read_text()


@pytest.mark.parametrize("script", ["triton.py", "kserve_sdk.py"])
def test_clients_of_the_open_inference_protocol(host: Site, script: str) -> None:
    run(peer_python("inference-clients"), script, host, dict(os.environ))


def test_clients_of_mlflow(host: Site) -> None:
    run(mlflow_python("3.17.2"), "mlflow_scoring.py", host, mlflow_environment())


def test_curl_packs_both_ways(host: Site, tmp_path: Path) -> None:
    body = json.dumps({"instances": [[2, 3]] * 500}).encode()
    packed = subprocess.run(["gzip", "-c"], input=body, capture_output=True, check=True).stdout
    url = f"http://127.0.0.1:{host.port}/v1/models/toy:predict"
    command = ["curl", "-sS", "--fail", "--compressed", "-D", str(tmp_path / "head"), "-H", "Content-Encoding: gzip"]
    command += ["-H", "Content-Type: application/json", "--data-binary", "@-", url]
    found = subprocess.run(command, input=packed, capture_output=True, check=True).stdout
    assert json.loads(found) == {"predictions": [5.0] * 500}
    assert "content-encoding: gzip" in (tmp_path / "head").read_text().lower()
