"""A platform with a registered model "tree" whose versions are pinned, spoken to over HTTP."""

import asyncio
import json
from typing import Any

from mlwright.app.wiring import Platform
from tests.unit.asgi import Answer, request

MLFLOW, ARTIFACTS = "/api/2.0/mlflow", "/api/2.0/mlflow-artifacts"
FILES = {"MLmodel": b"flavors: {sklearn: {sklearn_version: 1.8.0}}", "data/big.bin": b"x" * 100_000}


class Registered:
    """Args:
    platform: a new one.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.app = platform.router()
        self.run_id: str = self.post("runs/create", {"experiment_id": "0"})["run"]["info"]["run_id"]
        self.folder = f"0/{self.run_id}/artifacts/model"
        for path, content in FILES.items():
            assert self.ask("PUT", f"{ARTIFACTS}/artifacts/{self.folder}/{path}", content).status == 200
        self.post("registered-models/create", {"name": "tree"})

    def ask(self, method: str, target: str, body: bytes = b"") -> Answer:
        headers = {"content-length": str(len(body))}
        return asyncio.run(request(self.app, method, target, body, headers))

    def post(self, path: str, message: dict[str, Any]) -> Any:
        answer = self.ask("POST", f"{MLFLOW}/{path}", json.dumps(message).encode())
        assert answer.status == 200, answer.body
        return answer.json

    def register(self) -> str:
        """Register the run's model. Returns the folder of the pinned files."""
        message = {"name": "tree", "source": f"mlflow-artifacts:/{self.folder}", "run_id": self.run_id}
        version = self.post("model-versions/create", message)["model_version"]["version"]
        where = f"{MLFLOW}/model-versions/get-download-uri?name=tree&version={version}"
        uri: str = self.ask("GET", where).json["artifact_uri"]
        return uri.removeprefix("mlflow-artifacts:/")

    def files(self, folder: str) -> dict[str, bytes]:
        return {path: self.ask("GET", f"{ARTIFACTS}/artifacts/{folder}/{path}").body for path in FILES}
