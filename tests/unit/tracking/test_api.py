"""Tracking over its own API: what the pages do can be scripted, and errors are problem documents."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlwright.app.local import LocalTransport
from mlwright.app.settings import Settings
from mlwright.kernel.client import Client
from mlwright.kernel.errors import AlreadyExists, Conflict, Invalid, MlwrightError, NotFound


@pytest.fixture
def client(data_dir: Path) -> Iterator[Client]:
    transport = LocalTransport(Settings(data=data_dir))
    yield Client(transport)
    transport.close()


@pytest.fixture
def run_id(client: Client) -> str:
    number = client.post("/v1/experiments", {"name": "digits", "tags": {"team": "red"}})["experiment_id"]
    found: str = client.post("/v1/runs", {"experiment_id": number, "name": "keen", "tags": {"a/b": "c"}})["run_id"]
    return found


def test_experiments(client: Client, run_id: str) -> None:
    (found,) = client.get("/v1/experiments", filter="name = 'digits'")["items"]
    path = f"/v1/experiments/{found['experiment_id']}"
    assert found["tags"] == [{"key": "team", "value": "red"}]
    assert client.patch(path, {"name": "letters"})["name"] == "letters"
    client.put(f"{path}/tags/deep/key", {"value": "x"})
    client.delete(f"{path}/tags/team")
    assert client.get(path)["tags"] == [{"key": "deep/key", "value": "x"}]
    client.delete(path)
    assert not client.get(path)["active"]
    assert [each["name"] for each in client.get("/v1/experiments", view="deleted")["items"]] == ["letters"]
    assert client.post(f"{path}/restore")["active"]
    with pytest.raises(AlreadyExists):
        client.post("/v1/experiments", {"name": "letters"})


def test_experiments_come_in_pages(client: Client) -> None:
    for name in ("a", "b", "c"):
        client.post("/v1/experiments", {"name": name})
    first = client.get("/v1/experiments", limit=2, order_by="name ASC")
    second = client.get("/v1/experiments", limit=2, order_by="name ASC", page_token=first["next_token"])
    assert [each["name"] for page in (first, second) for each in page["items"]] == ["Default", "a", "b", "c"]
    assert second["next_token"] == ""


def test_a_run_from_start_to_end(client: Client, run_id: str) -> None:
    path = f"/v1/runs/{run_id}"
    points = [{"key": "auc", "value": 0.5, "step": 1}, {"key": "bad", "value": "NaN", "timestamp_ms": 7}]
    client.post(f"{path}/log", {"metrics": points, "params": {"p": "1"}, "tags": {"t": "2"}})
    client.put(f"{path}/tags/deep/key", {"value": "x"})
    client.delete(f"{path}/tags/t")
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    client.post(f"{path}/inputs", {"datasets": [{"dataset": dataset, "tags": []}]})
    client.post(f"{path}/outputs", {"models": [{"model_id": "m-1", "step": 3}]})
    run = client.patch(path, {"status": "FINISHED", "end_ms": 99, "name": "keener"})
    assert (run["status"], run["end_ms"], run["name"]) == ("FINISHED", 99, "keener")
    assert run["metrics"]["auc"]["value"] == 0.5
    assert run["metrics"]["bad"] == {"value": "NaN", "step": 0, "timestamp_ms": 7}
    assert run["params"] == {"p": "1"}
    assert run["tags"] == {"a/b": "c", "deep/key": "x", "mlflow.runName": "keener"}
    assert run["inputs"][0]["dataset"]["name"] == "d"
    assert run["model_outputs"] == [{"model_id": "m-1", "step": 3}]
    client.delete(path)
    assert client.get("/v1/runs")["items"] == []
    assert client.post(f"{path}/restore")["active"]


def test_runs_are_searched_both_ways(client: Client, run_id: str) -> None:
    number = client.get(f"/v1/runs/{run_id}")["experiment_id"]
    for value in (1.0, 2.0, 3.0):
        other = client.post("/v1/runs", {"experiment_id": number})["run_id"]
        client.post(f"/v1/runs/{other}/log", {"metrics": [{"key": "m", "value": value}]})
    page = client.get("/v1/runs", experiment=number, filter="metrics.m > 1", order_by=["metrics.m DESC"], limit=1)
    assert page["items"][0]["metrics"]["m"]["value"] == 3.0
    body = {"experiments": [number], "filter": "metrics.m > 1", "order_by": ["metrics.m DESC"], "limit": 1}
    following = client.post("/v1/runs/search", {**body, "page_token": page["next_token"]})
    assert following["items"][0]["metrics"]["m"]["value"] == 2.0


def test_histories_of_many_runs(client: Client, run_id: str) -> None:
    points = [{"key": "m", "value": step / 2, "step": step, "timestamp_ms": 10 + step} for step in range(100)]
    client.post(f"/v1/runs/{run_id}/log", {"metrics": points})
    (whole,) = client.get(f"/v1/runs/{run_id}/series")
    assert (whole["key"], whole["steps"], whole["values"][-1]) == ("m", list(range(100)), 49.5)
    body = {"runs": [run_id], "keys": ["m", "none"], "points": 3, "from_step": 10, "to_step": 20}
    (part,) = client.post("/v1/series", body)
    assert part["steps"][0] == 10
    assert part["steps"][-1] == 20
    assert len(part["steps"]) == 3


def test_comments_and_views(client: Client, run_id: str) -> None:
    comment = client.post(f"/v1/runs/{run_id}/comments", {"body": "good"})
    assert client.get(f"/v1/runs/{run_id}/comments") == [comment]
    client.delete(f"/v1/runs/{run_id}/comments/{comment['id']}")
    assert client.get(f"/v1/runs/{run_id}/comments") == []
    path = f"/v1/experiments/{client.get(f'/v1/runs/{run_id}')['experiment_id']}/views"
    client.put(f"{path}/best", {"query": {"q": "metrics.m > 1"}})
    assert client.get(path) == [{"name": "best", "author": "local", "query": {"q": "metrics.m > 1"}}]
    client.delete(f"{path}/best")
    assert client.get(path) == []


def test_files(client: Client, run_id: str) -> None:
    folder = f"/v1/runs/{run_id}/artifacts"
    stored = client.upload(f"{folder}/plots/a%20b.txt", iter([b"he", b"llo"]), 5)
    assert (stored["path"], stored["size"]) == ("plots/a b.txt", 5)
    assert client.get(folder) == [{"path": "plots", "is_dir": True, "size": None, "digest": None}]
    assert client.get(folder, all="true") == [stored]
    assert b"".join(client.download(f"{folder}/plots/a%20b.txt")) == b"hello"
    client.delete(f"{folder}/plots")
    assert client.get(folder) == []
    with pytest.raises(NotFound):
        client.download(f"{folder}/plots/a%20b.txt")
    with pytest.raises(Invalid):
        client.upload(f"{folder}/%2e%2e/x", iter([b""]), 0)


def test_tables_are_streamed(client: Client, run_id: str) -> None:
    client.post(f"/v1/runs/{run_id}/log", {"metrics": [{"key": "m", "value": "NaN"}], "params": {"p": "a,b\n"}})
    number = client.get(f"/v1/runs/{run_id}")["experiment_id"]
    text = b"".join(client.download(f"/v1/experiments/{number}/export", format="csv")).decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["run_id"], row["metrics.m"], row["params.p"], row["end_ms"]) == (run_id, "NaN", "a,b\n", "")
    lines = b"".join(client.download("/v1/export/metrics", format="json")).splitlines()
    assert [json.loads(line)["value"] for line in lines] == ["NaN"]
    with pytest.raises(Invalid, match="xlsx"):
        client.download("/v1/export/runs", format="xlsx")
    with pytest.raises(NotFound):
        client.download("/v1/experiments/99/export")


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("get", "/v1/experiments/x", None, Invalid),
        ("get", "/v1/experiments/99", None, NotFound),
        ("get", "/v1/experiments?view=some", None, Invalid),
        ("get", "/v1/runs/none", None, NotFound),
        ("get", "/v1/runs?filter=metrics.m%20LIKE", None, Invalid),
        ("post", "/v1/runs", {"experiment_id": 0, "start_ms": 2**63}, Invalid),
        ("post", "/v1/runs", {"experiment_id": 99}, NotFound),
        ("post", "/v1/import/runs", {"experiment_id": 2**70, "runs": []}, MlwrightError),
        ("post", "/v1/import/series", {"series": [{"run_id": "x", "key": "m", "data": "????"}]}, Invalid),
        ("delete", "/v1/runs/none/comments/1", None, NotFound),
        ("delete", "/v1/logged-models/m-1", None, NotFound),
    ],
)
def test_mistakes_are_answered_as_what_they_are(
    client: Client, method: str, path: str, body: Any, kind: type[MlwrightError]
) -> None:
    call = getattr(client, method)
    with pytest.raises(kind) as raised:
        call(path) if body is None else call(path, body)
    assert raised.value.status < 500


def test_a_status_is_checked(client: Client, run_id: str) -> None:
    with pytest.raises(Invalid, match="'DONE'") as raised:
        client.patch(f"/v1/runs/{run_id}", {"status": "DONE"})
    assert "FINISHED" in raised.value.hint
    with pytest.raises(Conflict):
        client.delete("/v1/experiments/0") or client.patch("/v1/experiments/0", {"name": "x"})


def test_metrics_keep_their_exact_value(client: Client, run_id: str) -> None:
    value = math.nextafter(0.1, 1)
    client.post(f"/v1/runs/{run_id}/log", {"metrics": [{"key": "m", "value": value}]})
    assert client.get(f"/v1/runs/{run_id}")["metrics"]["m"]["value"] == value
