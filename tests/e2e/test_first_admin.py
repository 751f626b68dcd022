"""The first administrator of a PostgreSQL database: made without a server, and beside one that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.harness import new_server, running
from tests.e2e.test_up import mlwright

pytestmark = pytest.mark.component


def test_an_administrator_is_made_before_the_first_start(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLWRIGHT_PASSWORD", "correct horse battery")
    database, elsewhere = ("--database", postgres_url), ("--data", str(tmp_path / "elsewhere"))
    made = mlwright("users", "create", "alice", "--admin", *database, *elsewhere, "-o", "json")
    assert (made.returncode, json.loads(made.stdout)["admin"]) == (0, True), made.stderr
    again = mlwright("users", "create", "alice", *database, *elsewhere)
    assert (again.returncode, "already" in again.stderr) == (5, True)
    server = new_server(tmp_path, "--auth", *database, "--artifacts", str(tmp_path / "files"))
    with running(server) as client:
        token = mlwright("tokens", "create", "--user", "alice", *database, *elsewhere, "-o", "json")
        headers = {"Authorization": f"Bearer {json.loads(token.stdout)['secret']}"}
        assert client.request("GET", "/v1/me", headers=headers).json["name"] == "alice"
        assert client.request("GET", "/v1/audit", headers=headers).json["findings"] == []
        events = client.request("GET", "/v1/events?limit=1000", headers=headers).json
        assert [each["type"] for each in events][-2:] == ["security.principal.created", "security.token.created"]
        same = mlwright("tokens", "create", "--user", "alice", *database, "--data", str(server.data))
        assert (same.returncode, "another mlwright server uses" in same.stderr) == (5, True)
