"""The model registry: versions registered and moved, and a search of ten thousand of them."""

from __future__ import annotations

import http.client
import itertools
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

from benchmarks.bench import Bench, Benchmark
from benchmarks.load import Requests, call_json, post, timed_call
from benchmarks.reads import typical_ms
from benchmarks.report import Row
from benchmarks.seed import FIRST_START_MS
from benchmarks.servers import HOST, Server
from benchmarks.writes import API, new_run, rate

GROUP = "registry"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
VERSIONS = 10_000
PER_MODEL = 100
FILES = {
    "MLmodel": b"flavors:\n  python_function: {loader_module: mlflow.sklearn, python_version: 3.11.9}\n"
    b"  sklearn: {sklearn_version: 1.8.0, pickled_model: model.pkl}\n"
    b'signature:\n  inputs: \'[{"type": "double", "name": "x"}]\'\n  outputs: \'[{"type": "long"}]\'\n',
    "model.pkl": bytes(range(256)) * 16,
    "conda.yaml": b"dependencies: [python=3.11.9, pip]\n",
    "python_env.yaml": b"python: 3.11.9\n",
    "requirements.txt": b"scikit-learn==1.8.0\n",
}
_names = itertools.count()


def new_model(server: Server) -> str:
    """The name of a new registered model."""
    name = f"model-{next(_names)}"
    call_json(server.port, "POST", f"{API}/registered-models/create", {"name": name})
    return name


def logged_model(server: Server) -> dict[str, str]:
    """Run and source of a small model among a run's artifacts."""
    run_id = new_run(server)
    for path, content in FILES.items():
        with closing(http.client.HTTPConnection(HOST, server.port, timeout=60)) as connection:
            connection.request("PUT", f"{ARTIFACTS}/0/{run_id}/artifacts/model/{path}", content)
            assert connection.getresponse().status == 200
    return {"run_id": run_id, "source": f"mlflow-artifacts:/0/{run_id}/artifacts/model"}


def version_requests(server: Server) -> Requests:
    """One version after the other of a model of its own, all of the same files."""
    body = {"name": new_model(server), **logged_model(server)}
    return itertools.repeat(post(f"{API}/model-versions/create", json.dumps(body).encode()))


def alias_requests(server: Server) -> Requests:
    """One alias that moves between two versions."""
    body = {"name": new_model(server), **logged_model(server)}
    for _ in range(2):
        call_json(server.port, "POST", f"{API}/model-versions/create", body)
    moves = [{"name": body["name"], "alias": "champion", "version": str(number)} for number in (1, 2)]
    return itertools.cycle(post(f"{API}/registered-models/alias", json.dumps(move).encode()) for move in moves)


def writes(name: str, label: str, clients: int, requests: Callable[[Server], Requests]) -> Benchmark:
    def benchmark(bench: Bench) -> list[Row]:
        got = bench.alternate(GROUP, rate(bench, clients, requests))
        return [
            Row(
                name=f"{name}_{clients}",
                label=f"{label}, raw HTTP, {clients} client{'s' * (clients > 1)}",
                unit="/s",
                peer=got.peer,
                ours=got.ours,
                must="≥ 40×",
                min_ratio=40,
            )
        ]

    return benchmark


def seed(server: Server, count: int) -> None:
    """Models of a hundred versions each, every version with two tags: SQL for the peer, HTTP for us."""
    if server.name == "mlflow":
        _seed_mlflow(server, count)
        return
    for number in range(count):
        model, version = divmod(number, PER_MODEL)
        if version == 0:
            call_json(server.port, "POST", f"{API}/registered-models/create", {"name": f"seeded-{model}"})
        body = {"name": f"seeded-{model}", "source": f"s3://bucket/{number}", "tags": _tags(number)}
        call_json(server.port, "POST", f"{API}/model-versions/create", body)


def _tags(number: int) -> list[dict[str, str]]:
    return [{"key": "team", "value": f"team-{number % 7}"}, {"key": "checked", "value": str(number % 2)}]


def _seed_mlflow(server: Server, count: int) -> None:
    models = [(f"seeded-{model}", FIRST_START_MS, FIRST_START_MS) for model in range(-(-count // PER_MODEL))]
    versions, tags = [], []
    for number in range(count):
        name, version, at = f"seeded-{number // PER_MODEL}", number % PER_MODEL + 1, FIRST_START_MS + number
        versions.append((name, version, at, at, "None", f"s3://bucket/{number}", f"s3://bucket/{number}", "READY"))
        tags += [(name, version, tag["key"], tag["value"]) for tag in _tags(number)]
    with closing(sqlite3.connect(server.data / "mlflow.db", timeout=60)) as connection, connection:
        connection.executemany(
            "insert into registered_models (name, creation_time, last_updated_time) values (?,?,?)", models
        )
        connection.executemany(
            "insert into model_versions (name, version, creation_time, last_updated_time, current_stage, source,"
            " storage_location, status) values (?,?,?,?,?,?,?,?)",
            versions,
        )
        connection.executemany("insert into model_version_tags (name, version, key, value) values (?,?,?,?)", tags)


SEARCHES = {
    "all": ("all of them", "max_results=10000", VERSIONS),
    "newest": ("newest 100", "max_results=100", 100),
    "tag": ("newest 100 with a tag", "max_results=100&filter=tags.team+%3D+'team-3'", 100),
}


def search(name: str) -> Benchmark:
    label, query, wanted = SEARCHES[name]

    def benchmark(bench: Bench) -> list[Row]:
        count = int(VERSIONS * bench.scale)
        bench.servers("registry-search", lambda server: seed(server, count))

        def once(server: Server) -> float:
            answer, seconds = timed_call(server.port, "GET", f"{API}/model-versions/search?{query}")
            assert len(json.loads(answer)["model_versions"]) == min(wanted, count)
            return seconds

        got = bench.alternate("registry-search", lambda server: typical_ms(lambda: once(server)))
        return [
            Row(
                name=f"registry_search_{name}",
                label=f"search of {count:,} model versions: {label}",
                unit="ms",
                peer=got.peer,
                ours=got.ours,
                must="≥ 15×",
                better="lower",
                min_ratio=15,
            )
        ]

    return benchmark


BENCHMARKS: dict[str, Benchmark] = {
    "create_version_1": writes("create_version", "register a version of 5 files", 1, version_requests),
    "create_version_8": writes("create_version", "register a version of 5 files", 8, version_requests),
    "move_alias_8": writes("move_alias", "move an alias", 8, alias_requests),
    **{f"registry_search_{name}": search(name) for name in SEARCHES},
}
