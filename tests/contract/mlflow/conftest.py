"""One mlwright server and one MLflow server for the protocol suites."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.components import LOCAL_WEBHOOKS, free_port, served
from tests.contract.mlflow.pair import Pair


@pytest.fixture(scope="session")
def mlwright_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of one mlwright server for the session."""
    folder = tmp_path_factory.mktemp("mlwright")
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "mlwright", "up", "--data", folder, "--port", str(port)]
    with served(command, folder / "up.log", port, "/health", os.environ | LOCAL_WEBHOOKS) as url:
        yield url


@pytest.fixture
def pair(mlwright_url: str, mlflow_reference: str) -> Iterator[Pair]:
    """Both servers, with a new experiment "exp" and a run "run:a" in it."""
    with contextlib.closing(Pair(mlwright_url, mlflow_reference)) as both:
        name = f"protocol-{uuid.uuid4().hex[:12]}"
        both.label("expname", name, name)
        both.call("POST", "experiments/create", {"name": name}, learn={"exp": "experiment_id"}, compare=False)
        start = {"experiment_id": "{exp}", "start_time": 1_000, "run_name": "first", "user_id": "someone"}
        both.call("POST", "runs/create", start, learn={"run:a": "run.info.run_id"})
        yield both
