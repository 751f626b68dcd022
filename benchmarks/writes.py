"""Writes: single metrics, batches and runs, by raw HTTP and through the real client."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

from benchmarks.bench import Bench, Benchmark
from benchmarks.load import Requests, call_json, drive, post, templated
from benchmarks.report import Row
from benchmarks.servers import Server

GROUP = "writes"
API = "/api/2.0/mlflow"
MARK = b"7654321"
WARM_UP_S = 0.3


def new_run(server: Server) -> str:
    """The id of a fresh run in the default experiment."""
    answer = call_json(server.port, "POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": 1})
    run = answer["run"]
    assert isinstance(run, dict)
    return str(run["info"]["run_id"])


def metric_requests(run_id: str) -> Requests:
    """Single metrics; timestamp and step go up by one each time."""
    mark = MARK.decode()
    body = {"run_id": run_id, "key": "loss", "value": 0.25, "timestamp": f"170000{mark}", "step": f"{mark}"}
    text = json.dumps(body).replace(f'"170000{mark}"', f"170000{mark}").replace(f'"{mark}"', mark)
    return templated(f"{API}/runs/log-metric", text.encode(), MARK, 1_000_000)


def batch_requests(run_id: str, keys: int, steps: int) -> Requests:
    """Batches of keys × steps points; every batch goes on where the one before ended."""
    mark = MARK.decode()
    points = ",".join(
        f'{{"key":"metric_{key}","value":{key + step / 1000},"timestamp":170000{mark},"step":{mark}{step:02d}}}'
        for step in range(steps)
        for key in range(keys)
    )
    body = f'{{"run_id":"{run_id}","metrics":[{points}]}}'
    return templated(f"{API}/runs/log-batch", body.encode(), MARK, 1_000_000)


def run_requests() -> Requests:
    """Runs as the client creates them: user, name and three tags."""
    tags = {"mlflow.user": "bench", "mlflow.source.name": "train.py", "mlflow.source.type": "LOCAL"}
    for number in itertools.count():
        body = {
            "experiment_id": "0",
            "user_id": "bench",
            "run_name": f"run {number}",
            "start_time": 1_700_000_000_000 + number,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        yield post(f"{API}/runs/create", json.dumps(body).encode())


def rate(bench: Bench, clients: int, requests: Callable[[Server], Requests]) -> Callable[[Server], float]:
    """Measure acknowledged requests per second with so many clients, each on a stream of its own."""

    def measure(server: Server) -> float:
        streams = [requests(server) for _ in range(clients)]
        drive(server.port, streams, WARM_UP_S)
        return drive(server.port, streams, bench.seconds).per_second

    return measure


def log_metric(clients: int, ratio: float) -> Benchmark:
    def benchmark(bench: Bench) -> list[Row]:
        got = bench.alternate(GROUP, rate(bench, clients, lambda server: metric_requests(new_run(server))))
        return [
            Row(
                name=f"log_metric_{clients}",
                label=f"log_metric, raw HTTP, {clients} client{'s' * (clients > 1)}",
                unit="/s",
                peer=got.peer,
                ours=got.ours,
                must=f"≥ {ratio:.0f}×",
                min_ratio=ratio,
            )
        ]

    return benchmark


def log_batch(name: str, keys: int, steps: int) -> Benchmark:
    def benchmark(bench: Bench) -> list[Row]:
        got = bench.alternate(GROUP, rate(bench, 8, lambda server: batch_requests(new_run(server), keys, steps)))
        points = keys * steps
        return [
            Row(
                name=name,
                label="log_batch of 1,000 metrics, 8 clients",
                note=f"{keys} key{'s' * (keys > 1)} × {steps} step{'s' * (steps > 1)}",
                unit="points/s",
                peer=got.peer and got.peer * points,
                ours=got.ours and got.ours * points,
                must="≥ 12×, ≥ 100,000/s",
                min_ratio=12,
                min_value=100_000,
            )
        ]

    return benchmark


def create_run(bench: Bench) -> list[Row]:
    got = bench.alternate(GROUP, rate(bench, 8, lambda _: run_requests()))
    return [
        Row(
            name="create_run_8",
            label="create_run, raw HTTP, 8 clients",
            unit="/s",
            peer=got.peer,
            ours=got.ours,
            must="≥ 40×",
            min_ratio=40,
        )
    ]


def client_rate(name: str, job: str, processes: int, label: str) -> Benchmark:
    def benchmark(bench: Bench) -> list[Row]:
        def measure(server: Server) -> float:
            done = bench.clients().run(job, server.url, seconds=bench.seconds, processes=processes)
            return done["per_second"]

        got = bench.alternate(GROUP, measure)
        limit = bench.client_limits(job, seconds=bench.seconds, processes=processes)["per_second"]
        return [
            Row(
                name=name,
                label=label,
                limit=limit,
                unit="/s",
                peer=got.peer,
                ours=got.ours,
                must="≥ 10×",
                min_ratio=10,
            )
        ]

    return benchmark


BENCHMARKS: dict[str, Benchmark] = {
    "log_metric_1": log_metric(1, 40),
    "log_metric_8": log_metric(8, 80),
    "client_log_metric_8": client_rate("client_log_metric_8", "log_metric", 8, "log_metric, real client, 8 processes"),
    "client_run": client_rate("client_run", "whole_run", 1, "real client: start_run, 10 parameters, 10 metrics, end"),
    "log_batch_8": log_batch("log_batch_8", 10, 100),
    "log_batch_8_wide": log_batch("log_batch_8_wide", 1000, 1),
    "create_run_8": create_run,
}
