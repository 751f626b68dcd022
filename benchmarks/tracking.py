"""The figures of experiment tracking: mlwright and `mlflow server` on this machine, in turn, medians.

    python -m benchmarks.tracking [--only NAME...] [--quick] [--side mlwright] [--json FILE]

`--quick` takes one short round at a tenth of the size, to try things out; only full runs of both sides are
kept in `RESULTS.md`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import crash, footprint, reads, transfers, ui, writes
from benchmarks.bench import Benchmark
from benchmarks.suite import run

BENCHMARKS: dict[str, Benchmark] = {
    **writes.BENCHMARKS,
    **reads.BENCHMARKS,
    **transfers.BENCHMARKS,
    **ui.BENCHMARKS,
    **footprint.BENCHMARKS,
    **crash.BENCHMARKS,
}


def main(arguments: Sequence[str] | None = None) -> int:
    return run("benchmarks.tracking", (__doc__ or "").splitlines()[0], BENCHMARKS, arguments)


if __name__ == "__main__":
    sys.exit(main())
