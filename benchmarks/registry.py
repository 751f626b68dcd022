"""The figures of the model registry and its gates: mlwright and `mlflow server` on this machine, in turn, medians.

    python -m benchmarks.registry [--only NAME...] [--quick] [--side mlwright] [--json FILE]

`--quick` takes one short round at a tenth of the size, to try things out; only full runs of both sides are
kept in `RESULTS.md`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import gates, images, lineage, registry_writes, signatures
from benchmarks.bench import Bench, Benchmark
from benchmarks.report import Row
from benchmarks.servers import mlwright_command
from benchmarks.suite import run

MAKER = Path(__file__).with_name("model_files.py")
MIN_SCAN_MB_S = 100


def scan(bench: Bench) -> list[Row]:
    """`mlwright scan` from its start to its end, over files that the system has in memory."""
    with tempfile.TemporaryDirectory(prefix="mlwright-bench-") as folder:
        command = [str(bench.peer_python), str(MAKER), folder, str(bench.scale)]
        subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin"})
        mix = scan_speed(Path(folder) / "mix", bench.rounds)
        opcodes = scan_speed(Path(folder) / "opcodes", bench.rounds)
    return [
        Row(
            name="scan",
            label="mlwright scan: checkpoint of 300 MB, arrays, 300 small models",
            unit="MB/s",
            peer=None,
            ours=mix,
            must=f"≥ {MIN_SCAN_MB_S} MB/s",
            min_value=MIN_SCAN_MB_S,
        ),
        Row(
            name="scan-opcodes",
            label="mlwright scan: pickles of plain data, opcodes only",
            unit="MB/s",
            peer=None,
            ours=opcodes,
            must="–",
        ),
    ]


def scan_speed(folder: Path, rounds: int) -> float:
    """Megabytes of files in a second, the median of the rounds. Raises CalledProcessError when one is refused."""
    megabytes = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        subprocess.run([*mlwright_command(), "scan", folder, "-o", "json"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return megabytes / statistics.median(seconds[1:])  # the first one brings the files into memory


BENCHMARKS: dict[str, Benchmark] = {
    **registry_writes.BENCHMARKS,
    "scan": scan,
    **signatures.BENCHMARKS,
    "lineage": lineage.live,
    "gates": gates.flights,
    **images.BENCHMARKS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    return run("benchmarks.registry", (__doc__ or "").splitlines()[0], BENCHMARKS, arguments)


if __name__ == "__main__":
    sys.exit(main())
