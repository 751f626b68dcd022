"""What was acknowledged is told, whenever the server is killed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.harness import API, Client, kill, new_server
from tests.receiver import Answer, Told, receiving

KILLS, MODELS = 3, 20


@pytest.mark.crash
def test_kill_9_loses_nothing_that_is_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything comes, in order; what comes twice has the same id."""
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")

    def slowly(_: Told) -> Answer:
        time.sleep(0.01)
        return Answer()

    server, names = new_server(tmp_path), [f"m{number:03}" for number in range(KILLS * MODELS)]
    server.start()
    client = Client(server.port)
    try:
        with receiving() as receiver:
            receiver.answer = slowly
            body = {"name": "ci", "url": receiver.url, "events": ["registered_model.created"]}
            assert client.request("POST", "/v1/webhooks", body).status == 201
            for turn in range(KILLS):
                for name in names[turn * MODELS : (turn + 1) * MODELS]:
                    assert client.request("POST", f"{API}/registered-models/create", {"name": name}).status == 200
                kill(server)
                client.close()
                server.start()
            found: dict[str, set[str]] = {}
            while len(found) < len(names):
                told = receiver.next()
                found.setdefault(told.json["data"]["name"], set()).add(told.headers["x-mlflow-delivery-id"])
        assert list(found) == names
        assert all(len(ids) == 1 for ids in found.values())
    finally:
        client.close()
        server.stop()
