"""Back after `kill -9` in the middle of writes: how soon a server that starts on the same data takes the next one.

There is no peer in these rows: the ratio of the starts stands in `footprint`.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time

from benchmarks.bench import OURS, Bench, Benchmark
from benchmarks.load import UnexpectedAnswerError, call_json, drive
from benchmarks.report import Row
from benchmarks.servers import Server
from benchmarks.writes import API, metric_requests, new_run

CLIENTS = 8
KILLS = 10
#: Load before each kill: enough for a write-ahead log that has to be read again.
LOAD_S = 1.5
LIMIT_S = 2.0


def kill_under_load(server: Server) -> None:
    """Kill the server while each of 8 clients waits for the answer to a metric."""
    streams = [metric_requests(new_run(server)) for _ in range(CLIENTS)]

    def log_until_killed() -> None:
        with contextlib.suppress(UnexpectedAnswerError, OSError):
            drive(server.port, streams, seconds=60)

    clients = threading.Thread(target=log_until_killed)
    clients.start()
    time.sleep(LOAD_S)
    server.kill()
    clients.join()


def ready_again_s(server: Server) -> float:
    """Seconds from the start of the process until a write was acknowledged: a new run."""
    begin = time.perf_counter()
    server.start()
    call_json(server.port, "POST", f"{API}/runs/create", {"experiment_id": "0", "start_time": 1})
    return time.perf_counter() - begin


def ready_again(bench: Bench) -> list[Row]:
    if OURS not in bench.sides:
        return []
    bench.end_servers()
    server = bench.new_server(OURS, bench.root / "crash")
    server.start()
    times: list[float] = []
    try:
        for _ in range(max(1, round(KILLS * bench.scale))):
            kill_under_load(server)
            times.append(ready_again_s(server))
    finally:
        server.stop()
    return [_row("median", statistics.median(times), len(times)), _row("worst", max(times), len(times))]


def _row(which: str, value: float, count: int) -> Row:
    return Row(
        name=f"ready_again_{which}",
        label=f"ready again after kill -9 under load, {which} of {count}",
        note="8 clients logging metrics; until a run is created",
        unit="s",
        peer=None,
        ours=value,
        must=f"≤ {LIMIT_S:.0f} s",
        better="lower",
        max_value=LIMIT_S,
    )


BENCHMARKS: dict[str, Benchmark] = {"ready_again": ready_again}
