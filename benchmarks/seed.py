"""Fill both servers with the same runs and one long history: SQL for the peer, batches over HTTP for us."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from benchmarks.load import Requests, call_json, drive, post
from benchmarks.servers import Server

API = "/api/2.0/mlflow"
CLIENTS = 8
FIRST_START_MS = 1_700_000_000_000
HISTORY_KEY = "loss"
BATCH = 1_000
EXPERIMENT = "bench"


@dataclass(frozen=True)
class SeedRun:
    """One run with ten metrics, ten parameters and five tags."""

    run_id: str
    name: str
    start_ms: int
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


def seed_runs(count: int, seed: int = 3) -> Iterator[SeedRun]:
    """The same runs every time for the same arguments."""
    dice = random.Random(seed)
    for number in range(count):
        yield SeedRun(
            run_id=f"{dice.getrandbits(128):032x}",
            name=f"run-{number}",
            start_ms=FIRST_START_MS + number * 1000,
            metrics={f"m{index}": dice.random() for index in range(10)},
            params={f"p{index}": str(dice.randrange(1000)) for index in range(10)},
            tags={f"t{index}": f"value-{dice.randrange(50)}" for index in range(5)},
        )


def seed(server: Server, runs: int) -> None:
    """Create the experiment `bench` with that many runs."""
    experiment = create_experiment(server, EXPERIMENT)
    if server.name == "mlflow":
        _seed_mlflow_runs(server, experiment, seed_runs(runs))
    else:
        _seed_runs_by_http(server, experiment, runs)


def create_experiment(server: Server, name: str) -> str:
    answer = call_json(server.port, "POST", f"{API}/experiments/create", {"name": name})
    return str(answer["experiment_id"])


def experiment_id(server: Server) -> str:
    answer = call_json(server.port, "GET", f"{API}/experiments/get-by-name?experiment_name={EXPERIMENT}")
    experiment = answer["experiment"]
    assert isinstance(experiment, dict)
    return str(experiment["experiment_id"])


def seed_history(server: Server, run_id: str, points: int) -> None:
    """Log a history of `points` steps of one metric to an existing run."""
    if server.name == "mlflow":
        _seed_mlflow_history(server, run_id, points)
        return
    bodies = (_history_body(run_id, first, min(first + BATCH, points)) for first in range(0, points, BATCH))
    drive(server.port, [(post(f"{API}/runs/log-batch", body) for body in bodies)], 600)


INSERT_POINTS = "insert into {} (key, value, timestamp, run_uuid, step, is_nan) values (?,?,?,?,?,0)"
INSERT_RUNS = """insert into runs (run_uuid, name, source_type, user_id, status, start_time, end_time,
 lifecycle_stage, artifact_uri, experiment_id) values (?,?,'LOCAL','bench','FINISHED',?,?,'active',?,?)"""


def _seed_mlflow_history(server: Server, run_id: str, points: int) -> None:
    last = points - 1
    with closing(sqlite3.connect(server.data / "mlflow.db", timeout=60)) as connection, connection:
        connection.executemany(
            INSERT_POINTS.format("metrics"),
            ((HISTORY_KEY, 1 / (n + 1), FIRST_START_MS + n, run_id, n) for n in range(points)),
        )
        latest = (HISTORY_KEY, 1 / points, FIRST_START_MS + last, run_id, last)
        connection.execute(INSERT_POINTS.format("latest_metrics"), latest)


def _history_body(run_id: str, first: int, end: int) -> bytes:
    points = [
        {"key": HISTORY_KEY, "value": 1 / (n + 1), "timestamp": FIRST_START_MS + n, "step": n}
        for n in range(first, end)
    ]
    return json.dumps({"run_id": run_id, "metrics": points}).encode()


def _seed_mlflow_runs(server: Server, experiment: str, runs: Iterator[SeedRun]) -> None:
    with closing(sqlite3.connect(server.data / "mlflow.db", timeout=60)) as connection, connection:
        for chunk in _chunks(runs, 1000):
            uri = f"mlflow-artifacts:/{experiment}"
            heads = [
                (
                    r.run_id,
                    r.name,
                    r.start_ms,
                    r.start_ms + 500,
                    f"{uri}/{r.run_id}/artifacts",
                    int(experiment),
                )
                for r in chunk
            ]
            points = [(key, value, r.start_ms, r.run_id, 1) for r in chunk for key, value in r.metrics.items()]
            params = [(key, value, r.run_id) for r in chunk for key, value in r.params.items()]
            tags = [(key, value, r.run_id) for r in chunk for key, value in r.tags.items()]
            tags += [("mlflow.runName", r.name, r.run_id) for r in chunk]
            connection.executemany(INSERT_RUNS, heads)
            connection.executemany(INSERT_POINTS.format("metrics"), points)
            connection.executemany(INSERT_POINTS.format("latest_metrics"), points)
            connection.executemany("insert into params (key, value, run_uuid) values (?,?,?)", params)
            connection.executemany("insert into tags (key, value, run_uuid) values (?,?,?)", tags)


def _chunks(runs: Iterator[SeedRun], size: int) -> Iterator[list[SeedRun]]:
    while chunk := list(itertools.islice(runs, size)):
        yield chunk


def _seed_runs_by_http(server: Server, experiment: str, count: int) -> None:
    """Create all runs, read back their ids in order of start, then log one batch to each."""
    create = (
        post(
            f"{API}/runs/create",
            json.dumps(
                {
                    "experiment_id": experiment,
                    "user_id": "bench",
                    "run_name": run.name,
                    "start_time": run.start_ms,
                    "tags": [{"key": key, "value": value} for key, value in run.tags.items()],
                }
            ).encode(),
        )
        for run in seed_runs(count)
    )
    drive(server.port, share(create, CLIENTS), 3600)
    ids = run_ids(server, experiment)
    drive(server.port, share(_batches(ids, count), CLIENTS), 3600)
    finish = ({"run_id": run_id, "status": "FINISHED", "end_time": FIRST_START_MS} for run_id in ids)
    drive(
        server.port,
        share((post(f"{API}/runs/update", json.dumps(body).encode()) for body in finish), CLIENTS),
        3600,
    )


def _batches(ids: Sequence[str], count: int) -> Requests:
    for run_id, run in zip(ids, seed_runs(count), strict=True):
        body = {
            "run_id": run_id,
            "metrics": [
                {"key": key, "value": value, "timestamp": run.start_ms, "step": 1} for key, value in run.metrics.items()
            ],
            "params": [{"key": key, "value": value} for key, value in run.params.items()],
        }
        yield post(f"{API}/runs/log-batch", json.dumps(body).encode())


def share(requests: Requests, clients: int) -> list[Requests]:
    """One stream that several connections draw from."""
    return [_Shared(requests) for _ in range(clients)]


class _Shared(Iterator[bytes]):
    """An iterator over a common source; `drive` is single-threaded, so no lock is needed."""

    def __init__(self, source: Requests) -> None:
        self._source = source

    def __next__(self) -> bytes:
        return next(self._source)


def run_ids(server: Server, experiment: str) -> list[str]:
    """Ids of all active runs of the experiment, oldest start first."""
    ids: list[str] = []
    token = ""
    while True:
        body: dict[str, object] = {
            "experiment_ids": [experiment],
            "max_results": 1000,
            "order_by": ["attributes.start_time ASC"],
        }
        if token:
            body["page_token"] = token
        answer = call_json(server.port, "POST", f"{API}/runs/search", body)
        runs = answer.get("runs", [])
        assert isinstance(runs, list)
        ids.extend(str(run["info"]["run_id"]) for run in runs)
        token = str(answer.get("next_page_token", ""))
        if not token:
            return ids
