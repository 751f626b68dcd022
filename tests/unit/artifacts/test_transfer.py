"""Sending files: what is named and not stored is said to be missing, in the words of the caller's protocol."""

from pathlib import Path

import pytest

from mlwright.app.settings import Settings
from mlwright.app.wiring import Platform
from tests.unit.asgi import call


@pytest.mark.parametrize("protocol", ["mlflow", "rest", "page"])
def test_a_file_whose_bytes_are_gone_is_not_found(tmp_path: Path, protocol: str) -> None:
    platform = Platform(Settings(data=tmp_path))
    try:
        app = platform.router()
        run = call(app, "POST", "/api/2.0/mlflow/runs/create", {}).json["run"]["info"]["run_id"]
        target = {
            "mlflow": f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a.txt",
            "rest": f"/v1/runs/{run}/artifacts/a.txt",
            "page": f"/runs/{run}/raw/a.txt",
        }[protocol]
        assert call(app, "PUT", f"/v1/runs/{run}/artifacts/a.txt", b"hello").status == 200
        assert call(app, "GET", target).body == b"hello"
        for path in (tmp_path / "blobs" / "sha256").rglob("*"):
            if path.is_file():
                path.unlink()
        answer = call(app, "GET", target)
        assert answer.status == 404
        assert "are not in this server's store" in answer.body.decode()
    finally:
        platform.close()
