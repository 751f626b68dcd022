"""Clients that others wrote, as they are, against a host."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.components import mlflow_environment, mlflow_python, peer_python
from tests.e2e.browsing import chromium, window
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


def test_no_request_over_grpc_fails_while_hosts_are_replaced(host: Site) -> None:
    command = [str(peer_python("inference-clients")), str(CLIENTS / "triton_load.py"), str(host.grpc), "4"]
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout is not None
    assert load.stdout.readline() == "started\n"
    for _ in range(2):
        before = host.host
        host.keeper.send_signal(signal.SIGHUP)
        host.wait(lambda before=before: not before.is_running())  # type: ignore[misc]
    (outcome,) = load.communicate(timeout=60)[0].splitlines()
    times, _, said = outcome.partition(" ")
    assert said == "good"
    assert int(times) > 100


# --- the description ----------------------------------------------------------------------------------------------


def described(url: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"})) as answer:
        return json.loads(answer.read())


@pytest.mark.parametrize("path", ["/openapi.json", "/endpoints/toy/openapi.json"])
def test_the_host_does_as_its_description_says(host: Site, tmp_path: Path, path: str) -> None:
    """Schemathesis makes requests of all that it describes, good and bad ones, and looks at every answer."""
    site = f"http://127.0.0.1:{host.port}"
    text = json.dumps(described(f"{site}{path}")).replace("{model_name}", "toy").replace("{model_version}", "1")
    document = json.loads(text)
    if path == "/openapi.json":  # predictions are what the other one is about
        predicts = re.compile("/infer|:predict|/invocations")
        document["paths"] = {each: found for each, found in document["paths"].items() if not predicts.search(each)}
    for operation in (each for methods in document["paths"].values() for each in methods.values()):
        operation.pop("parameters", None)  # they are filled in
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(document))
    checks = ["--exclude-checks=positive_data_acceptance", "--suppress-health-check=all"]
    phases = ["--phases=examples,coverage", "--seed=1", "--no-color"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(schema), "--url", site, *phases, *checks]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_examples_of_a_description_are_answered(host: Site) -> None:
    site = f"http://127.0.0.1:{host.port}"
    document = described(f"{site}/endpoints/toy/openapi.json")
    asked = [(path, post["requestBody"]) for path, each in document["paths"].items() if (post := each.get("post"))]
    assert len(asked) == 3
    for path, body in asked:
        assert described(f"{site}{path}", body["content"]["application/json"]["example"])


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_form_of_the_page_asks(host: Site, chromium_path: Path) -> None:
    with chromium(chromium_path) as browser, window(browser, f"http://127.0.0.1:{host.port}") as page:
        page.goto("/endpoints/toy")
        page.fill("textarea", '{"instances": [[2, 3]]}')
        page.click("button")
        expect(page.locator("output")).to_contain_text('{"predictions":[5.0]}')
