"""Reads: pages of 10,000 runs in three orders, and one history of a million points whole and sampled."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable

from benchmarks.bench import Bench, Benchmark
from benchmarks.load import timed_call
from benchmarks.report import Row
from benchmarks.seed import HISTORY_KEY, experiment_id, seed, seed_history
from benchmarks.servers import Server
from benchmarks.writes import new_run

GROUP = "reads"
API = "/api/2.0/mlflow"
RUNS = 10_000
POINTS = 1_000_000
PAGE = 100
SAMPLED = 320
QUERIES: dict[str, tuple[str, dict[str, object]]] = {
    "newest": ("newest", {}),
    "filter_order": (
        "filter metric + order metric",
        {"filter": "metrics.m0 > 0.5", "order_by": ["metrics.m1 DESC"]},
    ),
    "order": ("order metric", {"order_by": ["metrics.m1 DESC"]}),
}
FAST_REPEATS = 15


def prepare(bench: Bench) -> dict[str, Server]:
    return bench.servers(GROUP, lambda server: seed(server, int(RUNS * bench.scale)))


def typical_ms(measure: Callable[[], float]) -> float:
    """Milliseconds of one call: after a warm-up, the median of many when it is fast, else of one."""
    first = measure()
    repeats = FAST_REPEATS if first < 0.2 else 1
    return statistics.median(measure() for _ in range(repeats)) * 1e3


def search(name: str) -> Benchmark:
    label, query = QUERIES[name]

    def benchmark(bench: Bench) -> list[Row]:
        servers = prepare(bench)
        experiments = {server.port: experiment_id(server) for server in servers.values()}

        def once(server: Server) -> float:
            body = {"experiment_ids": [experiments[server.port]], "max_results": PAGE, **query}
            answer, seconds = timed_call(server.port, "POST", f"{API}/runs/search", body)
            assert len(json.loads(answer)["runs"]) == PAGE
            return seconds

        got = bench.alternate(GROUP, lambda server: typical_ms(lambda: once(server)))
        return [
            Row(
                name=f"search_{name}",
                label=f"search_runs, {RUNS * bench.scale:,.0f} runs, page of 100: {label}",
                unit="ms",
                peer=got.peer,
                ours=got.ours,
                must="≤ 15 ms",
                better="lower",
                max_value=15,
            )
        ]

    return benchmark


def history(bench: Bench) -> list[Row]:
    points = int(POINTS * bench.scale)
    runs: dict[int, str] = {}
    for server in prepare(bench).values():
        runs[server.port] = new_run(server)
        seed_history(server, runs[server.port], points)

    def read_all(server: Server) -> float:
        path = f"{API}/metrics/get-history?run_id={runs[server.port]}&metric_key={HISTORY_KEY}"
        answer, seconds = timed_call(server.port, "GET", path)
        assert answer.count(b'"step"') >= points - 1  # step 0 may be left out as a default
        return seconds

    def sampled(server: Server) -> float:
        path = (
            f"/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval?run_ids={runs[server.port]}"
            f"&metric_key={HISTORY_KEY}&max_results={SAMPLED}"
        )
        answer, seconds = timed_call(server.port, "GET", path)
        assert SAMPLED <= len(json.loads(answer)["metrics"]) <= SAMPLED + 2
        return seconds

    whole = bench.alternate(GROUP, read_all, rounds=1 if bench.scale == 1 else None)
    few = bench.alternate(GROUP, lambda server: typical_ms(lambda: sampled(server)))
    return [
        Row(
            name="history_all",
            label=f"history of {points:,} points, read all, raw HTTP",
            note="one reading each" if bench.scale == 1 else "",
            unit="s",
            peer=whole.peer,
            ours=whole.ours,
            must="≥ 20×",
            better="lower",
            min_ratio=20,
        ),
        Row(
            name="history_sampled",
            label=f"history of {points:,} points, sampled to {SAMPLED}",
            unit="ms",
            peer=few.peer,
            ours=few.ours,
            must="≤ 60 ms",
            better="lower",
            max_value=60,
        ),
    ]


BENCHMARKS: dict[str, Benchmark] = {
    **{f"search_{name}": search(name) for name in QUERIES},
    "history": history,
}
