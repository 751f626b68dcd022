"""Texts that look like numbers to `str.isdigit` and are none to `int` are refused, never an internal error."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import ASGIApp

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from tests.unit.asgi import call

ODD = ["²", "٣", "1" * 5_000, "-1", "0x1", "1_0", " 1"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ASGIApp]:
    folder: Path = tmp_path_factory.mktemp("numbers")
    platform = Platform(Settings(data=folder))
    yield platform.router()
    platform.close()


@pytest.fixture(scope="module")
def run(app: ASGIApp) -> str:
    return str(call(app, "POST", "/api/2.0/mlflow/runs/create", {}).json["run"]["info"]["run_id"])


@pytest.mark.parametrize("odd", ODD)
def test_odd_numbers_are_refused_or_ignored(app: ASGIApp, run: str, odd: str) -> None:
    upload = {"path": "a.bin", "num_parts": 1}
    started = call(app, "POST", f"/api/2.0/mlflow-artifacts/mpu/create/0/{run}/artifacts", upload).json["upload_id"]
    model = call(app, "POST", "/api/2.0/mlflow/logged-models", {"experiment_id": "0"}).json["model"]["info"]["model_id"]
    base = "/api/2.0/mlflow"
    answers = {
        "part": call(app, "PUT", f"/api/2.0/mlflow-artifacts/mpu/part/{started}/{odd}", b"x"),
        "status": call(app, "POST", f"{base}/runs/update", {"run_id": run, "status": odd}),
        "view": call(app, "POST", f"{base}/experiments/search", {"view_type": odd, "max_results": 1}),
        "model": call(app, "PATCH", f"{base}/logged-models/{model}", {"status": odd}),
        "comment": call(app, "DELETE", f"/v1/runs/{run}/comments/{odd}"),
        "form": call(app, "POST", f"/runs/{run}/comments/delete", b"comment=%C2%B2"),
        "place": call(app, "PUT", f"/api/2.0/mlflow-artifacts/artifacts/{odd[:50]}/x", b"x"),
        "event": call(app, "GET", f"/v1/events?from={odd}"),
    }
    assert {name: answer.status for name, answer in answers.items()} == {
        "part": 400, "status": 200, "view": 200, "model": 400, "comment": 404, "form": 400, "place": 404,
        "event": answers["event"].status,
    }  # fmt: skip
    assert answers["event"].status in {200, 400}
