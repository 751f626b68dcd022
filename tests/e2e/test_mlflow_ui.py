"""MLflow's own web UI: the static files of a real MLflow installation, in a real Chromium, against our API."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.servers import Server
from tests.components import mlflow_python
from tests.e2e.harness import API, Client, new_server

pytestmark = [pytest.mark.browser, pytest.mark.component, pytest.mark.xdist_group("ui")]
#: MLflow's UI has megabytes of scripts to read before it shows anything.
PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    find = "import pathlib, mlflow.server; print(pathlib.Path(mlflow.server.__file__).parent / 'js' / 'build')"
    python = str(mlflow_python("3.17.2"))
    build = subprocess.run([python, "-c", find], capture_output=True, text=True, check=True).stdout.split()[-1]
    server = new_server(tmp_path_factory.mktemp("mlflow-ui"), "--mlflow-ui", build)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def page(chromium_path: Path) -> Iterator[Page]:
    """A window; scripts may not fail."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium_path), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        yield page
        browser.close()
        assert not failures


def logged_run(client: Client) -> tuple[str, str]:
    """An experiment with a run that has everything the pages show; returns both ids."""
    experiment = client.new_experiment("late flights")
    body = {"experiment_id": experiment, "run_name": "boosted trees", "user_id": "ada", "start_time": 1_700_000_000_000}
    run = str(client.ok("POST", f"{API}/runs/create", body)["run"]["info"]["run_id"])
    points = [{"key": "auc", "value": 0.5 + step / 100, "timestamp": 1, "step": step} for step in range(20)]
    params = [{"key": "depth", "value": "7"}]
    client.ok("POST", f"{API}/runs/log-batch", {"run_id": run, "metrics": points, "params": params})
    dataset = {"name": "flights", "digest": "abc", "source_type": "local", "source": "{}"}
    client.ok("POST", f"{API}/runs/log-inputs", {"run_id": run, "datasets": [{"dataset": dataset}]})
    return experiment, run


def test_runs_charts_and_a_run(site: Server, page: Page) -> None:
    with contextlib.closing(Client(site.port)) as client:
        experiment, run = logged_run(client)
    base = f"{site.url}/mlflow-ui/#/experiments/{experiment}"
    page.goto(f"{base}/runs?workflowType=machine_learning")
    expect(page.get_by_text("boosted trees").first).to_be_visible(timeout=PATIENCE_MS)
    page.goto(f"{base}/runs/{run}")
    expect(page.get_by_role("heading", name="boosted trees")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("flights (abc)")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("depth").first).to_be_visible(timeout=PATIENCE_MS)
