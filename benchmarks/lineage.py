"""Lineage: which versions in use came from a dataset that nearly everything came from."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

from benchmarks.bench import OURS, Bench
from benchmarks.load import timed_call
from benchmarks.reads import typical_ms
from benchmarks.report import Row
from benchmarks.seed import FIRST_START_MS
from benchmarks.servers import Server

NODES = 100_000
MAX_MS = 50
#: Versions per model; one of them has an alias.
PER_MODEL = 10


def live(bench: Bench) -> list[Row]:
    """The question of impact over HTTP. The peer has no such question."""
    nodes = int(NODES * bench.scale)
    server = bench.servers("lineage", lambda server: seed(server, nodes))[OURS]
    wanted = nodes // 10 // PER_MODEL

    def once() -> float:
        answer, seconds = timed_call(server.port, "GET", "/v1/lineage/live?subject=dataset/rows")
        assert len(json.loads(answer)) == wanted
        return seconds

    return [
        Row(
            name="lineage",
            label=f"lineage of {nodes:,} things: the {wanted:,} versions in use that came from a dataset",
            unit="ms",
            peer=None,
            ours=typical_ms(once),
            must=f"≤ {MAX_MS} ms",
            better="lower",
            max_value=MAX_MS,
        )
    ]


def seed(server: Server, nodes: int) -> None:
    """Half of them runs that read one dataset, most of the others their models, a tenth versions of these."""
    if server.name != OURS:
        return
    runs, models, versions = nodes // 2, nodes * 4 // 10, nodes // 10
    at = FIRST_START_MS
    with closing(sqlite3.connect(server.data / "mlwright.db", timeout=60)) as connection, connection:
        many = connection.executemany
        connection.execute(
            "insert into datasets (id, experiment_id, name, digest, source_type, source)"
            " values (1, 0, 'rows', '1', '', '')"
        )
        many(
            "insert into runs (id, run_id, experiment_id, name, user_id, status, start_ms, end_ms, active,"
            " artifact_uri) values (?, ?, 0, 'run', '', 3, ?, ?, 1, '')",
            ((number, f"{number:032x}", at, at) for number in range(1, runs + 1)),
        )
        many(
            "insert into dataset_inputs (run, dataset, context, tags) values (?, 1, 'training', '[]')",
            ((number,) for number in range(1, runs + 1)),
        )
        many(
            "insert into logged_models (id, model_id, experiment_id, name, artifact_uri, created_ms, updated_ms,"
            " status, source_run_id, active) values (?, ?, 0, 'model', '', ?, ?, 2, ?, 1)",
            ((number, f"m-{number:032x}", at, at, f"{number:032x}") for number in range(1, models + 1)),
        )
        many(
            "insert into run_models (run, direction, model_id, step) values (?, 'output', ?, 0)",
            ((number, f"m-{number:032x}") for number in range(1, models + 1)),
        )
        registered = versions // PER_MODEL
        many(
            "insert into registered_models (id, project, name, created_ms, updated_ms, last_version)"
            " values (?, 'default', ?, ?, ?, ?)",
            ((number, f"name-{number}", at, at, PER_MODEL) for number in range(1, registered + 1)),
        )
        many(
            "insert into model_versions (id, model, project, name, version, source, storage, run_id, model_id, author,"
            " stage, digest, size, files, facts, created_ms, updated_ms)"
            " values (?, ?, 'default', ?, ?, '', '', ?, ?, '', 'None', ?, 1, 1, '{}', ?, ?)",
            (
                (
                    number + 1, number // PER_MODEL + 1, f"name-{number // PER_MODEL + 1}", number % PER_MODEL + 1,
                    f"{number + 1:032x}", f"m-{number + 1:032x}", f"sha256:{number}", at, at,
                )
                for number in range(registered * PER_MODEL)
            ),
        )  # fmt: skip
        many(
            "insert into model_aliases (model, alias, version) values (?, 'champion', 1)",
            ((number,) for number in range(1, registered + 1)),
        )
