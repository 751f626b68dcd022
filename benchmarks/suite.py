"""Runs a suite of benchmarks from the command line, and keeps what it measured in `RESULTS.md`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from benchmarks.bench import OURS, PEER, Bench, Benchmark
from benchmarks.report import Row, load_entries, machine, save, table
from benchmarks.servers import mlwright_command, peer_python

BUSY_LOAD = 0.5


def parse(
    name: str, summary: str, known: Mapping[str, Benchmark], arguments: Sequence[str] | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=name, description=summary)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted(known), help="these rows only")
    parser.add_argument("--quick", action="store_true", help="one short round at a tenth of the size; not kept")
    parser.add_argument("--side", choices=[PEER, OURS], help="one server only; not kept")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per row (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of one burst of load (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON too")
    parser.add_argument("--peer", type=Path, default=peer_python(), metavar="PYTHON", help="interpreter with mlflow")
    return parser.parse_args(arguments)


def versions(python: Path) -> dict[str, str]:
    """What is measured. Raises CalledProcessError when one of them cannot say its version."""
    code = "from importlib.metadata import version; print(version('mlflow'))"
    return {"mlwright": said([*mlwright_command(), "--version"]), "mlflow": said([str(python), "-c", code])}


def said(command: Sequence[str]) -> str:
    """The last word that a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]


def measure(bench: Bench, chosen: Mapping[str, Benchmark]) -> list[Row]:
    """Run the benchmarks; a failing one is reported and left out."""
    rows: list[Row] = []
    for name, benchmark in chosen.items():
        try:
            got = benchmark(bench)
        except (RuntimeError, OSError, AssertionError, subprocess.SubprocessError) as error:
            print(f"{name}: failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            continue
        for row in got:
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
        rows += got
    return rows


def with_stored_peer(rows: list[Row]) -> list[Row]:
    """Fill in the peer's kept figure where only our side was measured."""
    stored = load_entries()
    return [
        msgspec.structs.replace(row, peer=stored[row.name].row.peer) if row.peer is None and row.name in stored else row
        for row in rows
    ]


def run(name: str, summary: str, known: Mapping[str, Benchmark], arguments: Sequence[str] | None) -> int:
    """Measure, print, and keep what was measured in full. Returns the exit status.

    Args:
        name, summary: of the suite, for its help.
        known: all its benchmarks, by name.
        arguments: of the command line; those of this process when None.
    """
    options = parse(name, summary, known, arguments)
    if not options.peer.exists():
        print(f"error: no interpreter at {options.peer}\n\nhint: make peers, or --peer PYTHON", file=sys.stderr)
        return 2
    where = machine(versions(options.peer))
    if where.load > BUSY_LOAD:
        print(f"warning: the load average is {where.load}: another program is at work here", file=sys.stderr)
    bench = Bench(
        peer_python=options.peer,
        rounds=1 if options.quick else options.rounds,
        seconds=1.5 if options.quick else options.seconds,
        scale=0.1 if options.quick else 1.0,
        sides=(options.side,) if options.side else (PEER, OURS),
    )
    try:
        rows = measure(bench, {each: known[each] for each in options.only or known})
    finally:
        bench.close()
    if not options.quick and not options.side:
        save(rows, where)
    shown = with_stored_peer(rows)
    print(table(shown))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(shown), indent=1))
    return 0 if rows else 1
