"""The figures of the model registry and its gates, on this machine: medians.

    python -m benchmarks.registry [--only NAME...] [--quick] [--json FILE]

`--quick` takes one round at a tenth of the size, to try things out; only full runs are kept in `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from benchmarks.report import Row, machine, save, table
from benchmarks.servers import mlwright_command, peer_python
from benchmarks.tracking import BUSY_LOAD, said

MAKER = Path(__file__).with_name("model_files.py")
MIN_SCAN_MB_S = 100


@dataclass(frozen=True)
class Settings:
    """How a row is measured."""

    peer: Path
    rounds: int
    scale: float


def scan(settings: Settings) -> list[Row]:
    """`mlwright scan` from its start to its end, over files that the system has in memory."""
    with tempfile.TemporaryDirectory(prefix="mlwright-bench-") as folder:
        command = [str(settings.peer), str(MAKER), folder, str(settings.scale)]
        subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin"})
        mix = scan_speed(Path(folder) / "mix", settings.rounds)
        opcodes = scan_speed(Path(folder) / "opcodes", settings.rounds)
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


BENCHMARKS: dict[str, Callable[[Settings], list[Row]]] = {"scan": scan}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.registry", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(BENCHMARKS), help="these rows only")
    parser.add_argument("--quick", action="store_true", help="one round at a tenth of the size; not kept")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per row (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON too")
    parser.add_argument("--peer", type=Path, default=peer_python(), metavar="PYTHON", help="interpreter with mlflow")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    if not options.peer.exists():
        print(f"error: no interpreter at {options.peer}\n\nhint: make peers, or --peer PYTHON", file=sys.stderr)
        return 2
    where = machine({"mlwright": said([*mlwright_command(), "--version"])})
    if where.load > BUSY_LOAD:
        print(f"warning: the load average is {where.load}: another program is at work here", file=sys.stderr)
    settings = Settings(options.peer, 1 if options.quick else options.rounds, 0.1 if options.quick else 1.0)
    rows = [row for name in options.only or BENCHMARKS for row in BENCHMARKS[name](settings)]
    if not options.quick:
        save(rows, where)
    print(table(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
