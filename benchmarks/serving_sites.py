"""Servers of the serving benchmark while they are measured: what they are asked, in turn, and whether it is right."""

from __future__ import annotations

import http.client
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from benchmarks import wrk
from benchmarks.bench import Bench
from benchmarks.load import UnexpectedAnswerError
from benchmarks.servers import HOST, Server
from benchmarks.serving_servers import Models

CONNECTIONS = 32
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Question:
    """What a server is asked, and where the predictions are in its answer."""

    path: str
    body: bytes
    headers: dict[str, str]
    predictions: Callable[[Any], list[Any]]


def infer(name: str, models: Models, rows: int, headers: Mapping[str, str] = JSON) -> Question:
    """The Open Inference Protocol, as JSON."""
    data = [value for row in models.rows[:rows] for value in row]
    tensor = {"name": "x", "shape": [rows, len(models.columns)], "datatype": "FP64", "data": data}
    body = json.dumps({"inputs": [tensor]}).encode()
    return Question(f"/v2/models/{name}/infer", body, {**JSON, **headers}, _outputs)


def infer_binary(name: str, models: Models, rows: int) -> Question:
    """The same with the numbers as bytes."""
    data = [value for row in models.rows[:rows] for value in row]
    raw = struct.pack(f"<{len(data)}d", *data)
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "x", "shape": [rows, len(models.columns)], "datatype": "FP64", "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Question(f"/v2/models/{name}/infer", head + raw, headers, _outputs)


def invocation(models: Models, rows: int) -> Question:
    """MLflow's, with the names of the columns."""
    split = {"columns": models.columns, "data": models.rows[:rows]}
    return Question(
        "/invocations", json.dumps({"dataframe_split": split}).encode(), JSON, lambda told: told["predictions"]
    )


def _outputs(told: Any) -> list[Any]:
    found: list[Any] = told["outputs"][0]["data"]
    return found


def ask(server: Server, question: Question, expected: list[int]) -> None:
    """Raises UnexpectedAnswerError when the predictions are others than the model's own."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    try:
        connection.request("POST", question.path, question.body, question.headers)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status != 200 or question.predictions(json.loads(body)) != expected:
        raise UnexpectedAnswerError(f"{server.name}: {answer.status} {body[:300]!r}")


@dataclass(frozen=True)
class Site:
    """A server and what it is asked, for so many rows."""

    server: Server
    models: Models
    question: Callable[[int], Question]

    def check(self, rows: int) -> None:
        ask(self.server, self.question(rows), self.models.labels[:rows])


@contextmanager
def running(sites: Iterable[Site]) -> Iterator[None]:
    """Start their servers; when measured, one goes on and the others stand still."""
    servers = {site.server.name: site.server for site in sites}.values()
    try:
        for server in servers:
            server.start()
            server.settle()
            server.pause()
        yield
    finally:
        for server in servers:
            server.resume()
            server.stop()


@contextmanager
def alone(server: Server) -> Iterator[None]:
    server.resume()
    try:
        yield
    finally:
        server.pause()


Figures = dict[str, float]


def in_turn(sites: Mapping[str, Site], rounds: int, measure: Callable[[Site], Figures]) -> dict[str, Figures]:
    """Medians of the figures of each."""
    found: dict[str, list[Figures]] = {name: [] for name in sites}
    for _ in range(rounds):
        for name, site in sites.items():
            with alone(site.server):
                found[name].append(measure(site))
    return {name: {figure: median(each[figure] for each in all_) for figure in all_[0]} for name, all_ in found.items()}


def burst(bench: Bench, rows: int, connections: int = CONNECTIONS, pause_ms: int = 0) -> Callable[[Site], Figures]:
    """A measurement: load for some seconds, after some that do not count."""

    def measure(site: Site) -> Figures:
        site.check(rows)
        question = site.question(rows)
        body = bench.root / "question.body"
        body.write_bytes(question.body)
        load = partial(
            wrk.drive, site.server, question.path, body, question.headers, connections=connections, pause_ms=pause_ms
        )
        load(seconds=1)
        before = site.server.cpu_s()
        found = load(seconds=bench.seconds)
        cpu_us = (site.server.cpu_s() - before) / found.requests * 1e6
        return {"per_second": found.per_second, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "cpu_us": cpu_us}

    return measure
