"""What it costs to have it: start, memory when idle, `--help`, and the size of the install."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import OURS, PEER, Bench, Benchmark, Figures, figures
from benchmarks.report import Row
from benchmarks.servers import KEEP_BYTE_CODE, Server, mlwright_command

MIB = 2**20
SETTLE_TIMEOUT_S = 40.0

# Runs in the interpreter that is weighed; prints distributions and bytes of `name` and all that it requires.
WEIGH = r"""
import json, sys
from importlib.metadata import PackageNotFoundError, distribution
try: from packaging.requirements import Requirement
except ImportError: from pip._vendor.packaging.requirements import Requirement
def canonical(name): return name.lower().replace("_", "-").replace(".", "-")
wanted, seen = [(sys.argv[1], frozenset())], {}
while wanted:
    name, extras = wanted.pop()
    key = canonical(name)
    if key in seen and extras <= seen[key]: continue
    try: found = distribution(name)
    except PackageNotFoundError: continue
    seen[key] = seen.get(key, frozenset()) | extras
    for text in found.requires or []:
        need = Requirement(text)
        names = [""] + sorted(seen[key])
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in names):
            wanted.append((need.name, frozenset(need.extras)))
paths = {file.locate() for name in seen for file in distribution(name).files or []}
size = sum(path.stat().st_size for path in paths if path.is_file())
print(json.dumps({"distributions": len(seen), "bytes": size, "names": sorted(seen)}))
"""


def settled_pss(server: Server) -> float:
    """PSS of the tree in bytes once it has moved by less than 1 % in three seconds."""
    last, deadline = server.pss_bytes(), time.monotonic() + SETTLE_TIMEOUT_S
    while time.monotonic() < deadline:
        time.sleep(3)
        now = server.pss_bytes()
        if abs(now - last) < 0.01 * last:
            return now
        last = now
    return last


def start_and_idle(bench: Bench) -> list[Row]:
    """Fresh data directory each time; the idle figure is taken after the first answer, without any load.

    One start of each goes before, uncounted: it writes byte code and brings the files into the page cache.
    """
    bench.end_servers()
    for side in bench.sides:
        server = bench.new_server(side, bench.root / "start-first")
        server.start()
        server.stop()
    starts: dict[str, list[float]] = {side: [] for side in bench.sides}
    memory: dict[str, list[float]] = {side: [] for side in bench.sides}
    processes: dict[str, int] = {}
    for number in range(bench.rounds):
        for side in bench.sides:
            server = bench.new_server(side, bench.root / f"start-{number}")
            try:
                starts[side].append(server.start())
                memory[side].append(settled_pss(server) / MIB)
                processes[side] = len(server.pids())
            finally:
                server.stop()
    counts = ", ".join(f"{side} {count}" for side, count in processes.items())
    start, idle = figures(starts), figures(memory)
    return [
        Row(
            name="start",
            label="start to first answer",
            unit="s",
            peer=start.peer,
            ours=start.ours,
            must="≤ 1 s",
            better="lower",
            max_value=1.0,
        ),
        Row(
            name="idle_pss",
            label="idle memory, PSS of all processes",
            note=f"processes: {counts}",
            unit="MiB",
            peer=idle.peer,
            ours=idle.ours,
            must="≤ 80 MiB",
            better="lower",
            max_value=80,
        ),
    ]


def _wall_ms(command: Sequence[str], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, **KEEP_BYTE_CODE})
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def help_time(bench: Bench) -> list[Row]:
    commands = {
        PEER: [str(bench.peer_python.parent / "mlflow"), "--help"],
        OURS: [*mlwright_command(), "--help"],
    }
    values: dict[str, list[float]] = {side: [] for side in bench.sides}
    for side in bench.sides:
        _wall_ms(commands[side], 1)  # uncounted, as with the starts
    for _ in range(bench.rounds):
        for side in bench.sides:
            values[side].append(_wall_ms(commands[side], 1 if side == PEER else 5))
    got = figures(values)
    return [
        Row(
            name="help",
            label="`mlwright --help` / `mlflow --help`",
            unit="ms",
            peer=got.peer,
            ours=got.ours,
            must="≤ 120 ms",
            better="lower",
            max_value=120,
        )
    ]


def weigh(python: Path, name: str) -> dict[str, float]:
    """Distributions and bytes (byte code included) of `name` and all that it requires, without extras."""
    done = subprocess.run([str(python), "-c", WEIGH, name], capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def own_source_bytes(python: Path) -> int:
    """Bytes of the package's own source when it is installed in place, where its record does not list it."""
    code = "import mlwright, pathlib; print(pathlib.Path(mlwright.__file__).parent)"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    folder = Path(done.stdout.strip())
    if "site-packages" in folder.parts:
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def install(bench: Bench) -> list[Row]:
    counts: dict[str, float] = {}
    sizes: dict[str, float] = {}
    pythons = {PEER: bench.peer_python, OURS: Path(sys.executable)}
    for side in bench.sides:
        weighed = weigh(pythons[side], side)
        extra = own_source_bytes(pythons[side]) if side == OURS else 0
        counts[side] = weighed["distributions"]
        sizes[side] = (weighed["bytes"] + extra) / 1e6
    number, size = _pair(counts), _pair(sizes)
    return [
        Row(
            name="install_distributions",
            label="install: distributions",
            unit="",
            peer=number.peer,
            ours=number.ours,
            must="≤ 30",
            better="lower",
            max_value=30,
        ),
        Row(
            name="install_size",
            label="install: size of all files",
            unit="MB",
            peer=size.peer,
            ours=size.ours,
            must="≤ 250 MB",
            better="lower",
            max_value=250,
        ),
    ]


def _pair(values: dict[str, float]) -> Figures:
    return Figures(values.get(PEER), values.get(OURS))


BENCHMARKS: dict[str, Benchmark] = {"start": start_and_idle, "help": help_time, "install": install}
